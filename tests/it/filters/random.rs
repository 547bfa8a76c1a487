//! Random filters on random metadata, compared with a second implementation of their meaning.

use std::{cmp::Ordering, collections::BTreeMap};

use pgfox::v1::{self, condition::Test, filter::Node};
use prost_types::value::Kind;
use rstest::rstest;
use serde_json::{Value as Json, json};

use super::{NOON, at};
use crate::{
    metadata::{
        all_of, any_of, document, everything, field, fill, ignoring_case, list, none_of, selected, value, with_ids,
    },
    support::Server,
};

#[rstest]
#[tokio::test]
async fn random_filters_select_what_they_mean(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let documents: BTreeMap<String, Json> = (0..150).map(|i| (format!("d{i}"), random_metadata())).collect();
    fill(&mut client, documents.iter().map(|(id, metadata)| document(id, metadata)).collect()).await;
    let mut found = 0;
    for _ in 0..300 {
        let filter = random_filter(3);
        let meant = documents.iter().filter(|(id, metadata)| holds(&filter, id, metadata));
        let meant: Vec<&String> = meant.map(|(id, _)| id).collect();
        assert_eq!(selected(&mut client, &filter).await.iter().collect::<Vec<_>>(), meant, "{filter:?}");
        found += meant.len();
    }
    assert!((1_000..44_000).contains(&found), "{found}: the filters tell nothing");
}

/// Values that are often equal, and some that are nearly.
const POOL: &[&str] = &[
    "null",
    "0",
    "1",
    "1.5",
    "-3",
    "true",
    "false",
    r#""""#,
    r#""1""#,
    r#""a""#,
    r#""ab""#,
    r#""b""#,
    "[]",
    r#"["a"]"#,
    r#"["a",1]"#,
    "[[1]]",
    "{}",
    r#"{"k":1}"#,
    r#"{"k":{"k":"a"}}"#,
    r#""2024-05-01T12:00:00Z""#,
    r#""2024-05-01T11:00:00-01:00""#,
    r#""2024-05-01T12:00:01Z""#,
    r#""2024-05-01 12:00""#,
    r#""1:00""#,
    r#""AB""#,
    r#""Straße""#,
    r#""STRASSE""#,
    r#""ΣΊΓΜΑΣ σ""#,
    r#""σίγμας ς""#,
    r#"["A","Σ"]"#,
    r#"[{"k":1},{"k":"a"}]"#,
    r#"[{"k":"AB"},{"k":["a","Straße"]},"a"]"#,
    r#"[{"k":[{"k":1},{"k":"ẞ"}]},{"0":"a"}]"#,
];

fn random_json() -> Json {
    serde_json::from_str(POOL[random(POOL.len())]).unwrap()
}

fn random_text() -> Json {
    loop {
        let json = random_json();
        if json.is_string() {
            return json;
        }
    }
}

pub(super) fn random(below: usize) -> usize {
    use std::hash::{BuildHasher as _, RandomState};
    (RandomState::new().hash_one(0) % below as u64) as usize
}

fn random_metadata() -> Json {
    let mut fields = serde_json::Map::new();
    for key in ["a", "b", "k", "0"] {
        if random(3) > 0 {
            fields.insert(key.into(), random_json());
        }
    }
    if random(2) > 0 {
        fields.insert("b".into(), json!({"k": random_json(), "0": random_json()}));
    }
    if random(2) > 0 {
        let element = || [random_json(), json!({"k": random_json(), "0": random_json()})][random(2)].clone();
        fields.insert("l".into(), (0..random(4)).map(|_| element()).collect());
    }
    fields.into()
}

const FIELDS: &[&str] = &[
    "a",
    "b",
    r#""k""#,
    "0",
    "b.k",
    "b.0",
    "b.k.k",
    "a.0",
    "missing",
    "l[]",
    "l[].k",
    "l[].0",
    "a[]",
    "a[].k",
    "b.k[].k",
    "l[].k[].k",
    "l[].k[]",
    "missing[].k",
];

fn random_filter(depth: usize) -> v1::Filter {
    if depth > 1 && random(2) > 0 {
        let filters = (0..=random(3)).map(|_| random_filter(depth - 1)).collect();
        return [all_of, any_of, none_of][random(3)](filters);
    }
    if random(40) == 0 {
        return everything();
    }
    if random(10) == 0 {
        return with_ids(&["d1", "d2", "d40", "d77"]);
    }
    let scalars = || {
        let scalars: Vec<Json> = (0..=[2, 12][random(2)])
            .map(|_| {
                loop {
                    let json = random_json();
                    if !(json.is_null() || json.is_array() || json.is_object()) {
                        return json;
                    }
                }
            })
            .collect();
        list(&scalars.into())
    };
    let comparable = || loop {
        let json = random_json();
        if json.is_number() || json.is_string() {
            return value(&json);
        }
    };
    let time = || at(NOON + random(3) as i64 - 1, 0);
    let text = || ["a", "ab", "2024-05-01T1", "1", "ss", "STRASS", "Σ", "ίγμα", "\u{212a}"][random(9)].to_owned();
    let ignore_case = random(3) == 0;
    if ignore_case {
        let texts = || {
            let texts: Vec<Json> = (0..=[2, 12][random(2)]).map(|_| random_text()).collect();
            list(&texts.into())
        };
        let test = match random(8) {
            0 => Test::Equals(value(&random_text())),
            1 => Test::NotEquals(value(&random_text())),
            2 => Test::OneOf(texts()),
            3 => Test::NoneOf(texts()),
            4 => Test::ContainsAny(texts()),
            5 => Test::ContainsAll(texts()),
            6 => Test::StartsWith(text()),
            _ => Test::ContainsText(text()),
        };
        return ignoring_case(field(FIELDS[random(FIELDS.len())], test));
    }
    let test = match random(15) {
        0 => Test::Equals(value(&random_json())),
        1 => Test::NotEquals(value(&random_json())),
        2 => Test::LessThan(comparable()),
        3 => Test::AtMost(comparable()),
        4 => Test::GreaterThan(comparable()),
        5 => Test::AtLeast(comparable()),
        6 => Test::OneOf(scalars()),
        7 => Test::NoneOf(scalars()),
        8 => Test::ContainsAny(scalars()),
        9 => Test::ContainsAll(scalars()),
        10 => Test::StartsWith(text()),
        14 => Test::ContainsText(text()),
        11 => Test::Exists(random(2) > 0),
        12 => Test::Before(time()),
        _ => Test::Since(time()),
    };
    field(FIELDS[random(FIELDS.len())], test)
}

