//! Filters over the columns of a source. Where a test of a field is one of its column, the condition is on the column
//! itself, so that the indexes of the table serve it. All others look at the field as JSON.

use tokio_postgres::types::Type;

use super::{Column, ColumnType, Source, SourceIndex, identifiers::literal};
use crate::store::{
    Bound, FieldPath, Literal, Test,
    filter::to_time,
    wire::{Json, Parameters},
};

/// Maximum number of values in a list that are looked for one by one in each row.
const MAX_CONTAINMENTS: usize = 8;

/// What the paths of filters lead to.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Fields<'e> {
    /// The metadata of a document.
    Metadata,
    /// The columns of a source.
    Columns(&'e Source),
}

impl Fields<'_> {
    /// The JSON that holds the fields of a path.
    pub(in crate::store) fn json(self, path: &FieldPath, internal: &str) -> String {
        match self {
            Self::Metadata => "d.metadata".to_owned(),
            Self::Columns(source) if source.is_spread() => "d.raw_metadata".to_owned(),
            Self::Columns(source) => match source.column_of(path) {
                Some((number, column)) => format!(
                    "jsonb_build_object({}, {})",
                    literal(&column.name),
                    column.argument_of(&format!("d.m_{number}"), internal)
                ),
                None => "'{}'::jsonb".to_owned(),
            },
        }
    }

    /// A condition on ids, if it is not on `d.id`.
    pub(in crate::store) fn ids<'a>(self, ids: &'a [String], parameters: &mut Parameters<'a>) -> Option<String> {
        match self {
            Self::Metadata => None,
            Self::Columns(source) => Some(source.has_id(ids.iter().map(String::as_str), parameters)),
        }
    }

    /// A condition on a column, if the test is one.
    pub(in crate::store) fn condition<'a>(
        self,
        path: &'a FieldPath,
        test: &'a Test,
        parameters: &mut Parameters<'a>,
    ) -> Option<String> {
        let Self::Columns(source) = self else { return None };
        if source.is_spread() {
            return None;
        }
        let Some((number, column)) = source.column_of(path) else {
            return Some("false".to_owned());
        };
        let name = format!("d.m_{number}");
        if column.kind == ColumnType::Jsonb {
            return within_json(&name, path, test, parameters);
        }
        let is_column = path.lists.is_empty() && path.keys.len() == 1;
        if is_column { on_column(&name, column.kind, test, parameters) } else { None }
    }
}

impl Source {
    /// The column of the metadata that a path leads through, with its number.
    fn column_of(&self, path: &FieldPath) -> Option<(usize, &Column)> {
        let first = path.lists.first().unwrap_or(&path.keys).first()?;
        (1..).zip(&self.metadata).find(|(_, column)| column.name == *first)
    }

    /// Whether an index of the table can serve a condition on a field.
    pub(in crate::store) fn is_served(&self, path: &FieldPath, test: &Test, indexes: &[SourceIndex]) -> bool {
        if self.is_spread() {
            return false;
        }
        let Some((_, column)) = self.column_of(path) else { return false };
        let is_column = path.lists.is_empty() && path.keys.len() == 1;
        is_column
            && on_column("c", column.kind, test, &mut Parameters::default()).is_some()
            && indexes.iter().any(|index| index.serves(&column.name, column.kind, test))
    }

