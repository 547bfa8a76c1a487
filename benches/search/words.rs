//! Full-text and hybrid search of a million short texts against plain `ts_rank`, in alternating passes, and against the
//! BM25 of every document.
//!
//! `--words FILE` names JSON Lines whose field `text` has sentences, which the documents are made of. `--documents` says how
//! many; a tenth of that is measured too, for how searches grow. `--keep` names a folder in which Postgres and the
//! documents stay, so that the next run need not load them: name another one after a change of how words are stored.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use pgfox::v1::{self, Completeness, SearchMode, search_request::Query as Sought};
use tokio_postgres::types::Type;

use super::{Client, LIMIT};
use crate::{
    bm25::{Scores, Tables, right},
    sentences::{DIMENSIONS, Sentences, create},
    setup::{Postgres, Random, Server, median},
};

pub(super) const USAGE: &str = "--words FILE [--documents COUNT] [--keep FOLDER]";

/// Two to nine words each, common ones among them; stop words do not count.
const QUERIES: &str = include_str!("queries.txt");
const DOCUMENTS: usize = 1_000_000;
/// The collection that is measured too has as many documents as `--documents` divided by this.
const SMALLER: usize = 10;
const ROUNDS: usize = 5;
const CALLERS: [usize; 2] = [1, 2];
const MAX_GATHERING: Duration = Duration::from_secs(120);

/// How many results of each kind a hybrid search fuses by default.
const FUSED: i32 = 200;

/// What a change may not exceed, from `DOCUMENTS` on: the p95 of a search in those of `ts_rank` and of a tenth of the
/// documents, and that of a hybrid search in the sum of a vector search and a full-text search for `FUSED` results each.
const MAX_OF_TS_RANK: f64 = 0.5;
const MAX_GROWTH: f64 = 5.0;
const MAX_OF_SUM: f64 = 1.0;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    FullText,
    TsRank,
    Vector,
    Hybrid,
    /// The searches that a hybrid search consists of.
    VectorLeg,
    FullTextLeg,
}

/// A query in the forms that the sides take.
struct Query {
    text: &'static str,
    vector: Vec<f32>,
    /// The words as the server makes them, with the number of times.
    words: Vec<(String, u32)>,
    /// Any of the words, for Postgres.
    tsquery: String,
}

/// Milliseconds of one side, per query and round.
type Times = HashMap<(Side, usize), Vec<Vec<f64>>>;

/// Loads what is not there, prints the tables and fails when a limit is not kept.
pub(super) async fn run(file: &Path, options: &[&str]) -> anyhow::Result<()> {
    let mut documents = DOCUMENTS;
    let mut keep = None;
    for option in options.chunks(2) {
        match option {
            ["--documents", count] => documents = count.parse().context("--documents takes a number")?,
            ["--keep", folder] => keep = Some(PathBuf::from(folder)),
            _ => anyhow::bail!("usage: search {USAGE}"),
        }
    }
    ensure!(documents >= 10 * SMALLER, "--documents is at least {}", 10 * SMALLER);
    let sentences = Sentences::read(file)?;
    let postgres = match &keep {
        Some(folder) => Postgres::start_in(folder, &[]).await?,
        None => Postgres::start().await?,
    };
    let measured = measure_both(&postgres, &sentences, documents).await;
    postgres.stop().await;
    measured
}

async fn measure_both(postgres: &Postgres, sentences: &Sentences, documents: usize) -> anyhow::Result<()> {
    let server = Server::start(postgres, "warn,pgfox_server=info").await?;
    let queries = queries(postgres, server.client()?).await?;
    let mut p95 = Vec::new();
    for count in [documents / SMALLER, documents] {
        let collection = format!("words_{count}");
        sentences.load(postgres, &server, &collection, count).await?;
        let subject = Subject { postgres, server: &server, queries: &queries, collection };
        println!("\n{count} documents of three sentences, {} queries, the {LIMIT} best", queries.len());
        let found = subject.look(count).await?;
        let times = subject.measure().await?;
        print_queries(&queries, &found, &times);
        print_sides(&times);
        let p95_of = |side, callers| percentile(&all(&times, side, callers), 0.95);
        p95.push((
            p95_of(Side::FullText, 1),
            p95_of(Side::TsRank, 1),
            p95_of(Side::Vector, 1),
            p95_of(Side::Hybrid, 1),
            p95_of(Side::VectorLeg, 1) + p95_of(Side::FullTextLeg, 1),
        ));
        for callers in CALLERS {
            let ratio = p95_of(Side::FullText, callers) / p95_of(Side::TsRank, callers);
            println!("{callers} callers: p95 of a full-text search is {ratio:.2} of ts_rank's");
        }
    }
    server.stop().await?;
    let [(smaller, ..), (full_text, ts_rank, vector, hybrid, legs)] = p95[..] else { unreachable!("two are measured") };
    let [growth, of_ts_rank, of_sum] = [full_text / smaller, full_text / ts_rank, hybrid / legs];
    println!(
        "p95 of a hybrid search is {of_sum:.2} of the sum of its two searches for {FUSED} results, and {:.2} of the sum of \
         searches for {LIMIT}",
        hybrid / (vector + full_text)
    );
    println!("p95 of a full-text search grows {growth:.2} times from {} to {documents} documents", documents / SMALLER);
    if documents >= DOCUMENTS {
        ensure!(of_ts_rank <= MAX_OF_TS_RANK, "the p95 is above {MAX_OF_TS_RANK} of ts_rank's");
        ensure!(growth < MAX_GROWTH, "the p95 grows {MAX_GROWTH} times or more");
        ensure!(of_sum <= MAX_OF_SUM, "the p95 of a hybrid search is above that of both");
    }
    Ok(())
}

