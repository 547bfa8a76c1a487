//! `pgfox collections status`, `pause`, `resume` and `retry-failed`: collections that follow a table.

use std::{io::IsTerminal as _, time::Duration};

use clap::Args;
use pgfox_client::{Client, v1};
use serde_json::json;

use crate::cli::{Globals, failure::Failure, json, output};

/// The pause between two looks with --watch.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Show how far a collection has followed its table
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox collections status docs
  pgfox collections status docs --wait      until no change is pending, or the source is paused

Exit code 1: a row cannot be a document, or nothing can be stored at the moment.")]
pub(crate) struct Status {
    /// Name of the collection
    name: String,
    /// Wait until no change is pending
    #[arg(long)]
    wait: bool,
}

/// Stop following a table; its changes are still noted
#[derive(Args)]
pub(crate) struct Pause {
    /// Name of the collection
    name: String,
}

/// Continue to follow a table
#[derive(Args)]
pub(crate) struct Resume {
    /// Name of the collection
    name: String,
}

/// Try the rows again that could not be documents
#[derive(Args)]
pub(crate) struct RetryFailed {
    /// Name of the collection
    name: String,
}

impl Status {
    pub(super) async fn run(&self, globals: &Globals, client: &mut Client) -> Result<(), Failure> {
        let mut shown = String::new();
        let (status, documents) = loop {
            let request = v1::GetCollectionRequest { name: self.name.clone() };
            let collection = client.get_collection(request).await?.into_inner().collection.unwrap_or_default();
            let Some(status) = collection.source_status else {
                return Err(Failure::usage(format!(
                    "the collection {} follows no table; attach one with --follow",
                    self.name
                )));
            };
            let is_done = status.pending_count == 0 && status.compare_progress.is_none();
            if !self.wait || is_done || status.paused {
                break (status, collection.document_count);
            }
            let line = progress(&status);
            // An error can last, so a script must show it.
            let is_shown = std::io::stderr().is_terminal() || !status.last_error.is_empty();
            if line != shown && !globals.quiet && is_shown {
                output::note(&format!("{line}\n"));
                shown = line;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        if globals.json {
            output::print_json(&json!({ "source_status": json::source_status(&status) }))?;
        } else {
            output::print(&show(&status, documents))?;
        }
        if status.failed_count > 0 || !status.last_error.is_empty() { Err(Failure::silent()) } else { Ok(()) }
    }
}

fn progress(status: &v1::SourceStatus) -> String {
    let pending = output::count(status.pending_count);
    let rate = status.rows_per_second;
    if !status.last_error.is_empty() {
        return format!("{pending} rows pending: {}", status.last_error);
    }
    match status.compare_progress {
        Some(share) => format!("{:.0} % of the table read, {pending} rows pending, {rate:.0} rows/s", share * 100.0),
        None => format!("{pending} rows pending, {rate:.0} rows/s"),
    }
}

fn show(status: &v1::SourceStatus, documents: i64) -> String {
    let state = match (status.paused, status.compare_progress, status.pending_count) {
        (true, ..) => "paused".to_owned(),
        (_, Some(share), _) => format!("comparing all rows, {:.0} %", share * 100.0),
        (_, None, 0) => "up to date".to_owned(),
        _ => "storing changes".to_owned(),
    };
    let mut pairs = vec![
        ("state", state),
        ("documents", output::count(documents)),
        ("pending", output::count(status.pending_count)),
    ];
    if let Some(time) = &status.oldest_pending_time {
        pairs.push(("oldest pending", time.to_string()));
    }
    pairs.push(("rows/s", format!("{:.1}", status.rows_per_second)));
    pairs.push(("failed", output::count(status.failed_count)));
    if !status.last_error.is_empty() {
        pairs.push(("last error", status.last_error.clone()));
    }
    let mut text = output::properties(&pairs);
    for v1::SourceFailure { id, message } in &status.failures {
        text.push_str(&format!("failed {id}: {message}\n"));
    }
    text
}

impl Pause {
    pub(super) async fn run(&self, globals: &Globals, client: &mut Client) -> Result<(), Failure> {
        client.pause_source(v1::PauseSourceRequest { name: self.name.clone() }).await?;
        done(globals, &format!("paused {}", self.name))
    }
}

impl Resume {
    pub(super) async fn run(&self, globals: &Globals, client: &mut Client) -> Result<(), Failure> {
        client.resume_source(v1::ResumeSourceRequest { name: self.name.clone() }).await?;
        done(globals, &format!("resumed {}", self.name))
    }
}

impl RetryFailed {
    pub(super) async fn run(&self, globals: &Globals, client: &mut Client) -> Result<(), Failure> {
        let request = v1::RetryFailedRequest { name: self.name.clone() };
        let count = client.retry_failed(request).await?.into_inner().retried_count;
        if globals.json {
            return output::print_json(&json!({ "retried_count": count }));
        }
        let rows = output::counted(u64::try_from(count).unwrap_or(0), "row");
        output::print(&format!("trying {rows} again\n"))
    }
}

fn done(globals: &Globals, what: &str) -> Result<(), Failure> {
    if globals.json { output::print_json(&json!({})) } else { output::print(&format!("{what}\n")) }
}
