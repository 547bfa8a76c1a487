//! Ingest and IngestStream: check, find out what changed, embed that, and store it in one transaction.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use pgfox::v1;

use crate::{
    App, blocking,
    chunk::{Chunk, Splitter},
    error::Error,
    store::{Collection, Content, MAX_FULL_TEXT_BYTES, NewChunk, NewDocument, StoreError, StoredContent},
    validate::{self, CheckedDocument, Condition, Violations},
};

mod chunk_ids;
mod vectors;

use chunk_ids::{ChunkId, assign};
use vectors::Vectors;
pub(crate) use vectors::check_embedding;

/// How often a request is planned anew because other writers changed what it was planned on. The last plan depends on no
/// stored chunk, so that it cannot fail for that.
const ATTEMPTS: usize = 4;

/// A request that keeps the rules.
#[derive(Debug)]
pub(crate) struct Checked {
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

pub(crate) async fn ingest(
    app: &App,
    request: v1::IngestRequest,
    deadline: Instant,
) -> Result<v1::IngestResponse, Error> {
    let checked = check(app, request).await?;
    store(app, checked, deadline).await
}

/// The part that needs only the processor: a stream does it for the next request while the one before is stored.
pub(crate) async fn check(app: &App, mut request: v1::IngestRequest) -> Result<Checked, Error> {
    let mut violations = Violations::default();
    violations.name("collection", &request.collection);
    violations.finish()?;
    // Not the cache: documents for a collection that another server has replaced would be checked by the wrong rules.
    let collection = app.store.current_collection(&request.collection).await?;
    let began = Instant::now();
    let mut violations = Violations::default();
    let condition = validate::condition(&mut violations, &mut request);
    let v1::IngestRequest { documents, sequence, skip_invalid, .. } = request;
    let (documents, errors) = validate::documents(violations, documents, &collection, skip_invalid)?;
    let documents = Arc::new(documents);
    Ok(Checked { collection, documents, condition, skip_invalid, errors, sequence, check: began.elapsed() })
}

pub(crate) async fn store(app: &App, checked: Checked, deadline: Instant) -> Result<v1::IngestResponse, Error> {
    let documents = Arc::clone(&checked.documents);
    if documents.is_empty() {
        let Checked { sequence, errors, .. } = checked;
        return Ok(v1::IngestResponse { sequence, errors, usage: Some(v1::Usage::default()), ..Default::default() });
    }
    // What is split and embedded once stays so, however often the request is planned.
    let mut work = Work {
        app,
        vectors: Vectors::new(app, &checked.collection),
        chunks: HashMap::new(),
        documents: &documents,
        checked: &checked,
        keep_chunks: true,
    };
    let mut attempt = 1;
    loop {
        work.keep_chunks = attempt < ATTEMPTS;
        match work.store(deadline).await {
            Err(Error::Store(StoreError::Overtaken)) if attempt < ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}

/// A request on its way into the database.
struct Work<'a> {
    app: &'a App,
    checked: &'a Checked,
    documents: &'a Arc<Vec<CheckedDocument>>,
    /// The chunks of those documents that were split, by their positions; none where the text is not split.
    chunks: HashMap<usize, Vec<Chunk>>,
    vectors: Vectors<'a>,
    /// Whether chunks that are stored already are kept, instead of embedded and written anew.
    keep_chunks: bool,
}

/// What happens to a document.
enum Plan<'a> {
    /// It is as it was, but perhaps for the metadata.
    Unchanged,
    /// It has the vector of the caller.
    Own(&'a [f32]),
    /// It has the vector of this text, all of its own.
    Whole(&'a str),
    /// It has none.
    NoVector,
    /// Each chunk of its text has a vector.
    Chunks(Vec<ChunkId>),
}

impl<'a> Work<'a> {
    /// Reads what is stored, embeds what is not, and writes.
    async fn store(&mut self, deadline: Instant) -> Result<v1::IngestResponse, Error> {
        let Self { app, checked, .. } = *self;
        let began = Instant::now();
        let stored = self.stored().await?;
        let read = Instant::now();
        let mut response =
            v1::IngestResponse { sequence: checked.sequence, errors: checked.errors.clone(), ..Default::default() };
        let to_write = self.to_write(&stored, &mut response)?;
        self.split(&to_write, &stored).await?;
        let plans: Vec<(usize, Plan<'a>)> =
            to_write.into_iter().map(|index| (index, self.plan(index, stored[index].as_ref()))).collect();
        let texts = plans.iter().flat_map(|(index, plan)| self.texts(*index, plan)).collect();
        self.vectors.embed(texts).await?;
        let embed = read.elapsed();

        let new: Vec<NewDocument<'_>> =
            plans.iter().map(|(index, plan)| self.new_document(*index, plan, stored[*index].as_ref())).collect();
        let Ok(_writer) = app.writers.acquire().await else {
            return Err(Error::ShuttingDown);
        };
        let timeout = deadline.saturating_duration_since(Instant::now());
        let writing = Instant::now();
        let only_absent = matches!(checked.condition, Condition::OnlyIfAbsent);
        let written = app.store.write(&checked.collection, &new, only_absent, timeout).await?;
        tracing::debug!(
            documents = self.documents.len(),
            check_us = checked.check.as_micros(),
            read_us = (read - began).as_micros(),
            embed_us = embed.as_micros(),
            write_us = writing.elapsed().as_micros(),
            "stored a request"
        );

        // Counts of at most 1,000 documents, and of chunks of at most 16 MiB.
        let count = |holds: &dyn Fn(&NewDocument<'_>) -> bool| new.iter().filter(|document| holds(document)).count();
        response.upserted_count = (written.inserted + written.updated) as i32;
        response.updated_count = written.updated as i32;
        response.unchanged_count = written.unchanged as i32;
        response.skipped_count += written.skipped as i32;
        response.unembedded_count = count(&|document| matches!(document.content, Content::Whole(None))) as i32;
        response.full_text_cut_count = count(&|document| is_cut(document)) as i32;
        let is_truncated = |(index, plan): &&(usize, Plan<'a>)| {
            self.texts(*index, plan).into_iter().any(|text| self.vectors.is_truncated(text))
        };
        response.truncated_count = plans.iter().filter(is_truncated).count() as i32;
        response.embedded_count = self.vectors.count() as i32;
        response.usage = Some(v1::Usage { tokens: self.vectors.tokens() as i64, ..Default::default() });
        Ok(response)
    }

    /// What is stored of each document. Its chunks are only needed to keep some of them.
    async fn stored(&self) -> Result<Vec<Option<StoredContent>>, Error> {
        let Checked { collection, condition, .. } = self.checked;
        let ids: Vec<&str> = self.documents.iter().map(|document| document.id.as_str()).collect();
        let hashes: Vec<&[u8]> = self.documents.iter().map(|document| &document.content_hash[..]).collect();
        let with_chunks = collection.definition.chunking.is_some() && !matches!(condition, Condition::OnlyIfAbsent);
        Ok(self.app.store.stored_content(collection, &ids, &hashes, with_chunks).await?)
    }

    /// The positions of the documents that the condition lets through. It is told again when they are written, since the
    /// versions may be others then; to look here saves embedding in vain.
    fn to_write(
        &self,
        stored: &[Option<StoredContent>],
        response: &mut v1::IngestResponse,
    ) -> Result<Vec<usize>, Error> {
        let mut to_write = Vec::with_capacity(stored.len());
        let mut mismatched = Vec::new();
        for (index, (document, stored)) in self.documents.iter().zip(stored).enumerate() {
            let version = stored.as_ref().map_or(0, |stored| stored.version);
            match &self.checked.condition {
                Condition::OnlyIfAbsent if stored.is_some() => response.skipped_count += 1,
                Condition::IfVersion(versions) if versions.get(&document.id).is_some_and(|asked| *asked != version) => {
                    if self.checked.skip_invalid {
                        let message = match stored {
                            None => "if_version says another version than 0: the document does not exist".into(),
                            Some(_) => format!("if_version says another version than {version}, which is stored"),
                        };
                        let reason = v1::ErrorReason::VersionMismatch;
                        response.errors.push(validate::document_error(document.index, &document.id, reason, message));
                    } else {
                        mismatched.push(document.id.clone());
                    }
                }
                _ => to_write.push(index),
            }
        }
        if !mismatched.is_empty() {
            let collection = self.checked.collection.definition.name.clone();
            return Err(StoreError::VersionMismatch { collection, ids: mismatched }.into());
        }
        Ok(to_write)
    }

    /// Splits the texts that are new or changed.
    async fn split(&mut self, to_write: &[usize], stored: &[Option<StoredContent>]) -> Result<(), Error> {
        let definition = &self.checked.collection.definition;
        let (Some(chunking), Some(model)) = (definition.chunking, &definition.model) else {
            return Ok(());
        };
        let is_split = |index: &usize| {
            let document = &self.documents[*index];
            let changed = !is_stored(document, stored[*index].as_ref());
            changed && document.needs_embedding() && !self.chunks.contains_key(index)
        };
        let positions: Vec<usize> = to_write.iter().copied().filter(is_split).collect();
        if positions.is_empty() {
            return Ok(());
        }
        let counter = self.app.embedders.token_counter(&model.name).await?;
        let splitter = Splitter { chunking, counter };
        let documents = Arc::clone(self.documents);
        let split = move || -> Vec<(usize, Vec<Chunk>)> {
            positions.into_iter().map(|index| (index, splitter.split(&documents[index].text))).collect()
        };
        self.chunks.extend(blocking(split).await?);
        Ok(())
    }

    fn plan(&self, index: usize, stored: Option<&StoredContent>) -> Plan<'a> {
        let documents: &'a [CheckedDocument] = self.documents;
        let document = &documents[index];
        if is_stored(document, stored) {
            return Plan::Unchanged;
        }
        match (&document.vector, self.chunks.get(&index)) {
            (Some(vector), _) => Plan::Own(vector),
            (None, Some(chunks)) if !chunks.is_empty() => {
                let stored = stored.filter(|_| self.keep_chunks);
                Plan::Chunks(assign(chunks, stored.map_or(&[], |stored| &stored.chunks)))
            }
            _ if document.needs_embedding() => Plan::Whole(&document.text),
            _ => Plan::NoVector,
        }
    }

    /// The texts whose vectors a document needs.
    fn texts(&self, index: usize, plan: &Plan<'a>) -> Vec<&'a str> {
        match plan {
            Plan::Unchanged | Plan::Own(_) | Plan::NoVector => Vec::new(),
            Plan::Whole(text) => vec![text],
            Plan::Chunks(ids) => {
                let new = ids.iter().zip(&self.chunks[&index]).filter(|(id, _)| !id.is_stored);
                new.map(|(_, chunk)| self.passage(index, chunk)).collect()
            }
        }
    }

    fn passage(&self, index: usize, chunk: &Chunk) -> &'a str {
        let documents: &'a [CheckedDocument] = self.documents;
        &documents[index].text[chunk.bytes.clone()]
    }

    fn new_document<'n>(&'n self, index: usize, plan: &Plan<'a>, stored: Option<&StoredContent>) -> NewDocument<'n> {
        let document = &self.documents[index];
        let content = match plan {
            Plan::Unchanged => Content::Unchanged,
            Plan::Own(vector) => Content::Whole(Some(vector)),
            Plan::Whole(text) => Content::Whole(self.vectors.get(text)),
            Plan::NoVector => Content::Whole(None),
            Plan::Chunks(ids) => {
                let chunk = |(id, chunk): (&ChunkId, &'n Chunk)| {
                    let text = self.passage(index, chunk);
                    NewChunk {
                        id: id.id,
                        characters: chunk.characters.clone(),
                        text,
                        hash: &chunk.hash,
                        vector: if id.is_stored { None } else { self.vectors.get(text) },
                    }
                };
                Content::Chunks(ids.iter().zip(&self.chunks[&index]).map(chunk).collect())
            }
        };
        let conditional = match &self.checked.condition {
            Condition::IfVersion(versions) => versions.get(&document.id).copied(),
            Condition::Always | Condition::OnlyIfAbsent => None,
        };
        // Chunks that are kept must still be those that were read.
        let keeps = matches!(plan, Plan::Chunks(ids) if ids.iter().any(|id| id.is_stored));
        NewDocument {
            id: &document.id,
            text: &document.text,
            metadata: &document.metadata,
            content_hash: &document.content_hash,
            version: conditional.or(stored.filter(|_| keeps).map(|stored| stored.version)),
            content,
        }
    }
}

fn is_stored(document: &CheckedDocument, stored: Option<&StoredContent>) -> bool {
    stored.is_some_and(|stored| stored.content_hash == document.content_hash)
}

/// Whether full-text search finds only the beginning of the text or of a chunk of it.
fn is_cut(document: &NewDocument<'_>) -> bool {
    match &document.content {
        Content::Unchanged => false,
        Content::Whole(_) => document.text.len() > MAX_FULL_TEXT_BYTES,
        Content::Chunks(chunks) => chunks.iter().any(|chunk| chunk.text.len() > MAX_FULL_TEXT_BYTES),
    }
}