/// The queries, whose words are those of documents with the same texts.
async fn queries(postgres: &Postgres, mut client: Client) -> anyhow::Result<Vec<Query>> {
    const COLLECTION: &str = "queries";
    let texts: Vec<&str> = QUERIES.lines().collect();
    let mut random = Random::new();
    let vectors: Vec<Vec<f32>> = texts.iter().map(|_| random.vector(DIMENSIONS)).collect();
    // One that an earlier run has kept may be of other queries.
    let name = v1::DeleteCollectionRequest { name: COLLECTION.into(), ..Default::default() };
    match client.delete_collection(name.clone()).await {
        Err(status) if status.code() != tonic::Code::NotFound => return Err(status.into()),
        _ => {}
    }
    create(&mut client, COLLECTION).await?;
    let documents = texts.iter().zip(&vectors).map(|(text, vector)| v1::Document {
        id: (*text).to_owned(),
        text: (*text).to_owned(),
        vector: Some(v1::Vector { values: vector.clone() }),
        ..Default::default()
    });
    let documents = documents.collect();
    client.ingest(v1::IngestRequest { collection: COLLECTION.into(), documents, ..Default::default() }).await?;
    let sql = postgres.connect().await?;
    let mut words = Tables::of(&sql, COLLECTION).await?.words(&sql).await?;
    client.delete_collection(name).await?;
    let queries = texts.into_iter().zip(vectors).map(|(text, vector)| {
        let words = words.remove(text).with_context(|| format!("the query `{text}` is there twice"))?;
        let quoted = words.iter().map(|(word, _)| format!("'{}'", word.replace('\\', "\\\\").replace('\'', "''")));
        let tsquery = quoted.collect::<Vec<_>>().join(" | ");
        Ok(Query { text, vector, words, tsquery })
    });
    queries.collect()
}

/// What a full-text search found.
struct Found {
    completeness: Completeness,
    /// Documents that have any of the words.
    matches: usize,
    /// Results, and those that are among the best by BM25.
    results: usize,
    right: usize,
    /// The largest relative difference of a score to BM25.
    difference: f64,
}

/// A collection that is searched.
struct Subject<'a> {
    postgres: &'a Postgres,
    server: &'a Server,
    queries: &'a [Query],
    collection: String,
}

