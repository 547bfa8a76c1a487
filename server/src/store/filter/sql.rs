//! Filters as SQL.

use std::time::{Duration, SystemTime};

use tokio_postgres::types::Type;

use super::{Bound, FieldPath, Filter, Literal, Test, TextTest, fold::Folding, path::nested};
use crate::store::wire::{Json, Parameters};

/// The functions that conditions over the documents of a collection call.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Functions<'e> {
    /// Their quoted schema.
    pub(in crate::store) internal: &'e str,
    /// Fields whose index is made of the first function for times, which it serves alone.
    pub(in crate::store) outdated_times: &'e [Vec<String>],
}

impl Filter {
    /// A condition over the documents table with the alias `d`. It may be null where it does not hold, but not below a
    /// negation.
    pub(in crate::store) fn sql<'a>(&'a self, functions: Functions<'_>, parameters: &mut Parameters<'a>) -> String {
        match self {
            Self::Field { path, test } => field(path, test, functions, parameters),
            Self::All(filters) => combined(filters, " AND ", functions, parameters),
            Self::Any(filters) => combined(filters, " OR ", functions, parameters),
            Self::None(filters) => format!("({} IS NOT TRUE)", combined(filters, " OR ", functions, parameters)),
            Self::Ids(ids) => format!("(d.id = ANY(${}))", parameters.push(ids, Type::TEXT_ARRAY)),
            Self::Everything => "true".to_owned(),
        }
    }
}

fn combined<'a>(
    filters: &'a [Filter],
    operator: &str,
    functions: Functions<'_>,
    parameters: &mut Parameters<'a>,
) -> String {
    let conditions: Vec<String> = filters.iter().map(|filter| filter.sql(functions, parameters)).collect();
    format!("({})", conditions.join(operator))
}

/// Each value of a list costs on every row that no index has selected. Where there are more than these, a condition that
/// costs less comes first: equality to one of many is a hash table. `coalesce` lets the planner take it for half of the
/// rows; what it would guess of the condition itself is far too few.
const MAX_CONTAINMENTS: usize = 8;

