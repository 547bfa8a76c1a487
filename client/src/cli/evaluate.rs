//! `pgfox evaluate`: measures search quality with judged queries.

mod metrics;
mod read;

use std::{collections::HashMap, path::PathBuf, time::Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pgfox_client::v1::{self, search_request};
use serde_json::{Map, json};

use super::{
    Globals,
    failure::Failure,
    output,
    progress::{self, Throttle},
    search::{batch, method::Method},
};
use metrics::{Metrics, Qrels};

/// The rank at which recall is also measured.
const DEEP: usize = 100;

/// Measure search quality with queries whose relevant documents are known
#[derive(Args)]
#[command(after_help = "\
Queries, one per line: {\"_id\": \"1\", \"text\": \"...\"} (or \"id\"), or the id, a tab and the text.
Judgements, one per line: `query 0 document grade` as for trec_eval, or `query document grade`, with
or without a header. A grade above 0 means relevant; a document without a judgement is not relevant.

Measures, as trec_eval defines them, averaged over the queries that have a relevant document:
  nDCG@k    sum of grade / log2(rank + 1) over the first k results, divided by the best possible sum
  recall@k  share of the relevant documents that are among the first k results
  MRR@k     1 / rank of the first relevant result, 0 if it is not among the first k

Examples:
  pgfox evaluate films --queries queries.jsonl --qrels qrels.tsv
  pgfox evaluate films --queries queries.jsonl --qrels qrels.tsv --mode hybrid --full-text-weight 2
  pgfox evaluate films --queries queries.jsonl --qrels qrels.tsv --exact --json")]
pub(crate) struct Evaluate {
    /// Name of the collection
    collection: String,
    /// File with the queries, JSON Lines or TSV
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// File with the judgements, TREC or BEIR
    #[arg(long, value_name = "FILE")]
    qrels: PathBuf,
    /// Number of results to judge, 1 to 1,000; recall is also shown at 100
    #[arg(short, long, default_value = "10", value_name = "K", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    k: u16,
    /// Count every grade above 0 the same
    #[arg(long)]
    binary: bool,
    #[command(flatten)]
    method: Method,
}

impl Evaluate {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let k = usize::from(self.k);
        let limit = k.max(DEEP);
        let mut qrels = read::qrels(&self.qrels)?;
        if self.binary {
            qrels.values_mut().flat_map(HashMap::values_mut).for_each(|grade| *grade = f64::from(*grade > 0.0));
        }
        let queries = read::queries(&self.queries)?;
        let judged: Vec<&read::Query> =
            queries.iter().filter(|query| qrels.get(&query.id).is_some_and(metrics::has_relevant)).collect();
        if judged.is_empty() {
            return Err(Failure::usage(
                "no query has a relevant document: check that both files use the same query ids",
            ));
        }

        let mut client = globals.connect().await?;
        let request = v1::GetCollectionRequest { name: self.collection.clone() };
        let collection = client.get_collection(request).await?.into_inner().collection.unwrap_or_default();
        let mut search = self.method.request(&self.collection, limit as i32)?;
        // Judgements are about documents, not chunks.
        search.group_by_document |= collection.chunking.is_some_and(|chunking| {
            !matches!(chunking.method(), v1::ChunkingMethod::Unspecified | v1::ChunkingMethod::None)
        });
        search.read_mask = Some(prost_types::FieldMask { paths: vec!["id".to_owned()] });
        let searches: Vec<v1::SearchRequest> = judged
            .iter()
            .map(|query| v1::SearchRequest {
                query: Some(search_request::Query::Text(query.text.clone())),
                ..search.clone()
            })
            .collect();

        let started = Instant::now();
        let mut progress = Progress::new(globals, judged.len());
        let mut metrics = Metrics::new(&[k, DEEP]);
        let outcome = batch::run(&mut client, &searches, |position, response| {
            let found: Vec<&str> =
                response.results.iter().filter_map(|result| Some(result.document.as_ref()?.id.as_str())).collect();
            metrics.add(&qrels[&judged[position].id], &found);
            progress.update(position + 1);
            Ok(())
        })
        .await;
        progress.clear();
        outcome?;
        self.print(globals, &metrics, &qrels, &queries, started.elapsed().as_secs_f64())
    }

    fn print(
        &self,
        globals: &Globals,
        metrics: &Metrics,
        qrels: &Qrels,
        queries: &[read::Query],
        seconds: f64,
    ) -> Result<(), Failure> {
        let k = usize::from(self.k);
        let left_out = queries.len() - metrics.queries();
        let without_text =
            qrels.len().saturating_sub(queries.iter().filter(|query| qrels.contains_key(&query.id)).count());
        let mut values = vec![("nDCG", k, metrics.ndcg(k)), ("recall", k, metrics.recall(k))];
        if k != DEEP {
            values.push(("recall", DEEP, metrics.recall(DEEP)));
        }
        values.push(("MRR", k, metrics.reciprocal_rank(k)));
        if globals.json {
            let mut object = Map::new();
            object.insert("collection".into(), json!(self.collection));
            object.insert("queries".into(), json!(metrics.queries()));
            object.insert("queries_without_relevant".into(), json!(left_out));
            object.insert("judged_without_query".into(), json!(without_text));
            for (name, k, value) in values {
                object.insert(format!("{}_{k}", name.to_lowercase()), json!(value));
            }
            object.insert("seconds".into(), json!((seconds * 1e3).round() / 1e3));
            return output::print_json(&object.into());
        }
        let mut text = format!("{:10}  {}\n", "queries", metrics.queries());
        for (name, k, value) in values {
            text += &format!("{:10}  {value:.4}\n", format!("{name}@{k}"));
        }
        output::print(&text)?;
        if globals.quiet {
            return Ok(());
        }
        if left_out > 0 {
            output::note(&format!(
                "left out {left_out} of {} queries, which have no relevant document\n",
                queries.len()
            ));
        }
        if without_text > 0 {
            output::note(&format!("{without_text} judged queries are missing in {}\n", self.queries.display()));
        }
        Ok(())
    }
}

/// The progress on stderr: a bar on a terminal, else a line every few seconds.
enum Progress {
    Bar(ProgressBar),
    Lines(Throttle, usize),
    Off,
}

impl Progress {
    fn new(globals: &Globals, queries: usize) -> Self {
        if globals.quiet || globals.json {
            return Self::Off;
        }
        if !progress::is_terminal() {
            return Self::Lines(Throttle::new(), queries);
        }
        let bar = ProgressBar::new(queries as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} queries") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    fn update(&mut self, done: usize) {
        match self {
            Self::Bar(bar) => bar.set_position(done as u64),
            Self::Lines(throttle, queries) => {
                if throttle.is_due() {
                    output::note(&format!("{done} of {queries} queries\n"));
                }
            }
            Self::Off => {}
        }
    }

    fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
