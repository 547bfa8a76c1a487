//! Ingest and IngestStream: check, find out what changed, embed that, and store it in one transaction.

mod chunk_ids;
mod stream;
mod task;
mod vectors;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox::v1;

use crate::{
    app::App,
    blocking::blocking,
    budget::Held,
    chunk::Splitter,
    error::Error,
    rules::{
        Violations,
        documents::{self, CheckedDocument, Condition},
    },
    store::{Collection, NewDocument, StoreError, Written},
};

pub(super) use stream::ingest_stream;
use task::Task;
use vectors::{Input, Vectors};

/// How often a request is planned anew because other writers changed what it was planned on. The last plan depends on no
/// stored chunk, so that it cannot fail for that.
const MAX_ATTEMPTS: usize = 4;

/// Most chunks of the documents of a request.
const MAX_CHUNKS: usize = 20_000;
/// Up to so many bytes nothing is counted of a request that held nothing before.
const SMALL: usize = 1024 * 1024;

/// A request that keeps the rules.
#[derive(Debug)]
struct CheckedRequest {
    collection: Arc<Collection>,
    /// Sorted by id, each id once.
    documents: Arc<Vec<CheckedDocument>>,
    condition: Condition,
    skip_invalid: bool,
    errors: Vec<v1::DocumentError>,
    sequence: i64,
    /// How long checking took, most of it hashing.
    check: Duration,
}

pub(super) async fn ingest(
    app: &App,
    request: (v1::IngestRequest, Held),
    deadline: Instant,
) -> Result<v1::IngestResponse, Error> {
    let request = check(app, request).await?;
    store(app, request, deadline).await
}

/// The part that needs only the processor: a stream does it for the next request while the one before is stored.
async fn check(app: &App, (mut request, held): (v1::IngestRequest, Held)) -> Result<(CheckedRequest, Held), Error> {
    let mut violations = Violations::default();
    violations.name("collection", &request.collection);
    violations.finish()?;
    // Not the cache: documents for a collection that another server has replaced would be checked by the wrong rules.
    let collection = app.store.current_collection(&request.collection).await?;
    let is_large = held.bytes() > 0;
    let check = move || {
        let began = Instant::now();
        let mut violations = Violations::default();
        let condition = documents::condition(&mut violations, &mut request);
        let v1::IngestRequest { documents, sequence, skip_invalid, .. } = request;
        let (documents, errors) = documents::check(violations, documents, &collection, skip_invalid)?;
        let documents = Arc::new(documents);
        let check = began.elapsed();
        let request = CheckedRequest { collection, documents, condition, skip_invalid, errors, sequence, check };
        Ok((request, held))
    };
    if is_large { blocking(check).await? } else { check() }
}

