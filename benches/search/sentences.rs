//! Documents made of the sentences of a file of texts, the same in every run.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use pgfox::v1;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{Client, build_index};
use crate::bm25::Tables;
use crate::setup::{Postgres, Random, Server};

/// The seed of the choice of sentences.
const SEED: u64 = 20;
/// Three make about 50 words where a sentence has 17.
const SENTENCES_PER_DOCUMENT: usize = 3;
/// Few, since words are what is measured.
pub(super) const DIMENSIONS: usize = 8;
const PER_REQUEST: usize = 500;

/// All sentences of the texts.
pub(super) struct Sentences(Vec<String>);

impl Sentences {
    /// Reads JSON Lines with the field `text`.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let content = fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let mut sentences = Vec::new();
        for (number, line) in content.lines().enumerate() {
            let record: serde_json::Value = serde_json::from_str(line)
                .with_context(|| format!("line {} of {} is not JSON", number + 1, file.display()))?;
            split(record["text"].as_str().unwrap_or_default(), &mut sentences);
        }
        ensure!(!sentences.is_empty(), "{} has no lines with a `text`", file.display());
        Ok(Self(sentences))
    }

    /// The requests that store so many documents, whose ids are numbers from 0.
    fn requests(&self, collection: &str, documents: usize) -> impl Iterator<Item = v1::IngestRequest> {
        let mut random = StdRng::seed_from_u64(SEED);
        let mut vectors = Random::new();
        let mut document = move |number: usize| {
            let sentences = std::iter::repeat_with(|| self.0[random.random_range(0..self.0.len())].as_str());
            v1::Document {
                id: number.to_string(),
                text: sentences.take(SENTENCES_PER_DOCUMENT).collect::<Vec<_>>().join(" "),
                vector: Some(v1::Vector { values: vectors.vector(DIMENSIONS) }),
                ..Default::default()
            }
        };
        (0..documents).step_by(PER_REQUEST).map(move |first| v1::IngestRequest {
            collection: collection.into(),
            documents: (first..documents.min(first + PER_REQUEST)).map(&mut document).collect(),
            ..Default::default()
        })
    }

    /// Stores so many documents in a new collection, by two streams at once, and builds a vector index. Does nothing when
    /// an earlier run has done all of it.
    pub(super) async fn load(
        &self,
        postgres: &Postgres,
        server: &Server,
        collection: &str,
        documents: usize,
    ) -> anyhow::Result<()> {
        let mut client = server.client()?;
        // The index comes last.
        let indexes = client.list_indexes(v1::ListIndexesRequest { collection: collection.into() }).await;
        match indexes {
            Ok(indexes) if indexes.get_ref().indexes.iter().any(|index| index.state() == v1::IndexState::Ready) => {
                return Ok(());
            }
            Ok(_) => {
                client
                    .delete_collection(v1::DeleteCollectionRequest { name: collection.into(), ..Default::default() })
                    .await?;
            }
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
        create(&mut client, collection).await?;

        let began = std::time::Instant::now();
        let (first, first_requests) = tokio::sync::mpsc::channel(2);
        let (second, second_requests) = tokio::sync::mpsc::channel(2);
        let send = async {
            for (number, request) in self.requests(collection, documents).enumerate() {
                let sender = if number % 2 == 0 { &first } else { &second };
                if sender.send(request).await.is_err() {
                    break;
                }
            }
            drop((first, second));
            anyhow::Ok(())
        };
        let ((), a, b) = tokio::try_join!(
            send,
            stream(server.client()?, first_requests),
            stream(server.client()?, second_requests)
        )?;
        ensure!(a + b == documents, "{} of {documents} documents were stored", a + b);
        let rate = documents as f64 / began.elapsed().as_secs_f64();
        println!("{documents} documents stored, {rate:.0} per second");

        // As autovacuum does it after a while.
        let sql = postgres.connect().await?;
        let Tables { documents, chunks } = Tables::of(&sql, collection).await?;
        sql.execute(&format!("VACUUM (ANALYZE) {documents}, {chunks}"), &[]).await?;
        build_index(&mut client, collection).await
    }
}

/// A collection for vectors of the caller.
pub(super) async fn create(client: &mut Client, name: &str) -> anyhow::Result<()> {
    let embedding = Some(v1::Embedding { dimensions: DIMENSIONS as i32, ..Default::default() });
    let collection = v1::Collection { name: name.into(), embedding, ..Default::default() };
    client
        .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
        .await?;
    Ok(())
}

/// Sends the requests by one stream; returns how many documents were stored.
async fn stream(mut client: Client, requests: tokio::sync::mpsc::Receiver<v1::IngestRequest>) -> anyhow::Result<usize> {
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut responses = client.ingest_stream(requests).await?.into_inner();
    let mut stored = 0;
    while let Some(response) = responses.message().await? {
        stored += response.upserted_count as usize;
    }
    Ok(stored)
}

/// Splits after `.`, `!` and `?` before white space and a capital letter or a quotation mark.
fn split(text: &str, sentences: &mut Vec<String>) {
    let mut add = |sentence: &str| {
        if !sentence.trim().is_empty() {
            sentences.push(sentence.trim().to_owned());
        }
    };
    let mut start = 0;
    for (position, end) in text.match_indices(['.', '!', '?']) {
        let after = position + end.len();
        let next = text[after..].trim_start();
        let is_end = text[after..].starts_with(char::is_whitespace)
            && next.starts_with(|c: char| c.is_uppercase() || matches!(c, '"' | '“'));
        if is_end {
            add(&text[start..after]);
            start = after;
        }
    }
    add(&text[start..]);
}
