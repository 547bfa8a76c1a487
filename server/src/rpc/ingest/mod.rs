//! Ingest and IngestStream: check a request, find out what changed, embed that, and store it in one transaction.

mod chunk_ids;
mod rows;
mod stream;
mod task;
mod vectors;
mod words;

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
    store::{Collection, NewDocument, StoreError, Turn, WritableTable, Written},
};

pub(super) use stream::ingest_stream;
use task::Task;
use vectors::{Input, Vectors};

/// Maximum number of attempts if other writers change the chunks on which a request was planned. The last attempt
/// relies on no stored chunk, so it cannot fail for that reason.
const MAX_ATTEMPTS: usize = 4;

/// Maximum number of chunks of the documents of a request.
const MAX_CHUNKS: usize = 20_000;
/// If the request held nothing before, up to this many bytes are not counted.
const SMALL: usize = 1024 * 1024;

/// A request that follows the rules.
#[derive(Debug)]
struct CheckedRequest {
    collection: Arc<Collection>,
    /// The table of an attached collection.
    table: Option<WritableTable>,
    /// Sorted by id, each id once.
    documents: Arc<Vec<CheckedDocument>>,
    condition: Condition,
    skip_invalid: bool,
    errors: Vec<v1::DocumentError>,
    sequence: i64,
    /// How long checking took. Most of it is hashing.
    check: Duration,
}

pub(super) async fn ingest(
    app: &App,
    request: (v1::IngestRequest, Held),
    deadline: Instant,
) -> Result<v1::IngestResponse, Error> {
    let request = check(app, request, Writer::Caller).await?;
    store(app, request, &Turn::alone(), deadline).await
}

/// Stores rows of the table that a collection follows. Another collection can have got its name.
pub(crate) async fn ingest_followed(
    app: &App,
    collection: &Collection,
    request: (v1::IngestRequest, Held),
    deadline: Instant,
) -> Result<v1::IngestResponse, Error> {
    let request = check(app, request, Writer::Follower { collection: collection.id }).await?;
    store(app, request, &Turn::alone(), deadline).await
}

/// Who writes documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Caller,
    /// The server, from the table that the collection with this id follows.
    Follower {
        collection: i64,
    },
}

/// The part that needs only the processor. A stream runs it for a request while those before are stored.
async fn check(
    app: &App,
    (mut request, held): (v1::IngestRequest, Held),
    writer: Writer,
) -> Result<(CheckedRequest, Held), Error> {
    let mut violations = Violations::default();
    violations.name("collection", &request.collection);
    violations.finish()?;
    // Reads the collection from the database, not from the cache: if another server has replaced the collection, the
    // cached rules are wrong.
    let collection = app.store.current_collection(&request.collection).await?;
    match writer {
        Writer::Caller => collection.check_not_followed()?,
        Writer::Follower { collection: id } if id == collection.id => {}
        Writer::Follower { .. } => return Err(StoreError::CollectionReplaced(request.collection).into()),
    }
    let table = match collection.definition.source {
        Some(_) => Some(app.store.writable_table(&collection).await?),
        None => None,
    };
    let is_large = held.bytes() > 0;
    let check = move || {
        let began = Instant::now();
        let mut violations = Violations::default();
        let condition = documents::condition(&mut violations, &mut request);
        if matches!(condition, Condition::IfVersion(_)) {
            collection.check_own("its rows have no versions for if_version; only_if_absent is possible")?;
        }
        let v1::IngestRequest { documents, sequence, skip_invalid, .. } = request;
        let (documents, errors) = documents::check(violations, documents, &collection, table.as_ref(), skip_invalid)?;
        if let Some(table) = &table {
            table.check_granted(&collection.definition, documents.iter().map(|document| document.metadata.as_str()))?;
        }
        let documents = Arc::new(documents);
        let check = began.elapsed();
        let request = CheckedRequest { collection, table, documents, condition, skip_invalid, errors, sequence, check };
        Ok((request, held))
    };
    if is_large { blocking(check).await? } else { check() }
}

