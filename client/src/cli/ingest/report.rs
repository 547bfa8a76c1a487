//! Reports an ingest to the user: progress, skipped documents with their places, and totals.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use pgfox_client::{IngestEvent, IngestTotals, error};
use serde_json::json;

use super::prune::Pruned;
use crate::cli::{
    Globals,
    failure::Failure,
    output,
    progress::{Done, Progress},
    read::{Ignored, Place, Problem},
};

/// Maximum number of skipped documents that are listed; with --json all are.
const MAX_LISTED: u64 = 20;
/// Maximum number of ids that are remembered to count repeated ones, 8 bytes each. Beyond it, ids count as repeated
/// only within a request.
const MAX_REMEMBERED: usize = 4_000_000;
/// Maximum number of notes in JSON.
const MAX_NOTES: usize = 1_000;
/// Maximum width of an id in a message.
const MAX_ID_COLUMNS: usize = 80;

/// The report for the user: progress, skipped documents with their places, and totals.
pub(super) struct Report {
    pub(super) progress: Progress,
    is_json: bool,
    /// The places of documents that are not acknowledged yet, oldest first.
    places: VecDeque<Place>,
    /// Hashes of the ids so far, and the number of repeated ones.
    ids: HashSet<u64>,
    hasher: RandomState,
    repeated: u64,
    /// Everything acknowledged so far.
    pub(super) totals: IngestTotals,
    /// The bytes of input of the acknowledged documents.
    bytes_read: u64,
    /// Whether texts are embedded in chunks.
    has_chunks: bool,
    pub(super) skipped: u64,
    /// Files of folders that are not read.
    ignored: Ignored,
    /// Notes for the user, for JSON.
    notes: Vec<String>,
    /// The result of `--prune`.
    pub(super) pruned: Option<Pruned>,
}

impl Report {
    /// With JSON, the list of skipped documents is written as it grows, since it can be larger than memory.
    pub(super) fn new(is_json: bool, has_chunks: bool, progress: Progress, ignored: Ignored) -> Result<Self, Failure> {
        if is_json {
            output::print("{\"skipped\":[")?;
        }
        if let Some(note) = ignored.note() {
            progress.remark(&note);
        }
        Ok(Self {
            progress,
            is_json,
            places: VecDeque::new(),
            ids: HashSet::new(),
            hasher: RandomState::new(),
            repeated: 0,
            totals: IngestTotals::default(),
            bytes_read: 0,
            has_chunks,
            skipped: 0,
            ignored,
            notes: Vec::new(),
            pruned: None,
        })
    }

    /// Records a document that is about to be sent.
    pub(super) fn begin(&mut self, id: &str, place: Place) {
        self.places.push_back(place);
        let hash = self.hasher.hash_one(id);
        if self.ids.len() < MAX_REMEMBERED {
            self.repeated += u64::from(!self.ids.insert(hash));
        } else {
            self.repeated += u64::from(self.ids.contains(&hash));
        }
    }

    /// The number of documents that a later one with the same id has replaced.
    fn repeated(&self, totals: &IngestTotals) -> u64 {
        let counted = totals.upserted + totals.unchanged + totals.existing + totals.skipped;
        let within_requests = totals.documents.saturating_sub(counted);
        // A document that is left as it was replaces nothing.
        if totals.existing > 0 { within_requests } else { within_requests.max(self.repeated) }
    }

    pub(super) fn observe(&mut self, event: &IngestEvent<'_>) {
        match event {
            IngestEvent::Interrupted { status, pause } => self.progress.remark(&format!(
                "{}; trying again in {}\n",
                error::transport_cause(status),
                output::seconds(pause.as_secs_f64())
            )),
            IngestEvent::Acknowledged { totals, skipped } => {
                let first = self.totals.documents;
                self.totals = (*totals).clone();
                let count = self.places.len().min((totals.documents - first) as usize);
                let places: Vec<Place> = self.places.drain(..count).collect();
                for document in *skipped {
                    if let Some(place) = places.get((document.position - first) as usize) {
                        let reason = output::reason_name(document.reason);
                        self.skip(place, None, Some(&document.id), reason, &document.message);
                    }
                }
                self.bytes_read = places.last().map_or(self.bytes_read, |place| place.bytes_read);
                self.tick();
            }
        }
    }

    /// Shows the progress.
    pub(super) fn tick(&mut self) {
        self.progress.update(Done {
            documents: self.totals.documents,
            chunks: self.has_chunks.then_some(self.totals.embedded),
            waiting: self.places.len() as u64,
            bytes_read: self.bytes_read,
        });
    }

