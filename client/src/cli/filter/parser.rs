//! The parser of filter expressions. The grammar is in the parent module.

use pgfox_client::v1::{Filter, FilterList, IdList, condition::Test, filter::Node};
use prost_types::{ListValue, Timestamp, Value, value::Kind};

use super::{Error, ignore_case, join, lexer::Lexer, node, push_key, read_time, slips, test, value};

/// Maximum nesting of parentheses and `not`. It is more than the 8 levels of filters that the server accepts, since not
/// each becomes a filter, and few enough for the decoders of protobuf.
const MAX_NESTING: usize = 16;

/// Words that a test cannot begin with. A field with such a name is written in quotes.
const RESERVED: [&str; 9] = ["and", "or", "not", "in", "exists", "is", "true", "false", "null"];

pub(super) struct Parser<'a> {
    pub(super) lexer: Lexer<'a>,
    nesting: usize,
    /// Fields that are tested for one string in a list, with the place of the test.
    pub(super) list_tests: Vec<(String, usize)>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(expression: &'a str) -> Self {
        Self { lexer: Lexer::new(expression), nesting: 0, list_tests: Vec::new() }
    }

    /// An error at the next piece.
    fn expected(&self, what: &str) -> Error {
        let found = self.lexer.found();
        Error { offset: self.lexer.offset(), message: format!("expected {what}, found {found}") }
    }

    /// The same at a place where people write what other languages have.
    pub(super) fn expected_here(&self, what: &str) -> Error {
        let error = self.expected(what);
        match slips::hint(|symbol| self.lexer.is_next(symbol), |word| self.lexer.is_word(&[word])) {
            Some(write) => Error { message: format!("{}; {write}", error.message), ..error },
            None => error,
        }
    }

    pub(super) fn any(&mut self) -> Result<Filter, Error> {
        let mut filters = vec![self.all()?];
        while self.lexer.eat_word("or") || self.lexer.eat_symbol("||") {
            filters.push(self.all()?);
        }
        Ok(join(filters, Node::AnyOf))
    }

    fn all(&mut self) -> Result<Filter, Error> {
        let mut filters = vec![self.term()?];
        while self.lexer.eat_word("and") || self.lexer.eat_symbol("&&") {
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
            // `not (a or b)` becomes none_of both, which saves one level.
            match self.term()?.node {
                Some(Node::AnyOf(list)) => node(Node::NoneOf(list)),
                other => node(Node::NoneOf(FilterList { filters: vec![Filter { node: other }] })),
            }
        } else if self.lexer.eat_symbol("(") {
            let filter = self.any()?;
            self.close("`and`, `or` or `)`")?;
            filter
        } else if self.lexer.eat_word("exists") {
            let is_call = self.lexer.eat_symbol("(");
            let field = self.field()?;
            if is_call {
                self.close("`)`")?;
            }
            test(field, Test::Exists(true))
        } else if self.lexer.eat_id() {
            self.ids(offset)?
        } else {
            let field = self.field()?;
            let filter = self.test(field)?;
            self.ignoring_case(filter)?
        };
        self.nesting -= 1;
        Ok(filter)
    }

    fn close(&mut self, what: &str) -> Result<(), Error> {
        if self.lexer.eat_symbol(")") { Ok(()) } else { Err(self.expected_here(what)) }
    }

    /// Parses the part after the name of the id.
    fn ids(&mut self, offset: usize) -> Result<Filter, Error> {
        let is_negative;
        let ids = if self.lexer.eat_symbol("!=") || self.lexer.eat_symbol("<>") {
            is_negative = true;
            vec![self.string("an id in quotes after !=")?]
        } else if self.lexer.eat_symbol("==") || self.lexer.eat_symbol("=") {
            is_negative = false;
            vec![self.string("an id in quotes after =")?]
        } else {
            is_negative = self.lexer.eat_word("not");
            if !self.lexer.eat_word("in") {
                let message = "`id` is the id of the document, which can be compared with =, !=, in (...) and not in \
                    (...); write a metadata field with this name in quotes: \"id\"";
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
        let start = self.lexer.offset();
        let has_prefix = self.lexer.is_next("metadata") && self.lexer.is_prefix();
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
                        let message = format!("expected a field; write a field with the name `{key}` in quotes");
                        return Err(Error { offset, message });
                    }
                    Some(key) => key.to_owned(),
                    None => return Err(self.expected_here("a field")),
                },
            };
            push_key(&mut field, &key);
            if self.lexer.eat_symbol("[]") {
                field.push_str("[]");
            }
            if !self.lexer.eat_symbol(".") {
                break;
            }
            field.push('.');
        }
        match field.strip_prefix("metadata.") {
            Some(rest) if has_prefix => {
                let message = format!(
                    "every field belongs to the metadata: write {rest}, or \"metadata\".{rest} for a field inside a \
                     field named metadata"
                );
                Err(Error { offset: start, message })
            }
            _ => Ok(field),
        }
    }

    /// Parses the part after a test of strings.
    fn ignoring_case(&mut self, mut filter: Filter) -> Result<Filter, Error> {
        let offset = self.lexer.offset();
        if !self.lexer.eat_word("ignoring") {
            return Ok(filter);
        }
        if !self.lexer.eat_word("case") {
            return Err(self.expected("`case` after `ignoring`"));
        }
        if ignore_case(&mut filter) {
            return Ok(filter);
        }
        let message = "`ignoring case` may follow =, !=, in, not in, contains, starts with and like, with strings";
        Err(Error { offset, message: message.to_owned() })
    }

    fn test(&mut self, field: String) -> Result<Filter, Error> {
        for symbol in ["==", "=", "!=", "<>", "<=", "<", ">=", ">", "^="] {
            // Regular expressions, as `expected` says.
            if self.lexer.is_next("=~") {
                break;
            }

            if self.lexer.eat_symbol(symbol) {
                return self.comparison(field, symbol);
            }
        }
        let is_negative = self.lexer.eat_word("not");
        if self.lexer.eat_word("in") {
            let values = self.values()?;
            return Ok(test(field, if is_negative { Test::NoneOf(values) } else { Test::OneOf(values) }));
        }
        for word in ["like", "ilike", "between"] {
            if self.lexer.eat_word(word) {
                let filter = if word == "between" { self.between(field)? } else { self.like(field, word)? };
                return Ok(if is_negative { node(Node::NoneOf(FilterList { filters: vec![filter] })) } else { filter });
            }
        }
        if is_negative {
            return Err(self.expected("`in`, `like` or `between` after `not`"));
        }
        let offset = self.lexer.offset();
        let found = if self.lexer.eat_word("contains") {
            if self.lexer.eat_word("text") {
                Test::ContainsText(self.string("a string in quotes after `contains text`")?)
            } else if self.lexer.eat_word("any") {
                Test::ContainsAny(self.values()?)
            } else if self.lexer.eat_word("all") {
                Test::ContainsAll(self.values()?)
            } else {
                let value = self.scalar("`any`, `all`, `text` or a value after `contains`")?;
                if matches!(value.kind, Some(Kind::StringValue(_))) {
                    self.list_tests.push((field.clone(), offset));
                }
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
                let what = if exists { "`null`" } else { "`null` or `not null`" };
                let error = self.expected(what);
                return Err(Error { message: error.message + "; write other values after =", ..error });
            }
            Test::Exists(exists)
        } else {
            // A field alone, if the filter can continue like that. The error is here, where the test is missing.
            let goes_on = self.lexer.is_at_end()
                || [")", "&&", "||"].iter().any(|symbol| self.lexer.is_next(symbol))
                || self.lexer.is_word(&["and", "or"]);
            if !goes_on {
                return Err(
                    self.expected_here("a test such as =, <, in, contains or starts with, or `and`, `or` or the end")
                );
            }
            Test::Equals(value(Kind::BoolValue(true)))
        };
        Ok(test(field, found))
    }

    /// The filter for a pattern of LIKE.
    fn like(&mut self, field: String, word: &str) -> Result<Filter, Error> {
        let offset = self.lexer.offset();
        let pattern = self.string(&format!("a string in quotes after `{word}`"))?;
        let mut filter = test(field, slips::like(&pattern).map_err(|message| Error { offset, message })?);
        if word == "ilike" {
            ignore_case(&mut filter);
        }
        Ok(filter)
    }

    /// The range includes both bounds, as in SQL.
    fn between(&mut self, field: String) -> Result<Filter, Error> {
        let least = self.comparison(field.clone(), ">=")?;
        if !self.lexer.eat_word("and") {
            return Err(self.expected("`and` after `between` and a value"));
        }
        let most = self.comparison(field, "<=")?;
        Ok(join(vec![least, most], Node::AllOf))
    }

    fn comparison(&mut self, field: String, symbol: &str) -> Result<Filter, Error> {
        let what = match self.lexer.is_next(">") || self.lexer.is_next("<") {
            true if symbol == "=" => "a value after =; write >= and <=, not => and =<".to_owned(),
            _ => format!("a value after {symbol}"),
        };
        if symbol == "^=" {
            return Ok(test(field, Test::StartsWith(self.string("a string in quotes after ^=")?)));
        }
        let offset = self.lexer.offset();
        let value = self.value(&what).map_err(|error| match field.ends_with('-') {
            // `author->name`.
            true => Error { message: error.message + "; write a dot, as in author.name", ..error },
            false => error,
        })?;
        if symbol == "=" || symbol == "==" {
            return Ok(test(field, Test::Equals(value)));
        }
        if symbol == "!=" || symbol == "<>" {
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
        let is_json = self.lexer.eat_symbol("[");
        if !is_json && !self.lexer.eat_symbol("(") {
            return Err(self.expected("a list such as (\"a\", \"b\")"));
        }
        let mut elements = vec![element(self)?];
        while self.lexer.eat_symbol(",") {
            elements.push(element(self)?);
        }
        if is_json {
            if !self.lexer.eat_symbol("]") {
                return Err(self.expected("`,` or `]`"));
            }
        } else {
            self.close("`,` or `)`")?;
        }
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

    /// Any value. Objects and lists are JSON.
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
        let hint = if self.lexer.is_key() && !self.lexer.is_word(&RESERVED) { "; write strings in quotes" } else { "" };
        Err(Error { message: error.message + hint, ..error })
    }
}