fn field<'a>(path: &'a FieldPath, test: &'a Test, functions: Functions<'_>, parameters: &mut Parameters<'a>) -> String {
    let Functions { internal, outdated_times } = functions;
    match test {
        // `@>` is what the GIN index serves. Scalars it compares; what else is within can be larger.
        Test::Equals(Literal { json, is_scalar: true }) => format!("({})", contained(path, json, parameters)),
        Test::Equals(Literal { json, is_scalar: false }) => {
            let contained = contained(path, json, parameters);
            let equal = any_value(path, parameters, |place, parameters| {
                let at = place.at(parameters);
                format!("{at} = ${}", parameters.push(Json(json), Type::JSONB))
            });
            format!("({contained} AND {equal})")
        }
        Test::OneOf(literals) => {
            let wanted: Vec<_> = literals.iter().map(|literal| Json(path.holding(&literal.json))).collect();
            let contained = format!("d.metadata @> ANY(${})", parameters.push(wanted, Type::JSONB_ARRAY));
            if literals.len() <= MAX_CONTAINMENTS {
                return format!("({contained})");
            }
            let equal = any_value(path, parameters, |place, parameters| {
                let at = place.at(parameters);
                let values: Vec<_> = literals.iter().map(|literal| Json(&literal.json)).collect();
                format!("{at} = ANY(${})", parameters.push(values, Type::JSONB_ARRAY))
            });
            format!("(coalesce({equal}, false) AND {contained})")
        }
        Test::ContainsAny(literals) => {
            let list = |literal: &Literal| Json(path.holding(&format!("[{}]", literal.json)));
            let wanted: Vec<_> = literals.iter().map(list).collect();
            let contained = format!("d.metadata @> ANY(${})", parameters.push(wanted, Type::JSONB_ARRAY));
            let strings = literals.iter().map(|literal| serde_json::from_str::<String>(&literal.json));
            match strings.collect::<Result<Vec<String>, _>>() {
                Ok(strings) if strings.len() > MAX_CONTAINMENTS => {
                    let has = any_value(path, parameters, |place, parameters| {
                        let at = place.at(parameters);
                        format!("{at} ?| ${}", parameters.push(strings, Type::TEXT_ARRAY))
                    });
                    format!("(coalesce({has}, false) AND {contained})")
                }
                _ => format!("({contained})"),
            }
        }
        Test::ContainsAll(literals) => {
            let literals: Vec<&str> = literals.iter().map(|literal| literal.json.as_str()).collect();
            format!("({})", contained(path, &format!("[{}]", literals.join(",")), parameters))
        }
        Test::Number(bound, number) => any_value(path, parameters, |place, parameters| {
            let keys = place.keys(parameters);
            // As text, since a cast from float8 keeps 15 digits only.
            let number = parameters.push(number.to_string(), Type::TEXT);
            format!("{internal}.number_at({}, ${keys}) {} ${number}::numeric", place.json, bound.operator())
        }),
        Test::String(bound, string) => any_value(path, parameters, |place, parameters| {
            let found = place.string(internal, parameters);
            format!("({found} COLLATE \"C\") {} ${}", bound.operator(), parameters.push(string, Type::TEXT))
        }),
        Test::StartsWith(prefix) => any_value(path, parameters, |place, parameters| {
            let found = place.string(internal, parameters);
            format!("({found} COLLATE \"C\") ^@ ${}", parameters.push(prefix, Type::TEXT))
        }),
        Test::ContainsText(text) => any_value(path, parameters, |place, parameters| {
            let found = place.string(internal, parameters);
            format!("strpos({found} COLLATE \"C\", ${}) > 0", parameters.push(text, Type::TEXT))
        }),
        Test::IgnoringCase(test) => {
            any_value(path, parameters, |place, parameters| ignoring_case(place, test, internal, parameters))
        }
        Test::Time(bound, microseconds) => any_value(path, parameters, |place, parameters| {
            let keys = place.keys(parameters);
            let time = parameters.push(to_time(*microseconds), Type::TIMESTAMP);
            let is_outdated = outdated_times.iter().any(|outdated| path.is_plain(outdated));
            let function = if is_outdated { "time_at" } else { "time_at_2" };
            format!("{internal}.{function}({}, ${keys}) {} ${time}", place.json, bound.operator())
        }),
        Test::Exists => {
            any_value(path, parameters, |place, parameters| format!("jsonb_typeof({}) <> 'null'", place.at(parameters)))
        }
    }
}

fn ignoring_case<'a>(place: &Place<'a>, test: &'a TextTest, internal: &str, parameters: &mut Parameters<'a>) -> String {
    let folding = match test {
        TextTest::OneOf(strings) | TextTest::ContainsAny(strings) | TextTest::ContainsAll(strings) => {
            Folding::of(strings)
        }
        TextTest::StartsWith(string) | TextTest::ContainsText(string) => Folding::of([string]),
    };
    let found = match test {
        TextTest::ContainsAny(_) | TextTest::ContainsAll(_) => {
            let list = place.list(parameters);
            let folded = folding.sql(&format!("{internal}.string_at(v.value, '{{}}')"), parameters);
            format!("SELECT {folded} AS folded FROM jsonb_array_elements({list}) v")
        }
        _ => folding.sql(&place.string(internal, parameters), parameters),
    };
    let count = folding.wanted.len();
    let mut wanted = folding.wanted;
    match test {
        TextTest::OneOf(_) => format!("{found} = ANY(${})", parameters.push(wanted, Type::TEXT_ARRAY)),
        TextTest::ContainsAny(_) => {
            let wanted = parameters.push(wanted, Type::TEXT_ARRAY);
            format!("EXISTS (SELECT FROM ({found}) f WHERE folded = ANY(${wanted}))")
        }
        TextTest::ContainsAll(_) => {
            let wanted = parameters.push(wanted, Type::TEXT_ARRAY);
            format!("(SELECT count(DISTINCT folded) FROM ({found}) f WHERE folded = ANY(${wanted})) = {count}")
        }
        TextTest::StartsWith(_) => format!("{found} ^@ ${}", parameters.push(wanted.swap_remove(0), Type::TEXT)),
        TextTest::ContainsText(_) => {
            format!("strpos({found}, ${}) > 0", parameters.push(wanted.swap_remove(0), Type::TEXT))
        }
    }
}