/// The comments of the proto, implemented once more.
fn holds(filter: &v1::Filter, id: &str, metadata: &Json) -> bool {
    let all = |list: &v1::FilterList, wanted: bool| list.filters.iter().all(|f| holds(f, id, metadata) == wanted);
    match filter.node.as_ref().unwrap() {
        Node::AllOf(list) => all(list, true),
        Node::AnyOf(list) => !all(list, false),
        Node::NoneOf(list) => all(list, false),
        Node::Everything(_) => true,
        Node::Ids(list) => list.ids.iter().any(|wanted| wanted == id),
        Node::Condition(condition) => {
            let (test, wanted) = contrary(condition.test.clone().unwrap());
            let found = values_at(metadata, &condition.field);
            found.iter().any(|found| test_holds(&test, found, condition.ignore_case)) == wanted
        }
    }
}

/// The positive form of a test, and whether it must be true for any value.
fn contrary(test: Test) -> (Test, bool) {
    match test {
        Test::NotEquals(wanted) => {
            let (test, holds) = contrary(Test::Equals(wanted));
            (test, !holds)
        }
        Test::Equals(prost_types::Value { kind: Some(Kind::NullValue(_)) }) | Test::Exists(false) => {
            (Test::Exists(true), false)
        }
        Test::NoneOf(list) => (Test::OneOf(list), false),
        test => (test, true),
    }
}

/// The values that a field has.
fn values_at(metadata: &Json, field: &str) -> Vec<Json> {
    let mut found = vec![metadata.clone()];
    for key in field.split('.') {
        let name = key.trim_end_matches("[]").trim_matches('"');
        let within = |json: &Json| json.as_object().and_then(|object| object.get(name)).cloned();
        found = found.iter().filter_map(within).collect();
        if key.ends_with("[]") {
            found = found.iter().filter_map(Json::as_array).flatten().cloned().collect();
        }
    }
    found
}

/// Ignores case: by way of lower case and upper case, since some letters have two forms of one kind.
fn fold(text: &str) -> String {
    let small = text.chars().flat_map(char::to_lowercase);
    small.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

fn test_holds(test: &Test, found: &Json, ignore_case: bool) -> bool {
    let fold = |text: &str| if ignore_case { fold(text) } else { text.to_owned() };
    let same = |found: &Json, wanted: &prost_types::Value| match (found, &wanted.kind) {
        (Json::String(found), Some(Kind::StringValue(wanted))) => fold(found) == fold(wanted),
        _ => value(found) == *wanted,
    };
    let is = |wanted: &prost_types::Value| same(found, wanted);
    let compare = |wanted: &prost_types::Value| match (&wanted.kind, found) {
        (Some(Kind::NumberValue(wanted)), Json::Number(found)) => found.as_f64().unwrap().partial_cmp(wanted),
        (Some(Kind::StringValue(wanted)), Json::String(found)) => Some(found.cmp(wanted)),
        _ => None,
    };
    let has = |wanted: &prost_types::Value| {
        found.as_array().is_some_and(|values| values.iter().any(|json| same(json, wanted)))
    };
    let seconds = match found.as_str() {
        Some("2024-05-01T12:00:00Z" | "2024-05-01T11:00:00-01:00" | "2024-05-01 12:00") => Some(NOON),
        Some("2024-05-01T12:00:01Z") => Some(NOON + 1),
        _ => None,
    };
    match test {
        Test::Equals(wanted) => is(wanted),
        Test::LessThan(wanted) => compare(wanted) == Some(Ordering::Less),
        Test::AtMost(wanted) => compare(wanted).is_some_and(Ordering::is_le),
        Test::GreaterThan(wanted) => compare(wanted) == Some(Ordering::Greater),
        Test::AtLeast(wanted) => compare(wanted).is_some_and(Ordering::is_ge),
        Test::OneOf(list) => list.values.iter().any(is),
        Test::ContainsAny(list) => list.values.iter().any(has),
        Test::ContainsAll(list) => found.is_array() && list.values.iter().all(has),
        Test::StartsWith(prefix) => found.as_str().is_some_and(|text| fold(text).starts_with(&fold(prefix))),
        Test::ContainsText(wanted) => found.as_str().is_some_and(|text| fold(text).contains(&fold(wanted))),
        Test::Exists(_) => !found.is_null(),
        Test::Before(time) => seconds.is_some_and(|seconds| seconds < time.seconds),
        Test::Since(time) => seconds.is_some_and(|seconds| seconds >= time.seconds),
        Test::NotEquals(_) | Test::NoneOf(_) => unreachable!("negations are taken apart before"),
    }
}