    /// Reports something that is not an error.
    pub(super) fn note(&mut self, text: &str) {
        self.progress.remark(text);
        if self.notes.len() < MAX_NOTES {
            self.notes.push(text.trim_end().to_owned());
        }
    }

    pub(super) fn unreadable(&mut self, problem: &Problem) {
        self.skip(&problem.place, problem.column, None, "UNREADABLE", &problem.message);
    }

    fn skip(&mut self, place: &Place, column: Option<usize>, id: Option<&str>, reason: &str, message: &str) {
        self.skipped += 1;
        if self.is_json {
            let separator = if self.skipped == 1 { "" } else { "," };
            let skipped = json!({
                "source": *place.source,
                "line": place.line,
                "column": column,
                "id": id,
                "reason": reason,
                "message": message,
            });
            // If stdout cannot be written, the end of the command reports it.
            let _ = output::print(&format!("{separator}{skipped}"));
            return;
        }
        if self.skipped > MAX_LISTED {
            return;
        }
        let mut text = format!("skipped {}", place.source);
        for number in [place.line, column.map(|column| column as u64)].into_iter().flatten() {
            text += &format!(":{number}");
        }
        if let Some(id) = id {
            text += &format!(" {}", output::one_line(id, MAX_ID_COLUMNS));
        }
        self.progress.note(&format!("{text}: {message}\n"));
        if self.skipped == MAX_LISTED {
            self.progress.note("further skipped documents are only counted; --json lists them all\n");
        }
    }

    pub(super) fn finish(
        &self,
        collection: &str,
        totals: &IngestTotals,
        globals: &Globals,
        has_failed: bool,
    ) -> Result<(), Failure> {
        self.progress.clear();
        let seconds = self.progress.seconds();
        if self.is_json {
            let mut summary = json!({
                "collection": collection,
                "complete": !has_failed,
                "documents": totals.documents,
                "upserted_count": totals.upserted,
                "updated_count": totals.updated,
                "unchanged_count": totals.unchanged,
                "skipped_count": self.skipped,
                "existing_count": totals.existing,
                "repeated_count": self.repeated(totals),
                "embedded_count": totals.embedded,
                "truncated_count": totals.truncated,
                "full_text_cut_count": totals.full_text_cut,
                "unembedded_count": totals.unembedded,
                "usage": { "tokens": totals.tokens },
                "ignored_files": self.ignored.counts,
                "notes": self.notes,
                "seconds": (seconds * 1e3).round() / 1e3,
            });
            if let Some(pruned) = &self.pruned {
                summary["pruned"] = json!({ "ids": pruned.ids, "deleted": pruned.is_deleted });
            }
            // Continues the object that `new` began.
            return output::print(&format!("],{}\n", &summary.to_string()[1..]));
        }
        if globals.quiet {
            return Ok(());
        }
        let pruned = self.pruned.as_ref().map(Pruned::summary).unwrap_or_default();
        output::print(&(summary(collection, totals, self.skipped, self.repeated(totals), seconds) + &pruned))
    }
}

fn summary(collection: &str, totals: &IngestTotals, skipped: u64, repeated: u64, seconds: f64) -> String {
    let inserted = totals.upserted - totals.updated.min(totals.upserted);
    let rate = (totals.documents as f64 / seconds.max(0.001)) as u64;
    let mut text = format!(
        "{collection}: {} in {} ({}/s): {} new, {} changed, {} unchanged, {} skipped\n",
        output::counted(totals.documents, "document"),
        output::seconds(seconds),
        output::count(rate),
        output::count(inserted),
        output::count(totals.updated),
        output::count(totals.unchanged),
        output::count(skipped),
    );
    if repeated > 0 {
        text += &format!("{} replaced by a later one with the same id\n", output::counted(repeated, "document"));
    }
    if totals.existing > 0 {
        text += &format!("{} not replaced, because the id exists\n", output::counted(totals.existing, "document"));
    }
    if totals.unembedded > 0 {
        text += &format!(
            "{} without a vector: only a search by words can find them\n",
            output::counted(totals.unembedded, "document")
        );
    }
    if totals.truncated > 0 {
        text += &format!(
            "{} longer than the model reads: their vectors cover only the beginning\n",
            output::counted(totals.truncated, "document")
        );
    }
    if totals.full_text_cut > 0 {
        text += &format!(
            "{} with a text so long that full-text search does not know all of it\n",
            output::counted(totals.full_text_cut, "document")
        );
    }
    if totals.embedded > 0 || totals.tokens > 0 {
        let texts = output::counted(totals.embedded, "text");
        text += &format!("{texts} embedded, {}\n", output::counted(totals.tokens, "token"));
    }
    text
}
