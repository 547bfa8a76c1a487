//! `--where`: filters as people write them, parsed into the message.
//!
//! ```text
//! filter = all { "or" all }
//! all    = term { "and" term }
//! term   = "not" term | "(" filter ")" | "exists" field | field [ test ]
//! test   = ( "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
//!        | [ "not" ] "in" list
//!        | "contains" ( value | "any" list | "all" list )
//!        | ( "starts" "with" | "^=" ) string
//!        | ( "before" | "since" ) time
//!        | "is" [ "not" ] "null"
//! list   = "(" value { "," value } ")"
//! field  = key { "." key }
//! key    = letters, digits, "_" and "-" | string
//! ```
//!
//! Words of the language may be in any letter case. A field alone is `field = true`. The name `id` is the id of the
//! document; a field of the metadata that is called so is written in quotes.

mod lexer;
#[cfg(test)]
mod tests;

use clap::Args;
use pgfox_client::v1::{Condition, Filter, FilterList, IdList, condition::Test, filter::Node};
use prost_types::{ListValue, Timestamp, Value, value::Kind};

use super::failure::Failure;
use lexer::Lexer;

/// Parentheses and `not` within each other: more than the 8 filters that the server takes, since they need not each become
/// one, and few enough for the decoders of protobuf.
const MAX_NESTING: usize = 16;

/// Words that a test cannot begin with: a field that is called so stands in quotes.
const RESERVED: [&str; 9] = ["and", "or", "not", "in", "exists", "is", "true", "false", "null"];

/// The flag that every command with a filter takes.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Where {
    /// Only documents that match, such as 'year >= 2000 and lang in ("en", "de")'; `pgfox list --help` tells all
    #[arg(long = "where", value_name = "FILTER")]
    expression: Option<String>,
}

impl Where {
    pub(crate) fn is_given(&self) -> bool {
        self.expression.is_some()
    }

    pub(crate) fn filter(&self) -> Result<Option<Filter>, Failure> {
        self.expression
            .as_deref()
            .map(|expression| parse(expression).map_err(|error| error.into_failure(expression)))
            .transpose()
    }
}

/// What is wrong with an expression, and where.
#[derive(Debug, PartialEq)]
struct Error {
    /// Bytes before the place.
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
    let mut parser = Parser { lexer: Lexer::new(expression), nesting: 0 };
    let filter = parser.any()?;
    if !parser.lexer.is_at_end() {
        return Err(parser.expected("`and`, `or` or the end"));
    }
    Ok(filter)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    nesting: usize,
}

