//! The rules for new collections and for changes of collections.

use pgfox::v1;

use super::{MAX_DIMENSIONS, Violation, Violations, chunking, chunking::ChunkingSpec, filter, source};
use crate::store::{Distance, FullText, MetadataIndex, MetadataIndexType, SourceSpec, VectorType};

/// Maximum number of metadata indexes of a collection. Each of them makes every write slower.
pub(super) const MAX_METADATA_INDEXES: usize = 16;
/// Maximum number of aliases of a collection.
pub(super) const MAX_ALIASES: usize = 16;
/// Maximum value of `FullText.k1`. Above it all repetitions count nearly as much as the first occurrence.
const MAX_K1: f64 = 10.0;
/// The fields of a collection that can be changed.
const CHANGEABLE: [&str; 5] = ["metadata_indexes", "aliases", "full_text", "full_text.k1", "full_text.b"];

/// A collection that follows the rules of every model. The rules of its own model are checked later.
#[derive(Debug)]
pub(crate) struct NewCollectionSpec {
    pub(crate) name: String,
    /// Empty if callers send vectors.
    pub(crate) model: String,
    /// `None`: the default of the model.
    pub(crate) dimensions: Option<usize>,
    pub(crate) query_prefix: String,
    pub(crate) document_prefix: String,
    pub(crate) distance: Distance,
    /// `None`: depends on the dimensions.
    pub(crate) vector_type: Option<VectorType>,
    /// `None` if texts are not split.
    pub(crate) chunking: Option<ChunkingSpec>,
    pub(crate) full_text: FullText,
    /// The field that contained the language.
    pub(crate) language_field: &'static str,
    pub(crate) metadata_indexes: Vec<MetadataIndex>,
    pub(crate) aliases: Vec<String>,
    /// `None` if pgfox stores the documents.
    pub(crate) source: Option<SourceSpec>,
}

/// Reads a collection to create. Without an embedding it gets the default model. If its embedding names no model,
/// callers send vectors.
pub(crate) fn read_new(collection: v1::Collection, default_model: &str) -> Result<NewCollectionSpec, Violations> {
    let outputs = collection.document_count == 0
        && collection.create_time.is_none()
        && collection.codes.is_none()
        && collection.source_status.is_none();
    let v1::Collection { name, embedding, aliases, text_search_language, full_text, .. } = collection;
    let has_full_text = full_text.is_some();
    let embedding =
        embedding.unwrap_or_else(|| v1::Embedding { model: default_model.to_owned(), ..Default::default() });
    let v1::Embedding { model, dimensions, query_prefix, document_prefix } = embedding;

    let mut violations = Violations::default();
    violations.new_name("collection.name", &name);
    violations.range("collection.embedding.dimensions", dimensions, 0, MAX_DIMENSIONS);
    violations.prefix("collection.embedding.query_prefix", &query_prefix);
    violations.prefix("collection.embedding.document_prefix", &document_prefix);
    let is_attached = collection.source.as_ref().is_some_and(|source| source.follow.is_none());
    let has_column = collection.source.as_ref().is_some_and(|source| !source.vector_column.is_empty());
    if model.is_empty() {
        violations.check(
            dimensions != 0 || is_attached || has_column,
            "collection.embedding.dimensions",
            "is required without a model",
        );
        let unused = query_prefix.is_empty() && document_prefix.is_empty();
        violations.check(unused, "collection.embedding", "must not have prefixes without a model");
    } else {
        violations.model("collection.embedding.model", &model);
    }
    let mut metadata_indexes = read_metadata_indexes(&mut violations, &collection.metadata_indexes);
    let dimensions = usize::try_from(dimensions).ok().filter(|dimensions| *dimensions > 0);
    let source = collection.source.map(|source| source::read(&mut violations, source, dimensions));
    if is_attached {
        let rule = "must be empty with a source that is not followed: the indexes of its table serve filters, and you create \
                    them by SQL";
        violations.check(metadata_indexes.is_empty(), "collection.metadata_indexes", rule);
        let is_whole = collection.chunking.is_none_or(|chunking| {
            matches!(
                v1::ChunkingMethod::try_from(chunking.method),
                Ok(v1::ChunkingMethod::Unspecified | v1::ChunkingMethod::None)
            )
        });
        let rule =
            "cannot be used with a source that is not followed: a row of its table has one vector; set source.follow";
        violations.check(is_whole, "collection.chunking", rule);
        let has_words = !text_search_language.is_empty() || has_full_text;
        let rule =
            "cannot be used with a source that is not followed, which has no full-text search; set source.follow";
        violations.check(!has_words, "collection.full_text", rule);
    } else if metadata_indexes.is_empty() {
        metadata_indexes.push(MetadataIndex { kind: MetadataIndexType::Gin, path: Vec::new() });
    }
    check_aliases(&mut violations, &aliases);
    violations.check(!aliases.contains(&name), "collection.aliases", "must not have the name of the collection");
    let chunking = chunking::read(&mut violations, collection.chunking, !model.is_empty());
    let language_field = if text_search_language.is_empty() {
        "collection.full_text.language"
    } else {
        "collection.text_search_language"
    };
    let full_text = read_full_text(&mut violations, &full_text.unwrap_or_default(), text_search_language);
    let distance = read_distance(collection.distance);
    violations.check(distance.is_some(), "collection.distance", "must be a Distance");
    let vector_type = read_vector_type(collection.vector_type);
    violations.check(vector_type.is_some(), "collection.vector_type", "must be a VectorType");
    violations.check(
        outputs,
        "collection",
        "must leave document_count, create_time, codes and source_status to the server",
    );
    let (distance, vector_type) = violations.finish_with(distance.zip(vector_type))?;
    Ok(NewCollectionSpec {
        name,
        model,
        dimensions,
        query_prefix,
        document_prefix,
        distance,
        vector_type,
        chunking,
        full_text,
        language_field,
        metadata_indexes,
        aliases,
        source,
    })
}

