//! Turns filters into conditions on the columns of a table of codes.

use crate::store::{
    Bound, FieldPath, Filter, Literal, MetadataIndexType, Test,
    codes::{Field, MAX_CHARACTERS},
};

/// Reads filters, and collects what their conditions need.
pub(super) struct Reader<'c> {
    fields: &'c [Field],
    pub(super) wanted: Vec<String>,
    pub(super) list: Option<usize>,
    pub(super) is_repeated: bool,
    pub(super) is_cut: bool,
}

impl<'c> Reader<'c> {
    pub(super) fn new(fields: &'c [Field]) -> Self {
        Self { fields, wanted: Vec::new(), list: None, is_repeated: false, is_cut: false }
    }

    /// The condition that says the same as a filter.
    pub(super) fn exact(&mut self, filter: &Filter) -> Option<String> {
        match filter {
            Filter::All(filters) => self.combined(filters, " AND "),
            Filter::Any(filters) => self.combined(filters, " OR "),
            Filter::None(filters) => Some(format!("({} IS NOT TRUE)", self.combined(filters, " OR ")?)),
            Filter::Everything => Some("true".into()),
            Filter::Ids(_) => None,
            Filter::Field { path, test } => self.test(path, test, true),
        }
    }

    /// A condition that follows from a filter of one field.
    pub(super) fn implied(&mut self, filter: &Filter) -> Option<String> {
        match filter {
            Filter::Field { path, test } => self.test(path, test, false),
            _ => None,
        }
    }

    fn combined(&mut self, filters: &[Filter], operator: &str) -> Option<String> {
        let conditions = filters.iter().map(|filter| self.exact(filter)).collect::<Option<Vec<_>>>()?;
        Some(format!("({})", conditions.join(operator)))
    }

    /// The number of the list that a filter of one field tests.
    pub(super) fn list_of(&self, filter: &Filter) -> Option<usize> {
        let Filter::Field { path, test } = filter else { return None };
        self.number_of(path, test).filter(|number| self.fields[number - 1].kind == MetadataIndexType::StringList)
    }

    /// The number of the field that a test is about.
    fn number_of(&self, path: &FieldPath, test: &Test) -> Option<usize> {
        let (kind, keys) = test.field_of(path)?;
        let position = self.fields.iter().position(|field| field.kind == kind && field.path == keys)?;
        Some(position + 1)
    }

    /// The condition on the strings of a list that says the same as a filter, or that follows from it.
    pub(super) fn of_list(&mut self, filter: &Filter, exactly: bool) -> Option<String> {
        let number = self.list_of(filter)?;
        let Filter::Field { test, .. } = filter else { return None };
        let column = format!("c.f{number}");
        // A condition on one row: some string of the list meets it.
        let test = match test {
            Test::ContainsAny(literals) => &Test::OneOf(literals.clone()),
            Test::ContainsAll(literals) if exactly && literals.len() > 1 => return None,
            Test::ContainsAll(literals) => &Test::Equals(literals.first()?.clone()),
            test => test,
        };
        self.list = Some(number);
        self.is_repeated = !matches!(test, Test::Equals(_));
        self.compare(&column, test, exactly)
    }

    fn test(&mut self, path: &FieldPath, test: &Test, exactly: bool) -> Option<String> {
        let number = self.number_of(path, test)?;
        // Its strings are in a table of their own.
        let is_list = self.fields[number - 1].kind == MetadataIndexType::StringList;
        if is_list { None } else { self.compare(&format!("c.f{number}"), test, exactly) }
    }

    fn compare(&mut self, column: &str, test: &Test, exactly: bool) -> Option<String> {
        match test {
            Test::Equals(literal) => {
                let (kind, text) = read(literal)?;
                let text = self.cut(text, kind, exactly)?;
                Some(format!("{column} = {}", self.value(text, kind)))
            }
            Test::OneOf(literals) => {
                let read = literals.iter().map(read).collect::<Option<Vec<_>>>()?;
                // They all have the type of the field.
                let kind = read.first()?.0;
                let texts =
                    read.into_iter().map(|(_, text)| self.cut(text, kind, exactly)).collect::<Option<Vec<_>>>()?;
                let first = self.wanted.len() + 1;
                self.wanted.extend(texts);
                // Without a cast, a subquery would be a list of values, not one value that is a list.
                Some(format!("{column} = ANY({{(?)[{first}:{}]}}{}[])", self.wanted.len(), cast(kind)))
            }
            Test::Number(bound, number) => {
                let value = self.value(number.to_string(), MetadataIndexType::Number);
                Some(format!("{column} {} {value}", bound.operator()))
            }
            Test::Time(bound, microseconds) => {
                let value = self.value(microseconds.to_string(), MetadataIndexType::Time);
                Some(format!("{column} {} {value}", bound.operator()))
            }
            Test::String(bound, string) => {
                let is_long = is_long(string);
                // The table may hold the same beginning of a longer string.
                let operator = match bound {
                    Bound::LessThan | Bound::AtMost if is_long => "<=",
                    Bound::GreaterThan | Bound::AtLeast if is_long => ">=",
                    bound => bound.operator(),
                };
                let string = self.cut(string.clone(), MetadataIndexType::String, exactly)?;
                let value = self.value(string, MetadataIndexType::String);
                Some(format!("{column} {operator} {value}"))
            }
            Test::StartsWith(prefix) => {
                // All strings of this length begin like it, whatever follows.
                let prefix = match prefix.chars().count() {
                    0..=MAX_CHARACTERS => prefix.clone(),
                    _ => self.cut(prefix.clone(), MetadataIndexType::String, exactly)?,
                };
                let value = self.value(prefix, MetadataIndexType::String);
                Some(format!("{column} ^@ {value}"))
            }
            Test::ContainsAny(_)
            | Test::ContainsAll(_)
            | Test::ContainsText(_)
            | Test::IgnoringCase(_)
            | Test::Exists => None,
        }
    }

    /// A value as the table has it. `None` if that is less than the value, and it must be all of it.
    fn cut(&mut self, text: String, kind: MetadataIndexType, exactly: bool) -> Option<String> {
        if kind != MetadataIndexType::String || !is_long(&text) {
            return Some(text);
        }
        if exactly {
            return None;
        }
        self.is_cut = true;
        Some(text.chars().take(MAX_CHARACTERS).collect())
    }

    fn value(&mut self, text: String, kind: MetadataIndexType) -> String {
        self.wanted.push(text);
        format!("{{(?)[{}]{}}}", self.wanted.len(), cast(kind))
    }
}

/// A value as text, and the type of the fields that hold it.
fn read(literal: &Literal) -> Option<(MetadataIndexType, String)> {
    let kind = literal.kind()?;
    let text = match kind {
        MetadataIndexType::String => serde_json::from_str(&literal.json).ok()?,
        _ => literal.json.clone(),
    };
    Some((kind, text))
}

/// To the type of the fields that hold such values.
fn cast(kind: MetadataIndexType) -> &'static str {
    match kind {
        MetadataIndexType::Number => "::numeric",
        MetadataIndexType::Time => "::bigint",
        MetadataIndexType::Boolean => "::boolean",
        MetadataIndexType::String | MetadataIndexType::StringList | MetadataIndexType::Gin => "::text",
    }
}

/// Whether the table may hold only the beginning of a string.
fn is_long(string: &str) -> bool {
    string.chars().nth(MAX_CHARACTERS - 1).is_some()
}