impl Subject<'_> {
    /// Searches until the server knows how rare the words are, which the first search makes it find out.
    async fn gather_statistics(&self, client: &mut Client) -> anyhow::Result<()> {
        let query = self.queries.first().context("there are queries")?;
        let began = Instant::now();
        while !self.search(client, query, Side::FullText).await?.notes.is_empty() {
            ensure!(began.elapsed() < MAX_GATHERING, "the statistics of words are not gathered");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Compares what each query finds with the BM25 of all documents. Prints the notes of the server.
    async fn look(&self, documents: usize) -> anyhow::Result<Vec<Found>> {
        let sql = self.postgres.connect().await?;
        let tables = Tables::of(&sql, &self.collection).await?;
        let lexemes: HashSet<&str> =
            self.queries.iter().flat_map(|query| &query.words).map(|(word, _)| word.as_str()).collect();
        let scores = Scores::read(&sql, &tables, documents, &lexemes).await?;
        let mut client = self.server.client()?;
        self.gather_statistics(&mut client).await?;
        let mut found = Vec::new();
        let mut notes = HashSet::new();
        for query in self.queries {
            let response = self.search(&mut client, query, Side::FullText).await?;
            let (matches, scores) = scores.of(&query.words);
            let mut numbers = Vec::new();
            let mut difference = 0.0_f64;
            for result in &response.results {
                let number: usize = result.document.as_ref().context("a result has a document")?.id.parse()?;
                difference = difference.max((f64::from(result.score) / scores[number] - 1.0).abs());
                numbers.push(number);
            }
            let right = right(&numbers, &scores, LIMIT as usize);
            found.push(Found {
                completeness: response.completeness(),
                matches,
                results: numbers.len(),
                right,
                difference,
            });
            notes.extend(response.notes);
        }
        for note in notes {
            println!("note: {note}");
        }
        Ok(found)
    }

    /// Times of all sides.
    async fn measure(&self) -> anyhow::Result<Times> {
        let mut clients = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..CALLERS[CALLERS.len() - 1] {
            clients.push(self.server.client()?);
            let sql = self.postgres.connect().await?;
            // As the server has it.
            sql.batch_execute("SET jit = off").await?;
            connections.push(sql);
        }
        let tables = Tables::of(&connections[0], &self.collection).await?;
        let by_ts_rank = format!(
            "SELECT d.id, d.text, d.metadata::text, s.score
             FROM (SELECT document_key, ts_rank(words, $1::tsquery) AS score FROM {} WHERE words @@ $1::tsquery
                   ORDER BY score DESC LIMIT {LIMIT}) s
             JOIN {} d ON d.key = s.document_key ORDER BY s.score DESC",
            tables.chunks, tables.documents
        );
        let mut times = Times::new();
        for callers in CALLERS {
            let mut sides = vec![Side::FullText, Side::TsRank];
            if callers == 1 {
                sides.extend([Side::Vector, Side::Hybrid, Side::VectorLeg, Side::FullTextLeg]);
            }
            // The first round warms up. The order alternates, since the machine may be shared.
            for round in 0..=ROUNDS {
                sides.reverse();
                for side in &sides {
                    let next = Cell::new(0);
                    let call = async |mut client: Client, sql: &tokio_postgres::Client| {
                        let mut took = Vec::new();
                        while let Some(query) = self.queries.get(next.get()) {
                            let number = next.replace(next.get() + 1);
                            let began = Instant::now();
                            if *side == Side::TsRank {
                                sql.query_typed(&by_ts_rank, &[(&query.tsquery, Type::TEXT)]).await?;
                            } else {
                                self.search(&mut client, query, *side).await?;
                            }
                            took.push((number, began.elapsed().as_secs_f64() * 1e3));
                        }
                        anyhow::Ok(took)
                    };
                    let calls = clients.iter().zip(&connections).take(callers);
                    let took = try_join_all(calls.map(|(client, sql)| call(client.clone(), sql))).await?;
                    if round > 0 {
                        let times = times.entry((*side, callers)).or_insert(vec![Vec::new(); self.queries.len()]);
                        took.into_iter().flatten().for_each(|(number, time)| times[number].push(time));
                    }
                }
            }
        }
        Ok(times)
    }

    async fn search(&self, client: &mut Client, query: &Query, side: Side) -> anyhow::Result<v1::SearchResponse> {
        let vector = || Sought::Vector(v1::Vector { values: query.vector.clone() });
        let (mode, sought, full_text) = match side {
            Side::FullText | Side::FullTextLeg | Side::TsRank => {
                (SearchMode::FullText, Sought::Text(query.text.into()), "")
            }
            Side::Vector | Side::VectorLeg => (SearchMode::Vector, vector(), ""),
            Side::Hybrid => (SearchMode::Hybrid, vector(), query.text),
        };
        let request = v1::SearchRequest {
            collection: self.collection.clone(),
            query: Some(sought),
            mode: mode.into(),
            full_text: full_text.into(),
            limit: if matches!(side, Side::VectorLeg | Side::FullTextLeg) { FUSED } else { LIMIT },
            ..Default::default()
        };
        Ok(client.search(request).await?.into_inner())
    }
}

fn print_queries(queries: &[Query], found: &[Found], times: &Times) {
    println!(
        "{:>10} {:>9} {:>9} {:>8} {:>12} {:>8} {:>10}",
        "documents", "full-text", "ts_rank", "ratio", "", "right", "difference"
    );
    for (number, (query, found)) in queries.iter().zip(found).enumerate() {
        let [ours, theirs] = [Side::FullText, Side::TsRank].map(|side| median(&times[&(side, 1)][number]));
        let completeness = found.completeness.as_str_name().trim_start_matches("COMPLETENESS_").to_lowercase();
        println!(
            "{:>10} {ours:>9.1} {theirs:>9.1} {:>8.2} {completeness:>12} {:>5}/{:<2} {:>10.1e}  {}",
            found.matches,
            ours / theirs,
            found.right,
            found.results,
            found.difference,
            query.text
        );
    }
    let expected = |found: &Found| found.matches.min(LIMIT as usize);
    let same = found.iter().filter(|found| found.right == expected(found)).count();
    let exact = found.iter().filter(|found| found.completeness == Completeness::Exact).count();
    let missing: usize = found.iter().map(|found| expected(found) - found.right).sum();
    println!(
        "{exact} of {} are exact; {same} find the {LIMIT} best by BM25 (equal scores count alike), {missing} results of all \
         are missing",
        found.len()
    );
}

fn print_sides(times: &Times) {
    println!("{:>10} {:>8} {:>9} {:>9} {:>9}", "", "callers", "p50 ms", "p95 ms", "p99 ms");
    for callers in CALLERS {
        for side in [Side::FullText, Side::TsRank, Side::Vector, Side::Hybrid] {
            if times.contains_key(&(side, callers)) {
                let all = all(times, side, callers);
                let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| percentile(&all, share));
                println!("{:>10} {callers:>8} {p50:>9.1} {p95:>9.1} {p99:>9.1}", format!("{side:?}"));
            }
        }
    }
}

/// The times of all queries, shortest first.
fn all(times: &Times, side: Side, callers: usize) -> Vec<f64> {
    let mut all = times[&(side, callers)].concat();
    all.sort_by(f64::total_cmp);
    all
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)]
}