    /// That a document `d` has one of these ids.
    pub(in crate::store) fn has_id<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
        parameters: &mut Parameters<'_>,
    ) -> String {
        let ids: Vec<&str> = ids.filter(|id| self.key_of(id).is_some()).collect();
        if ids.is_empty() {
            return "false".to_owned();
        }
        let lists = self.key_lists(ids.into_iter(), parameters);
        match &lists[..] {
            [list] => format!("(d.key = ANY({list}))"),
            lists => {
                let columns: Vec<String> = (1..=lists.len()).map(|n| format!("d.key_{n}")).collect();
                format!("(({}) IN (SELECT * FROM unnest({}) u))", columns.join(", "), lists.join(", "))
            }
        }
    }

    /// The keys with these ids as one list in SQL for each column of the key. Ids that no row can have are left out.
    pub(super) fn key_lists<'a>(
        &self,
        ids: impl Iterator<Item = &'a str>,
        parameters: &mut Parameters<'_>,
    ) -> Vec<String> {
        let keys: Vec<Vec<String>> = ids.filter_map(|id| self.key_of(id)).collect();
        let list = |(position, column): (usize, &Column)| {
            let parts: Vec<String> = keys.iter().map(|key| key[position].clone()).collect();
            let number = parameters.push(parts, Type::TEXT_ARRAY);
            match column.kind {
                ColumnType::Text => format!("${number}"),
                kind => format!("${number}::{}[]", kind.sql()),
            }
        };
        self.id.iter().enumerate().map(list).collect()
    }

    /// What the key of a document must be: none of those with these ids. `None` if no row can have one.
    pub(in crate::store) fn not_excluded(&self, ids: &[String], parameters: &mut Parameters<'_>) -> Option<String> {
        let keys: Vec<Vec<String>> = ids.iter().filter_map(|id| self.key_of(id)).collect();
        match &self.id[..] {
            _ if keys.is_empty() => None,
            [column] => {
                let keys: Vec<String> = keys.into_iter().flatten().collect();
                let number = parameters.push(keys, Type::TEXT_ARRAY);
                Some(format!("<> ALL(${number}::{}[])", column.kind.sql()))
            }
            _ => {
                let keys = keys.into_iter().map(|key| format!("${}", parameters.push(key, Type::TEXT_ARRAY)));
                Some(format!("NOT IN ({})", keys.collect::<Vec<_>>().join(", ")))
            }
        }
    }

    /// That a document `d` comes behind an id in the order of the key, or before it.
    pub(in crate::store) fn is_beyond<'a>(
        &self,
        id: &str,
        comparison: &str,
        parameters: &mut Parameters<'a>,
    ) -> Option<String> {
        let parts = self.key_of(id)?;
        let mut values = Vec::with_capacity(parts.len());
        for (part, column) in parts.into_iter().zip(&self.id) {
            values.push(format!("${}::{}", parameters.push(part, Type::TEXT), column.kind.sql()));
        }
        let columns: Vec<String> = self.order().iter().map(|column| format!("d.{column}")).collect();
        Some(format!("({}) {comparison} ({})", columns.join(", "), values.join(", ")))
    }
}

/// Containment in a jsonb column, which a GIN index on it serves.
fn within_json(column: &str, path: &FieldPath, test: &Test, parameters: &mut Parameters<'_>) -> Option<String> {
    let within = path.within_first();
    // A list contains its elements, and equals none of them.
    let is_column = within.lists.is_empty() && within.keys.is_empty();
    let wanted: Vec<String> = match test {
        Test::Exists if is_column => return Some(format!("jsonb_typeof({column}) <> 'null'")),
        Test::Equals(literal) if literal.is_scalar && !is_column => vec![within.holding(&literal.json)],
        Test::OneOf(literals) if !is_column => literals.iter().map(|literal| within.holding(&literal.json)).collect(),
        Test::ContainsAny(literals) => {
            literals.iter().map(|literal| within.holding(&format!("[{}]", literal.json))).collect()
        }
        Test::ContainsAll(literals) => {
            let literals: Vec<&str> = literals.iter().map(|literal| literal.json.as_str()).collect();
            vec![within.holding(&format!("[{}]", literals.join(",")))]
        }
        _ => return None,
    };
    let wanted: Vec<_> = wanted.into_iter().map(Json).collect();
    Some(match wanted.len() {
        1 => {
            let wanted = wanted.into_iter().next()?;
            format!("({column} @> ${})", parameters.push(wanted, Type::JSONB))
        }
        2..=MAX_CONTAINMENTS => format!("({column} @> ANY(${}))", parameters.push(wanted, Type::JSONB_ARRAY)),
        _ => return None,
    })
}

