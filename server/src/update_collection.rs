//! UpdateCollection, and what of a collection can be changed: its metadata indexes and its aliases.

use std::time::Instant;

use pgfox::v1;

use crate::{
    App, collections,
    error::{Error, Violation},
    filter,
    store::{MetadataIndex, MetadataIndexType},
    validate::Violations,
};

/// Most metadata indexes of a collection: each costs on every write.
const MAX_METADATA_INDEXES: usize = 16;
/// Most aliases of a collection.
const MAX_ALIASES: usize = 16;

pub(crate) async fn update(
    app: &App,
    request: v1::UpdateCollectionRequest,
    deadline: Instant,
) -> Result<v1::UpdateCollectionResponse, Error> {
    let wanted = request.collection.ok_or_else(|| Error::invalid("collection", "is required"))?;
    let paths = request.update_mask.unwrap_or_default().paths;
    let has = |field: &str| paths.iter().any(|path| path == field);

    let mut violations = Violations::default();
    violations.name("collection.name", &wanted.name);
    violations.check(!paths.is_empty(), "update_mask", "is required: \"metadata_indexes\", \"aliases\" or both");
    for path in paths.iter().filter(|path| !["metadata_indexes", "aliases"].contains(&path.as_str())) {
        let rule = format!("has \"{path}\", and only \"metadata_indexes\" and \"aliases\" can be changed");
        violations.push(Violation::new("update_mask", rule));
    }
    let indexes = has("metadata_indexes").then(|| read_metadata_indexes(&mut violations, &wanted.metadata_indexes));
    if has("aliases") {
        check_aliases(&mut violations, &wanted.aliases);
    }
    violations.finish()?;

    let collection = app.store.current_collection(&wanted.name).await?;
    // What takes long, and can fail, comes first.
    if let Some(indexes) = indexes {
        let timeout = deadline.saturating_duration_since(Instant::now());
        app.store.update_metadata_indexes(&collection, &indexes, timeout).await?;
    }
    if has("aliases") {
        app.store.update_aliases(&collection, &wanted.aliases).await?;
    }
    let info = app.store.get_collection(&collection.definition.name).await?;
    Ok(v1::UpdateCollectionResponse { collection: Some(collections::to_message(info)) })
}

pub(crate) fn read_metadata_indexes(violations: &mut Violations, indexes: &[v1::MetadataIndex]) -> Vec<MetadataIndex> {
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

pub(crate) fn write_metadata_index(index: &MetadataIndex) -> v1::MetadataIndex {
    let kind = match index.kind {
        MetadataIndexType::Gin => v1::MetadataIndexType::Gin,
        MetadataIndexType::Number => v1::MetadataIndexType::Number,
        MetadataIndexType::String => v1::MetadataIndexType::String,
        MetadataIndexType::Time => v1::MetadataIndexType::Time,
    };
    v1::MetadataIndex { field: filter::write_path(&index.path), r#type: kind.into() }
}

pub(crate) fn check_aliases(violations: &mut Violations, aliases: &[String]) {
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
