//! Explains to a caller why a filter matches nothing: conditions that the data never meet.

use std::time::Duration;

use super::{
    Bound, FieldPath, Filter, Literal, Store, StoreError, Test, TextTest, catalog::Entry, connection::Connection,
    filter::values, wire::Parameters,
};

/// Maximum number of conditions that are checked.
const MAX_CONDITIONS: usize = 16;
/// Maximum number of documents that are read.
const SAMPLED: i64 = 10_000;

impl Store {
    /// Why no document matches, as far as it can be found out in this time. Not finding out is not an error.
    pub(crate) async fn notes(
        &self,
        collection: &str,
        filter: Option<&Filter>,
        field: Option<&FieldPath>,
        time: Duration,
    ) -> Vec<String> {
        let notes =
            self.with_collection(collection, |entry| async move { self.read_notes(&entry, filter, field).await });
        match tokio::time::timeout(time, notes).await {
            Ok(Ok(notes)) => notes,
            _ => Vec::new(),
        }
    }

    /// The notes for the conditions of a filter, and for a field whose values are requested.
    pub(super) async fn read_notes(
        &self,
        entry: &Entry,
        filter: Option<&Filter>,
        field: Option<&FieldPath>,
    ) -> Result<Vec<String>, StoreError> {
        let documents = &entry.tables.documents;
        let connection = self.connection_to(entry).await?;
        let sampled = format!("-- notes\n SELECT count(*) FROM (SELECT FROM {documents} d LIMIT {SAMPLED}) d");
        let sampled: i64 = connection.query_typed_one(&sampled, &[]).await?.get(0);
        if sampled == 0 {
            connection.done();
            return Ok(vec!["the collection has no documents".into()]);
        }
        let mut conditions = Vec::new();
        if let Some(filter) = filter {
            collect(filter, true, &mut conditions);
        }
        conditions.truncate(MAX_CONDITIONS);
        let mut notes: Vec<String> = Vec::new();
        for condition in &conditions {
            let sample = look(&connection, entry, condition.path, Some(condition.filter)).await?;
            notes.extend(condition.note(&sample, sampled).filter(|note| !notes.contains(note)));
        }
        if let Some(path) = field {
            let sample = look(&connection, entry, path, None).await?;
            notes.extend(no_value(path, &sample, sampled).filter(|note| !notes.contains(note)));
        }
        connection.done();
        Ok(notes)
    }
}

/// The values that the sampled documents contain at a path.
struct Sample {
    /// The types, as jsonb_typeof names them.
    types: Vec<String>,
    /// Whether some of the strings are times.
    has_times: bool,
    /// Whether some of the documents meet the condition.
    is_met: bool,
}

async fn look(
    connection: &Connection,
    entry: &Entry,
    path: &FieldPath,
    condition: Option<&Filter>,
) -> Result<Sample, StoreError> {
    let mut parameters = Parameters::default();
    let functions = entry.functions();
    let values = values(path, functions, &mut parameters);
    let is_time = matches!(condition, Some(Filter::Field { test: Test::Time(..), .. }));
    let has_times = if is_time {
        format!("bool_or({0}.utc_2({0}.string_at(v.value, '{{}}')) IS NOT NULL)", functions.internal)
    } else {
        "false".to_owned()
    };
    let is_met = condition.map_or_else(|| "false".to_owned(), |condition| condition.sql(functions, &mut parameters));
    // Once for each document, not for each of its values.
    let sql = format!(
        "-- notes
         SELECT coalesce(array_agg(DISTINCT jsonb_typeof(v.value)) FILTER (WHERE v.value IS NOT NULL), '{{}}'),
                coalesce({has_times}, false), coalesce(bool_or(d.is_met), false)
         FROM (SELECT d.*, {is_met} AS is_met FROM {} d LIMIT {SAMPLED}) d LEFT JOIN LATERAL ({values}) v ON true",
        entry.tables.documents
    );
    let row = connection.query_typed_one(&sql, &parameters.typed()).await?;
    Ok(Sample { types: row.get(0), has_times: row.get(1), is_met: row.get(2) })
}

/// A condition of a filter.
struct Condition<'a> {
    filter: &'a Filter,
    path: &'a FieldPath,
    test: &'a Test,
    /// Whether the filter can match only documents that meet it or one of its alternatives.
    is_wanted: bool,
}

