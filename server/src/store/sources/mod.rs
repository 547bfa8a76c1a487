//! Tables of the user that a collection serves as they are.
//!
//! The statements over the tables of pgfox read a source by subqueries in the place of those tables (`columns`). Postgres
//! merges a subquery into the statement around it, so that it uses the indexes of the table. Nothing in the database depends
//! on the table: its owner can change and drop it as before.

mod changes;
mod column_indexes;
mod columns;
mod filter;
mod find;
mod identifiers;
mod indexes;
mod plan;
mod table;
mod write;

use serde::{Deserialize, Serialize};

use super::{StoreError, VectorType, schema};

pub(crate) use column_indexes::SourceIndex;
pub(super) use column_indexes::source_indexes;
pub(super) use filter::Fields;
pub(crate) use find::{MAX_METADATA_COLUMNS, SourceProblem};
pub(super) use identifiers::literal;
pub(super) use indexes::{index_relation, vectors_relation};
pub(crate) use plan::PlannedStatement;
pub(crate) use write::{MetadataProblem, RefusedRow, Row as SourceRow, WritableTable};

/// A source as a caller names it. What is empty is for pgfox to find.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceSpec {
    /// As in SQL, with its schema or without.
    pub table: String,
    pub id_columns: Vec<String>,
    pub text_columns: Vec<String>,
    pub text_template: String,
    pub vector_column: String,
    pub metadata_columns: Vec<String>,
    /// Whether, and how, the collection follows the table.
    pub follow: Option<FollowSpec>,
    /// Elements of the vectors; `None`: as the column has them, or its rows.
    pub dimensions: Option<usize>,
}

/// How a collection learns of changes.
#[derive(Clone, Debug)]
pub(crate) enum FollowSpec {
    Triggers,
    /// A column that says when a row changed.
    UpdatedAt(String),
}

impl FollowSpec {
    pub(crate) fn updated_at(&self) -> Option<&str> {
        match self {
            Self::Triggers => None,
            Self::UpdatedAt(column) => Some(column),
        }
    }
}

/// A source that was found as it is.
#[derive(Clone, Debug)]
pub(crate) struct FoundSource {
    pub source: Source,
    /// The vectors that it has. `None`: pgfox makes them of what it follows.
    pub vectors: Option<FoundVectors>,
    /// How the collection learns of changes. `None`: it serves the rows themselves.
    pub follow: Option<FollowSpec>,
    /// The tables that get triggers, quoted.
    pub followed: Vec<String>,
    /// The statements that grant what the role lacks to read it.
    pub grants: Vec<String>,
    /// The statement that grants what the role lacks to write it.
    pub write_grant: Option<String>,
}

/// The vectors of a column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundVectors {
    /// 0: only the rows say it, and they cannot be read.
    pub dimensions: usize,
    pub vector_type: VectorType,
}

/// A table with the columns of its documents, as the registry has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Source {
    pub schema: String,
    pub table: String,
    /// How the names of the indexes begin that pgfox makes on it: like those of no other collection anywhere.
    pub stem: String,
    pub id: Vec<Column>,
    pub text: Vec<Column>,
    pub text_template: Vec<TemplatePart>,
    /// Empty: only a collection that follows the table, and makes the vectors, has none.
    pub vector: String,
    /// The type of the column says how many dimensions all vectors have.
    pub fixed_dimensions: bool,
    pub metadata: Vec<Column>,
    pub partitioned: bool,
}

/// A column, by its name in the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ColumnType,
}

/// A part of the template of a text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TemplatePart {
    Literal(String),
    Column(Column),
}

/// What a column holds. Types that pgfox reads alike are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ColumnType {
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Bool,
    /// text and varchar.
    Text,
    Uuid,
    /// Shown as text: char(n), citext, name, enums, network addresses.
    Textual,
    Date,
    Timestamp,
    Timestamptz,
    Json,
    Jsonb,
    TextArray,
    /// Numbers, booleans or uuid.
    Array,
}

