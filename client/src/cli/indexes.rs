//! `pgfox build-index` and `pgfox indexes`: build, list and drop vector indexes.

use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use pgfox_client::{
    Client, error,
    retry::Backoff,
    v1::{self, IndexPhase, index_spec},
};
use serde_json::{Value, json};
use tonic::Status;

use super::{
    Globals,
    failure::Failure,
    json,
    output::{self, Align},
    progress::{self, Throttle},
};

/// How long to try to attach to a build again after the connection broke.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
/// After this silence the connection counts as dead. The server reports at least once a second.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// Build the vector index of a collection, which makes its searches fast
///
/// The build runs in the database. If this command is stopped or the connection breaks, the build continues, and the
/// same command attaches to it again. Searches and writes continue meanwhile.
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox build-index films                                HNSW with its defaults
  pgfox build-index films --m 24 --ef-construction 200   better recall, slower build
  pgfox build-index films --ivfflat --lists 1000         faster build, after loading the data
  pgfox build-index films --ivfflat --rebuild            builds again, after many changes")]
pub(crate) struct BuildIndex {
    /// Name of the collection
    collection: String,
    /// HNSW index (the default): better recall at the same speed
    #[arg(long, conflicts_with = "ivfflat")]
    hnsw: bool,
    /// IVFFlat index: faster to build; load the data first
    #[arg(long)]
    ivfflat: bool,
    /// HNSW: links per element and layer, 2 to 100 [server's default: 16]
    #[arg(long, value_name = "N", conflicts_with = "ivfflat", value_parser = clap::value_parser!(i32).range(2..=100))]
    m: Option<i32>,
    /// HNSW: candidates during the build, 4 to 1,000 and at least 2 * m [server's default: 64]
    #[arg(long, value_name = "N", conflicts_with = "ivfflat", value_parser = clap::value_parser!(i32).range(4..=1_000))]
    ef_construction: Option<i32>,
    /// IVFFlat: number of lists, 1 to 32,768 [server's default: from the number of rows]
    #[arg(long, value_name = "N", requires = "ivfflat", value_parser = clap::value_parser!(i32).range(1..=32_768))]
    lists: Option<i32>,
    /// IVFFlat: build even with fewer than 50 rows per list, although recall will be poor
    #[arg(long, requires = "ivfflat")]
    allow_few_rows: bool,
    /// Build again even if such an index exists
    #[arg(long)]
    rebuild: bool,
}

/// List and drop vector indexes
#[derive(Subcommand)]
pub(crate) enum Command {
    List(List),
    Drop(Drop),
}

/// List the vector indexes of a collection, including one that is being built
#[derive(Args)]
pub(crate) struct List {
    /// Name of the collection
    collection: String,
}

/// Drop the vector indexes of a collection, or stop a build; searches are exact afterwards
#[derive(Args)]
pub(crate) struct Drop {
    /// Name of the collection
    collection: String,
    /// Name of one index, as in `indexes list`; without it all indexes of the collection
    index: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl BuildIndex {
    fn spec(&self) -> v1::IndexSpec {
        let kind = if self.ivfflat {
            index_spec::Kind::IvfFlat(v1::IvfFlat { lists: self.lists.unwrap_or(0) })
        } else {
            index_spec::Kind::Hnsw(v1::Hnsw {
                m: self.m.unwrap_or(0),
                ef_construction: self.ef_construction.unwrap_or(0),
            })
        };
        v1::IndexSpec { kind: Some(kind), allow_few_rows: self.allow_few_rows }
    }

    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let mut client = globals.connect().await?;
        let mut build = Build {
            request: v1::BuildIndexRequest {
                collection: self.collection.clone(),
                spec: Some(self.spec()),
                rebuild: self.rebuild,
            },
            backoff: Backoff::new(RETRY_TIMEOUT),
            progress: Progress::new(globals),
            warnings: Vec::new(),
        };
        let last = tokio::select! {
            last = build.run(&mut client) => last,
            _ = tokio::signal::ctrl_c() => {
                build.progress.clear();
                return Err(Failure::refused("stopped watching; the build continues in the database").with_hint(format!(
                    "the same command attaches to it again; `pgfox indexes drop {}` stops it",
                    self.collection
                )));
            }
        };
        build.progress.clear();
        let last = last?;
        let index = last.index.clone().unwrap_or_default();
        if globals.json {
            return output::print_json(&json!({
                "index": json::index(&index),
                "elapsed": last.elapsed.unwrap_or_default().to_string(),
                "warnings": build.warnings,
            }));
        }
        output::print(&format!(
            "{} is ready: {}, {}, {}\n",
            index.name,
            describe(index.spec.as_ref()),
            output::bytes(index.size_bytes),
            output::seconds(elapsed_seconds(&last)),
        ))
    }
}

/// One build, over as many connections as needed.
struct Build {
    request: v1::BuildIndexRequest,
    backoff: Backoff,
    progress: Progress,
    warnings: Vec<String>,
}

