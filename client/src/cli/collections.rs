//! `pgfox collections`: create, list, get and delete collections.

use clap::{Args, Subcommand, ValueEnum};
use pgfox_client::v1;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{self, Align};
use super::{Globals, json};

/// Create, list, show and delete collections
#[derive(Subcommand)]
pub(crate) enum Command {
    Create(Create),
    List(List),
    Get(Get),
    Delete(Delete),
}

/// Create an empty collection
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox collections create films                     the default model of the server
  pgfox collections create films --model openai/text-embedding-3-small --dimensions 512
  pgfox collections create images --dimensions 768   your own vectors, no model")]
pub(crate) struct Create {
    /// Name: a lower-case letter, then up to 62 lower-case letters, digits and underscores
    name: String,
    #[command(flatten)]
    settings: Settings,
}

/// List the collections
#[derive(Args)]
pub(crate) struct List {}

/// Show one collection
#[derive(Args)]
pub(crate) struct Get {
    /// Name of the collection
    name: String,
}

/// Delete a collection with its documents, vectors and indexes
#[derive(Args)]
pub(crate) struct Delete {
    /// Name of the collection
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// How a collection is made. What is not given is the server's choice.
#[derive(Args, Default)]
#[command(next_help_heading = "Collection")]
pub(crate) struct Settings {
    /// Model that turns text into vectors: openai/<model> or local/<name>; the server's default unless --dimensions
    /// stands alone
    #[arg(long)]
    model: Option<String>,
    /// Elements per vector; without --model the collection has no model and takes your own vectors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=16_000))]
    dimensions: Option<i32>,
    /// How near two vectors are [server's default: l2]
    #[arg(long)]
    distance: Option<Distance>,
    /// How vectors are stored [server's default: vector up to 2,000 dimensions, halfvec above]
    #[arg(long)]
    vector_type: Option<VectorType>,
    /// Put before the text of every query, for models that want it, such as "query: "
    #[arg(long, value_name = "TEXT", requires = "model")]
    query_prefix: Option<String>,
    /// Put before the text of every document, for models that want it, such as "passage: "
    #[arg(long, value_name = "TEXT", requires = "model")]
    document_prefix: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Distance {
    /// Euclidean distance
    L2,
    /// 1 - cosine similarity
    Cosine,
    /// Negative inner product
    #[value(alias = "inner-product")]
    Ip,
    /// Taxicab distance
    L1,
}

#[derive(Clone, Copy, ValueEnum)]
enum VectorType {
    /// 4-byte floats
    Vector,
    /// 2-byte floats: half the size
    Halfvec,
}

impl From<Distance> for v1::Distance {
    fn from(distance: Distance) -> Self {
        match distance {
            Distance::L2 => Self::L2,
            Distance::Cosine => Self::Cosine,
            Distance::Ip => Self::InnerProduct,
            Distance::L1 => Self::L1,
        }
    }
}

impl From<VectorType> for v1::VectorType {
    fn from(vector_type: VectorType) -> Self {
        match vector_type {
            VectorType::Vector => Self::Vector,
            VectorType::Halfvec => Self::Halfvec,
        }
    }
}

impl Settings {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { model, dimensions, distance, vector_type, query_prefix, document_prefix } = self;
        model.is_none()
            && dimensions.is_none()
            && distance.is_none()
            && vector_type.is_none()
            && query_prefix.is_none()
            && document_prefix.is_none()
    }

    pub(crate) fn to_collection(&self, name: &str) -> v1::Collection {
        let embedding = (self.model.is_some() || self.dimensions.is_some()).then(|| v1::Embedding {
            model: self.model.clone().unwrap_or_default(),
            dimensions: self.dimensions.unwrap_or(0),
            query_prefix: self.query_prefix.clone().unwrap_or_default(),
            document_prefix: self.document_prefix.clone().unwrap_or_default(),
        });
        v1::Collection {
            name: name.to_owned(),
            embedding,
            distance: self.distance.map_or(0, |distance| v1::Distance::from(distance).into()),
            vector_type: self.vector_type.map_or(0, |vector_type| v1::VectorType::from(vector_type).into()),
            ..Default::default()
        }
    }