impl ColumnType {
    /// Whether it can be a part of a key.
    fn is_key(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8 | Self::Uuid | Self::Text | Self::Date)
    }

    /// Whether a text can be made of it.
    fn is_text(self) -> bool {
        !matches!(self, Self::Json | Self::Jsonb | Self::TextArray | Self::Array)
    }

    fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonb)
    }

    /// A value of a key in words.
    fn key_words(self) -> &'static str {
        match self {
            Self::Int2 | Self::Int4 | Self::Int8 => "an integer",
            Self::Uuid => "a UUID in lower case",
            Self::Date => "a date such as 2024-02-29",
            _ => "a text",
        }
    }

    /// Its name in SQL, for a cast. Only of those that are keys.
    fn sql(self) -> &'static str {
        match self {
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Uuid => "uuid",
            Self::Date => "date",
            _ => "text",
        }
    }
}

impl Source {
    /// The qualified and quoted name of the table.
    pub(crate) fn relation(&self) -> String {
        format!("{}.{}", schema::quote(&self.schema), schema::quote(&self.table))
    }

    /// As the registry stores it.
    pub(in crate::store) fn to_json(&self) -> Result<String, StoreError> {
        serde_json::to_string(self)
            .map_err(|error| StoreError::Internal(format!("a source cannot be written as JSON: {error}")))
    }

    /// The column of the vectors, if it has one.
    fn vector_column(&self) -> Option<&String> {
        Some(&self.vector).filter(|vector| !vector.is_empty())
    }

    /// The columns of the documents, without that of the vectors.
    fn columns(&self) -> impl Iterator<Item = &Column> {
        let templated = self.text_template.iter().filter_map(|part| match part {
            TemplatePart::Column(column) => Some(column),
            TemplatePart::Literal(_) => None,
        });
        self.id.iter().chain(&self.text).chain(templated).chain(&self.metadata)
    }

    /// The metadata are the keys of one JSON column.
    fn is_spread(&self) -> bool {
        matches!(&self.metadata[..], [column] if column.kind.is_json())
    }

    /// The template as a caller writes it; empty without one.
    pub(crate) fn template(&self) -> String {
        let escaped = |text: &str| text.replace('{', "{{").replace('}', "}}");
        let part = |part: &TemplatePart| match part {
            TemplatePart::Literal(text) => escaped(text),
            TemplatePart::Column(column) => format!("{{{}}}", column.name),
        };
        self.text_template.iter().map(part).collect()
    }

    /// The parts of the key that an id stands for, as text; nothing for an id that no row of the table can have.
    pub(super) fn key_of(&self, id: &str) -> Option<Vec<String>> {
        let [_, _, ..] = &self.id[..] else {
            let column = self.id.first()?;
            return column.is_key_text(id).then(|| vec![id.to_owned()]);
        };
        let parts: Vec<serde_json::Value> = serde_json::from_str(id).ok()?;
        if parts.len() != self.id.len() {
            return None;
        }
        let part = |(value, column): (serde_json::Value, &Column)| {
            let is_number = matches!(column.kind, ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8);
            let text = match value {
                serde_json::Value::Number(number) if is_number => number.to_string(),
                serde_json::Value::String(text) if !is_number => text,
                _ => return None,
            };
            column.is_key_text(&text).then_some(text)
        };
        parts.into_iter().zip(&self.id).map(part).collect()
    }

    /// An id as the database writes it: JSON can be written with other white space.
    pub(super) fn canonical_id(&self, id: &str) -> Option<String> {
        let parts = self.key_of(id)?;
        if let [part] = &parts[..] {
            return Some(part.clone());
        }
        let write = |(part, column): (&String, &Column)| match column.kind {
            ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => part.clone(),
            // Safe: serialising a string into memory cannot fail.
            _ => serde_json::to_string(part).unwrap_or_default(),
        };
        Some(format!("[{}]", parts.iter().zip(&self.id).map(write).collect::<Vec<_>>().join(", ")))
    }
}