async fn store(
    app: &App,
    (request, held): (CheckedRequest, Held),
    turn: &Turn,
    deadline: Instant,
) -> Result<v1::IngestResponse, Error> {
    let mut work = Work {
        message_bytes: held.bytes(),
        vector_bytes: 0,
        word_bytes: 0,
        held,
        app,
        request: &request,
        tasks: request.documents.iter().map(Task::new).collect(),
        vectors: Vectors::new(app, &request.collection),
    };
    turn.may_read().await;
    if work.tasks.is_empty() {
        turn.is_next().await;
        return Ok(v1::IngestResponse { usage: Some(v1::Usage::default()), ..work.response() });
    }
    let mut attempt = 1;
    loop {
        match work.store(attempt < MAX_ATTEMPTS, turn, deadline).await {
            Err(Error::Store(StoreError::Overtaken)) if attempt < MAX_ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}

/// A request on its way into the database. Texts are split and embedded only once, however often the request is
/// planned. A further attempt only reads again what is stored.
struct Work<'a> {
    app: &'a App,
    request: &'a CheckedRequest,
    tasks: Vec<Task<'a>>,
    vectors: Vectors<'a>,
    held: Held,
    /// The bytes that the request held when it arrived.
    message_bytes: usize,
    /// The bytes of the vectors and of the words made from it.
    vector_bytes: usize,
    word_bytes: usize,
}

impl Work<'_> {
    /// Reads what is stored, embeds what is missing, and writes. Keeps stored chunks if `keep_chunks`, else writes them
    /// again.
    async fn store(&mut self, keep_chunks: bool, turn: &Turn, deadline: Instant) -> Result<v1::IngestResponse, Error> {
        let began = Instant::now();
        self.read_stored().await?;
        let read = began.elapsed();
        let mut response = self.response();
        self.admit(&mut response)?;
        self.admit_rows(&mut response)?;
        self.split().await?;
        self.tasks.iter_mut().for_each(|task| task.plan(keep_chunks));
        let texts: Vec<Input<'_>> = self.tasks.iter().flat_map(Task::texts_to_embed).collect();
        self.reserve(texts.len()).await?;
        // The words are made while a provider embeds.
        let making = words::make(self.request, &self.tasks);
        let (_, words) = futures_util::future::try_join(self.vectors.embed(texts), making).await?;
        self.add_words(words).await?;
        self.settle(&mut response)?;
        let embed = began.elapsed() - read;

        let new: Vec<NewDocument<'_>> =
            self.tasks.iter().filter_map(|task| task.to_write(&self.vectors, &self.request.condition)).collect();
        let writing = Instant::now();
        let timeout = deadline.saturating_duration_since(writing).min(self.app.limits.ingest_timeout);
        let only_absent = matches!(self.request.condition, Condition::OnlyIfAbsent);
        let CheckedRequest { collection, table, skip_invalid, .. } = self.request;
        let (written, refused) = match table {
            Some(table) => {
                // The constraints of a table can tie any of its rows together.
                turn.is_next().await;
                self.app.store.write_rows(collection, table, &new, only_absent, *skip_invalid, timeout).await?
            }
            None => (self.app.store.write(collection, &new, only_absent, turn, timeout).await?, Vec::new()),
        };
        self.skip_rows(&mut response, refused);
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

    /// Reads what is stored of each document. Chunks are read only if some may be kept.
    async fn read_stored(&mut self) -> Result<(), Error> {
        let CheckedRequest { collection, table, condition, documents, .. } = self.request;
        if table.is_some() {
            return self.read_rows().await;
        }
        let ids: Vec<&str> = documents.iter().map(|document| document.id.as_str()).collect();
        let hashes: Vec<&[u8]> = documents.iter().map(|document| &document.content_hash[..]).collect();
        let with_chunks = collection.definition.chunking.is_some() && !matches!(condition, Condition::OnlyIfAbsent);
        let stored = self.app.store.stored_content(collection, &ids, &hashes, with_chunks).await?;
        for (task, stored) in self.tasks.iter_mut().zip(stored) {
            task.stored = stored;
        }
        Ok(())
    }

    /// Skips documents that fail the condition, so that they are not embedded. The condition is checked again when
    /// they are written, since versions may have changed by then.
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
                // Beyond the limit chunks are only counted.
                if count <= MAX_CHUNKS {
                    split.push((position, chunks));
                }
            }
            (count, split)
        };
        let (count, split) = blocking(split).await?;
        if count > MAX_CHUNKS {
            let rule = format!(
                "must make at most {MAX_CHUNKS} chunks together, not {count}: send fewer documents in a request, or \
                 use a collection with larger chunks or less overlap"
            );
            return Err(Error::invalid("documents", rule));
        }
        for (position, chunks) in split {
            self.tasks[position].chunks = Some(chunks);
        }
        Ok(())
    }

    /// Reserves the bytes for the vectors of `texts` texts before they are made.
    async fn reserve(&mut self, texts: usize) -> Result<(), Error> {
        let bytes = texts * self.request.collection.definition.dimensions * size_of::<f32>();
        let most = self.app.limits.ingest_bytes() / 2;
        if bytes > most {
            let rule = format!(
                "must make at most {most} bytes of vectors together, not {bytes} in {texts} vectors: send fewer \
                 documents in a request, or use a collection with larger chunks or less overlap"
            );
            return Err(Error::invalid("documents", rule));
        }
        self.vector_bytes = bytes;
        self.hold().await
    }

    /// Adds the words of texts.
    async fn add_words(&mut self, words: Vec<(usize, words::DocumentWords)>) -> Result<(), Error> {
        for (task, words) in words {
            self.word_bytes += words.iter().map(|(_, words)| words.size()).sum::<usize>();
            self.tasks[task].add_words(words);
        }
        self.hold().await
    }

    /// Reserves the bytes of vectors and words. Each is in memory twice: as it is made, and as it is sent to the
    /// database.
    async fn hold(&mut self) -> Result<(), Error> {
        let bytes = self.message_bytes + 2 * (self.vector_bytes + self.word_bytes);
        if bytes > SMALL { Ok(self.held.set(bytes).await?) } else { Ok(()) }
    }

    /// Skips documents with a text that the provider refuses, and records the results of the others.
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
        let by_postgres = self.request.collection.words.language().is_none();
        response.upserted_count = (written.inserted + written.updated) as i32;
        response.updated_count = written.updated as i32;
        response.unchanged_count = written.unchanged as i32;
        response.skipped_count += written.skipped as i32;
        response.unembedded_count = count(&|task| task.is_unembedded());
        // An attached collection has no words.
        let has_words = self.request.table.is_none();
        response.full_text_cut_count = count(&|task| has_words && task.is_full_text_cut(by_postgres));
        response.truncated_count = count(&|task| task.is_truncated);
        response.embedded_count = self.vectors.count() as i32;
        response.usage = Some(v1::Usage { tokens: self.vectors.tokens() as i64, ..Default::default() });
    }
}
