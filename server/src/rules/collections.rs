//! The rules of a collection: what a new one may be, and what of one can be changed.

use pgfox::v1;

use super::{MAX_DIMENSIONS, Violation, Violations, chunking, chunking::ChunkingSpec, filter};
use crate::store::{Distance, MetadataIndex, MetadataIndexType, VectorType};

/// Maximum number of metadata indexes of a collection: each costs on every write.
pub(super) const MAX_METADATA_INDEXES: usize = 16;
/// Maximum number of aliases of a collection.
pub(super) const MAX_ALIASES: usize = 16;
/// The text search configuration of a collection that names none.
const DEFAULT_LANGUAGE: &str = "english";

/// A collection that keeps the rules which hold for every model. What the model decides is still open.
#[derive(Debug)]
pub(crate) struct NewCollectionSpec {
    pub(crate) name: String,
    /// Empty when callers send vectors.
    pub(crate) model: String,
    /// `None`: as the model has them.
    pub(crate) dimensions: Option<usize>,
    pub(crate) query_prefix: String,
    pub(crate) document_prefix: String,
    pub(crate) distance: Distance,
    /// `None`: by the dimensions.
    pub(crate) vector_type: Option<VectorType>,
    /// `None` when texts shall not be split.
    pub(crate) chunking: Option<ChunkingSpec>,
    pub(crate) text_search_language: String,
    pub(crate) metadata_indexes: Vec<MetadataIndex>,
    pub(crate) aliases: Vec<String>,
}

/// Reads a collection to create. Without an embedding it has the default model; with one that names no model, callers send
/// vectors.
pub(crate) fn read_new(collection: v1::Collection, default_model: &str) -> Result<NewCollectionSpec, Violations> {
    let outputs = collection.document_count == 0 && collection.create_time.is_none();
    let v1::Collection { name, embedding, aliases, text_search_language, .. } = collection;
    let embedding =
        embedding.unwrap_or_else(|| v1::Embedding { model: default_model.to_owned(), ..Default::default() });
    let v1::Embedding { model, dimensions, query_prefix, document_prefix } = embedding;

    let mut violations = Violations::default();
    violations.new_name("collection.name", &name);
    violations.range("collection.embedding.dimensions", dimensions, 0, MAX_DIMENSIONS);
    violations.prefix("collection.embedding.query_prefix", &query_prefix);
    violations.prefix("collection.embedding.document_prefix", &document_prefix);
    if model.is_empty() {
        violations.check(dimensions != 0, "collection.embedding.dimensions", "is required without a model");
        let unused = query_prefix.is_empty() && document_prefix.is_empty();
        violations.check(unused, "collection.embedding", "must have no prefixes without a model");
    } else {
        violations.model("collection.embedding.model", &model);
    }
    let mut metadata_indexes = read_metadata_indexes(&mut violations, &collection.metadata_indexes);
    if metadata_indexes.is_empty() {
        metadata_indexes.push(MetadataIndex { kind: MetadataIndexType::Gin, path: Vec::new() });
    }
    check_aliases(&mut violations, &aliases);
    violations.check(!aliases.contains(&name), "collection.aliases", "must not have the name of the collection");
    let chunking = chunking::read(&mut violations, collection.chunking, !model.is_empty());
    violations.text_search_language("collection.text_search_language", &text_search_language);
    let distance = read_distance(collection.distance);
    violations.check(distance.is_some(), "collection.distance", "must be a Distance");
    let vector_type = read_vector_type(collection.vector_type);
    violations.check(vector_type.is_some(), "collection.vector_type", "must be a VectorType");
    violations.check(outputs, "collection", "must leave document_count and create_time to the server");
    let (distance, vector_type) = violations.finish_with(distance.zip(vector_type))?;
    Ok(NewCollectionSpec {
        name,
        model,
        dimensions: usize::try_from(dimensions).ok().filter(|dimensions| *dimensions > 0),
        query_prefix,
        document_prefix,
        distance,
        vector_type,
        chunking,
        text_search_language: if text_search_language.is_empty() {
            DEFAULT_LANGUAGE.to_owned()
        } else {
            text_search_language
        },
        metadata_indexes,
        aliases,
    })
}