impl Parser<'_> {
    /// An error at the next thing.
    fn expected(&self, what: &str) -> Error {
        let found = self.lexer.found();
        Error { offset: self.lexer.offset(), message: format!("expected {what}, found {found}") }
    }

    fn any(&mut self) -> Result<Filter, Error> {
        let mut filters = vec![self.all()?];
        while self.lexer.eat_word("or") {
            filters.push(self.all()?);
        }
        Ok(join(filters, Node::AnyOf))
    }

    fn all(&mut self) -> Result<Filter, Error> {
        let mut filters = vec![self.term()?];
        while self.lexer.eat_word("and") {
            filters.push(self.term()?);
        }
        Ok(join(filters, Node::AllOf))
    }

    fn term(&mut self) -> Result<Filter, Error> {
        let offset = self.lexer.offset();
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(Error { offset, message: "nested too deeply".to_owned() });
        }
        let filter = if self.lexer.eat_word("not") {
            // `not (a or b)` is none of both: one level less.
            match self.term()?.node {
                Some(Node::AnyOf(list)) => node(Node::NoneOf(list)),
                other => node(Node::NoneOf(FilterList { filters: vec![Filter { node: other }] })),
            }
        } else if self.lexer.eat_symbol("(") {
            let filter = self.any()?;
            self.close("`and`, `or` or `)`")?;
            filter
        } else if self.lexer.eat_word("exists") {
            test(self.field()?, Test::Exists(true))
        } else if self.lexer.eat_id() {
            self.ids(offset)?
        } else {
            let field = self.field()?;
            self.test(field)?
        };
        self.nesting -= 1;
        Ok(filter)
    }

    fn close(&mut self, what: &str) -> Result<(), Error> {
        if self.lexer.eat_symbol(")") { Ok(()) } else { Err(self.expected(what)) }
    }

    /// What stands after the name of the id.
    fn ids(&mut self, offset: usize) -> Result<Filter, Error> {
        let is_negative;
        let ids = if self.lexer.eat_symbol("!=") {
            is_negative = true;
            vec![self.string("an id in quotes after !=")?]
        } else if self.lexer.eat_symbol("==") || self.lexer.eat_symbol("=") {
            is_negative = false;
            vec![self.string("an id in quotes after =")?]
        } else {
            is_negative = self.lexer.eat_word("not");
            if !self.lexer.eat_word("in") {
                let message = "`id` is the id of the document, which takes =, !=, in (...) and not in (...); write \
                               a field of the metadata in quotes: \"id\"";
                return Err(Error { offset, message: message.to_owned() });
            }
            self.list(|parser| parser.string("an id in quotes"))?
        };
        let filter = node(Node::Ids(IdList { ids }));
        Ok(if is_negative { node(Node::NoneOf(FilterList { filters: vec![filter] })) } else { filter })
    }

    /// A path in the form of `Condition.field`.
    fn field(&mut self) -> Result<String, Error> {
        let mut field = String::new();
        loop {
            let offset = self.lexer.offset();
            let key = match self.lexer.string()? {
                Some(key) => key,
                None => match self.lexer.key() {
                    Some(key)
                        if field.is_empty()
                            && !self.lexer.is_next(".")
                            && RESERVED.iter().any(|word| word.eq_ignore_ascii_case(key)) =>
                    {
                        let message = format!("expected a field; write one that is called `{key}` in quotes");
                        return Err(Error { offset, message });
                    }
                    Some(key) => key.to_owned(),
                    None => return Err(self.expected("a field")),
                },
            };
            push_key(&mut field, &key);
            if !self.lexer.eat_symbol(".") {
                return Ok(field);
            }
            field.push('.');
        }
    }

    fn test(&mut self, field: String) -> Result<Filter, Error> {
        for symbol in ["==", "=", "!=", "<=", "<", ">=", ">", "^="] {
            if self.lexer.eat_symbol(symbol) {
                return self.comparison(field, symbol);
            }
        }
        let is_negative = self.lexer.eat_word("not");
        if self.lexer.eat_word("in") {
            let values = self.values()?;
            return Ok(test(field, if is_negative { Test::NoneOf(values) } else { Test::OneOf(values) }));
        }
        if is_negative {
            return Err(self.expected("`in` after `not`"));
        }
        let found = if self.lexer.eat_word("contains") {
            if self.lexer.eat_word("any") {
                Test::ContainsAny(self.values()?)
            } else if self.lexer.eat_word("all") {
                Test::ContainsAll(self.values()?)
            } else {
                let value = self.scalar("`any`, `all` or a value after `contains`")?;
                Test::ContainsAny(ListValue { values: vec![value] })
            }
        } else if self.lexer.eat_word("starts") {
            if !self.lexer.eat_word("with") {
                return Err(self.expected("`with` after `starts`"));
            }
            Test::StartsWith(self.string("a string in quotes after `starts with`")?)
        } else if self.lexer.eat_word("before") {
            Test::Before(self.time("before")?)
        } else if self.lexer.eat_word("since") {
            Test::Since(self.time("since")?)
        } else if self.lexer.eat_word("is") {
            let exists = self.lexer.eat_word("not");
            if !self.lexer.eat_word("null") {
                return Err(self.expected(if exists { "`null`" } else { "`null` or `not null`" }));
            }
            Test::Exists(exists)
        } else {
            // A field alone, if the filter can go on like that. The error is here, where the test is missing.
            let goes_on = self.lexer.is_at_end() || self.lexer.is_next(")") || self.lexer.is_word(&["and", "or"]);
            if !goes_on {
                return Err(
                    self.expected("a test such as =, <, in, contains or starts with, or `and`, `or` or the end")
                );
            }
            Test::Equals(value(Kind::BoolValue(true)))
        };
        Ok(test(field, found))
    }

    fn comparison(&mut self, field: String, symbol: &str) -> Result<Filter, Error> {
        let what = format!("a value after {symbol}");
        if symbol == "^=" {
            return Ok(test(field, Test::StartsWith(self.string("a string in quotes after ^=")?)));
        }
        let offset = self.lexer.offset();
        let value = self.value(&what)?;
        if symbol == "=" || symbol == "==" {
            return Ok(test(field, Test::Equals(value)));
        }
        if symbol == "!=" {
            return Ok(test(field, Test::NotEquals(value)));
        }
        if !matches!(value.kind, Some(Kind::NumberValue(_) | Kind::StringValue(_))) {
            return Err(Error { offset, message: format!("expected a number or a string after {symbol}") });
        }
        Ok(test(
            field,
            match symbol {
                "<" => Test::LessThan(value),
                "<=" => Test::AtMost(value),
                ">" => Test::GreaterThan(value),
                _ => Test::AtLeast(value),
            },
        ))
    }

    fn values(&mut self) -> Result<ListValue, Error> {
        Ok(ListValue { values: self.list(|parser| parser.scalar("a value"))? })
    }

    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        if !self.lexer.eat_symbol("(") {
            return Err(self.expected("a list such as (\"a\", \"b\")"));
        }
        let mut elements = vec![element(self)?];
        while self.lexer.eat_symbol(",") {
            elements.push(element(self)?);
        }
        self.close("`,` or `)`")?;
        Ok(elements)
    }

    fn string(&mut self, what: &str) -> Result<String, Error> {
        self.lexer.string()?.ok_or_else(|| self.expected(what))
    }

    fn time(&mut self, word: &str) -> Result<Timestamp, Error> {
        let offset = self.lexer.offset();
        let what = format!("a time such as 2024-05-01 or 2024-05-01T12:00:00Z after `{word}`");
        let text = match self.lexer.string()? {
            Some(text) => text,
            None => self.lexer.time().ok_or_else(|| self.expected(&what))?.to_owned(),
        };
        read_time(&text).ok_or_else(|| Error { offset, message: format!("expected {what}") })
    }

    /// A string, a number, true or false.
    fn scalar(&mut self, what: &str) -> Result<Value, Error> {
        let offset = self.lexer.offset();
        let value = self.value(what)?;
        match value.kind {
            Some(Kind::StringValue(_) | Kind::NumberValue(_) | Kind::BoolValue(_)) => Ok(value),
            _ => Err(Error { offset, message: "expected a string, a number, true or false".to_owned() }),
        }
    }

    /// Any value; objects and lists as JSON.
    fn value(&mut self, what: &str) -> Result<Value, Error> {
        if let Some(text) = self.lexer.string()? {
            return Ok(value(Kind::StringValue(text)));
        }
        if let Some(number) = self.lexer.number()? {
            return Ok(value(Kind::NumberValue(number)));
        }
        if self.lexer.is_next("[") || self.lexer.is_next("{") {
            return self.lexer.json();
        }
        for (word, kind) in
            [("true", Kind::BoolValue(true)), ("false", Kind::BoolValue(false)), ("null", Kind::NullValue(0))]
        {
            if self.lexer.eat_word(word) {
                return Ok(value(kind));
            }
        }
        let error = self.expected(what);
        let hint = if self.lexer.is_key() && !self.lexer.is_word(&RESERVED) { "; strings stand in quotes" } else { "" };
        Err(Error { message: error.message + hint, ..error })
    }
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

/// One filter is itself; several are joined.
fn join(mut filters: Vec<Filter>, list: fn(FilterList) -> Node) -> Filter {
    match filters.pop() {
        Some(only) if filters.is_empty() => only,
        last => {
            filters.extend(last);
            node(list(FilterList { filters }))
        }
    }
}

/// A time in any spelling that the server reads in metadata; without a zone it is in UTC.
pub(crate) fn read_time(text: &str) -> Option<Timestamp> {
    let mut text = text.strip_suffix("UTC").map_or(text, str::trim_end).replace(',', ".");
    // Seconds are what the parser must have.
    const MINUTES: usize = "2024-05-01T12:00".len();
    if text.is_ascii() && text.len() >= MINUTES && text.as_bytes().get(MINUTES) != Some(&b':') {
        text.insert_str(MINUTES, ":00");
    }
    text.parse().ok()
}

/// Adds a key to a path, in quotes where it needs them.
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
