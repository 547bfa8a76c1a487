//! The RPCs of collections.

use std::{sync::Arc, time::Instant};

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
        source,
    },
    store::{
        Chunking, Collection, CollectionInfo, Distance, Follow, FoundSource, FoundVectors, FullText, MetadataIndex,
        MetadataIndexType, NewCollection, PlannedStatement, Source, SourceSpec, SourceStatus, StoreError, VectorType,
        write_keys,
    },
};

/// Default number of collections on a page.
const DEFAULT_PAGE: i32 = 100;
/// Maximum number of collections on a page.
const MAX_PAGE: i32 = 1_000;
/// Maximum number of text search configurations that a refusal names. Enough for all that Postgres comes with.
const MAX_NAMED_LANGUAGES: usize = 30;

pub(super) async fn create(
    app: &App,
    request: v1::CreateCollectionRequest,
    deadline: Instant,
) -> Result<v1::CreateCollectionResponse, Error> {
    let collection = request.collection.ok_or_else(|| Error::invalid("collection", "is required"))?;
    let spec = read_new(collection, app.embedders.default_model())?;
    let found = match &spec.source {
        Some(source) => Some(find_source(app, &spec, source).await?),
        None => None,
    };
    let resolved = resolve(app, spec, found.as_ref()).await?;
    if request.dry_run {
        return plan(app, resolved, found.as_ref()).await;
    }
    if let Some(FoundSource { source, grants, .. }) = &found
        && !grants.is_empty()
    {
        return Err(unreadable(&resolved.name, source, grants).into());
    }
    let mut created = app.store.create_collection(&resolved, deadline).await?;
    if resolved.source.is_some() {
        created.document_count = app.store.get_collection(&resolved.name).await?.document_count;
    }
    Ok(v1::CreateCollectionResponse { collection: Some(to_message(created)), statements: Vec::new() })
}

/// Finds the table of a source in the catalog of the database.
async fn find_source(app: &App, spec: &NewCollectionSpec, source: &SourceSpec) -> Result<FoundSource, Error> {
    let found = match app.store.find_source(source).await {
        Err(StoreError::SourceInvalid(problems)) => return Err(source::violations(problems).into()),
        found => found?,
    };
    let Some(FoundVectors { dimensions, vector_type }) = found.vectors else {
        if spec.model.is_empty() {
            let rule = "is required, or source.vector_column: a collection that follows texts makes their vectors";
            return Err(Error::invalid("collection.embedding.model", rule));
        }
        return Ok(found);
    };
    if dimensions == 0 {
        // The number of dimensions is known only from the rows, which cannot be read.
        return Err(unreadable(&spec.name, &found.source, &found.grants).into());
    }
    if let Some(wanted) = spec.vector_type.filter(|wanted| *wanted != vector_type) {
        let rule =
            format!("must be {}, the type of the vector column, or absent, not {}", vector_type.name(), wanted.name());
        return Err(Error::invalid("collection.vector_type", rule));
    }
    Ok(found)
}

fn unreadable(collection: &str, source: &Source, grants: &[String]) -> StoreError {
    let why = format!("the role of the server lacks a privilege on the table {}", source.relation());
    StoreError::SourceRefused { collection: collection.into(), why, statements: grants.to_vec() }
}

/// The collection that would be created, and the SQL that would run on the table of a source.
async fn plan(
    app: &App,
    new: NewCollection,
    found: Option<&FoundSource>,
) -> Result<v1::CreateCollectionResponse, Error> {
    if app.store.current_collection(&new.name).await.is_ok() {
        return Err(StoreError::CollectionExists(new.name).into());
    }
    let planned = found.map(|found| app.store.plan_source(found, &new)).transpose()?;
    let statements =
        planned.into_iter().flatten().map(|PlannedStatement { purpose, sql }| v1::Statement { purpose, sql });
    Ok(v1::CreateCollectionResponse {
        statements: statements.collect(),
        collection: Some(v1::Collection { create_time: None, ..to_message(CollectionInfo::planned(new)) }),
    })
}

