//! The RPCs of collections.

use std::time::Instant;

use pgfox::v1;

use crate::{
    app::App,
    blocking::blocking,
    embed::{EmbedError, Model},
    error::Error,
    rpc::messages::PageBytes,
    rules::{
        MAX_DIMENSIONS, Violation, Violations, chunking,
        collections::{CollectionChange, NewCollectionSpec, read_change, read_new},
    },
    store::{
        Chunking, CollectionInfo, Distance, MetadataIndex, MetadataIndexType, NewCollection, StoreError, VectorType,
        write_keys,
    },
};

/// Collections on a page unless the caller says otherwise.
const DEFAULT_PAGE: i32 = 100;
/// Maximum number of collections on a page.
const MAX_PAGE: i32 = 1_000;
/// Maximum number of text search configurations that a refusal names: all that Postgres comes with.
const MAX_NAMED_LANGUAGES: usize = 30;

pub(super) async fn create(
    app: &App,
    request: v1::CreateCollectionRequest,
    deadline: Instant,
) -> Result<v1::CreateCollectionResponse, Error> {
    let collection = request.collection.ok_or_else(|| Error::invalid("collection", "is required"))?;
    let spec = read_new(collection, app.embedders.default_model())?;
    let resolved = resolve(app, spec).await?;
    let created = app.store.create_collection(&resolved, deadline).await?;
    Ok(v1::CreateCollectionResponse { collection: Some(to_message(created)) })
}

/// Fills in what the model and the database decide.
async fn resolve(app: &App, spec: NewCollectionSpec) -> Result<NewCollection, Error> {
    let model = resolve_model(app, &spec).await?;
    let dimensions = model.as_ref().map_or(spec.dimensions.unwrap_or_default(), |model| model.dimensions);
    if dimensions > MAX_DIMENSIONS as usize {
        let rule = format!("gives {dimensions} dimensions and pgvector stores up to {MAX_DIMENSIONS}");
        return Err(Error::invalid("collection.embedding.model", rule));
    }
    let chunking = resolve_chunking(app, &spec, model.as_ref()).await?;
    check_language(app, &spec.text_search_language).await?;
    Ok(NewCollection {
        name: spec.name,
        model,
        dimensions,
        distance: spec.distance,
        vector_type: spec.vector_type.unwrap_or_else(|| default_vector_type(dimensions)),
        query_prefix: spec.query_prefix,
        document_prefix: spec.document_prefix,
        chunking,
        text_search_language: spec.text_search_language,
        metadata_indexes: spec.metadata_indexes,
        aliases: spec.aliases,
    })
}

/// The model as its provider has it, with its dimensions.
async fn resolve_model(app: &App, spec: &NewCollectionSpec) -> Result<Option<Model>, Error> {
    if spec.model.is_empty() {
        return Ok(None);
    }
    // Cheaper than asking a provider in vain; the insert decides.
    if app.store.current_collection(&spec.name).await.is_ok() {
        return Err(StoreError::CollectionExists(spec.name.clone()).into());
    }
    match app.embedders.resolve(&spec.model, spec.dimensions).await {
        Ok(model) => Ok(Some(model)),
        Err(EmbedError::Dimensions { expected, actual, .. }) => Err(Error::from(Violation {
            description: format!("must be {actual}, as the model gives, not {expected}"),
            ..Violation::dimensions("collection.embedding.dimensions", expected, actual)
        })),
        Err(error) => Err(error.into()),
    }
}

async fn resolve_chunking(
    app: &App,
    spec: &NewCollectionSpec,
    model: Option<&Model>,
) -> Result<Option<Chunking>, Error> {
    let (Some(chunking), Some(model)) = (spec.chunking, model) else {
        return Ok(None);
    };
    let counter = app.embedders.token_counter(&model.name).await?;
    let (name, prefix) = (model.name.clone(), spec.document_prefix.clone());
    // A tokenizer can take a moment to load.
    let complete = move || chunking::complete(&chunking, &name, counter.as_ref(), &prefix);
    Ok(Some(blocking(complete).await??))
}

pub(super) async fn get(
    app: &App,
    request: v1::GetCollectionRequest,
    _deadline: Instant,
) -> Result<v1::GetCollectionResponse, Error> {
    let mut violations = Violations::default();
    violations.name("name", &request.name);
    violations.finish()?;
    let info = app.store.get_collection(&request.name).await?;
    Ok(v1::GetCollectionResponse { collection: Some(to_message(info)) })
}

