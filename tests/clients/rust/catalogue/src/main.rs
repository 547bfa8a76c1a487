//! A program as a caller would write it: it keeps a catalogue of 1,000 articles, and continues when a call fails.

use std::{
    convert::Infallible,
    time::{Duration, SystemTime},
};

use futures_util::{TryStreamExt as _, stream};
use pgfox_client::{
    Client, ConnectOptions, IngestOptions, all_documents, connect, error,
    filter::{Filter, field, ids},
    ingest, metadata,
    tonic::{Code, Request, Status},
    v1,
};
use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ARTICLES: usize = 1000;
const DIMENSIONS: usize = 8;
const DAY: u64 = 86_400;
/// The beginning of 2024, in seconds.
const BEGIN: u64 = 1_704_067_200;

/// An article's data, beside its vector.
#[derive(Debug, Serialize, Deserialize)]
struct Article {
    name: String,
    price: f64,
    stock: u64,
    added: String,
    tags: Option<Vec<String>>,
    variants: Vec<Variant>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Variant {
    color: Color,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Color {
    Red,
    Green,
    Black,
}

struct Catalogue {
    client: Client,
    name: String,
}

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        println!("FAILED archive: {error}");
        std::process::exit(1);
    }
    println!("ok archive");
}

async fn run() -> Result<()> {
    let client = connect(&ConnectOptions::new(std::env::var("PGFOX_SERVER")?)).await?;
    let name = format!("{}_catalogue", std::env::var("STORY_COLLECTION")?);
    let mut catalogue = Catalogue { client, name };
    catalogue.create_once().await?;
    catalogue.create_once().await?;
    catalogue.fill().await?;
    catalogue.sell_out().await?;
    catalogue.read_back().await?;
    catalogue.hurry().await?;
    // The other calls of the client continue, in other tasks.
    let task = tokio::spawn(catalogue.clone_for_a_task().stop_halfway());
    task.await??;
    let name = catalogue.name;
    catalogue.client.delete_collection(v1::DeleteCollectionRequest { name, ..Default::default() }).await?;
    Ok(())
}

fn documents() -> impl Iterator<Item = std::result::Result<v1::Document, Infallible>> {
    (0..ARTICLES).map(|i| {
        let added = pgfox_client::prost_types::Timestamp::from(day(i as u64)).to_string();
        let color = if i % 2 == 0 { Color::Red } else { Color::Green };
        let article = Article {
            name: format!("Article {i}"),
            price: i as f64 + 0.5,
            stock: i as u64 % 10,
            added,
            tags: None,
            variants: vec![Variant { color }, Variant { color: Color::Black }],
        };
        let values = (0..DIMENSIONS).map(|d| ((i * 7 + d * 3) % 11 + 1) as f32).collect();
        Ok(v1::Document {
            id: format!("a{i:04}"),
            vector: Some(v1::Vector { values }),
            metadata: Some(metadata::encode(&article).expect("an article is JSON")),
            ..Default::default()
        })
    })
}

fn day(number: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN + number * DAY)
}

impl Catalogue {
    fn clone_for_a_task(&self) -> Self {
        Self { client: self.client.clone(), name: self.name.clone() }
    }

    async fn create_once(&mut self) -> Result<()> {
        let collection = v1::Collection {
            name: self.name.clone(),
            embedding: Some(v1::Embedding { dimensions: DIMENSIONS as i32, ..Default::default() }),
            ..Default::default()
        };
        let request = v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() };
        match self.client.create_collection(request).await {
            Err(status) if error::reason(&status) == Some(v1::ErrorReason::CollectionExists) => Ok(()),
            answer => Ok(answer.map(drop)?),
        }
    }

    async fn fill(&mut self) -> Result<()> {
        let totals =
            ingest(&self.client, &self.name, stream::iter(documents()), &IngestOptions::default(), |_| {}).await?;
        check(totals.upserted == ARTICLES as u64, || format!("filled: {totals:?}"))
    }

    /// Deletes by a filter what was added early and is not in stock.
    async fn sell_out(&mut self) -> Result<()> {
        let filter: Filter = field("stock").equals(0) & !field("added").since(day(30)) & field("tags").is_null();
        let request = v1::DeleteDocumentsRequest {
            collection: self.name.clone(),
            filter: Some(filter.build()?),
            ..Default::default()
        };
        let deleted = self.client.delete_documents(request).await?.into_inner().deleted_count;
        check(deleted == 3, || format!("sold out: {deleted}"))
    }

    async fn read_back(&mut self) -> Result<()> {
        let request = v1::ListDocumentsRequest {
            collection: self.name.clone(),
            filter: Some((field("price").less_than(100) | ids(["a0500"])).build()?),
            page_size: 30,
            ..Default::default()
        };
        let mut all = all_documents(&self.client, request);
        let mut count = 0;
        while let Some(document) = all.try_next().await? {
            let metadata = document.metadata.unwrap_or_default();
            let article: Article = metadata::decode(&metadata)?;
            check(article.variants[1].color == Color::Black, || format!("read: {article:?}"))?;
            check(metadata::to_json(&metadata)["stock"].as_u64() == Some(article.stock), || format!("{article:?}"))?;
            count += 1;
        }
        check(count == 98, || format!("read back: {count}"))
    }

    /// Gives a call less time than it needs.
    async fn hurry(&mut self) -> Result<()> {
        let mut request =
            Request::new(v1::ListDocumentsRequest { collection: self.name.clone(), ..Default::default() });
        request.set_timeout(Duration::from_micros(1));
        let status: Status = self.client.list_documents(request).await.expect_err("a microsecond is not enough");
        check(status.code() == Code::DeadlineExceeded, || format!("in a hurry: {status:?}"))
    }

    /// Cancels an ingest, by dropping it, once a part of it is stored.
    async fn stop_halfway(self) -> Result<()> {
        let options = IngestOptions { documents_per_request: 10, ..Default::default() };
        let (begun, wait) = tokio::sync::oneshot::channel();
        let mut begun = Some(begun);
        let observe = move |_: pgfox_client::IngestEvent<'_>| {
            let _ = begun.take().map(|begun| begun.send(()));
        };
        let running = ingest(&self.client, &self.name, stream::iter(documents()), &options, observe);
        tokio::select! {
            // The first that is ready, in this order.
            biased;
            begun = wait => Ok(begun?),
            done = running => Err(format!("it was not stopped: {:?}", done?).into()),
        }
    }
}

fn check(is_true: bool, message: impl FnOnce() -> String) -> Result<()> {
    if is_true { Ok(()) } else { Err(message().into()) }
}