/// Fills in what the model and the database decide.
async fn resolve(app: &App, spec: NewCollectionSpec, found: Option<&FoundSource>) -> Result<NewCollection, Error> {
    let vectors = found.and_then(|found| found.vectors);
    let wanted = vectors.map_or(spec.dimensions, |vectors| Some(vectors.dimensions));
    let model = resolve_model(app, &spec, wanted, vectors.is_some()).await?;
    let dimensions = model.as_ref().map_or(wanted.unwrap_or_default(), |model| model.dimensions);
    if dimensions > MAX_DIMENSIONS as usize {
        let rule = format!("has {dimensions} dimensions, but pgvector stores at most {MAX_DIMENSIONS}");
        return Err(Error::invalid("collection.embedding.model", rule));
    }
    let chunking = resolve_chunking(app, &spec, model.as_ref()).await?;
    if found.is_none_or(|found| found.follow.is_some()) {
        check_language(app, &spec.full_text, spec.language_field).await?;
    }
    let vector_type = vectors.map(|vectors| vectors.vector_type).or(spec.vector_type);
    let (source, follow) = match found {
        None => (None, None),
        Some(FoundSource { source, follow: None, .. }) => (Some(source.clone()), None),
        Some(FoundSource { source, follow: Some(follow), .. }) => {
            (None, Some(Follow { source: source.clone(), updated_at: follow.updated_at().map(str::to_owned) }))
        }
    };
    Ok(NewCollection {
        name: spec.name,
        model,
        dimensions,
        distance: spec.distance,
        vector_type: vector_type.unwrap_or_else(|| default_vector_type(dimensions)),
        query_prefix: spec.query_prefix,
        document_prefix: spec.document_prefix,
        chunking,
        full_text: spec.full_text,
        metadata_indexes: spec.metadata_indexes,
        aliases: spec.aliases,
        source,
        follow,
    })
}