impl Build {
    async fn run(&mut self, client: &mut Client) -> Result<v1::BuildIndexResponse, Failure> {
        loop {
            let status = match self.follow(client).await {
                Ok(last) => return Ok(last),
                Err(status) => status,
            };
            if !error::is_retryable(&status) {
                return Err(status.into());
            }
            let Some(pause) = self.backoff.pause(&status) else {
                return Err(status.into());
            };
            self.progress.note(&format!(
                "{}; attaching again in {}\n",
                error::transport_cause(&status),
                output::seconds(pause.as_secs_f64())
            ));
            tokio::time::sleep(pause).await;
        }
    }

    async fn follow(&mut self, client: &mut Client) -> Result<v1::BuildIndexResponse, Status> {
        let mut responses = client.build_index(self.request.clone()).await?.into_inner();
        loop {
            let response = tokio::time::timeout(MAX_SILENCE, responses.message())
                .await
                .map_err(|_| Status::unavailable("the server is silent"))??
                .ok_or_else(|| Status::unavailable("the server ended the stream early"))?;
            self.backoff.reset();
            // The build has begun. Asking for it again would begin another one.
            self.request.rebuild = false;
            for warning in &response.warnings {
                self.progress.note(&format!("warning: {warning}\n"));
            }
            self.warnings.extend(response.warnings.iter().cloned());
            self.progress.update(&response);
            if response.phase() == IndexPhase::Ready {
                return Ok(response);
            }
        }
    }
}

fn elapsed_seconds(response: &v1::BuildIndexResponse) -> f64 {
    let elapsed = response.elapsed.unwrap_or_default();
    elapsed.seconds as f64 + f64::from(elapsed.nanos) / 1e9
}

fn describe(spec: Option<&v1::IndexSpec>) -> String {
    match spec.and_then(|spec| spec.kind) {
        Some(index_spec::Kind::Hnsw(hnsw)) => format!("hnsw (m {}, ef_construction {})", hnsw.m, hnsw.ef_construction),
        Some(index_spec::Kind::IvfFlat(ivf_flat)) => format!("ivfflat (lists {})", ivf_flat.lists),
        None => "index".to_owned(),
    }
}

/// The progress on stderr: a bar on a terminal, else a line every few seconds.
enum Progress {
    Bar(ProgressBar),
    Lines(Throttle),
    Off,
}

impl Progress {
    fn new(globals: &Globals) -> Self {
        if globals.quiet || globals.json {
            return Self::Off;
        }
        if !progress::is_terminal() {
            return Self::Lines(Throttle::new());
        }
        let bar = ProgressBar::new(1_000);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3}%  {msg}") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    fn update(&mut self, response: &v1::BuildIndexResponse) {
        let phase = output::short_name(response.phase().as_str_name(), "INDEX_PHASE_");
        let elapsed = output::seconds(elapsed_seconds(response));
        match self {
            Self::Bar(bar) => {
                bar.set_position((response.fraction_done * 1_000.0) as u64);
                bar.set_message(format!("{phase}, {elapsed}"));
            }
            Self::Lines(throttle) => {
                if throttle.is_due() {
                    output::note(&format!("{:.0}%, {phase}, {elapsed}\n", response.fraction_done * 100.0));
                }
            }
            Self::Off => {}
        }
    }

    fn note(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| output::note(text)),
            Self::Lines(_) => output::note(text),
            Self::Off => {}
        }
    }

    fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Command {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let mut client = globals.connect().await?;
        match self {
            Self::List(list) => {
                let request = v1::ListIndexesRequest { collection: list.collection.clone() };
                print_list(globals, &client.list_indexes(request).await?.into_inner().indexes)
            }
            Self::Drop(drop) => {
                if !drop.yes {
                    let what = drop
                        .index
                        .as_ref()
                        .map_or_else(|| "every index".to_owned(), |name| format!("the index {name}"));
                    output::confirm(&format!("Drop {what} of {}? Searches get slower.", drop.collection))?;
                }
                let name = drop.index.clone().unwrap_or_default();
                client.drop_index(v1::DropIndexRequest { collection: drop.collection.clone(), name }).await?;
                if globals.json {
                    return output::print_json(&json!({}));
                }
                output::print("dropped\n")
            }
        }
    }
}

fn print_list(globals: &Globals, indexes: &[v1::Index]) -> Result<(), Failure> {
    if globals.json {
        let indexes: Vec<Value> = indexes.iter().map(json::index).collect();
        return output::print_json(&json!({ "indexes": indexes }));
    }
    if indexes.is_empty() {
        output::note("no index: searches compare every vector; `pgfox build-index` builds one\n");
        return Ok(());
    }
    let header = [
        ("NAME", Align::Left),
        ("STATE", Align::Left),
        ("INDEX", Align::Left),
        ("SIZE", Align::Right),
        ("SCANS", Align::Right),
    ];
    let rows: Vec<Vec<String>> = indexes
        .iter()
        .map(|index| {
            vec![
                index.name.clone(),
                output::short_name(index.state().as_str_name(), "INDEX_STATE_"),
                describe(index.spec.as_ref()),
                output::bytes(index.size_bytes),
                output::count(index.scan_count),
            ]
        })
        .collect();
    output::print(&output::table(&header, &rows))
}
