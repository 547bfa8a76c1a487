//! Turns filters into SQL.

use std::time::{Duration, SystemTime};

use tokio_postgres::types::Type;

use super::{Bound, FieldPath, Filter, Literal, Test, TextTest, fold::Folding, path::nested};
use crate::store::{
    MetadataIndex, MetadataIndexType,
    sources::Fields,
    wire::{Json, Parameters},
};

/// The functions that conditions over the documents of a collection call.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Functions<'e> {
    /// Their quoted schema.
    pub(in crate::store) internal: &'e str,
    /// Fields whose index uses the first function for times. Such an index serves only conditions with that function.
    pub(in crate::store) outdated_times: &'e [Vec<String>],
    /// Indexes that serve only conditions with their own expression.
    pub(in crate::store) indexes: &'e [MetadataIndex],
    /// The JSON or the columns that the paths of filters lead to.
    pub(in crate::store) fields: Fields<'e>,
}

impl Filter {
    /// A condition on the documents table with the alias `d`. If it is not true, it may be null, but not below a
    /// negation.
    pub(in crate::store) fn sql<'a>(&'a self, functions: Functions<'_>, parameters: &mut Parameters<'a>) -> String {
        match self {
            Self::Field { path, test } => functions
                .fields
                .condition(path, test, parameters)
                .or_else(|| indexed(path, test, functions, parameters))
                .unwrap_or_else(|| field(path, test, functions, parameters)),
            Self::All(filters) => combined(filters, " AND ", functions, parameters),
            Self::Any(filters) => combined(filters, " OR ", functions, parameters),
            Self::None(filters) => format!("({} IS NOT TRUE)", combined(filters, " OR ", functions, parameters)),
            Self::Ids(ids) => match functions.fields.ids(ids, parameters) {
                Some(condition) => condition,
                None => format!("(d.id = ANY(${}))", parameters.push(ids, Type::TEXT_ARRAY)),
            },
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

/// Each value of a list costs time on every row that no index has selected. With more values than this, a cheaper
/// condition comes first: equality with one of many is a hash table.
const MAX_CONTAINMENTS: usize = 8;

/// A condition after a cheaper one that it implies. `coalesce` makes the planner assume half of the rows; its estimate for
/// the condition itself would be far too low.
fn cheaper_first(cheaper: &str, condition: &str) -> String {
    format!("(coalesce({cheaper}, false) AND {condition})")
}

/// The values, if they are strings and so many that a cheaper condition must come first.
fn many_strings(literals: &[Literal]) -> Option<Vec<String>> {
    let strings = literals.iter().map(|literal| serde_json::from_str(&literal.json).ok());
    if literals.len() > MAX_CONTAINMENTS { strings.collect() } else { None }
}

/// The condition that the index over the booleans or over the list of this field serves, if there is one.
fn indexed<'a>(
    path: &'a FieldPath,
    test: &'a Test,
    functions: Functions<'_>,
    parameters: &mut Parameters<'a>,
) -> Option<String> {
    let keys = path.lists.first().unwrap_or(&path.keys);
    let index = functions.indexes.iter().find(|index| test.is_served_by(path, index))?;
    let place = Place { json: "d.metadata".to_owned(), is_root: true, keys };
    let condition = match (index.kind, test) {
        (MetadataIndexType::Boolean, Test::Equals(literal)) => {
            let keys = place.keys(parameters);
            let wanted = parameters.push(literal.json == "true", Type::BOOL);
            format!("{}.boolean_at({}, ${keys}) = ${wanted}", functions.internal, place.json)
        }
        (MetadataIndexType::StringList, Test::ContainsAll(literals)) => {
            let at = place.at(parameters);
            let list: Vec<&str> = literals.iter().map(|literal| literal.json.as_str()).collect();
            let list = parameters.push(Json(format!("[{}]", list.join(","))), Type::JSONB);
            format!("({at}) @> ${list}")
        }
        (MetadataIndexType::StringList, Test::Equals(literal)) => {
            let at = place.at(parameters);
            let list = parameters.push(Json(format!("[{}]", literal.json)), Type::JSONB);
            format!("({at}) @> ${list}")
        }
        (MetadataIndexType::StringList, Test::OneOf(literals) | Test::ContainsAny(literals)) => {
            let at = place.at(parameters);
            let lists: Vec<_> = literals.iter().map(|literal| Json(format!("[{}]", literal.json))).collect();
            let contained = format!("({at}) @> ANY(${})", parameters.push(lists, Type::JSONB_ARRAY));
            match many_strings(literals) {
                Some(strings) => cheaper_first(&place.has_any(strings, parameters), &contained),
                None => contained,
            }
        }
        _ => return None,
    };
    Some(place.guarded(&condition, parameters))
}

fn field<'a>(path: &'a FieldPath, test: &'a Test, functions: Functions<'_>, parameters: &mut Parameters<'a>) -> String {
    let Functions { internal, outdated_times, fields, .. } = functions;
    let json = &fields.json(path, internal);
    match test {
        // The GIN index serves `@>`. It compares scalars exactly; lists and objects may contain more than the value.
        Test::Equals(Literal { json: value, is_scalar: true }) => {
            format!("({})", contained(json, path, value, parameters))
        }
        Test::Equals(Literal { json: value, is_scalar: false }) => {
            let contained = contained(json, path, value, parameters);
            let equal = any_value(json, path, parameters, |place, parameters| {
                let at = place.at(parameters);
                format!("{at} = ${}", parameters.push(Json(value), Type::JSONB))
            });
            format!("({contained} AND {equal})")
        }
        Test::OneOf(literals) => {
            let wanted: Vec<_> = literals.iter().map(|literal| Json(path.holding(&literal.json))).collect();
            let contained = format!("{json} @> ANY(${})", parameters.push(wanted, Type::JSONB_ARRAY));
            if literals.len() <= MAX_CONTAINMENTS {
                return format!("({contained})");
            }
            let equal = any_value(json, path, parameters, |place, parameters| {
                let at = place.at(parameters);
                let values: Vec<_> = literals.iter().map(|literal| Json(&literal.json)).collect();
                format!("{at} = ANY(${})", parameters.push(values, Type::JSONB_ARRAY))
            });
            cheaper_first(&equal, &contained)
        }
        Test::ContainsAny(literals) => {
            let list = |literal: &Literal| Json(path.holding(&format!("[{}]", literal.json)));
            let wanted: Vec<_> = literals.iter().map(list).collect();
            let contained = format!("{json} @> ANY(${})", parameters.push(wanted, Type::JSONB_ARRAY));
            match many_strings(literals) {
                Some(strings) => {
                    let has = any_value(json, path, parameters, |place, parameters| place.has_any(strings, parameters));
                    cheaper_first(&has, &contained)
                }
                None => format!("({contained})"),
            }
        }
        Test::ContainsAll(literals) => {
            let literals: Vec<&str> = literals.iter().map(|literal| literal.json.as_str()).collect();
            format!("({})", contained(json, path, &format!("[{}]", literals.join(",")), parameters))
        }
        Test::Number(bound, number) => any_value(json, path, parameters, |place, parameters| {
            let keys = place.keys(parameters);
            // As text, since a cast from float8 keeps only 15 digits.
            let number = parameters.push(number.to_string(), Type::TEXT);
            format!("{internal}.number_at({}, ${keys}) {} ${number}::numeric", place.json, bound.operator())
        }),
        Test::String(bound, string) => any_value(json, path, parameters, |place, parameters| {
            let found = place.string(internal, parameters);
            format!("({found} COLLATE \"C\") {} ${}", bound.operator(), parameters.push(string, Type::TEXT))
        }),
        Test::StartsWith(prefix) => any_value(json, path, parameters, |place, parameters| {
            let found = place.string(internal, parameters);
            format!("({found} COLLATE \"C\") ^@ ${}", parameters.push(prefix, Type::TEXT))
        }),
        Test::ContainsText(text) => any_value(json, path, parameters, |place, parameters| {
            let found = place.string(internal, parameters);
            format!("strpos({found} COLLATE \"C\", ${}) > 0", parameters.push(text, Type::TEXT))
        }),
        Test::IgnoringCase(test) => {
            any_value(json, path, parameters, |place, parameters| ignoring_case(place, test, internal, parameters))
        }
        Test::Time(bound, microseconds) => any_value(json, path, parameters, |place, parameters| {
            let keys = place.keys(parameters);
            let time = parameters.push(to_time(*microseconds), Type::TIMESTAMP);
            let is_outdated = outdated_times.iter().any(|outdated| path.is_plain(outdated));
            let function = if is_outdated { "time_at" } else { "time_at_2" };
            format!("{internal}.{function}({}, ${keys}) {} ${time}", place.json, bound.operator())
        }),
        Test::Exists => any_value(json, path, parameters, |place, parameters| {
            format!("jsonb_typeof({}) <> 'null'", place.at(parameters))
        }),
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

/// The condition that JSON contains a value at a path. A list or an object there may contain more.
fn contained(json: &str, path: &FieldPath, value: &str, parameters: &mut Parameters<'_>) -> String {
    format!("{json} @> ${}", parameters.push(Json(path.holding(value)), Type::JSONB))
}

/// A JSON expression, and the keys in it that lead to the tested value.
struct Place<'a> {
    json: String,
    /// It is the object that holds the fields.
    is_root: bool,
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

    /// The condition that the list at this place has any of the strings.
    fn has_any(&self, strings: Vec<String>, parameters: &mut Parameters<'a>) -> String {
        let at = self.at(parameters);
        format!("{at} ?| ${}", parameters.push(strings, Type::TEXT_ARRAY))
    }

    /// The list at this place, or null if it is not a list.
    fn list(&self, parameters: &mut Parameters<'a>) -> String {
        let at = self.at(parameters);
        let is_list = self.guarded(&format!("jsonb_typeof({at}) = 'array'"), parameters);
        format!("CASE WHEN {is_list} THEN {at} END")
    }

    /// Adds the condition that every value on the way is an object. A path of `#>` also leads through lists, where a
    /// key is a position.
    fn guarded(&self, condition: &str, parameters: &mut Parameters<'a>) -> String {
        let is_position = |key: &String| key.ends_with(|c: char| c.is_ascii_digit());
        match self.keys.iter().rposition(is_position) {
            // The metadata themselves are an object.
            Some(0) if self.is_root => format!("({condition})"),
            Some(position) => {
                let object = parameters.push(Json(nested(&self.keys[..position], "{}")), Type::JSONB);
                format!("({} @> ${object} AND {condition})", self.json)
            }
            None => format!("({condition})"),
        }
    }
}

/// The condition that one of the values at the path meets `condition`.
fn any_value<'a>(
    json: &str,
    path: &'a FieldPath,
    parameters: &mut Parameters<'a>,
    condition: impl FnOnce(&Place<'a>, &mut Parameters<'a>) -> String,
) -> String {
    let (elements, place) = elements(json, path, parameters);
    let condition = condition(&place, parameters);
    let condition = place.guarded(&condition, parameters);
    if elements.is_empty() { condition } else { format!("(EXISTS (SELECT FROM {elements} WHERE {condition}))") }
}

