//! CreateCollection, GetCollection, ListCollections and DeleteCollection.

use pgfox::v1;

use crate::{
    App, blocking,
    chunk::settings,
    embed::EmbedError,
    error::{Error, Violation},
    store::{CollectionInfo, Distance, MetadataIndex, MetadataIndexType, NewCollection, VectorType},
    update_collection::{check_aliases, read_metadata_indexes, write_metadata_index},
    validate::{MAX_DIMENSIONS, Violations},
};

/// Collections on a page unless the caller says otherwise.
const DEFAULT_PAGE: i32 = 100;
/// Most collections on a page.
const MAX_PAGE: i32 = 1_000;
/// The text search configuration of a collection that names none.
const DEFAULT_LANGUAGE: &str = "english";
/// Text search configurations that a refusal names: all that Postgres comes with.
const LANGUAGES_TOLD: usize = 30;

pub(crate) async fn create(
    app: &App,
    request: v1::CreateCollectionRequest,
) -> Result<v1::CreateCollectionResponse, Error> {
    let collection = request.collection.ok_or_else(|| Error::invalid("collection", "is required"))?;
    // Absent means the default model; present without a model means the caller's own vectors.
    let embedding = collection
        .embedding
        .unwrap_or_else(|| v1::Embedding { model: app.embedders.default_model().to_owned(), ..Default::default() });
    let distance = read_distance(collection.distance);
    let vector_type = read_vector_type(collection.vector_type);

    let mut violations = Violations::default();
    violations.new_name("collection.name", &collection.name);
    violations.range("collection.embedding.dimensions", embedding.dimensions, 0, MAX_DIMENSIONS);
    violations.prefix("collection.embedding.query_prefix", &embedding.query_prefix);
    violations.prefix("collection.embedding.document_prefix", &embedding.document_prefix);
    if embedding.model.is_empty() {
        let rule = "is required without a model";
        violations.check(embedding.dimensions != 0, "collection.embedding.dimensions", rule);
        let unused = embedding.query_prefix.is_empty() && embedding.document_prefix.is_empty();
        violations.check(unused, "collection.embedding", "must have no prefixes without a model");
    } else {
        violations.model("collection.embedding.model", &embedding.model);
    }
    let mut metadata_indexes = read_metadata_indexes(&mut violations, &collection.metadata_indexes);
    if metadata_indexes.is_empty() {
        metadata_indexes.push(MetadataIndex { kind: MetadataIndexType::Gin, path: Vec::new() });
    }
    check_aliases(&mut violations, &collection.aliases);
    let itself = collection.aliases.contains(&collection.name);
    violations.check(!itself, "collection.aliases", "must not have the name of the collection");
    let chunking = settings::read(&mut violations, collection.chunking, !embedding.model.is_empty());
    let language = &collection.text_search_language;
    violations.text_search_language("collection.text_search_language", language);
    violations.check(distance.is_some(), "collection.distance", "must be a Distance");
    violations.check(vector_type.is_some(), "collection.vector_type", "must be a VectorType");
    let outputs = collection.document_count == 0 && collection.create_time.is_none();
    violations.check(outputs, "collection", "must leave document_count and create_time to the server");
    violations.finish()?;

    let asked = usize::try_from(embedding.dimensions).ok().filter(|dimensions| *dimensions > 0);
    let model = if embedding.model.is_empty() {
        None
    } else {
        // Cheaper than asking a provider in vain; the insert decides.
        if app.store.current_collection(&collection.name).await.is_ok() {
            return Err(crate::store::StoreError::CollectionExists(collection.name).into());
        }
        let resolved = app.embedders.resolve(&embedding.model, asked).await;
        Some(resolved.map_err(|error| match error {
            EmbedError::Dimensions { expected, actual, .. } => Error::Invalid(vec![Violation {
                description: format!("must be {actual}, as the model gives, not {expected}"),
                ..Violation::dimensions("collection.embedding.dimensions", expected, actual)
            }]),
            error => error.into(),
        })?)
    };
    let dimensions = model.as_ref().map_or(asked.unwrap_or_default(), |model| model.dimensions);
    if dimensions > MAX_DIMENSIONS as usize {
        let rule = format!("gives {dimensions} dimensions and pgvector stores up to {MAX_DIMENSIONS}");
        return Err(Error::Invalid(vec![Violation::new("collection.embedding.model", rule)]));
    }
    let chunking = match (chunking, &model) {
        (Some(asked), Some(model)) => {
            let counter = app.embedders.token_counter(&model.name).await?;
            let (name, prefix) = (model.name.clone(), embedding.document_prefix.clone());
            // A tokenizer can take a moment to load.
            let complete = move || settings::complete(&asked, &name, counter.as_ref(), &prefix);
            Some(blocking(complete).await??)
        }
        _ => None,
    };
    let text_search_language = text_search_language(app, collection.text_search_language).await?;
    let created = app.store.create_collection(NewCollection {
        name: collection.name,
        model,
        dimensions,
        distance: distance.unwrap_or(Distance::L2),
        vector_type: vector_type.flatten().unwrap_or_else(|| default_vector_type(dimensions)),
        query_prefix: embedding.query_prefix,
        document_prefix: embedding.document_prefix,
        chunking,
        text_search_language,
        metadata_indexes,
        aliases: collection.aliases,
    });
    Ok(v1::CreateCollectionResponse { collection: Some(to_message(created.await?)) })
}