    /// Refuses a collection that is not as these settings say.
    pub(crate) fn check(&self, actual: &v1::Collection) -> Result<(), Failure> {
        let wanted = self.to_collection(&actual.name);
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: String, actual: String| {
            if expected != actual {
                differences.push(format!("{what} {actual} instead of {expected}"));
            }
        };
        if let Some(wanted) = &wanted.embedding {
            let actual = actual.embedding.clone().unwrap_or_default();
            let model = |name: &str| {
                if name.is_empty() { "none".to_owned() } else { name.to_owned() }
            };
            compare("model", model(&wanted.model), model(&actual.model));
            if wanted.dimensions > 0 {
                compare("dimensions", wanted.dimensions.to_string(), actual.dimensions.to_string());
            }
            if self.query_prefix.is_some() {
                compare("query prefix", format!("{:?}", wanted.query_prefix), format!("{:?}", actual.query_prefix));
            }
            if self.document_prefix.is_some() {
                compare(
                    "document prefix",
                    format!("{:?}", wanted.document_prefix),
                    format!("{:?}", actual.document_prefix),
                );
            }
        }
        if self.distance.is_some() {
            compare("distance", distance_name(wanted.distance()), distance_name(actual.distance()));
        }
        if self.vector_type.is_some() {
            compare("vector type", vector_type_name(wanted.vector_type()), vector_type_name(actual.vector_type()));
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(Failure::refused(format!("the collection {} exists with {}", actual.name, differences.join(", ")))
            .with_hint("leave the flags out to use it as it is, or take another name"))
    }
}

impl Command {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let mut client = globals.connect().await?;
        match self {
            Self::Create(create) => {
                let collection = Some(create.settings.to_collection(&create.name));
                let response = client.create_collection(v1::CreateCollectionRequest { collection }).await?;
                print(globals, &response.into_inner().collection.unwrap_or_default())
            }
            Self::Get(get) => {
                let response = client.get_collection(v1::GetCollectionRequest { name: get.name.clone() }).await?;
                print(globals, &response.into_inner().collection.unwrap_or_default())
            }
            Self::List(List {}) => {
                let mut collections = Vec::new();
                let mut page_token = String::new();
                loop {
                    let request = v1::ListCollectionsRequest { page_size: 1_000, page_token };
                    let page = client.list_collections(request).await?.into_inner();
                    collections.extend(page.collections);
                    page_token = page.next_page_token;
                    if page_token.is_empty() {
                        break;
                    }
                }
                print_list(globals, &collections)
            }
            Self::Delete(delete) => {
                let name = delete.name.clone();
                if !delete.yes {
                    let response = client.get_collection(v1::GetCollectionRequest { name: name.clone() }).await?;
                    let documents = response.into_inner().collection.unwrap_or_default().document_count;
                    let documents = output::counted(u64::try_from(documents).unwrap_or(0), "document");
                    output::confirm(&format!("Delete the collection {name} with {documents}?"))?;
                }
                client.delete_collection(v1::DeleteCollectionRequest { name: name.clone() }).await?;
                if globals.json {
                    return output::print_json(&json!({}));
                }
                output::print(&format!("deleted {name}\n"))
            }
        }
    }
}

fn print(globals: &Globals, collection: &v1::Collection) -> Result<(), Failure> {
    if globals.json {
        return output::print_json(&json!({ "collection": json::collection(collection) }));
    }
    let embedding = collection.embedding.clone().unwrap_or_default();
    let mut pairs = vec![
        ("name", collection.name.clone()),
        ("model", model_name(&embedding)),
        ("dimensions", embedding.dimensions.to_string()),
        ("distance", distance_name(collection.distance())),
        ("vector type", vector_type_name(collection.vector_type())),
        ("documents", output::count(collection.document_count)),
    ];
    if !embedding.query_prefix.is_empty() {
        pairs.push(("query prefix", format!("{:?}", embedding.query_prefix)));
    }
    if !embedding.document_prefix.is_empty() {
        pairs.push(("document prefix", format!("{:?}", embedding.document_prefix)));
    }
    if let Some(time) = &collection.create_time {
        pairs.push(("created", time.to_string()));
    }
    output::print(&output::properties(&pairs))
}

fn print_list(globals: &Globals, collections: &[v1::Collection]) -> Result<(), Failure> {
    if globals.json {
        let collections: Vec<Value> = collections.iter().map(json::collection).collect();
        return output::print_json(&json!({ "collections": collections }));
    }
    if collections.is_empty() {
        output::note("no collections yet; `pgfox collections create NAME` makes one\n");
        return Ok(());
    }
    let header = [
        ("NAME", Align::Left),
        ("DOCUMENTS", Align::Right),
        ("MODEL", Align::Left),
        ("DIMENSIONS", Align::Right),
        ("DISTANCE", Align::Left),
        ("TYPE", Align::Left),
    ];
    let rows: Vec<Vec<String>> = collections
        .iter()
        .map(|collection| {
            let embedding = collection.embedding.clone().unwrap_or_default();
            vec![
                collection.name.clone(),
                output::count(collection.document_count),
                model_name(&embedding),
                embedding.dimensions.to_string(),
                distance_name(collection.distance()),
                vector_type_name(collection.vector_type()),
            ]
        })
        .collect();
    output::print(&output::table(&header, &rows))
}

fn model_name(embedding: &v1::Embedding) -> String {
    if embedding.model.is_empty() { "none (own vectors)".to_owned() } else { embedding.model.clone() }
}

fn distance_name(distance: v1::Distance) -> String {
    output::short_name(distance.as_str_name(), "DISTANCE_")
}

fn vector_type_name(vector_type: v1::VectorType) -> String {
    output::short_name(vector_type.as_str_name(), "VECTOR_TYPE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn films() -> v1::Collection {
        v1::Collection {
            name: "films".into(),
            embedding: Some(v1::Embedding { model: "local/a".into(), dimensions: 384, ..Default::default() }),
            distance: v1::Distance::L2.into(),
            vector_type: v1::VectorType::Vector.into(),
            ..Default::default()
        }
    }

    #[test]
    fn settings_that_fit_or_say_nothing() {
        Settings::default().check(&films()).unwrap();
        let same = Settings { model: Some("local/a".into()), distance: Some(Distance::L2), ..Settings::default() };
        same.check(&films()).unwrap();
    }

    #[test]
    fn settings_that_differ_are_named_with_both_values() {
        let other = Settings { dimensions: Some(512), distance: Some(Distance::Cosine), ..Settings::default() };
        let message = format!("{:?}", other.check(&films()).unwrap_err());
        for part in ["model local/a instead of none", "dimensions 384 instead of 512", "distance l2 instead of cosine"]
        {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
    }
}
