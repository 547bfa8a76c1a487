//! The story of tests/clients/README.md with the Rust client.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use pgfox_client::{
    Client, ConnectError, ConnectOptions, IngestEvent, IngestOptions, IngestTotals, connect, error, ingest, v1,
};
use prost_types::{Struct, Value, value::Kind};
use tonic::{Code, Request};

const SENTENCES: [(&str, &str, f64); 4] = [
    ("diet", "Foxes are omnivores: predators of small animals that also eat fruit", 1990.0),
    ("sounds", "Foxes can make over 40 different sounds", 2000.0),
    ("hunting", "Foxes use the magnetic field of the Earth when they hunt", 2010.0),
    ("kits", "Baby foxes are called kits", 2020.0),
];
const QUESTION: &str = "I was wondering, how many sounds can foxes make?";

struct Story {
    client: Client,
    server: String,
    collection: String,
}

#[tokio::main]
async fn main() {
    let (step, result) = tell().await;
    if let Err(error) = result {
        println!("FAILED {step}: {error:#}");
        std::process::exit(1);
    }
}

/// Runs step by step, and returns the name of the step that failed.
async fn tell() -> (&'static str, Result<()>) {
    let story = match Story::begin().await {
        Ok(story) => story,
        Err(error) => return ("connect", Err(error)),
    };
    macro_rules! steps {
        ($($name:literal => $step:ident),* $(,)?) => {
            $(match story.$step().await {
                Ok(()) => println!("ok {}", $name),
                Err(error) => return ($name, Err(error)),
            })*
        };
    }
    steps! {
        "create" => create,
        "ingest" => ingest,
        "ingest-stream" => ingest_stream,
        "build-index" => build_index,
        "search-text" => search_text,
        "search-vector" => search_vector,
        "search-id" => search_id,
        "filter" => filter,
        "bad-request" => bad_request,
        "deadline" => deadline,
        "tls-and-key" => tls_and_key,
        "dead-server" => dead_server,
        "resume" => resume,
        "attached" => attached,
        "delete" => delete,
    }
    ("", Ok(()))
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; tests/clients/run.sh sets it"))
}

fn document(id: String, text: String, topic: &str, year: f64) -> v1::Document {
    let fields = BTreeMap::from([
        ("topic".to_owned(), Value { kind: Some(Kind::StringValue(topic.to_owned())) }),
        ("year".to_owned(), Value { kind: Some(Kind::NumberValue(year)) }),
    ]);
    v1::Document { id, text, metadata: Some(Struct { fields }), ..Default::default() }
}

fn ids(response: &v1::SearchResponse) -> Vec<&str> {
    response.results.iter().filter_map(|result| Some(result.document.as_ref()?.id.as_str())).collect()
}

fn is_year_at_least(year: f64) -> v1::Filter {
    let at_least = v1::condition::Test::AtLeast(Value { kind: Some(Kind::NumberValue(year)) });
    let condition = v1::Condition { field: "year".into(), test: Some(at_least), ignore_case: false };
    v1::Filter { node: Some(v1::filter::Node::Condition(condition)) }
}

/// Ingests, and returns what was stored and how often the stream was interrupted.
async fn stored(
    client: &Client,
    collection: &str,
    documents: impl Iterator<Item = v1::Document>,
    options: &IngestOptions,
) -> Result<(IngestTotals, u32)> {
    let documents = tokio_stream::iter(documents.map(Ok::<_, std::convert::Infallible>));
    let mut interruptions = 0;
    let totals = ingest(client, collection, documents, options, |event| {
        interruptions += u32::from(matches!(event, IngestEvent::Interrupted { .. }));
    });
    Ok((totals.await?, interruptions))
}

impl Story {
    async fn begin() -> Result<Self> {
        let (server, collection) = (variable("PGFOX_SERVER")?, variable("STORY_COLLECTION")?);
        Ok(Self { client: connect(&ConnectOptions::new(&server)).await?, server, collection })
    }

    fn search(&self, query: v1::search_request::Query) -> v1::SearchRequest {
        v1::SearchRequest { collection: self.collection.clone(), query: Some(query), limit: 3, ..Default::default() }
    }

    fn question(&self) -> v1::SearchRequest {
        self.search(v1::search_request::Query::Text(QUESTION.into()))
    }

    async fn count(&self, collection: &str, filter: Option<v1::Filter>) -> Result<i64> {
        let request = v1::CountDocumentsRequest { collection: collection.into(), filter, ..Default::default() };
        Ok(self.client.clone().count_documents(request).await?.into_inner().count)
    }