fn collect<'a>(filter: &'a Filter, is_wanted: bool, conditions: &mut Vec<Condition<'a>>) {
    match filter {
        Filter::Field { path, test } => conditions.push(Condition { filter, path, test, is_wanted }),
        Filter::All(filters) | Filter::Any(filters) => {
            filters.iter().for_each(|filter| collect(filter, is_wanted, conditions));
        }
        Filter::None(filters) => filters.iter().for_each(|filter| collect(filter, !is_wanted, conditions)),
        Filter::Ids(_) | Filter::Everything => {}
    }
}

fn no_value(path: &FieldPath, sample: &Sample, sampled: i64) -> Option<String> {
    sample.types.is_empty().then(|| format!("`{path}` has no value in {}", which(sampled)))
}

/// The documents that were read.
fn which(sampled: i64) -> String {
    if sampled < SAMPLED { "any document".into() } else { "any of the first 10,000 documents".into() }
}

impl Condition<'_> {
    /// The note for the caller.
    fn note(&self, sample: &Sample, sampled: i64) -> Option<String> {
        let Self { path, test, is_wanted, .. } = self;
        let none = no_value(path, sample, sampled);
        if none.is_some() {
            return none;
        }
        let (word, compared) = test.compared();
        let held: Vec<&str> = sample.types.iter().map(String::as_str).collect();
        if !compared.is_empty() && !compared.iter().any(|compared| held.contains(compared)) {
            let mut wanted: Vec<&str> = compared.into_iter().map(plural).collect();
            wanted.dedup();
            let other = match test {
                Test::ContainsAny(_) if held.contains(&"string") => "; contains_text searches strings",
                _ => "",
            };
            return Some(format!(
                "`{path}` {word} compares {}, but the field contains {}: nothing matches{other}",
                wanted.join(" and "),
                held.into_iter().map(plural).collect::<Vec<_>>().join(" and ")
            ));
        }
        if matches!(test, Test::Time(..)) && !sample.has_times {
            return Some(format!(
                "`{path}` {word} compares times, but no string in the field is a time: nothing matches"
            ));
        }
        (*is_wanted && !sample.is_met && !matches!(test, Test::Exists))
            .then(|| format!("`{path}` {word} is true for no value in {}", which(sampled)))
    }
}

impl Test {
    /// Its name in the API, and the types that it compares. Empty: it compares all types.
    fn compared(&self) -> (&'static str, Vec<&'static str>) {
        match self {
            Self::Number(bound, _) => (name_of(*bound), vec!["number"]),
            Self::String(bound, _) => (name_of(*bound), vec!["string"]),
            Self::Time(Bound::LessThan | Bound::AtMost, _) => ("before", vec!["string"]),
            Self::Time(..) => ("since", vec!["string"]),
            Self::StartsWith(_) | Self::IgnoringCase(TextTest::StartsWith(_)) => ("starts_with", vec!["string"]),
            Self::ContainsText(_) | Self::IgnoringCase(TextTest::ContainsText(_)) => ("contains_text", vec!["string"]),
            Self::Equals(literal) => ("equals", vec![type_of(literal)]),
            Self::OneOf(literals) => ("one_of", literals.iter().map(type_of).collect()),
            Self::IgnoringCase(TextTest::OneOf(strings)) => {
                (if strings.len() == 1 { "equals" } else { "one_of" }, vec!["string"])
            }
            Self::ContainsAny(_) | Self::IgnoringCase(TextTest::ContainsAny(_)) => ("contains_any", vec!["array"]),
            Self::ContainsAll(_) | Self::IgnoringCase(TextTest::ContainsAll(_)) => ("contains_all", vec!["array"]),
            Self::Exists => ("exists", Vec::new()),
        }
    }
}

/// Its name in the API.
fn name_of(bound: Bound) -> &'static str {
    match bound {
        Bound::LessThan => "less_than",
        Bound::AtMost => "at_most",
        Bound::GreaterThan => "greater_than",
        Bound::AtLeast => "at_least",
    }
}

/// Its type, as jsonb_typeof names it.
fn type_of(literal: &Literal) -> &'static str {
    match literal.json.as_bytes().first() {
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'[') => "array",
        Some(b'{') => "object",
        _ => "number",
    }
}

fn plural(json_type: &str) -> &str {
    match json_type {
        "number" => "numbers",
        "string" => "strings",
        "boolean" => "booleans",
        "array" => "lists",
        "object" => "objects",
        other => other,
    }
}
