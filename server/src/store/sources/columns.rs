//! A source as the statements read it: subqueries with the columns of pgfox's own tables.

use super::{Column, ColumnType, Source, TemplatePart, identifiers::literal};
use crate::store::schema::quote;

/// Maximum number of arguments of a function in Postgres.
const MAX_ARGUMENTS: usize = 100;

impl Source {
    /// The documents: `key`, `id`, `text`, `metadata`, `embedding` and no version. Beside them the parts of a key of several
    /// columns as `key_1` and so on, the columns of the metadata as `m_1` and so on, and `raw_metadata`, on which an index of
    /// the table can serve a filter.
    pub(in crate::store) fn documents(&self, internal: &str) -> String {
        self.documents_as("d", internal)
    }

    /// Only `id`, `changed_at`, a column of the table, and `xmin`, the transaction that wrote the row.
    pub(in crate::store) fn documents_with_change(&self, changed_at: &str) -> String {
        let changed_at = quote(changed_at);
        format!(
            "(SELECT {} COLLATE \"C\" AS id, d.{changed_at} AS changed_at, d.xmin FROM {} d)",
            self.id("d"),
            self.relation()
        )
    }

    /// The same with an alias for the table, by which a plan names it.
    fn documents_as(&self, row: &str, internal: &str) -> String {
        let mut columns = vec![
            format!("{} AS key", self.key(row)),
            format!("{} COLLATE \"C\" AS id", self.id(row)),
            format!("{} AS text", self.text(row)),
            format!("{} AS metadata", self.metadata(row, internal)),
            match self.vector.as_str() {
                "" => "NULL AS embedding".to_owned(),
                vector => format!("{row}.{} AS embedding", quote(vector)),
            },
            "NULL::bigint AS version, NULL::timestamptz AS created_at, NULL::timestamptz AS updated_at".to_owned(),
        ];
        if self.id.len() > 1 {
            columns.extend((1..).zip(&self.id).map(|(n, column)| format!("{} AS key_{n}", column.of_row(row))));
        }
        if let [column] = &self.metadata[..]
            && self.is_spread()
        {
            columns.push(format!("{} AS raw_metadata", column.json(row, internal)));
        } else {
            columns.extend((1..).zip(&self.metadata).map(|(n, column)| format!("{} AS m_{n}", column.of_row(row))));
        }
        format!("(SELECT {} FROM {} {row})", columns.join(", "), self.relation())
    }

    /// The vectors: `document_key`, `chunk` and `embedding`, without those of other dimensions.
    pub(in crate::store) fn embeddings(&self, extension: &str, dimensions: usize) -> String {
        let condition = self.has_vector("e", &quote(&self.vector), extension, dimensions);
        format!(
            "(SELECT {} AS document_key, 0 AS chunk, e.{} AS embedding FROM {} e WHERE {condition})",
            self.key("e"),
            quote(&self.vector),
            self.relation()
        )
    }

    /// The documents `d` with their vectors `e`, each row of the table once.
    pub(in crate::store) fn documents_and_vectors(&self, internal: &str, extension: &str, dimensions: usize) -> String {
        format!(
            "{} d JOIN LATERAL (SELECT d.key AS document_key, 0 AS chunk, d.embedding AS embedding) e ON {}",
            self.documents_as("e", internal),
            self.has_vector("d", "embedding", extension, dimensions)
        )
    }

    /// That a row has a vector of the right dimensions; never null.
    pub(super) fn has_vector(&self, alias: &str, column: &str, extension: &str, dimensions: usize) -> String {
        let has = format!("{alias}.{column} IS NOT NULL");
        if self.fixed_dimensions {
            return has;
        }
        format!("{has} AND {extension}.vector_dims({alias}.{column}) = {dimensions}")
    }

    /// That a document `d` has a key, which is one of several columns in an array.
    pub(in crate::store) fn on_document(&self, key: &str) -> String {
        if self.id.len() == 1 {
            return format!("d.key = {key}");
        }
        let part = |(n, column): (usize, &Column)| format!("d.key_{n} = ({key})[{n}]::{}", column.kind.sql());
        (1..).zip(&self.id).map(part).collect::<Vec<_>>().join(" AND ")
    }

    /// The columns that documents are in the order of.
    pub(in crate::store) fn order(&self) -> Vec<String> {
        match self.id.len() {
            1 => vec!["key".to_owned()],
            count => (1..=count).map(|n| format!("key_{n}")).collect(),
        }
    }