impl Column {
    /// Whether a text is what the database writes for some value of this part of a key.
    fn is_key_text(&self, text: &str) -> bool {
        let within = |low: i64, high: i64| {
            text.parse::<i64>().is_ok_and(|number| (low..=high).contains(&number) && number.to_string() == text)
        };
        match self.kind {
            ColumnType::Int2 => within(i16::MIN.into(), i16::MAX.into()),
            ColumnType::Int4 => within(i32::MIN.into(), i32::MAX.into()),
            ColumnType::Int8 => within(i64::MIN, i64::MAX),
            ColumnType::Uuid => is_uuid(text),
            ColumnType::Date => is_date(text),
            _ => !text.contains('\0'),
        }
    }
}

/// Whether a text is a UUID as Postgres writes it.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// Whether a text is a date as Postgres writes it in JSON: `infinity`, `-infinity`, or a date of the years 4714 BC to
/// 5874897, such as `2024-02-29` or `0044-03-15 BC`.
fn is_date(text: &str) -> bool {
    if matches!(text, "infinity" | "-infinity") {
        return true;
    }
    let (date, is_bc) = text.strip_suffix(" BC").map_or((text, false), |date| (date, true));
    let is_digits = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let [year, month, day] = &date.split('-').collect::<Vec<_>>()[..] else { return false };
    // Years have four digits, or as many as they need.
    let has_form = year.len() == 4 || (5..=7).contains(&year.len()) && !year.starts_with('0');
    if !has_form || month.len() != 2 || day.len() != 2 || ![year, month, day].into_iter().all(|part| is_digits(part)) {
        return false;
    }
    // At most seven digits.
    let number = |digits: &str| digits.parse::<i32>().unwrap_or_default();
    let (written, month, day) = (number(year), number(month), number(day));
    // Before the year 1 comes the year 1 BC.
    let year = if is_bc { 1 - written } else { written };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let is_in_range = (year, month, day) >= (-4713, 11, 24) && year <= 5_874_897;
    written > 0 && (1..=days).contains(&day) && is_in_range
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(kinds: &[ColumnType]) -> Source {
        let column = |kind: &ColumnType| Column { name: "c".into(), kind: *kind };
        Source {
            schema: "public".into(),
            table: "t".into(),
            stem: "pgfox_1".into(),
            id: kinds.iter().map(column).collect(),
            text: Vec::new(),
            text_template: Vec::new(),
            vector: "v".into(),
            fixed_dimensions: true,
            metadata: Vec::new(),
            partitioned: false,
        }
    }

    #[test]
    fn ids_are_those_that_rows_can_have() {
        let has = |kind, id: &str| source(&[kind]).key_of(id).is_some();
        for (kind, good, bad) in [
            (ColumnType::Int2, "-32768", "32768"),
            (ColumnType::Int4, "2147483647", "2147483648"),
            (ColumnType::Int8, "0", "00"),
            (ColumnType::Int8, "9", " 9"),
            (ColumnType::Uuid, "123e4567-e89b-12d3-a456-426614174000", "123E4567-e89b-12d3-a456-426614174000"),
            (ColumnType::Text, "'; --", "\0"),
            (ColumnType::Date, "2024-02-29", "2023-02-29"),
            (ColumnType::Date, "0005-02-29 BC", "0004-02-29 BC"),
            (ColumnType::Date, "4714-11-24 BC", "4714-11-23 BC"),
            (ColumnType::Date, "5874897-12-31", "5874898-01-01"),
            (ColumnType::Date, "10000-01-01", "02024-01-01"),
            (ColumnType::Date, "-infinity", "today"),
            (ColumnType::Date, "2024-01-01", "2024-1-01"),
            (ColumnType::Date, "0001-01-01", "0000-01-01"),
        ] {
            assert!(has(kind, good), "{good}");
            assert!(!has(kind, bad), "{bad}");
        }
    }

    #[test]
    fn an_id_of_several_columns_is_a_list() {
        let source = source(&[ColumnType::Int4, ColumnType::Text]);
        assert_eq!(source.canonical_id(r#"[1,"ä\""]"#).as_deref(), Some(r#"[1, "ä\""]"#));
        for bad in ["1", "[1]", r#"["1", "a"]"#, "[1, 2]", r#"[1.5, "a"]"#, r#"[1, "a"] "x"#] {
            assert_eq!(source.canonical_id(bad), None, "{bad}");
        }
    }
}
