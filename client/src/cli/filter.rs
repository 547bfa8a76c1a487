//! `--where`: parses filters that people write into the message.
//!
//! ```text
//! filter = all { "or" all }
//! all    = term { "and" term }
//! term   = "not" term | "(" filter ")" | "exists" field | field [ test [ "ignoring" "case" ] ]
//! test   = ( "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" ) value
//!        | [ "not" ] "in" list
//!        | [ "not" ] "between" value "and" value
//!        | "contains" ( value | "any" list | "all" list | "text" string )
//!        | ( "starts" "with" | "^=" ) string
//!        | [ "not" ] ( "like" | "ilike" ) string
//!        | ( "before" | "since" ) time
//!        | "is" [ "not" ] "null"
//! list   = "(" value { "," value } ")" | "[" value { "," value } "]"
//! field  = key [ "[]" ] { "." key [ "[]" ] }
//! key    = letters, digits, "_" and "-" | string
//! ```
//!
//! Words of the language may be in any letter case; `&&` and `||` mean `and` and `or`. A field alone means `field =
//! true`. The name `id` means the id of the document; a metadata field with this name is written in quotes.

mod lexer;
mod parser;
mod slips;
#[cfg(test)]
mod tests;

use clap::Args;
use pgfox_client::v1::{Condition, Filter, FilterList, condition::Test, filter::Node};
use prost_types::{Timestamp, Value, value::Kind};

use super::failure::Failure;
use parser::Parser;

/// The flag of every command with a filter.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Where {
    /// Only documents that match, such as 'year >= 2000 and lang in ("en", "de")'; `pgfox list --help` lists all tests
    #[arg(long = "where", value_name = "FILTER")]
    expression: Option<String>,
}

impl Where {
    pub(crate) fn is_given(&self) -> bool {
        self.expression.is_some()
    }

    /// The notes of an answer that found nothing, for people. If a test for lists meets a field with strings, the note
    /// points at it.
    pub(crate) fn notes(&self, notes: &[String]) -> String {
        let expression = self.expression.as_deref().unwrap_or_default();
        let mut parser = Parser::new(expression);
        // The expression was parsed successfully before.
        let _ = parser.any();
        let mut text = String::new();
        for note in notes {
            let is_of = |field: &str| {
                note.starts_with(&format!("`{field}` contains_any compares lists, ")) && note.contains("strings")
            };
            text += &match parser.list_tests.iter().find(|(field, _)| is_of(field)) {
                Some((field, offset)) => {
                    let (line, column, caret) = lexer::point(expression, *offset);
                    format!(
                        "note: --where: column {column}: `{field}` contains strings: write contains text\n  \
                         {line}\n  {caret}\n"
                    )
                }
                None => format!("note: {note}\n"),
            };
        }
        text
    }

    pub(crate) fn filter(&self) -> Result<Option<Filter>, Failure> {
        self.expression
            .as_deref()
            .map(|expression| parse(expression).map_err(|error| error.into_failure(expression)))
            .transpose()
    }
}

/// A mistake in an expression, and its place.
#[derive(Debug, PartialEq)]
struct Error {
    /// The number of bytes before the place.
    offset: usize,
    message: String,
}

impl Error {
    fn into_failure(self, expression: &str) -> Failure {
        let (line, column, caret) = lexer::point(expression, self.offset);
        Failure::usage(format!("--where: column {column}: {}\n  {line}\n  {caret}", self.message))
    }
}

fn parse(expression: &str) -> Result<Filter, Error> {
    let mut parser = Parser::new(expression);
    let filter = parser.any()?;
    if !parser.lexer.is_at_end() {
        return Err(parser.expected_here("`and`, `or` or the end"));
    }
    Ok(filter)
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn node(node: Node) -> Filter {
    Filter { node: Some(node) }
}

fn test(field: String, test: Test) -> Filter {
    node(Node::Condition(Condition { field, test: Some(test), ignore_case: false }))
}

/// Makes the tests of a filter ignore case, if they are tests of strings.
fn ignore_case(filter: &mut Filter) -> bool {
    let is_text = |value: &Value| matches!(value.kind, Some(Kind::StringValue(_)));
    match &mut filter.node {
        Some(Node::Condition(condition)) => {
            condition.ignore_case = match &condition.test {
                Some(Test::Equals(value) | Test::NotEquals(value)) => is_text(value),
                Some(Test::OneOf(list) | Test::NoneOf(list) | Test::ContainsAny(list) | Test::ContainsAll(list)) => {
                    list.values.iter().all(is_text)
                }
                Some(Test::StartsWith(_) | Test::ContainsText(_)) => true,
                _ => false,
            };
            condition.ignore_case
        }
        Some(Node::NoneOf(list)) => list.filters.iter_mut().all(ignore_case),
        _ => false,
    }
}

/// A single filter stays as it is; several are joined.
fn join(mut filters: Vec<Filter>, list: fn(FilterList) -> Node) -> Filter {
    match filters.pop() {
        Some(only) if filters.is_empty() => only,
        last => {
            filters.extend(last);
            node(list(FilterList { filters }))
        }
    }
}

/// A time in any form that the server reads in metadata. Without a zone it is in UTC.
pub(crate) fn read_time(text: &str) -> Option<Timestamp> {
    let mut text = text.strip_suffix("UTC").map_or(text, str::trim_end).replace(',', ".");
    // The parser requires seconds.
    const MINUTES: usize = "2024-05-01T12:00".len();
    if text.is_ascii() && text.len() >= MINUTES && text.as_bytes().get(MINUTES) != Some(&b':') {
        text.insert_str(MINUTES, ":00");
    }
    text.parse().ok()
}

/// Adds a key to a path, in quotes if it needs them.
fn push_key(field: &mut String, key: &str) {
    if !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
        field.push_str(key);
        return;
    }
    field.push('"');
    for c in key.chars() {
        if c == '"' || c == '\\' {
            field.push('\\');
        }
        field.push(c);
    }
    field.push('"');
}