    async fn create(&self) -> Result<()> {
        let mut client = self.client.clone();
        let collection = v1::Collection { name: self.collection.clone(), ..Default::default() };
        client
            .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
            .await?;
        let request = v1::GetCollectionRequest { name: self.collection.clone() };
        let collection = client.get_collection(request).await?.into_inner().collection.context("no collection")?;
        let embedding = collection.embedding.context("no embedding")?;
        ensure!(embedding.model == "local/all-MiniLM-L6-v2" && embedding.dimensions == 384, "{embedding:?}");
        Ok(())
    }

    async fn ingest(&self) -> Result<()> {
        let documents = SENTENCES.map(|(topic, text, year)| document(topic.into(), text.into(), topic, year)).to_vec();
        let request = v1::IngestRequest { collection: self.collection.clone(), documents, ..Default::default() };
        let response = self.client.clone().ingest(request.clone()).await?.into_inner();
        ensure!((response.upserted_count, response.updated_count) == (4, 0), "{response:?}");
        let response = self.client.clone().ingest(request).await?.into_inner();
        ensure!((response.upserted_count, response.unchanged_count) == (0, 4), "{response:?}");
        Ok(())
    }

    async fn ingest_stream(&self) -> Result<()> {
        let documents =
            (0..300).map(|i| document(format!("note-{i}"), format!("Note number {i}"), "note", f64::from(i)));
        let (totals, _) = stored(&self.client, &self.collection, documents, &IngestOptions::default()).await?;
        ensure!((totals.documents, totals.upserted, totals.embedded) == (300, 300, 300), "{totals:?}");
        let count = self.count(&self.collection, None).await?;
        ensure!(count == 304, "{count} documents");
        Ok(())
    }

    async fn build_index(&self) -> Result<()> {
        let request = v1::BuildIndexRequest { collection: self.collection.clone(), ..Default::default() };
        let mut progress = self.client.clone().build_index(request).await?.into_inner();
        let (mut fraction, mut phase) = (0.0, v1::IndexPhase::Unspecified);
        while let Some(step) = progress.message().await? {
            ensure!(step.fraction_done >= fraction, "fell from {fraction} to {}", step.fraction_done);
            (fraction, phase) = (step.fraction_done, step.phase());
        }
        ensure!(phase == v1::IndexPhase::Ready, "ended with {phase:?}");
        Ok(())
    }

    async fn search_text(&self) -> Result<()> {
        let response = self.client.clone().search(self.question()).await?.into_inner();
        let best = response.results.first().context("nothing found")?;
        let text = &best.document.as_ref().context("no document")?.text;
        ensure!(text == SENTENCES[1].1, "found {text:?}");
        ensure!(best.distance.is_some_and(|distance| distance > 0.0), "{:?}", best.distance);
        ensure!(response.completeness() != v1::Completeness::Unspecified, "no completeness");
        Ok(())
    }

    async fn search_vector(&self) -> Result<()> {
        let request = v1::GetDocumentsRequest {
            collection: self.collection.clone(),
            ids: vec!["kits".into()],
            include_vector: true,
            ..Default::default()
        };
        let documents = self.client.clone().get_documents(request).await?.into_inner().documents;
        let vector = documents.into_iter().next().and_then(|document| document.vector).context("no vector")?;
        let request = self.search(v1::search_request::Query::Vector(vector));
        let response = self.client.clone().search(request).await?.into_inner();
        ensure!(ids(&response)[0] == "kits", "{:?}", ids(&response));
        let distance = response.results[0].distance.context("no distance")?;
        ensure!(distance.abs() < 1e-4, "at distance {distance}");
        Ok(())
    }

    async fn search_id(&self) -> Result<()> {
        let request = self.search(v1::search_request::Query::DocumentId("sounds".into()));
        let response = self.client.clone().search(request).await?.into_inner();
        ensure!(ids(&response).len() == 3 && !ids(&response).contains(&"sounds"), "{:?}", ids(&response));
        Ok(())
    }

    async fn filter(&self) -> Result<()> {
        let filter = Some(is_year_at_least(2010.0));
        let request = v1::SearchRequest { filter: filter.clone(), ..self.question() };
        let response = self.client.clone().search(request).await?.into_inner();
        let found: HashSet<_> = ids(&response).into_iter().collect();
        ensure!(found == HashSet::from(["hunting", "kits"]), "{found:?}");
        let count = self.count(&self.collection, filter.clone()).await?;
        ensure!(count == 2, "{count} documents");
        let request = v1::ListDocumentsRequest { collection: self.collection.clone(), filter, ..Default::default() };
        let listed = self.client.clone().list_documents(request).await?.into_inner().documents;
        ensure!(listed.len() == 2 && listed[0].id == "hunting", "{listed:?}");
        Ok(())
    }