/// The model of its provider, with its dimensions.
async fn resolve_model(
    app: &App,
    spec: &NewCollectionSpec,
    dimensions: Option<usize>,
    has_vectors: bool,
) -> Result<Option<Model>, Error> {
    if spec.model.is_empty() {
        return Ok(None);
    }
    // This is cheaper than an unnecessary request to a provider. The insert decides.
    if app.store.current_collection(&spec.name).await.is_ok() {
        return Err(StoreError::CollectionExists(spec.name.clone()).into());
    }
    match app.embedders.resolve(&spec.model, dimensions).await {
        Ok(model) => Ok(Some(model)),
        Err(EmbedError::Dimensions { expected, actual, .. }) if has_vectors => {
            let rule = format!(
                "is \"{}\", which has {actual} dimensions, but the vectors of the table have {expected}: name the model that \
                 made them; if callers send vectors, use no model (`--no-model` of `pgfox collections attach`)",
                spec.model
            );
            Err(Error::from(Violation {
                description: rule,
                ..Violation::dimensions("collection.embedding.model", expected, actual)
            }))
        }
        Err(EmbedError::Dimensions { expected, actual, .. }) => Err(Error::from(Violation {
            description: format!("must be {actual}, the dimensions of the model, not {expected}"),
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
    let source_status = app.store.source_status(&info.collection).await?.map(status_to_message);
    Ok(v1::GetCollectionResponse { collection: Some(v1::Collection { source_status, ..to_message(info) }) })
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

    // The token is the last name of the page before. One more row than the page shows whether there is a next one.
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
    let CollectionChange { name, metadata_indexes, aliases, k1, b } = read_change(request)?;
    let collection = app.store.current_collection(&name).await?;
    if metadata_indexes.as_ref().is_some_and(|indexes| !indexes.is_empty()) {
        collection.check_own("create indexes on its columns by SQL, which filters use")?;
    }
    if k1.is_some() || b.is_some() {
        collection.check_own("full-text search is not available for it, so do not set k1 and b")?;
    }
    // The part that takes long and can fail comes first.
    if let Some(indexes) = metadata_indexes {
        app.store.update_metadata_indexes(&collection, &indexes).await?;
    }
    if let Some(aliases) = aliases {
        app.store.update_aliases(&collection, &aliases, deadline).await?;
    }
    if k1.is_some() || b.is_some() {
        app.store.update_full_text(&collection, k1, b, deadline).await?;
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
    // An alias must not delete the collection that it names at the moment.
    let collection = app.store.current_collection(&request.name).await?;
    let name = &collection.definition.name;
    if *name != request.name {
        let rule = format!("is an alias of \"{name}\"; name the collection itself to delete it");
        return Err(Error::invalid("name", rule));
    }
    if request.drop_indexes {
        app.store.drop_indexes_of_source(&collection).await?;
    }
    app.store.delete_collection(&collection, deadline).await?;
    let kept_indexes = app.store.indexes_on_source(&collection).await?;
    Ok(v1::DeleteCollectionResponse { kept_indexes })
}

/// pgvector indexes the type `vector` only up to 2,000 dimensions.
fn default_vector_type(dimensions: usize) -> VectorType {
    if dimensions > VectorType::Vector.max_indexed_dimensions() { VectorType::HalfVec } else { VectorType::Vector }
}

/// Fails unless pgfox or the database knows how to make words of the language.
async fn check_language(app: &App, full_text: &FullText, field: &str) -> Result<(), Error> {
    if full_text.text_language().is_some() {
        return Ok(());
    }
    let language = &full_text.language;
    let known = app.store.text_search_languages().await?;
    if known.contains(language) {
        return Ok(());
    }
    // pgfox knows the languages that Postgres comes with, except very few.
    let rule = format!(
        "must be \"auto\", a language that pgfox knows, or a text search configuration of the database, not \
         \"{language}\": use for example {}",
        known.iter().take(MAX_NAMED_LANGUAGES).map(String::as_str).collect::<Vec<_>>().join(", ")
    );
    Err(Error::invalid(field, rule))
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
        // An attached collection has no words.
        full_text: definition.source.is_none().then(|| v1::FullText {
            language: definition.full_text.language.clone(),
            k1: Some(definition.full_text.k1 as f32),
            b: Some(definition.full_text.b as f32),
            progress: collection.words.progress(),
        }),
        text_search_language: match definition.source {
            Some(_) => String::new(),
            None => definition.full_text.language,
        },
        source: match (&definition.source, &definition.follow) {
            (Some(source), _) => Some(source::to_message(source)),
            (None, follow) => follow.as_ref().map(source::followed_to_message),
        },
        source_status: None,
        document_count,
        create_time: Some(collection.created_at.into()),
        codes: collection.codes.map(|codes| v1::Codes {
            fields: codes.fields.iter().map(index_to_message).collect(),
            progress: codes.progress,
        }),
    }
}

fn index_to_message(index: &MetadataIndex) -> v1::MetadataIndex {
    let kind = match index.kind {
        MetadataIndexType::Gin => v1::MetadataIndexType::Gin,
        MetadataIndexType::Number => v1::MetadataIndexType::Number,
        MetadataIndexType::String => v1::MetadataIndexType::String,
        MetadataIndexType::Time => v1::MetadataIndexType::Time,
        MetadataIndexType::Boolean => v1::MetadataIndexType::Boolean,
        MetadataIndexType::StringList => v1::MetadataIndexType::StringList,
    };
    v1::MetadataIndex { field: write_keys(&index.path), r#type: kind.into() }
}

fn status_to_message(status: SourceStatus) -> v1::SourceStatus {
    let SourceStatus { pending, oldest_pending, failed, failures, .. } = status;
    v1::SourceStatus {
        pending_count: pending,
        failed_count: failed,
        oldest_pending_time: oldest_pending.map(Into::into),
        last_error: status.last_error.unwrap_or_default(),
        rows_per_second: status.rows_per_second,
        paused: status.paused,
        compare_progress: status.compare_progress,
        failures: failures.into_iter().map(|(id, message)| v1::SourceFailure { id, message }).collect(),
    }
}

pub(super) async fn retry_failed(
    app: &App,
    request: v1::RetryFailedRequest,
    _deadline: Instant,
) -> Result<v1::RetryFailedResponse, Error> {
    let collection = named(app, &request.name).await?;
    Ok(v1::RetryFailedResponse { retried_count: app.store.retry_failed(&collection).await? })
}

pub(super) async fn pause(
    app: &App,
    request: v1::PauseSourceRequest,
    _deadline: Instant,
) -> Result<v1::PauseSourceResponse, Error> {
    let collection = named(app, &request.name).await?;
    app.store.pause_source(&collection, true).await?;
    Ok(v1::PauseSourceResponse {})
}

pub(super) async fn resume(
    app: &App,
    request: v1::ResumeSourceRequest,
    _deadline: Instant,
) -> Result<v1::ResumeSourceResponse, Error> {
    let collection = named(app, &request.name).await?;
    app.store.pause_source(&collection, false).await?;
    Ok(v1::ResumeSourceResponse {})
}

/// The collection that a request names.
async fn named(app: &App, name: &str) -> Result<Arc<Collection>, Error> {
    let mut violations = Violations::default();
    violations.name("name", name);
    violations.finish()?;
    Ok(app.store.current_collection(name).await?)
}
