//! Filters: which documents, by their metadata, as SQL with bound parameters.

use std::time::{Duration, SystemTime};

use tokio_postgres::types::Type;

use super::wire::{Json, Parameters};

/// Which documents. Lists are not empty, paths have at least one key, numbers are finite and nothing has a NUL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    /// A test of the field at a path of keys.
    Field {
        path: Vec<String>,
        test: Test,
    },
    All(Vec<Filter>),
    Any(Vec<Filter>),
    None(Vec<Filter>),
    Ids(Vec<String>),
}

/// A test of a field. What is negative in the API is [`Filter::None`] of its contrary here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// The field is this value, which is not null.
    Equals(Literal),
    /// The field is one of these scalars.
    OneOf(Vec<Literal>),
    /// The field is a list that has one of these scalars.
    ContainsAny(Vec<Literal>),
    /// The field is a list that has all of these scalars.
    ContainsAll(Vec<Literal>),
    Number(Bound, f64),
    String(Bound, String),
    /// Microseconds since 1970.
    Time(Bound, i64),
    StartsWith(String),
    Exists,
}

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    LessThan,
    AtMost,
    GreaterThan,
    AtLeast,
}

/// A value as JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Literal {
    pub json: String,
    /// A string, a number or a boolean; else a list or an object.
    pub is_scalar: bool,
}

/// The functions that conditions over the documents of a collection call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Functions<'e> {
    /// Their quoted schema.
    pub(super) internal: &'e str,
    /// Fields whose index is made of the first function for times, which it serves alone.
    pub(super) outdated_times: &'e [Vec<String>],
}