    /// The key of a row, which is one of several columns in an array.
    pub(in crate::store) fn key(&self, row: &str) -> String {
        match &self.id[..] {
            [column] => column.of_row(row),
            columns => {
                let parts: Vec<String> = columns.iter().map(|column| column.key_text(row)).collect();
                format!("ARRAY[{}]", parts.join(", "))
            }
        }
    }

    /// The id of a row.
    pub(in crate::store) fn id(&self, row: &str) -> String {
        match &self.id[..] {
            [column] => column.key_text(row),
            columns => {
                let parts: Vec<String> = columns.iter().map(|column| column.of_row(row)).collect();
                format!("jsonb_build_array({})::text", parts.join(", "))
            }
        }
    }

    pub(super) fn text(&self, row: &str) -> String {
        if !self.text_template.is_empty() {
            let part = |part: &TemplatePart| match part {
                TemplatePart::Literal(text) => literal(text),
                TemplatePart::Column(column) => column.text(row),
            };
            let parts: Vec<String> = self.text_template.iter().map(part).collect();
            let texts: Vec<String> =
                parts.chunks(MAX_ARGUMENTS).map(|parts| format!("concat({})", parts.join(", "))).collect();
            return format!("({})", texts.join(" || "));
        }
        match &self.text[..] {
            [] => "''::text".to_owned(),
            [column] => format!("coalesce({}, '')", column.text(row)),
            columns => {
                let parts: Vec<String> = columns.iter().map(|column| column.text(row)).collect();
                format!("concat_ws(E'\\n', {})", parts.join(", "))
            }
        }
    }

    pub(super) fn metadata(&self, row: &str, internal: &str) -> String {
        if let [column] = &self.metadata[..]
            && self.is_spread()
        {
            let json = column.json(row, internal);
            return format!("CASE WHEN jsonb_typeof({json}) = 'object' THEN {json} ELSE '{{}}'::jsonb END");
        }
        let object = |columns: &[Column]| {
            let pair = |column: &Column| format!("{}, {}", literal(&column.name), column.argument(row, internal));
            format!("jsonb_build_object({})", columns.iter().map(pair).collect::<Vec<_>>().join(", "))
        };
        let objects: Vec<String> = self.metadata.chunks(MAX_ARGUMENTS / 2).map(object).collect();
        if objects.is_empty() { "'{}'::jsonb".to_owned() } else { format!("({})", objects.join(" || ")) }
    }
}

impl Column {
    fn of_row(&self, row: &str) -> String {
        format!("{row}.{}", quote(&self.name))
    }

    /// The text of a part of a key, whatever the settings of the session.
    fn key_text(&self, row: &str) -> String {
        match self.kind {
            ColumnType::Date => format!("(to_json({}) #>> '{{}}')", self.of_row(row)),
            _ => format!("{}::text", self.of_row(row)),
        }
    }

    /// The argument of which `jsonb_build_object` makes the value of the column.
    fn argument(&self, row: &str, internal: &str) -> String {
        self.argument_of(&self.of_row(row), internal)
    }

    /// The same for an expression that is the column.
    pub(super) fn argument_of(&self, column: &str, internal: &str) -> String {
        match self.kind {
            ColumnType::Timestamp => format!("{internal}.rfc_3339({column})"),
            ColumnType::Timestamptz => format!("{internal}.rfc_3339({column} AT TIME ZONE interval '0')"),
            _ => column.to_owned(),
        }
    }

    /// The value as jsonb.
    fn json(&self, row: &str, internal: &str) -> String {
        match self.kind {
            ColumnType::Jsonb => self.of_row(row),
            ColumnType::Json => format!("{}::jsonb", self.of_row(row)),
            _ => format!("to_jsonb({})", self.argument(row, internal)),
        }
    }

    /// The value as text, whatever the settings of the session; null for NULL.
    fn text(&self, row: &str) -> String {
        let column = self.of_row(row);
        match self.kind {
            ColumnType::Text | ColumnType::Textual | ColumnType::Uuid => format!("{column}::text"),
            ColumnType::Timestamptz => format!("(to_json({column} AT TIME ZONE interval '0') #>> '{{}}') || 'Z'"),
            _ => format!("(to_json({column}) #>> '{{}}')"),
        }
    }
}