/// The elements of the lists on the way as tables, and the place in the innermost elements.
fn elements<'a>(json: &str, path: &'a FieldPath, parameters: &mut Parameters<'a>) -> (String, Place<'a>) {
    let mut place = Place { json: json.to_owned(), is_root: true, keys: &path.keys };
    let mut tables = Vec::with_capacity(path.lists.len());
    for (position, keys) in path.lists.iter().enumerate() {
        let list = Place { keys, ..place }.list(parameters);
        tables.push(format!("jsonb_array_elements({list}) l{position}"));
        place = Place { json: format!("l{position}.value"), is_root: false, keys: &path.keys };
    }
    (tables.join(", "), place)
}

/// A query of the values at a path in the metadata of document `d`. Its column is `value`.
pub(in crate::store) fn values<'a>(
    path: &'a FieldPath,
    functions: Functions<'_>,
    parameters: &mut Parameters<'a>,
) -> String {
    let json = functions.fields.json(path, functions.internal);
    let (elements, place) = elements(&json, path, parameters);
    let at = place.at(parameters);
    let condition = place.guarded(&format!("jsonb_typeof({at}) <> 'null'"), parameters);
    let from = if elements.is_empty() { String::new() } else { format!("FROM {elements} ") };
    format!("SELECT {at} AS value {from}WHERE {condition}")
}