async fn store(
    app: &App,
    (request, held): (CheckedRequest, Held),
    deadline: Instant,
) -> Result<v1::IngestResponse, Error> {
    let mut work = Work {
        message_bytes: held.bytes(),
        held,
        app,
        request: &request,
        tasks: request.documents.iter().map(Task::new).collect(),
        vectors: Vectors::new(app, &request.collection),
    };
    if work.tasks.is_empty() {
        return Ok(v1::IngestResponse { usage: Some(v1::Usage::default()), ..work.response() });
    }
    let mut attempt = 1;
    loop {
        match work.store(attempt < MAX_ATTEMPTS, deadline).await {
            Err(Error::Store(StoreError::Overtaken)) if attempt < MAX_ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}

/// A request on its way into the database. What is split and embedded once stays so, however often it is planned: an
/// attempt only reads anew what is stored.
struct Work<'a> {
    app: &'a App,
    request: &'a CheckedRequest,
    tasks: Vec<Task<'a>>,
    vectors: Vectors<'a>,
    held: Held,
    /// What the request held before anything was made of it.
    message_bytes: usize,
}

impl Work<'_> {
    /// Reads what is stored, embeds what is not, and writes. Chunks that are stored are kept if `keep_chunks`, else written
    /// anew.
    async fn store(&mut self, keep_chunks: bool, deadline: Instant) -> Result<v1::IngestResponse, Error> {
        let began = Instant::now();
        self.read_stored().await?;
        let read = began.elapsed();
        let mut response = self.response();
        self.admit(&mut response)?;
        self.split().await?;
        self.tasks.iter_mut().for_each(|task| task.plan(keep_chunks));
        let texts: Vec<Input<'_>> = self.tasks.iter().flat_map(Task::texts_to_embed).collect();
        self.reserve(texts.len()).await?;
        self.vectors.embed(texts).await?;
        self.settle(&mut response)?;
        let embed = began.elapsed() - read;

        let new: Vec<NewDocument<'_>> =
            self.tasks.iter().filter_map(|task| task.to_write(&self.vectors, &self.request.condition)).collect();
        let timeout = deadline.saturating_duration_since(Instant::now());
        let writing = Instant::now();
        let only_absent = matches!(self.request.condition, Condition::OnlyIfAbsent);
        let written = self.app.store.write(&self.request.collection, &new, only_absent, timeout).await?;
        tracing::debug!(
            documents = self.tasks.len(),
            check_us = self.request.check.as_micros(),
            read_us = read.as_micros(),
            embed_us = embed.as_micros(),
            write_us = writing.elapsed().as_micros(),
            "stored a request"
        );
        self.count(&mut response, written);
        Ok(response)
    }

    fn response(&self) -> v1::IngestResponse {
        let CheckedRequest { sequence, errors, .. } = self.request;
        v1::IngestResponse { sequence: *sequence, errors: errors.clone(), ..Default::default() }
    }

    /// Reads what is stored of each document. Its chunks are only needed to keep some of them.
    async fn read_stored(&mut self) -> Result<(), Error> {
        let CheckedRequest { collection, condition, documents, .. } = self.request;
        let ids: Vec<&str> = documents.iter().map(|document| document.id.as_str()).collect();
        let hashes: Vec<&[u8]> = documents.iter().map(|document| &document.content_hash[..]).collect();
        let with_chunks = collection.definition.chunking.is_some() && !matches!(condition, Condition::OnlyIfAbsent);
        let stored = self.app.store.stored_content(collection, &ids, &hashes, with_chunks).await?;
        for (task, stored) in self.tasks.iter_mut().zip(stored) {
            task.stored = stored;
        }
        Ok(())
    }

    /// Leaves out the documents that the condition does not let through. The condition is checked again when they are
    /// written, since the versions may have changed by then; to look here saves embedding in vain.
    fn admit(&mut self, response: &mut v1::IngestResponse) -> Result<(), Error> {
        let CheckedRequest { collection, condition, skip_invalid, .. } = self.request;
        let mut mismatched = Vec::new();
        for task in &mut self.tasks {
            task.is_admitted = true;
            match condition {
                Condition::OnlyIfAbsent if task.stored.is_some() => response.skipped_count += 1,
                Condition::IfVersion(versions) if !task.has_version(versions) => {
                    if *skip_invalid {
                        response.errors.push(task.version_mismatch());
                    } else {
                        mismatched.push(task.document.id.clone());
                    }
                }
                _ => continue,
            }
            task.is_admitted = false;
        }
        if !mismatched.is_empty() {
            let collection = collection.definition.name.clone();
            return Err(StoreError::VersionMismatch { collection, ids: mismatched }.into());
        }
        Ok(())
    }

    /// Splits the texts that are new or changed.
    async fn split(&mut self) -> Result<(), Error> {
        let definition = &self.request.collection.definition;
        let (Some(chunking), Some(model)) = (definition.chunking, &definition.model) else {
            return Ok(());
        };
        let needs_split = |(_, task): &(usize, &Task<'_>)| task.needs_split();
        let positions: Vec<usize> =
            self.tasks.iter().enumerate().filter(needs_split).map(|(position, _)| position).collect();
        if positions.is_empty() {
            return Ok(());
        }
        let counter = self.app.embedders.token_counter(&model.name).await?;
        let splitter = Splitter { chunking, counter };
        let documents = Arc::clone(&self.request.documents);
        let split = move || {
            let mut count = 0;
            let mut split = Vec::with_capacity(positions.len());
            for position in positions {
                let chunks = splitter.split(&documents[position].text);
                count += chunks.len();
                // Beyond the bound they are only counted.
                if count <= MAX_CHUNKS {
                    split.push((position, chunks));
                }
            }
            (count, split)
        };
        let (count, split) = blocking(split).await?;
        if count > MAX_CHUNKS {
            let rule = format!(
                "must make at most {MAX_CHUNKS} chunks together, not {count}: send fewer of them in a request, or use a \
                 collection with larger chunks or less overlap"
            );
            return Err(Error::invalid("documents", rule));
        }
        for (position, chunks) in split {
            self.tasks[position].chunks = Some(chunks);
        }
        Ok(())
    }

    /// Counts the vectors of so many texts among the bytes of the request, before they are made.
    async fn reserve(&mut self, texts: usize) -> Result<(), Error> {
        let bytes = texts * self.request.collection.definition.dimensions * size_of::<f32>();
        let most = self.app.limits.ingest_bytes() / 2;
        if bytes > most {
            let rule = format!(
                "must make at most {most} bytes of vectors together, not {bytes} in {texts} vectors: send fewer of them in a \
                 request, or use a collection with larger chunks or less overlap"
            );
            return Err(Error::invalid("documents", rule));
        }
        // Once as they are made, and once as they are sent to the database.
        let bytes = self.message_bytes + 2 * bytes;
        if bytes > SMALL { Ok(self.held.set(bytes).await?) } else { Ok(()) }
    }

    /// Leaves out the documents with a text that the provider does not take, and takes in what became of the others.
    fn settle(&mut self, response: &mut v1::IngestResponse) -> Result<(), Error> {
        let mut refused = Vec::new();
        for task in &mut self.tasks {
            let Some(why) = task.refusal(&self.vectors) else {
                task.settle(&self.vectors);
                continue;
            };
            let CheckedDocument { index, id, .. } = task.document;
            if self.request.skip_invalid {
                let error = documents::document_error(*index, id, v1::ErrorReason::TextRefused, why.to_owned());
                response.errors.push(error);
            } else {
                refused.push((*index, documents::refused_text(*index, id, why)));
            }
            task.skip();
        }
        // In the order of the request.
        response.errors.sort_by_key(|error| error.index);
        refused.sort_by_key(|(index, _)| *index);
        let violations: Violations = refused.into_iter().map(|(_, violation)| violation).collect();
        Ok(violations.finish()?)
    }

    fn count(&self, response: &mut v1::IngestResponse, written: Written) {
        // Counts of at most 1,000 documents, and of chunks of at most 16 MiB.
        let count = |holds: &dyn Fn(&Task<'_>) -> bool| self.tasks.iter().filter(|task| holds(task)).count() as i32;
        response.upserted_count = (written.inserted + written.updated) as i32;
        response.updated_count = written.updated as i32;
        response.unchanged_count = written.unchanged as i32;
        response.skipped_count += written.skipped as i32;
        response.unembedded_count = count(&|task| task.is_unembedded());
        response.full_text_cut_count = count(&|task| task.is_full_text_cut());
        response.truncated_count = count(&|task| task.is_truncated);
        response.embedded_count = self.vectors.count() as i32;
        response.usage = Some(v1::Usage { tokens: self.vectors.tokens() as i64, ..Default::default() });
    }
}