/// What of a collection a request changes.
#[derive(Debug)]
pub(crate) struct CollectionChange {
    pub(crate) name: String,
    pub(crate) metadata_indexes: Option<Vec<MetadataIndex>>,
    pub(crate) aliases: Option<Vec<String>>,
}

/// Reads the fields of a collection that `update_mask` names.
pub(crate) fn read_change(request: v1::UpdateCollectionRequest) -> Result<CollectionChange, Violations> {
    let Some(wanted) = request.collection else {
        return Err(Violation::new("collection", "is required").into());
    };
    let paths = request.update_mask.unwrap_or_default().paths;
    let has = |field: &str| paths.iter().any(|path| path == field);

    let mut violations = Violations::default();
    violations.name("collection.name", &wanted.name);
    violations.check(!paths.is_empty(), "update_mask", "is required: \"metadata_indexes\", \"aliases\" or both");
    for path in paths.iter().filter(|path| !["metadata_indexes", "aliases"].contains(&path.as_str())) {
        let rule = format!("has \"{path}\", and only \"metadata_indexes\" and \"aliases\" can be changed");
        violations.push(Violation::new("update_mask", rule));
    }
    let metadata_indexes =
        has("metadata_indexes").then(|| read_metadata_indexes(&mut violations, &wanted.metadata_indexes));
    let aliases = has("aliases").then_some(wanted.aliases);
    check_aliases(&mut violations, aliases.as_deref().unwrap_or_default());
    violations.finish()?;
    Ok(CollectionChange { name: wanted.name, metadata_indexes, aliases })
}

fn read_metadata_indexes(violations: &mut Violations, indexes: &[v1::MetadataIndex]) -> Vec<MetadataIndex> {
    let field = "collection.metadata_indexes";
    if indexes.len() > MAX_METADATA_INDEXES {
        let rule = format!("must have at most {MAX_METADATA_INDEXES} entries, not {}", indexes.len());
        violations.push(Violation::new(field, rule));
        return Vec::new();
    }
    let mut read: Vec<MetadataIndex> = Vec::with_capacity(indexes.len());
    for (position, index) in indexes.iter().enumerate() {
        let field = format!("{field}[{position}]");
        match read_metadata_index(index) {
            Ok(index) if read.contains(&index) => violations.push(Violation::new(field, "is there twice")),
            Ok(index) => read.push(index),
            Err((part, rule)) => violations.push(Violation::new(format!("{field}.{part}"), rule)),
        }
    }
    read
}

fn read_metadata_index(index: &v1::MetadataIndex) -> Result<MetadataIndex, (&'static str, String)> {
    use v1::MetadataIndexType as Type;
    let kind = match Type::try_from(index.r#type) {
        Ok(Type::Unspecified | Type::Gin) => MetadataIndexType::Gin,
        Ok(Type::Number) => MetadataIndexType::Number,
        Ok(Type::String) => MetadataIndexType::String,
        Ok(Type::Time) => MetadataIndexType::Time,
        Err(_) => return Err(("type", "must be a MetadataIndexType".into())),
    };
    if kind != MetadataIndexType::Gin {
        let path = filter::read_path(&index.field).map_err(|rule| ("field", rule))?;
        return Ok(MetadataIndex { kind, path });
    }
    if !index.field.is_empty() {
        let rule = "must be empty: METADATA_INDEX_TYPE_GIN serves all fields; name a type to index one";
        return Err(("field", rule.into()));
    }
    Ok(MetadataIndex { kind, path: Vec::new() })
}

fn check_aliases(violations: &mut Violations, aliases: &[String]) {
    let field = "collection.aliases";
    if aliases.len() > MAX_ALIASES {
        let rule = format!("must have at most {MAX_ALIASES} entries, not {}", aliases.len());
        violations.push(Violation::new(field, rule));
        return;
    }
    for (position, alias) in aliases.iter().enumerate() {
        let field = format!("{field}[{position}]");
        violations.new_name(&field, alias);
        violations.check(!aliases[..position].contains(alias), &field, "is there twice");
    }
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