/// That the metadata have a value at a path, in a list or an object whatever else is in it.
fn contained(path: &FieldPath, value: &str, parameters: &mut Parameters<'_>) -> String {
    format!("d.metadata @> ${}", parameters.push(Json(path.holding(value)), Type::JSONB))
}

/// JSON, and the keys that lead within it to what is tested.
struct Place<'a> {
    json: String,
    keys: &'a [String],
}

impl<'a> Place<'a> {
    fn keys(&self, parameters: &mut Parameters<'a>) -> usize {
        parameters.push(self.keys, Type::TEXT_ARRAY)
    }

    fn at(&self, parameters: &mut Parameters<'a>) -> String {
        format!("{} #> ${}", self.json, self.keys(parameters))
    }

    fn string(&self, internal: &str, parameters: &mut Parameters<'a>) -> String {
        format!("{internal}.string_at({}, ${})", self.json, self.keys(parameters))
    }

    /// The list there; null if it is none.
    fn list(&self, parameters: &mut Parameters<'a>) -> String {
        let at = self.at(parameters);
        let is_list = self.guarded(&format!("jsonb_typeof({at}) = 'array'"), parameters);
        format!("CASE WHEN {is_list} THEN {at} END")
    }

    /// With the condition that only objects are on the way: a path of `#>` leads through lists too, where a key is a
    /// position.
    fn guarded(&self, condition: &str, parameters: &mut Parameters<'a>) -> String {
        let is_position = |key: &String| key.ends_with(|c: char| c.is_ascii_digit());
        match self.keys.iter().rposition(is_position) {
            // The metadata themselves are an object.
            Some(0) if self.json == METADATA => format!("({condition})"),
            Some(position) => {
                let object = parameters.push(Json(nested(&self.keys[..position], "{}")), Type::JSONB);
                format!("({} @> ${object} AND {condition})", self.json)
            }
            None => format!("({condition})"),
        }
    }
}

const METADATA: &str = "d.metadata";

/// That a condition holds for a value that the path leads to.
fn any_value<'a>(
    path: &'a FieldPath,
    parameters: &mut Parameters<'a>,
    condition: impl FnOnce(&Place<'a>, &mut Parameters<'a>) -> String,
) -> String {
    let (elements, place) = elements(path, parameters);
    let condition = condition(&place, parameters);
    let condition = place.guarded(&condition, parameters);
    if elements.is_empty() { condition } else { format!("(EXISTS (SELECT FROM {elements} WHERE {condition}))") }
}

/// The elements of the lists on the way as tables, and the place within the innermost.
fn elements<'a>(path: &'a FieldPath, parameters: &mut Parameters<'a>) -> (String, Place<'a>) {
    let mut place = Place { json: METADATA.to_owned(), keys: &path.keys };
    let mut tables = Vec::with_capacity(path.lists.len());
    for (position, keys) in path.lists.iter().enumerate() {
        let list = Place { json: place.json, keys }.list(parameters);
        tables.push(format!("jsonb_array_elements({list}) l{position}"));
        place.json = format!("l{position}.value");
    }
    (tables.join(", "), place)
}