    async fn bad_request(&self) -> Result<()> {
        let mut client = self.client.clone();
        let params = Some(v1::SearchParams { ef_search: Some(-1), ..Default::default() });
        let request = v1::SearchRequest { limit: -1, params, ..self.question() };
        let status = client.search(request).await.err().context("accepted")?;
        ensure!(status.code() == Code::InvalidArgument, "{status}");
        ensure!(error::reason(&status) == Some(v1::ErrorReason::InvalidField), "{status}");
        let violations = error::violations(&status);
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        ensure!(fields == ["limit", "params.ef_search"] && !violations[0].description.is_empty(), "{violations:?}");

        let vector = v1::Vector { values: vec![1.0, 2.0] };
        let request = self.search(v1::search_request::Query::Vector(vector));
        let status = client.search(request).await.err().context("accepted")?;
        ensure!(error::reason(&status) == Some(v1::ErrorReason::DimensionMismatch), "{status}");

        let request = v1::GetCollectionRequest { name: "no_such_collection".into() };
        let status = client.get_collection(request).await.err().context("found")?;
        ensure!(error::reason(&status) == Some(v1::ErrorReason::CollectionNotFound), "{status}");
        ensure!(status.code() == Code::NotFound, "{status}");
        Ok(())
    }

    async fn deadline(&self) -> Result<()> {
        let documents =
            (0..1000).map(|i| document(format!("late-{i}"), format!("{i} ").repeat(200), "late", 0.0)).collect();
        let mut request =
            Request::new(v1::IngestRequest { collection: self.collection.clone(), documents, ..Default::default() });
        request.set_timeout(Duration::from_millis(50));
        let begun = Instant::now();
        let status = self.client.clone().ingest(request).await.err().context("done within 50 ms")?;
        ensure!(error::is_timeout(&status), "{status}");
        ensure!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
        Ok(())
    }

    async fn tls_and_key(&self) -> Result<()> {
        let options = ConnectOptions {
            api_key: Some(variable("PGFOX_API_KEY")?),
            ca_pem: Some(std::fs::read(variable("PGFOX_CA")?)?),
            ..ConnectOptions::new(variable("PGFOX_TLS_SERVER")?)
        };
        connect(&options).await?.search(self.question()).await?;

        let keyless = ConnectOptions { api_key: None, ..options.clone() };
        let status = connect(&keyless).await?.search(self.question()).await.err().context("works without a key")?;
        ensure!(error::reason(&status) == Some(v1::ErrorReason::Unauthenticated), "{status}");

        let endpoint = format!("https://{}", options.endpoint);
        let stranger = ConnectOptions { ca_pem: None, endpoint, ..options };
        match connect(&stranger).await {
            Err(ConnectError::Unreachable { reason, .. }) => ensure!(reason.contains("certificate"), "{reason}"),
            other => bail!("the system trusts the test's CA: {other:?}"),
        }
        Ok(())
    }

    async fn dead_server(&self) -> Result<()> {
        let dead = variable("PGFOX_DEAD_SERVER")?;
        let begun = Instant::now();
        let options = ConnectOptions { connect_timeout: Duration::from_secs(2), ..ConnectOptions::new(&dead) };
        let error = connect(&options).await.err().context("somebody answers")?.to_string();
        ensure!(error.contains(&dead) && error.ends_with(" times"), "{error}");
        ensure!(begun.elapsed() < Duration::from_secs(4), "took {:?}", begun.elapsed());
        Ok(())
    }