/// A test as a condition on a column of a type, where both mean the same.
fn on_column<'a>(column: &str, kind: ColumnType, test: &'a Test, parameters: &mut Parameters<'a>) -> Option<String> {
    use ColumnType as Kind;
    let condition = match (kind, test) {
        // JSON has no infinite times.
        (Kind::Timestamp | Kind::Timestamptz, Test::Exists) => format!("isfinite({column})"),
        (_, Test::Exists) if !kind.is_json() => format!("{column} IS NOT NULL"),
        (Kind::Int2 | Kind::Int4 | Kind::Int8, test) => return on_integer(column, test, parameters),
        (Kind::Float8 | Kind::Numeric, Test::Number(bound, number)) => {
            let number = parameters.push(number.to_string(), Type::TEXT);
            // JSON has no NaN and no infinity, so these values are text in the metadata. NaN is above infinity.
            let finite = format!("{column} > '-Infinity' AND {column} < 'Infinity'");
            format!("{column} {} ${number}::{} AND {finite}", bound.operator(), number_type(kind))
        }
        (Kind::Float8 | Kind::Numeric, Test::Equals(literal)) => {
            let number = parameters.push(number(literal)?.to_string(), Type::TEXT);
            format!("{column} = ${number}::{}", number_type(kind))
        }
        (Kind::Bool, Test::Equals(literal)) => match literal.json.as_str() {
            "true" => column.to_owned(),
            "false" => format!("NOT {column}"),
            _ => "false".to_owned(),
        },
        (Kind::Text, Test::Equals(literal)) => match string(literal) {
            Some(text) => format!("{column} = ${}", parameters.push(text, Type::TEXT)),
            None => "false".to_owned(),
        },
        (Kind::Text, Test::OneOf(literals)) => {
            let texts: Vec<String> = literals.iter().filter_map(string).collect();
            format!("{column} = ANY(${})", parameters.push(texts, Type::TEXT_ARRAY))
        }
        (Kind::Text, Test::String(bound, text)) => {
            format!("{column} COLLATE \"C\" {} ${}", bound.operator(), parameters.push(text, Type::TEXT))
        }
        (Kind::Text, Test::StartsWith(prefix)) => {
            format!("{column} COLLATE \"C\" ^@ ${}", parameters.push(prefix, Type::TEXT))
        }
        (Kind::Text, Test::ContainsText(text)) => {
            format!("strpos({column} COLLATE \"C\", ${}) > 0", parameters.push(text, Type::TEXT))
        }
        (Kind::Uuid, Test::Equals(literal)) => match string(literal).filter(|text| super::is_uuid(text)) {
            Some(text) => format!("{column} = ${}::uuid", parameters.push(text, Type::TEXT)),
            None => "false".to_owned(),
        },
        (Kind::Uuid, Test::OneOf(literals)) => {
            let texts: Vec<String> = literals.iter().filter_map(string).filter(|text| super::is_uuid(text)).collect();
            format!("{column} = ANY(${}::uuid[])", parameters.push(texts, Type::TEXT_ARRAY))
        }
        (Kind::Timestamptz, Test::Time(bound, microseconds)) => {
            let time = parameters.push(to_time(*microseconds), Type::TIMESTAMPTZ);
            format!("{column} {} ${time} AND isfinite({column})", bound.operator())
        }
        (Kind::Timestamp, Test::Time(bound, microseconds)) => {
            let time = parameters.push(to_time(*microseconds), Type::TIMESTAMP);
            format!("{column} {} ${time} AND isfinite({column})", bound.operator())
        }
        (Kind::Date, Test::Time(bound, microseconds)) => {
            let time = parameters.push(to_time(*microseconds), Type::TIMESTAMP);
            format!("{column} {} ${time} AND isfinite({column})", bound.operator())
        }
        (Kind::TextArray, Test::ContainsAny(literals)) => {
            let texts: Vec<String> = literals.iter().filter_map(string).collect();
            format!("{column}::text[] && ${}", parameters.push(texts, Type::TEXT_ARRAY))
        }
        (Kind::TextArray, Test::ContainsAll(literals)) => {
            match literals.iter().map(string).collect::<Option<Vec<String>>>() {
                Some(texts) => format!("{column}::text[] @> ${}", parameters.push(texts, Type::TEXT_ARRAY)),
                None => "false".to_owned(),
            }
        }
        _ => return None,
    };
    Some(format!("({condition})"))
}

/// Integers are compared with integers, so that an index on them serves.
fn on_integer<'a>(column: &str, test: &'a Test, parameters: &mut Parameters<'a>) -> Option<String> {
    let condition = match test {
        Test::Equals(literal) => match number(literal).and_then(integer) {
            Some(number) => format!("{column} = ${}", parameters.push(number, Type::INT8)),
            None => "false".to_owned(),
        },
        Test::OneOf(literals) => {
            let numbers: Vec<i64> = literals.iter().filter_map(number).filter_map(integer).collect();
            format!("{column} = ANY(${})", parameters.push(numbers, Type::INT8_ARRAY))
        }
        Test::Number(bound, number) => {
            let nearest = match bound {
                Bound::LessThan | Bound::AtLeast => number.ceil(),
                Bound::AtMost | Bound::GreaterThan => number.floor(),
            };
            match integer(nearest) {
                Some(number) => format!("{column} {} ${}", bound.operator(), parameters.push(number, Type::INT8)),
                // Beyond all integers.
                None => {
                    let is_below = matches!(bound, Bound::LessThan | Bound::AtMost);
                    if (nearest > 0.0) == is_below { format!("{column} IS NOT NULL") } else { "false".to_owned() }
                }
            }
        }
        _ => return None,
    };
    Some(format!("({condition})"))
}

fn number_type(kind: ColumnType) -> &'static str {
    if kind == ColumnType::Float8 { "float8" } else { "numeric" }
}

/// A float that is an integer of 64 bits.
fn integer(number: f64) -> Option<i64> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    (number.fract() == 0.0 && (-BEYOND..BEYOND).contains(&number)).then_some(number as i64)
}

fn number(literal: &Literal) -> Option<f64> {
    serde_json::from_str(&literal.json).ok()
}

fn string(literal: &Literal) -> Option<String> {
    serde_json::from_str(&literal.json).ok()
}