impl Filter {
    /// A condition over the documents table with the alias `d`. It may be null where it does not hold, but not below a
    /// negation.
    pub(super) fn sql<'a>(&'a self, functions: Functions<'_>, parameters: &mut Parameters<'a>) -> String {
        match self {
            Self::Field { path, test } => field(path, test, functions, parameters),
            Self::All(filters) => combined(filters, " AND ", functions, parameters),
            Self::Any(filters) => combined(filters, " OR ", functions, parameters),
            Self::None(filters) => format!("({} IS NOT TRUE)", combined(filters, " OR ", functions, parameters)),
            Self::Ids(ids) => format!("(d.id = ANY(${}))", parameters.push(ids, Type::TEXT_ARRAY)),
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

fn field<'a>(path: &'a [String], test: &'a Test, functions: Functions<'_>, parameters: &mut Parameters<'a>) -> String {
    let Functions { internal, outdated_times } = functions;
    let condition = match test {
        // `@>` is what the GIN index serves. Scalars it compares; what else is within can be larger.
        Test::Equals(Literal { json, is_scalar: true }) => {
            let wanted = parameters.push(Json(nested(path, json)), Type::JSONB);
            return format!("(d.metadata @> ${wanted})");
        }
        Test::Equals(Literal { json, is_scalar: false }) => {
            let wanted = parameters.push(Json(nested(path, json)), Type::JSONB);
            let keys = parameters.push(path, Type::TEXT_ARRAY);
            let value = parameters.push(Json(json), Type::JSONB);
            return format!("(d.metadata @> ${wanted} AND d.metadata #> ${keys} = ${value})");
        }
        Test::OneOf(literals) => {
            let wanted: Vec<_> = literals.iter().map(|literal| Json(nested(path, &literal.json))).collect();
            let contained = format!("d.metadata @> ANY(${})", parameters.push(wanted, Type::JSONB_ARRAY));
            if literals.len() <= MAX_CONTAINMENTS {
                return format!("({contained})");
            }
            let keys = parameters.push(path, Type::TEXT_ARRAY);
            let values: Vec<_> = literals.iter().map(|literal| Json(&literal.json)).collect();
            let values = parameters.push(values, Type::JSONB_ARRAY);
            return format!("(coalesce(d.metadata #> ${keys} = ANY(${values}), false) AND {contained})");
        }
        Test::ContainsAny(literals) => {
            let list = |literal: &Literal| Json(nested(path, &format!("[{}]", literal.json)));
            let wanted: Vec<_> = literals.iter().map(list).collect();
            let contained = format!("d.metadata @> ANY(${})", parameters.push(wanted, Type::JSONB_ARRAY));
            let strings = literals.iter().map(|literal| serde_json::from_str::<String>(&literal.json));
            match strings.collect::<Result<Vec<String>, _>>() {
                Ok(strings) if strings.len() > MAX_CONTAINMENTS => {
                    let keys = parameters.push(path, Type::TEXT_ARRAY);
                    let strings = parameters.push(strings, Type::TEXT_ARRAY);
                    return format!("(coalesce(d.metadata #> ${keys} ?| ${strings}, false) AND {contained})");
                }
                _ => return format!("({contained})"),
            }
        }
        Test::ContainsAll(literals) => {
            let literals: Vec<&str> = literals.iter().map(|literal| literal.json.as_str()).collect();
            let wanted = nested(path, &format!("[{}]", literals.join(",")));
            return format!("(d.metadata @> ${})", parameters.push(Json(wanted), Type::JSONB));
        }
        Test::Number(bound, number) => {
            let keys = parameters.push(path, Type::TEXT_ARRAY);
            // As text, since a cast from float8 keeps 15 digits only.
            let number = parameters.push(number.to_string(), Type::TEXT);
            format!("{internal}.number_at(d.metadata, ${keys}) {} ${number}::numeric", bound.operator())
        }
        Test::String(bound, string) => {
            let keys = parameters.push(path, Type::TEXT_ARRAY);
            let string = parameters.push(string, Type::TEXT);
            format!("({internal}.string_at(d.metadata, ${keys}) COLLATE \"C\") {} ${string}", bound.operator())
        }
        Test::StartsWith(prefix) => {
            let keys = parameters.push(path, Type::TEXT_ARRAY);
            let prefix = parameters.push(prefix, Type::TEXT);
            format!("({internal}.string_at(d.metadata, ${keys}) COLLATE \"C\") ^@ ${prefix}")
        }
        Test::Time(bound, microseconds) => {
            let keys = parameters.push(path, Type::TEXT_ARRAY);
            let time = parameters.push(to_time(*microseconds), Type::TIMESTAMP);
            let function = if outdated_times.iter().any(|outdated| outdated == path) { "time_at" } else { "time_at_2" };
            format!("{internal}.{function}(d.metadata, ${keys}) {} ${time}", bound.operator())
        }
        Test::Exists => {
            format!("jsonb_typeof(d.metadata #> ${}) <> 'null'", parameters.push(path, Type::TEXT_ARRAY))
        }
    };
    // A path of `#>` leads through lists too, where a key is a position. Only objects have keys.
    match path.iter().rposition(|key| key.ends_with(|c: char| c.is_ascii_digit())) {
        Some(position @ 1..) => {
            let object = parameters.push(Json(nested(&path[..position], "{}")), Type::JSONB);
            format!("(d.metadata @> ${object} AND {condition})")
        }
        _ => format!("({condition})"),
    }
}

/// The object that has a value at a path.
fn nested(path: &[String], value: &str) -> String {
    let mut json = String::new();
    for key in path {
        json.push('{');
        // Safe: serialising a string into memory cannot fail.
        json.push_str(&serde_json::to_string(key).unwrap_or_default());
        json.push(':');
    }
    json.push_str(value);
    json.extend(path.iter().map(|_| '}'));
    json
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

    fn path(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    fn sql(filter: &Filter) -> (String, usize) {
        let mut parameters = Parameters::default();
        let sql = filter.sql(Functions { internal: "i", outdated_times: &[path(&["old"])] }, &mut parameters);
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
    fn a_path_is_an_object() {
        assert_eq!(nested(&path(&["a", "\"\n"]), "[1]"), r#"{"a":{"\"\n":[1]}}"#);
    }
}