    async fn resume(&self) -> Result<()> {
        let name = format!("{}_vectors", self.collection);
        let embedding = Some(v1::Embedding { dimensions: 384, ..Default::default() });
        let collection = v1::Collection { name: name.clone(), embedding, ..Default::default() };
        self.client
            .clone()
            .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
            .await?;

        let client = connect(&ConnectOptions::new(variable("PGFOX_CUT_SERVER")?)).await?;
        let options = IngestOptions { documents_per_request: 50, ..Default::default() };
        let documents = (0..2000_u16).map(|i| {
            let values = (0..384_u16).map(|j| f32::from(i) + f32::from(j) / 384.0).collect();
            v1::Document { id: format!("v-{i:04}"), vector: Some(v1::Vector { values }), ..Default::default() }
        });
        let (totals, interruptions) = stored(&client, &name, documents, &options).await?;
        ensure!(totals.documents == 2000, "{totals:?}");
        ensure!(interruptions == 3, "interrupted {interruptions} times");
        ensure!(totals.unchanged > 0, "every acknowledgement arrived: {totals:?}");
        let count = self.count(&name, None).await?;
        ensure!(count == 2000, "{count} documents");

        let mut request = v1::ListDocumentsRequest { collection: name, page_size: 1000, ..Default::default() };
        let mut seen = HashSet::new();
        loop {
            let page = self.client.clone().list_documents(request.clone()).await?.into_inner();
            for document in page.documents {
                ensure!(document.version == 1, "{} was changed by the repetition", document.id);
                ensure!(seen.insert(document.id), "listed twice");
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        ensure!((0..2000).all(|i| seen.contains(&format!("v-{i:04}"))), "some are missing");
        Ok(())
    }

    async fn attached(&self) -> Result<()> {
        let mut client = self.client.clone();
        let (name, table) = (format!("{}_attached", self.collection), variable("STORY_TABLE")?);
        let source = v1::Source { table: table.clone(), text_columns: vec!["content".into()], ..Default::default() };
        // An empty embedding: callers send vectors.
        let embedding = Some(v1::Embedding::default());
        let collection = v1::Collection { name: name.clone(), embedding, source: Some(source), ..Default::default() };
        let request = v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() };
        let created = client.create_collection(request).await?.into_inner().collection.context("no collection")?;
        let keys = created.source.as_ref().map(|source| source.id_columns.as_slice()).unwrap_or_default();
        ensure!(keys == ["id", "lang"] && created.document_count == 4, "{created:?}");

        let search = |query| v1::SearchRequest { collection: name.clone(), query: Some(query), ..Default::default() };
        let near = |values: [f32; 3]| search(v1::search_request::Query::Vector(v1::Vector { values: values.into() }));
        let request = v1::SearchRequest { filter: Some(is_year_at_least(2005.0)), ..near([0.0, 1.0, 0.0]) };
        let response = client.search(request).await?.into_inner();
        // A key of several columns is an id that is a JSON array.
        ensure!(ids(&response) == [r#"[4, "en"]"#, r#"[3, "en"]"#], "{:?}", ids(&response));
        let request = v1::GetDocumentsRequest {
            collection: name.clone(),
            ids: vec![r#"[2, "en"]"#.into()],
            ..Default::default()
        };
        let documents = client.get_documents(request).await?.into_inner().documents;
        let year = documents[0].metadata.as_ref().and_then(|metadata| metadata.fields.get("year"));
        let is_year = year == Some(&Value { kind: Some(Kind::NumberValue(2000.0)) });
        ensure!(documents[0].text == SENTENCES[1].1 && is_year, "{documents:?}");

        let fields = BTreeMap::from([("year".to_owned(), Value { kind: Some(Kind::NumberValue(2024.0)) })]);
        let climbing = v1::Document {
            id: r#"[5, "en"]"#.into(),
            text: "Foxes climb trees".into(),
            vector: Some(v1::Vector { values: vec![1.0; 3] }),
            metadata: Some(Struct { fields }),
            ..Default::default()
        };
        let request =
            v1::IngestRequest { collection: name.clone(), documents: vec![climbing.clone()], ..Default::default() };
        let response = client.ingest(request).await?.into_inner();
        ensure!((response.upserted_count, response.updated_count) == (1, 0), "{response:?}");
        let response = client.search(near([1.0; 3])).await?.into_inner();
        ensure!(ids(&response)[0] == climbing.id, "{:?}", ids(&response));

        let mut words = search(v1::search_request::Query::Text("trees".into()));
        words.set_mode(v1::SearchMode::FullText);
        let status = client.search(words).await.err().context("full-text search in a table")?;
        ensure!(status.code() == Code::FailedPrecondition && status.message().contains(&table), "{status}");
        ensure!(error::reason(&status) == Some(v1::ErrorReason::CollectionAttached), "{status}");

        // The table stays, which tests/clients/run.sh checks.
        client.delete_collection(v1::DeleteCollectionRequest { name: name.clone(), ..Default::default() }).await?;
        let status = client.get_collection(v1::GetCollectionRequest { name }).await.err().context("still there")?;
        ensure!(status.code() == Code::NotFound, "{status}");
        Ok(())
    }

    async fn delete(&self) -> Result<()> {
        let mut client = self.client.clone();
        let request = v1::DeleteDocumentsRequest {
            collection: self.collection.clone(),
            filter: Some(is_year_at_least(2010.0)),
            ..Default::default()
        };
        let response = client.delete_documents(request).await?.into_inner();
        ensure!(response.deleted_count == 2, "{response:?}");
        for name in [self.collection.clone(), format!("{}_vectors", self.collection)] {
            client.delete_collection(v1::DeleteCollectionRequest { name, ..Default::default() }).await?;
        }
        let status = client.search(self.question()).await.err().context("still there")?;
        ensure!(status.code() == Code::NotFound, "{status} at {}", self.server);
        Ok(())
    }
}