pub(crate) async fn get(app: &App, request: v1::GetCollectionRequest) -> Result<v1::GetCollectionResponse, Error> {
    let mut violations = Violations::default();
    violations.name("name", &request.name);
    violations.finish()?;
    let info = app.store.get_collection(&request.name).await?;
    Ok(v1::GetCollectionResponse { collection: Some(to_message(info)) })
}

pub(crate) async fn list(app: &App, request: v1::ListCollectionsRequest) -> Result<v1::ListCollectionsResponse, Error> {
    let mut violations = Violations::default();
    violations.range("page_size", request.page_size, 0, MAX_PAGE);
    violations.check(!request.page_token.contains('\0'), "page_token", "must be a next_page_token");
    violations.finish()?;
    let page_size = if request.page_size == 0 { DEFAULT_PAGE } else { request.page_size };

    // The token is the last name of the page before. One more row than the page tells whether there is a next one.
    let after = Some(request.page_token.as_str()).filter(|token| !token.is_empty());
    let mut infos = app.store.list_collections(after, None, i64::from(page_size) + 1).await?;
    let mut next_page_token = String::new();
    if infos.len() > page_size as usize {
        infos.truncate(page_size as usize);
        next_page_token = infos.last().map(|info| info.collection.definition.name.clone()).unwrap_or_default();
    }
    Ok(v1::ListCollectionsResponse { collections: infos.into_iter().map(to_message).collect(), next_page_token })
}

pub(crate) async fn delete(
    app: &App,
    request: v1::DeleteCollectionRequest,
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
    app.store.delete_collection(name).await?;
    Ok(v1::DeleteCollectionResponse {})
}

/// pgvector indexes `vector` up to 2,000 dimensions only.
fn default_vector_type(dimensions: usize) -> VectorType {
    if dimensions > VectorType::Vector.max_indexed_dimensions() { VectorType::HalfVec } else { VectorType::Vector }
}

/// The configuration that a collection shall have, if the database has it.
async fn text_search_language(app: &App, language: String) -> Result<String, Error> {
    let language = if language.is_empty() { DEFAULT_LANGUAGE.to_owned() } else { language };
    let known = app.store.text_search_languages().await?;
    if known.contains(&language) {
        return Ok(language);
    }
    let rule = format!(
        "must be a text search configuration of the database, which \"{language}\" is not, such as {}",
        known.iter().take(LANGUAGES_TOLD).map(String::as_str).collect::<Vec<_>>().join(", ")
    );
    Err(Error::invalid("collection.text_search_language", rule))
}

fn read_distance(distance: i32) -> Option<Distance> {
    Some(match v1::Distance::try_from(distance).ok()? {
        v1::Distance::Unspecified | v1::Distance::L2 => Distance::L2,
        v1::Distance::Cosine => Distance::Cosine,
        v1::Distance::InnerProduct => Distance::InnerProduct,
        v1::Distance::L1 => Distance::L1,
    })
}

/// The outer option is absent for a number that is no VectorType, the inner one when none is stated.
fn read_vector_type(vector_type: i32) -> Option<Option<VectorType>> {
    Some(match v1::VectorType::try_from(vector_type).ok()? {
        v1::VectorType::Unspecified => None,
        v1::VectorType::Vector => Some(VectorType::Vector),
        v1::VectorType::Halfvec => Some(VectorType::HalfVec),
    })
}

pub(crate) fn to_message(info: CollectionInfo) -> v1::Collection {
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
        metadata_indexes: definition.metadata_indexes.iter().map(write_metadata_index).collect(),
        aliases: definition.aliases,
        chunking: Some(settings::to_message(definition.chunking)),
        text_search_language: definition.text_search_language,
        document_count,
        create_time: Some(collection.created_at.into()),
    }
}