pub(super) async fn list(
    app: &App,
    request: v1::ListCollectionsRequest,
    _deadline: Instant,
) -> Result<v1::ListCollectionsResponse, Error> {
    let mut violations = Violations::default();
    violations.range("page_size", request.page_size, 0, MAX_PAGE);
    violations.check(!request.page_token.contains('\0'), "page_token", "must be a next_page_token");
    violations.finish()?;
    let page_size = if request.page_size == 0 { DEFAULT_PAGE } else { request.page_size };

    // The token is the last name of the page before. One more row than the page tells whether there is a next one.
    let after = Some(request.page_token.as_str()).filter(|token| !token.is_empty());
    let infos = app.store.list_collections(after, None, i64::from(page_size) + 1).await?;
    let count = infos.len();
    let mut response = v1::ListCollectionsResponse::default();
    let mut bytes = PageBytes::new(app, &response);
    for info in infos.into_iter().take(page_size as usize) {
        let collection = to_message(info);
        if !bytes.take(&collection, collection.name.len()) && !response.collections.is_empty() {
            break;
        }
        response.collections.push(collection);
    }
    if response.collections.len() < count {
        response.next_page_token = response.collections.last().map(|last| last.name.clone()).unwrap_or_default();
    }
    Ok(response)
}

pub(super) async fn update(
    app: &App,
    request: v1::UpdateCollectionRequest,
    deadline: Instant,
) -> Result<v1::UpdateCollectionResponse, Error> {
    let CollectionChange { name, metadata_indexes, aliases } = read_change(request)?;
    let collection = app.store.current_collection(&name).await?;
    // What takes long, and can fail, comes first.
    if let Some(indexes) = metadata_indexes {
        app.store.update_metadata_indexes(&collection, &indexes).await?;
    }
    if let Some(aliases) = aliases {
        app.store.update_aliases(&collection, &aliases, deadline).await?;
    }
    let info = app.store.get_collection(&collection.definition.name).await?;
    Ok(v1::UpdateCollectionResponse { collection: Some(to_message(info)) })
}

pub(super) async fn delete(
    app: &App,
    request: v1::DeleteCollectionRequest,
    deadline: Instant,
) -> Result<v1::DeleteCollectionResponse, Error> {
    let mut violations = Violations::default();
    violations.name("name", &request.name);
    violations.finish()?;
    // Not what an alias happens to stand for.
    let collection = app.store.current_collection(&request.name).await?;
    let name = &collection.definition.name;
    if *name != request.name {
        let rule = format!("is an alias of \"{name}\"; name the collection itself to delete it");
        return Err(Error::invalid("name", rule));
    }
    app.store.delete_collection(&collection, deadline).await?;
    Ok(v1::DeleteCollectionResponse {})
}

/// pgvector indexes `vector` up to 2,000 dimensions only.
fn default_vector_type(dimensions: usize) -> VectorType {
    if dimensions > VectorType::Vector.max_indexed_dimensions() { VectorType::HalfVec } else { VectorType::Vector }
}

/// Fails unless the database has the text search configuration.
async fn check_language(app: &App, language: &str) -> Result<(), Error> {
    let known = app.store.text_search_languages().await?;
    if known.iter().any(|known| known == language) {
        return Ok(());
    }
    let rule = format!(
        "must be a text search configuration of the database, which \"{language}\" is not, such as {}",
        known.iter().take(MAX_NAMED_LANGUAGES).map(String::as_str).collect::<Vec<_>>().join(", ")
    );
    Err(Error::invalid("collection.text_search_language", rule))
}

fn to_message(info: CollectionInfo) -> v1::Collection {
    let CollectionInfo { collection, document_count } = info;
    let definition = collection.definition;
    let distance = match definition.distance {
        Distance::L2 => v1::Distance::L2,
        Distance::Cosine => v1::Distance::Cosine,
        Distance::InnerProduct => v1::Distance::InnerProduct,
        Distance::L1 => v1::Distance::L1,
    };
    let vector_type = match definition.vector_type {
        VectorType::Vector => v1::VectorType::Vector,
        VectorType::HalfVec => v1::VectorType::Halfvec,
    };
    v1::Collection {
        name: definition.name,
        embedding: Some(v1::Embedding {
            model: definition.model.map(|model| model.name).unwrap_or_default(),
            dimensions: definition.dimensions as i32,
            query_prefix: definition.query_prefix,
            document_prefix: definition.document_prefix,
        }),
        distance: distance.into(),
        vector_type: vector_type.into(),
        metadata_indexes: definition.metadata_indexes.iter().map(index_to_message).collect(),
        aliases: definition.aliases,
        chunking: Some(chunking::to_message(definition.chunking)),
        text_search_language: definition.text_search_language,
        document_count,
        create_time: Some(collection.created_at.into()),
    }
}

fn index_to_message(index: &MetadataIndex) -> v1::MetadataIndex {
    let kind = match index.kind {
        MetadataIndexType::Gin => v1::MetadataIndexType::Gin,
        MetadataIndexType::Number => v1::MetadataIndexType::Number,
        MetadataIndexType::String => v1::MetadataIndexType::String,
        MetadataIndexType::Time => v1::MetadataIndexType::Time,
    };
    v1::MetadataIndex { field: write_keys(&index.path), r#type: kind.into() }
}