/// A query of the values that a path leads to in the metadata of the document `d`. Its column is `value`.
pub(in crate::store) fn values<'a>(path: &'a FieldPath, parameters: &mut Parameters<'a>) -> String {
    let (elements, place) = elements(path, parameters);
    let at = place.at(parameters);
    let condition = place.guarded(&format!("jsonb_typeof({at}) <> 'null'"), parameters);
    let from = if elements.is_empty() { String::new() } else { format!("FROM {elements} ") };
    format!("SELECT {at} AS value {from}WHERE {condition}")
}

fn to_time(microseconds: i64) -> SystemTime {
    let distance = Duration::from_micros(microseconds.unsigned_abs());
    if microseconds < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

impl Bound {
    fn operator(self) -> &'static str {
        match self {
            Self::LessThan => "<",
            Self::AtMost => "<=",
            Self::GreaterThan => ">",
            Self::AtLeast => ">=",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    fn path(plain: &[&str]) -> FieldPath {
        FieldPath { lists: Vec::new(), keys: keys(plain) }
    }

    fn sql(filter: &Filter) -> (String, usize) {
        let mut parameters = Parameters::default();
        let sql = filter.sql(Functions { internal: "i", outdated_times: &[keys(&["old"])] }, &mut parameters);
        (sql, parameters.typed().len())
    }

    #[test]
    fn values_are_parameters() {
        let text = "'; DROP TABLE x; --".to_owned();
        let equal = Test::Equals(Literal { json: format!("\"{text}\""), is_scalar: true });
        let filter = Filter::All(vec![
            Filter::Ids(vec![text.clone()]),
            Filter::None(vec![
                Filter::Field { path: path(&[&text]), test: equal },
                Filter::Field { path: path(&["a"]), test: Test::String(Bound::AtMost, text) },
            ]),
        ]);
        let wanted = "((d.id = ANY($1)) AND \
                      (((d.metadata @> $2) OR ((i.string_at(d.metadata, $3) COLLATE \"C\") <= $4)) IS NOT TRUE))";
        assert_eq!(sql(&filter), (wanted.to_owned(), 4));
    }

    #[test]
    fn positions_in_lists_are_no_keys() {
        let exists = |keys: &[&str]| sql(&Filter::Field { path: path(keys), test: Test::Exists }).0;
        assert_eq!(exists(&["0", "a"]), "(jsonb_typeof(d.metadata #> $1) <> 'null')");
        assert_eq!(exists(&["a", "-1", "b"]), "(d.metadata @> $2 AND jsonb_typeof(d.metadata #> $1) <> 'null')");
    }

    #[test]
    fn an_outdated_index_has_its_function() {
        let since = |keys: &[&str]| sql(&Filter::Field { path: path(keys), test: Test::Time(Bound::AtLeast, 0) }).0;
        assert_eq!(since(&["old"]), "(i.time_at(d.metadata, $1) >= $2)");
        assert_eq!(since(&["new"]), "(i.time_at_2(d.metadata, $1) >= $2)");
        assert_eq!(since(&["new", "old"]), "(i.time_at_2(d.metadata, $1) >= $2)");
    }

    #[test]
    fn elements_of_lists_are_looked_at_one_by_one() {
        let at = |lists: &[&str], within: &[&str], test| {
            let lists = lists.iter().map(|key| keys(&[key])).collect();
            sql(&Filter::Field { path: FieldPath { lists, keys: keys(within) }, test }).0
        };
        let red = || Test::Equals(Literal { json: "\"red\"".into(), is_scalar: true });
        assert_eq!(at(&["variants"], &["color"], red()), "(d.metadata @> $1)");
        assert_eq!(
            at(&["a"], &["0"], Test::Exists),
            "(EXISTS (SELECT FROM jsonb_array_elements(CASE WHEN (jsonb_typeof(d.metadata #> $1) = 'array') \
             THEN d.metadata #> $1 END) l0 WHERE (l0.value @> $3 AND jsonb_typeof(l0.value #> $2) <> 'null')))"
        );
        assert!(at(&["a", "b"], &[], Test::ContainsText("x".into())).contains("l1.value"));
    }
}
