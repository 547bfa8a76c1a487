//! The rules for the source of a collection. Only the database knows whether the source fits its table.

use pgfox::v1;

use super::{Violation, Violations};
use crate::store::{
    Follow, FollowSpec, MAX_METADATA_COLUMNS, MetadataProblem, Source, SourceProblem, SourceSpec, WritableTable,
};

/// Maximum number of columns of a key.
pub(super) const MAX_ID_COLUMNS: usize = 8;
/// Maximum number of columns of a text.
pub(super) const MAX_TEXT_COLUMNS: usize = 16;
/// Maximum number of bytes of a template.
const MAX_TEMPLATE_BYTES: usize = 4_000;
/// Maximum length of the name of a table in bytes: two names in quotes.
const MAX_TABLE_BYTES: usize = 300;

/// Reads a source. `dimensions` is the requested number of dimensions.
pub(super) fn read(violations: &mut Violations, source: v1::Source, dimensions: Option<usize>) -> SourceSpec {
    let v1::Source { table, id_columns, text_columns, text_template, vector_column, metadata_columns, follow } = source;
    let mut check = |field: &str, text: &str, most: usize| {
        let field = format!("collection.source.{field}");
        if text.len() > most {
            violations.push(Violation::new(&field, format!("must have at most {most} bytes, not {}", text.len())));
        }
        violations.check(!text.contains('\0'), &field, "must not contain NUL");
    };
    check("table", &table, MAX_TABLE_BYTES);
    check("text_template", &text_template, MAX_TEMPLATE_BYTES);
    // If a name is longer, no column has it, and the lookup reports that.
    check("vector_column", &vector_column, MAX_TABLE_BYTES);
    let follow = follow.map(|v1::Follow { triggers, updated_at_column }| {
        check("follow.updated_at_column", &updated_at_column, MAX_TABLE_BYTES);
        (triggers, updated_at_column)
    });
    let lists = [
        ("id_columns", &id_columns, MAX_ID_COLUMNS),
        ("text_columns", &text_columns, MAX_TEXT_COLUMNS),
        ("metadata_columns", &metadata_columns, MAX_METADATA_COLUMNS),
    ];
    for (field, columns, _) in lists {
        for (position, column) in columns.iter().enumerate() {
            check(&format!("{field}[{position}]"), column, MAX_TABLE_BYTES);
        }
    }
    for (field, columns, most) in lists {
        if columns.len() > most {
            let rule = format!("must have at most {most} entries, not {}", columns.len());
            violations.push(Violation::new(format!("collection.source.{field}"), rule));
        }
    }
    violations.check(!table.trim().is_empty(), "collection.source.table", "is required");
    let follow = follow.map(|(triggers, column)| {
        let rule = "must be empty with triggers, which need no column";
        violations.check(!triggers || column.is_empty(), "collection.source.follow.updated_at_column", rule);
        if column.is_empty() { FollowSpec::Triggers } else { FollowSpec::UpdatedAt(column) }
    });
    SourceSpec { table, id_columns, text_columns, text_template, vector_column, metadata_columns, follow, dimensions }
}

/// The problems of a source with its table, as violations of the request.
pub(crate) fn violations(problems: Vec<SourceProblem>) -> Violations {
    let place = |field: &str| match field {
        "embedding.dimensions" => "collection.embedding.dimensions".to_owned(),
        field => format!("collection.source.{field}"),
    };
    problems.into_iter().map(|problem| Violation::new(place(problem.field), problem.rule)).collect()
}

/// Checks the id and the metadata, as JSON, of a document for the table of a source. The id becomes what the database
/// writes.
pub(super) fn check_row(violations: &mut Violations, id: &mut String, metadata: &str, table: &WritableTable) {
    match table.canonical_id(id) {
        Some(canonical) => *id = canonical,
        None => violations.push(Violation::new("id", table.id_rule())),
    }
    violations.append(metadata_violations(table.problems(metadata)));
}

/// Fields of metadata that the columns of a table do not accept.
pub(crate) fn metadata_violations(problems: Vec<MetadataProblem>) -> Violations {
    problems.into_iter().map(|problem| Violation::new(format!("metadata.{}", problem.key), problem.rule)).collect()
}

/// A source in the form of the API, with all columns that were found.
pub(crate) fn to_message(source: &Source) -> v1::Source {
    let names = |columns: &[crate::store::SourceColumn]| columns.iter().map(|column| column.name.clone()).collect();
    v1::Source {
        table: source.relation(),
        id_columns: names(&source.id),
        text_columns: names(&source.text),
        text_template: source.template(),
        vector_column: source.vector.clone(),
        metadata_columns: names(&source.metadata),
        follow: None,
    }
}

/// A followed source in the form of the API.
pub(crate) fn followed_to_message(follow: &Follow) -> v1::Source {
    let Follow { source, updated_at } = follow;
    let updated_at_column = updated_at.clone().unwrap_or_default();
    let follow = v1::Follow { triggers: updated_at_column.is_empty(), updated_at_column };
    v1::Source { follow: Some(follow), ..to_message(source) }
}
