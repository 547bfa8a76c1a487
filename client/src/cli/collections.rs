//! `pgfox collections`: create, list, get, update and delete collections.

mod attach;
mod follow;
mod settings;
mod update;

use clap::{Args, Subcommand};
use pgfox_client::v1;
use serde_json::{Value, json};

use super::{
    Globals,
    failure::Failure,
    json,
    output::{self, Align},
};
pub(crate) use settings::Settings;
use settings::{chunking_name, codes_name, distance_name, full_text_name, metadata_index_name, vector_type_name};

/// Create, attach, list, show, change and delete collections
#[derive(Subcommand)]
pub(crate) enum Command {
    Create(Create),
    Attach(attach::Attach),
    List(List),
    Get(Get),
    Update(update::Update),
    Status(follow::Status),
    Pause(follow::Pause),
    Resume(follow::Resume),
    RetryFailed(follow::RetryFailed),
    Delete(Delete),
}

/// Create an empty collection
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox collections create films                     the default model of the server
  pgfox collections create films --model openai/text-embedding-3-small --dimensions 512
  pgfox collections create books --chunking markdown --chunk-size 256 --chunk-overlap 32
  pgfox collections create films --metadata-index gin --metadata-index year:number
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

/// Delete a collection with its documents, vectors and indexes; an attached table stays
#[derive(Args)]
pub(crate) struct Delete {
    /// Name of the collection
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Also drop the indexes that `pgfox build-index` made on the table of an attached collection
    #[arg(long)]
    drop_indexes: bool,
}

impl Command {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let mut client = globals.connect().await?;
        match self {
            Self::Create(create) => {
                let collection = Some(create.settings.to_collection(&create.name));
                let response =
                    client.create_collection(v1::CreateCollectionRequest { collection, ..Default::default() }).await?;
                print(globals, &response.into_inner().collection.unwrap_or_default())
            }
            Self::Attach(attach) => attach.run(globals).await,
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
            Self::Status(status) => status.run(globals, &mut client).await,
            Self::Pause(pause) => pause.run(globals, &mut client).await,
            Self::Resume(resume) => resume.run(globals, &mut client).await,
            Self::RetryFailed(retry) => retry.run(globals, &mut client).await,
            Self::Update(update) => print(globals, &update.run(&mut client).await?),
            Self::Delete(delete) => {
                let name = delete.name.clone();
                if !delete.yes {
                    let response = client.get_collection(v1::GetCollectionRequest { name: name.clone() }).await?;
                    let collection = response.into_inner().collection.unwrap_or_default();
                    let question = match &collection.source {
                        Some(source) => format!("Detach the collection {name} from the table {}?", source.table),
                        None => {
                            let documents = u64::try_from(collection.document_count).unwrap_or(0);
                            format!("Delete the collection {name} with {}?", output::counted(documents, "document"))
                        }
                    };
                    output::confirm(&question)?;
                }
                let request = v1::DeleteCollectionRequest { name: name.clone(), drop_indexes: delete.drop_indexes };
                let kept = client.delete_collection(request).await?.into_inner().kept_indexes;
                if globals.json {
                    let answer = if kept.is_empty() { json!({}) } else { json!({ "kept_indexes": kept }) };
                    return output::print_json(&answer);
                }
                if !kept.is_empty() && !globals.quiet {
                    output::note(&format!(
                        "its table keeps these indexes, which you drop by SQL: {}\n",
                        kept.join(", ")
                    ));
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
    ];
    let source = collection.source.as_ref();
    pairs.extend(source.into_iter().flat_map(attach::properties));
    if source.is_none_or(|source| source.follow.is_some()) {
        pairs.extend([
            ("chunking", chunking_name(collection.chunking.as_ref())),
            ("language", collection.text_search_language.clone()),
            ("full text", full_text_name(&collection.full_text.clone().unwrap_or_default())),
            ("metadata indexes", list(collection.metadata_indexes.iter().map(metadata_index_name))),
        ]);
    }
    pairs.extend([
        ("aliases", list(collection.aliases.iter().cloned())),
        ("documents", output::count(collection.document_count)),
    ]);
    if let Some(codes) = &collection.codes {
        pairs.push(("codes", codes_name(codes)));
    }
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

fn list(names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
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
        ("CHUNKING", Align::Left),
        ("ALIASES", Align::Left),
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
                chunking_name(collection.chunking.as_ref()),
                collection.aliases.join(", "),
            ]
        })
        .collect();
    output::print(&output::table(&header, &rows))
}

fn model_name(embedding: &v1::Embedding) -> String {
    if embedding.model.is_empty() { "none (own vectors)".to_owned() } else { embedding.model.clone() }
}