/// Microseconds since 1970.
pub(in crate::store) fn to_time(microseconds: i64) -> SystemTime {
    let distance = Duration::from_micros(microseconds.unsigned_abs());
    if microseconds < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance }
}

impl Bound {
    pub(in crate::store) fn operator(self) -> &'static str {
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
        let index = |kind, key| MetadataIndex { kind, path: keys(&[key]) };
        let indexes = [index(MetadataIndexType::Boolean, "flag"), index(MetadataIndexType::StringList, "tags")];
        let sql = filter.sql(
            Functions { internal: "i", outdated_times: &[keys(&["old"])], indexes: &indexes, fields: Fields::Metadata },
            &mut parameters,
        );
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
    fn indexes_of_one_field_have_their_expressions() {
        let red = || Literal { json: "\"red\"".into(), is_scalar: true };
        let check = |lists: &[&str], within: &[&str], test, expected: &str| {
            let path = FieldPath { lists: lists.iter().map(|key| keys(&[key])).collect(), keys: keys(within) };
            assert_eq!(sql(&Filter::Field { path, test }).0, expected);
        };
        let yes = || Test::Equals(Literal { json: "true".into(), is_scalar: true });
        check(&[], &["flag"], yes(), "(i.boolean_at(d.metadata, $1) = $2)");
        check(&[], &["tags"], yes(), "(d.metadata @> $1)");
        check(&[], &["flag"], Test::Equals(red()), "(d.metadata @> $1)");
        check(&[], &["tags"], Test::ContainsAll(vec![red()]), "((d.metadata #> $1) @> $2)");
        check(&[], &["tags"], Test::ContainsAny(vec![red()]), "((d.metadata #> $1) @> ANY($2))");
        check(&["tags"], &[], Test::OneOf(vec![red()]), "((d.metadata #> $1) @> ANY($2))");
        let many = || (0..9).map(|_| red()).collect();
        let cheaper_first = "((coalesce(d.metadata #> $3 ?| $4, false) AND (d.metadata #> $1) @> ANY($2)))";
        check(&["tags"], &[], Test::OneOf(many()), cheaper_first);
        check(&[], &["tags"], Test::ContainsAny(many()), cheaper_first);
        check(&["tags"], &[], Test::Equals(red()), "((d.metadata #> $1) @> $2)");
        check(&["tags"], &["a"], Test::Equals(red()), "(d.metadata @> $1)");
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