/// The changes of a collection that a request asks for.
#[derive(Debug)]
pub(crate) struct CollectionChange {
    pub(crate) name: String,
    pub(crate) metadata_indexes: Option<Vec<MetadataIndex>>,
    pub(crate) aliases: Option<Vec<String>>,
    pub(crate) k1: Option<f64>,
    pub(crate) b: Option<f64>,
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
    violations.check(!paths.is_empty(), "update_mask", &format!("is required: {}", changeable("or")));
    for path in paths.iter().filter(|path| !CHANGEABLE.contains(&path.as_str())) {
        let rule = format!("has \"{path}\", but only {} can be changed", changeable("and"));
        violations.push(Violation::new("update_mask", rule));
    }
    let metadata_indexes =
        has("metadata_indexes").then(|| read_metadata_indexes(&mut violations, &wanted.metadata_indexes));
    let aliases = has("aliases").then_some(wanted.aliases);
    check_aliases(&mut violations, aliases.as_deref().unwrap_or_default());
    let full_text = wanted.full_text.unwrap_or_default();
    let k1 = (has("full_text") || has("full_text.k1")).then(|| read_k1(&mut violations, &full_text));
    let b = (has("full_text") || has("full_text.b")).then(|| read_b(&mut violations, &full_text));
    violations.finish()?;
    Ok(CollectionChange { name: wanted.name, metadata_indexes, aliases, k1, b })
}

/// The fields that can be changed, as a list in words.
fn changeable(last: &str) -> String {
    let quoted: Vec<String> = CHANGEABLE.iter().map(|field| format!("\"{field}\"")).collect();
    format!("{} {last} {}", quoted[..quoted.len() - 1].join(", "), quoted[quoted.len() - 1])
}

/// How texts are split and ranked. The language can be in two fields.
fn read_full_text(violations: &mut Violations, full_text: &v1::FullText, short: String) -> FullText {
    let language = &full_text.language;
    violations.language("collection.text_search_language", &short);
    violations.language("collection.full_text.language", language);
    if !short.is_empty() && !language.is_empty() && short != *language {
        let rule = format!("must be empty or \"{short}\", the value of text_search_language, not \"{language}\"");
        violations.push(Violation::new("collection.full_text.language", rule));
    }
    violations.check(full_text.progress == 0.0, "collection.full_text.progress", "must be left to the server");
    let (k1, b) = (read_k1(violations, full_text), read_b(violations, full_text));
    let given = [language.clone(), short].into_iter().find(|language| !language.is_empty());
    FullText { language: given.unwrap_or_else(|| FullText::DEFAULT_LANGUAGE.to_owned()), k1, b }
}

fn read_k1(violations: &mut Violations, full_text: &v1::FullText) -> f64 {
    let k1 = full_text.k1.map_or(FullText::DEFAULT_K1, f64::from);
    let rule = format!("must be a number from 0 to {MAX_K1}, not {k1}");
    violations.check((0.0..=MAX_K1).contains(&k1), "collection.full_text.k1", &rule);
    k1
}

fn read_b(violations: &mut Violations, full_text: &v1::FullText) -> f64 {
    let b = full_text.b.map_or(FullText::DEFAULT_B, f64::from);
    let rule = format!("must be a number from 0 to 1, not {b}");
    violations.check((0.0..=1.0).contains(&b), "collection.full_text.b", &rule);
    b
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
            Ok(index) if read.contains(&index) => violations.push(Violation::new(field, "occurs twice")),
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
        Ok(Type::Boolean) => MetadataIndexType::Boolean,
        Ok(Type::StringList) => MetadataIndexType::StringList,
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
        violations.check(!aliases[..position].contains(alias), &field, "occurs twice");
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

/// The outer option is `None` if the number is not a VectorType. The inner one is `None` if the type is not stated.
fn read_vector_type(vector_type: i32) -> Option<Option<VectorType>> {
    Some(match v1::VectorType::try_from(vector_type).ok()? {
        v1::VectorType::Unspecified => None,
        v1::VectorType::Vector => Some(VectorType::Vector),
        v1::VectorType::Halfvec => Some(VectorType::HalfVec),
    })
}
