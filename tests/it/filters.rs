//! Filters: the meaning of each test for every kind of value, and how filters combine.

mod elements;
mod random;
mod text;
mod times;

use pgfox::v1::{self, condition::Test, filter::Node};
use prost_types::Timestamp;
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::{
    calls::invalid,
    metadata::{all_of, any_of, document, equals, field, fill, list, none_of, quoted, selected, value, with_ids},
    naughty::NAUGHTY,
    support::Server,
};

/// Noon of the first of May 2024.
pub(crate) const NOON: i64 = 1_714_564_800;

pub(crate) fn at(seconds: i64, nanos: i32) -> Timestamp {
    Timestamp { seconds, nanos }
}

/// A document for each kind of value of the field `v`.
fn values() -> Vec<(&'static str, Json)> {
    vec![
        ("absent", json!({})),
        ("null", json!({"v": null})),
        ("n0", json!({"v": 0})),
        ("n1", json!({"v": 1})),
        ("n-1.5", json!({"v": -1.5})),
        ("n2^53", json!({"v": 9_007_199_254_740_992_u64})),
        ("n2^53+2", json!({"v": 9_007_199_254_740_994_u64})),
        ("n1e300", json!({"v": 1e300})),
        ("true", json!({"v": true})),
        ("false", json!({"v": false})),
        ("s", json!({"v": ""})),
        ("s7", json!({"v": "7"})),
        ("sB", json!({"v": "B"})),
        ("sa", json!({"v": "a"})),
        ("sab%", json!({"v": "ab%"})),
        ("sé", json!({"v": "é"})),
        ("s🦊", json!({"v": "🦊"})),
        ("s\u{ffff}", json!({"v": "\u{ffff}"})),
        ("l", json!({"v": []})),
        ("la", json!({"v": ["a"]})),
        ("la1", json!({"v": ["a", 1, "1", true]})),
        ("l[a]", json!({"v": [["a"]]})),
        ("lnull", json!({"v": [null]})),
        ("o", json!({"v": {}})),
        ("ok", json!({"v": {"k": "a"}})),
        ("ok0", json!({"v": {"k": "a", "0": "b"}})),
        ("oknull", json!({"v": {"k": null}})),
        ("t12:00", json!({"v": "2024-05-01T12:00:00Z"})),
        ("t14:00+2", json!({"v": "2024-05-01T14:00:00+02:00"})),
        ("t06:30-5:30", json!({"v": "2024-05-01t06:30:00.000-05:30"})),
        ("t12:00:00.000001", json!({"v": "2024-05-01T12:00:00.000001Z"})),
        ("t1", json!({"v": "0001-01-01T00:00:00Z"})),
        ("t9999", json!({"v": "9999-12-31T23:59:59.999999z"})),
        ("tday", json!({"v": "2024-05-01"})),
        ("tmonth", json!({"v": "2024-13-01T00:00:00Z"})),
        ("tlocal", json!({"v": "2024-05-01T12:00:00"})),
    ]
}

#[rstest]
#[tokio::test]
async fn tests_mean_what_the_proto_says(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let values = values();
    fill(&mut client, values.iter().map(|(id, metadata)| document(id, metadata)).collect()).await;
    let all = || values.iter().map(|(id, _)| *id);
    let beginning = |first: char| all().filter(move |id| id.starts_with(first)).collect::<Vec<_>>();
    let times = || all().filter(|id| id.starts_with('t') && *id != "true");
    let others = |ids: &[&str]| all().filter(|id| !ids.contains(id)).map(str::to_owned).collect::<Vec<_>>();

    let of = |test: Test| field("v", test);
    let is = |json: Json| equals("v", &json);
    let (noon, later) = (["t06:30-5:30", "t12:00", "t14:00+2", "tlocal"], "t12:00:00.000001");
    let not_times = ["tmonth"];
    let table: Vec<(v1::Filter, Vec<&str>)> = vec![
        (is(json!(null)), vec!["absent", "null"]),
        (of(Test::NotEquals(value(&json!(null)))), all().filter(|id| !["absent", "null"].contains(id)).collect()),
        (of(Test::Exists(false)), vec!["absent", "null"]),
        (is(json!(0)), vec!["n0"]),
        (is(json!(-0.0)), vec!["n0"]),
        (is(json!(1)), vec!["n1"]),
        (is(json!(1e300)), vec!["n1e300"]),
        (is(json!(9_007_199_254_740_992_u64)), vec!["n2^53"]),
        (is(json!(true)), vec!["true"]),
        (is(json!("")), vec!["s"]),
        (is(json!("7")), vec!["s7"]),
        (is(json!("a")), vec!["sa"]),
        (is(json!([])), vec!["l"]),
        (is(json!(["a"])), vec!["la"]),
        (is(json!([["a"]])), vec!["l[a]"]),
        (is(json!(["a", 1, "1", true])), vec!["la1"]),
        (is(json!([1, "a", "1", true])), vec![]),
        (is(json!({})), vec!["o"]),
        (is(json!({"k": "a"})), vec!["ok"]),
        (is(json!({"k": null})), vec!["oknull"]),
        (of(Test::LessThan(value(&json!(0)))), vec!["n-1.5"]),
        (of(Test::AtMost(value(&json!(0)))), vec!["n-1.5", "n0"]),
        (of(Test::GreaterThan(value(&json!(9_007_199_254_740_992_u64)))), vec!["n2^53+2", "n1e300"]),
        (of(Test::AtLeast(value(&json!(9_007_199_254_740_992_u64)))), vec!["n2^53", "n2^53+2", "n1e300"]),
        (of(Test::AtMost(value(&json!(f64::MAX)))), beginning('n').into_iter().filter(|id| *id != "null").collect()),
        (of(Test::LessThan(value(&json!("7")))), [vec!["s"], times().filter(|id| *id != "t9999").collect()].concat()),
        (
            of(Test::AtMost(value(&json!("7")))),
            [vec!["s", "s7"], times().filter(|id| *id != "t9999").collect()].concat(),
        ),
        // Upper case comes before lower case, and code points count, not words of UTF-16.
        (of(Test::GreaterThan(value(&json!("B")))), vec!["sa", "sab%", "sé", "s\u{ffff}", "s🦊"]),
        (of(Test::GreaterThan(value(&json!("\u{ffff}")))), vec!["s🦊"]),
        (of(Test::AtLeast(value(&json!("é")))), vec!["sé", "s\u{ffff}", "s🦊"]),
        (of(Test::OneOf(list(&json!([1, "7", true])))), vec!["n1", "s7", "true"]),
        (of(Test::OneOf(list(&json!(["a", "a"])))), vec!["sa"]),
        (of(Test::OneOf(list(&json!([1, "7", true, 2, 3, 4, 5, 6, 8, 9, 1e300])))), vec!["n1", "s7", "true", "n1e300"]),
        (of(Test::ContainsAny(list(&json!(["a", "b"])))), vec!["la", "la1"]),
        (of(Test::ContainsAny(list(&json!([1])))), vec!["la1"]),
        (of(Test::ContainsAny(list(&json!([1, "x", 2, 3, 4, 5, 6, 7, 8, 9])))), vec!["la1"]),
        (of(Test::ContainsAny(list(&json!(["k", "1", "x", "y", "z", "v", "w", "7", "B", "é"])))), vec!["la1"]),
        (of(Test::ContainsAll(list(&json!(["a", "1"])))), vec!["la1"]),
        (of(Test::ContainsAll(list(&json!(["a", "b"])))), vec![]),
        (of(Test::StartsWith("a".into())), vec!["sa", "sab%"]),
        (of(Test::StartsWith("ab%".into())), vec!["sab%"]),
        (of(Test::StartsWith("%".into())), vec![]),
        (of(Test::StartsWith("2024-05-01T".into())), vec!["t12:00", "t14:00+2", later, "tlocal"]),
        (of(Test::Before(at(NOON, 0))), vec!["t1", "tday"]),
        (of(Test::Before(at(NOON, 1_000))), [&["t1", "tday"], &noon[..]].concat()),
        (of(Test::Since(at(NOON, 0))), [&noon[..], &[later, "t9999"]].concat()),
        (of(Test::Since(at(NOON, 1_000))), vec![later, "t9999"]),
        // Microseconds count.
        (of(Test::Since(at(NOON, 1_999))), vec![later, "t9999"]),
        (of(Test::Since(at(-62_135_596_800, 0))), times().filter(|id| !not_times.contains(id)).collect()),
        (
            of(Test::Before(at(253_402_300_799, 999_999_000))),
            times().filter(|id| !not_times.contains(id) && *id != "t9999").collect(),
        ),
        // Through objects only, not through lists.
        (equals("v.k", &json!("a")), vec!["ok", "ok0"]),
        (field("v.0", Test::OneOf(list(&json!(["a", 1, 2, 3, 4, 5, 6, 7, 8, 9])))), vec![]),
        (field("v.0", Test::OneOf(list(&json!(["b", 1, 2, 3, 4, 5, 6, 7, 8, 9])))), vec!["ok0"]),
        (field("v.k", Test::Exists(true)), vec!["ok", "ok0"]),
        (field("v.k", Test::StartsWith("a".into())), vec!["ok", "ok0"]),
        (field("v.0", Test::Exists(true)), vec!["ok0"]),
        (field("v.0", Test::AtLeast(value(&json!("")))), vec!["ok0"]),
        (field("v.-1", Test::Exists(true)), vec![]),
        (field(r#"v." 0""#, Test::Exists(true)), vec![]),
        (equals("v.0.0", &json!("a")), vec![]),
        (with_ids(&["n1", "nobody", "n1"]), vec!["n1"]),
        (all_of(vec![with_ids(&["n0", "n1"]), is(json!(1))]), vec!["n1"]),
        (any_of(vec![with_ids(&["n0"]), is(json!(1))]), vec!["n0", "n1"]),
    ];
    for (filter, wanted) in &table {
        let mut wanted: Vec<String> = wanted.iter().map(|id| (*id).to_owned()).collect();
        wanted.sort();
        assert_eq!(selected(&mut client, filter).await, wanted, "{filter:?}");
        // A negative test is true exactly if its opposite is false, whatever the value is.
        let found: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let mut rest = others(&found);
        rest.sort();
        assert_eq!(selected(&mut client, &none_of(vec![filter.clone()])).await, rest, "none of {filter:?}");
        let contrary = match &filter.node {
            Some(Node::Condition(v1::Condition { field: name, test: Some(test), .. })) => match test.clone() {
                Test::Equals(value) => Some(field(name, Test::NotEquals(value))),
                Test::OneOf(values) => Some(field(name, Test::NoneOf(values))),
                Test::Exists(exists) => Some(field(name, Test::Exists(!exists))),
                _ => None,
            },
            _ => None,
        };
        if let Some(contrary) = contrary {
            assert_eq!(selected(&mut client, &contrary).await, rest, "{contrary:?}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn naughty_strings_are_keys_and_values(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let documents = NAUGHTY.iter().map(|text| {
        document(text, &json!({(*text): text, "v": text, "in": {(*text): {"text": text}}, "list": ["x", text]}))
    });
    fill(&mut client, documents.collect()).await;
    for text in NAUGHTY {
        let key = quoted(text);
        let string = value(&json!(text));
        for filter in [
            with_ids(&[text]),
            equals("v", &json!(text)),
            equals(&key, &json!(text)),
            equals(&format!("in.{key}"), &json!({"text": text})),
            equals("in", &json!({(*text): {"text": text}})),
            field(&key, Test::Exists(true)),
            field(&format!("in.{key}.text"), Test::StartsWith((*text).into())),
            field("v", Test::OneOf(list(&json!([text])))),
            field("list", Test::ContainsAny(list(&json!(["y", text])))),
            field("list", Test::ContainsAll(list(&json!(["x", text])))),
            all_of(vec![field("v", Test::AtLeast(string.clone())), field(&key, Test::AtMost(string.clone()))]),
            none_of(vec![field("v", Test::LessThan(string.clone())), field("v", Test::GreaterThan(string))]),
        ] {
            assert_eq!(selected(&mut client, &filter).await, [*text], "{filter:?}");
        }
        let begun = field("v", Test::StartsWith((*text).into()));
        let mut wanted: Vec<&str> = NAUGHTY.iter().copied().filter(|other| other.starts_with(text)).collect();
        wanted.sort_unstable();
        assert_eq!(selected(&mut client, &begun).await, wanted);
    }
    // They are ordered as their code points are.
    let mut sorted = NAUGHTY.to_vec();
    sorted.sort_unstable();
    let behind = field("v", Test::GreaterThan(value(&json!(sorted[30]))));
    assert_eq!(selected(&mut client, &behind).await, sorted[31..]);
}

#[rstest]
#[tokio::test]
async fn violations_are_reported_with_their_place(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, vec![document("a", &json!({"v": 1}))]).await;
    let wrong = all_of(vec![
        equals("v", &json!(1)),
        field("v.", Test::LessThan(value(&json!([])))),
        any_of(vec![]),
        none_of(vec![v1::Filter { node: None }, with_ids(&[""])]),
    ]);
    let fields = [
        "filter.all_of.filters[1].condition.field",
        "filter.all_of.filters[1].condition.less_than",
        "filter.all_of.filters[2].any_of.filters",
        "filter.all_of.filters[3].none_of.filters[0]",
        "filter.all_of.filters[3].none_of.filters[1].ids.ids[0]",
    ];
    let filter = Some(wrong);
    let request = v1::ListDocumentsRequest { collection: "c".into(), filter: filter.clone(), ..Default::default() };
    invalid(client.list_documents(request).await, &fields);
    let request = v1::CountDocumentsRequest { collection: "c".into(), filter: filter.clone(), ..Default::default() };
    invalid(client.count_documents(request).await, &fields);
    let request = v1::DeleteDocumentsRequest { collection: "c".into(), filter: filter.clone(), ..Default::default() };
    invalid(client.delete_documents(request).await, &fields);
    let request = v1::UpdateMetadataRequest {
        collection: "c".into(),
        filter,
        metadata: Some(crate::metadata::object(&json!({"x": 1}))),
        ..Default::default()
    };
    invalid(client.update_metadata(request).await, &fields);
    assert_eq!(selected(&mut client, &equals("v", &json!(1))).await, ["a"]);
}

/// The indexes of a collection serve the tests that they are for, and find what a scan finds.
#[rstest]
#[tokio::test]
async fn indexes_serve_filters(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let metadata = |i: i32| {
        let time = format!("2024-05-01T{:02}:{:02}:{:02}Z", i / 3600, i / 60 % 60, i % 60);
        let a = json!({"n": i, "s": format!("s{i:05}"), "t": time, "b": i == 4_321});
        json!({"a": a, "list": [i, "x"], "words": [format!("w{i}"), "x"], "o": {"i": i}})
    };
    fill(&mut client, (0..10_000).map(|i| document(&format!("d{i:05}"), &metadata(i))).collect()).await;
    let index =
        |field: &str, kind: v1::MetadataIndexType| v1::MetadataIndex { field: field.into(), r#type: kind.into() };
    let indexes = vec![
        index("", v1::MetadataIndexType::Gin),
        index("a.n", v1::MetadataIndexType::Number),
        index("a.s", v1::MetadataIndexType::String),
        index("a.t", v1::MetadataIndexType::Time),
        index("a.b", v1::MetadataIndexType::Boolean),
        index("words", v1::MetadataIndexType::StringList),
    ];
    let request = v1::UpdateCollectionRequest {
        collection: Some(v1::Collection { name: "c".into(), metadata_indexes: indexes, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["metadata_indexes".into()] }),
    };
    client.update_collection(request).await.unwrap();
    let sql = server.sql().await;
    // VACUUM merges the pending entries of the indexes. Without sequential scans an index is the only way.
    sql.batch_execute("VACUUM ANALYZE pgfox_internal.documents_1").await.unwrap();
    let database = server.database_url.rsplit_once('/').unwrap().1;
    sql.batch_execute(&format!("ALTER DATABASE {database} SET enable_seqscan = off")).await.unwrap();
    let server = {
        let mut setup = crate::support::Setup::new(server.database_url.clone());
        setup.pool_size = 1;
        setup.start().await
    };
    server.ready().await;
    let mut client = server.client();

    let since = Test::Since(at(NOON - 12 * 3600 + 9_998, 0));
    let table: [(v1::Filter, Vec<i32>, &str); 14] = [
        (equals("a.n", &json!(77)), vec![77], "jsonb_path_ops"),
        (equals("o", &json!({"i": 78})), vec![78], "jsonb_path_ops"),
        (field("a.n", Test::OneOf(list(&json!([5, 7])))), vec![5, 7], "jsonb_path_ops"),
        (field("list", Test::ContainsAny(list(&json!([8, 9])))), vec![8, 9], "jsonb_path_ops"),
        (field("list", Test::ContainsAll(list(&json!([8, "x"])))), vec![8], "jsonb_path_ops"),
        (field("a.n", Test::OneOf(list(&(40..60).collect()))), (40..60).collect(), "jsonb_path_ops"),
        (field("a.n", Test::LessThan(value(&json!(1.5)))), vec![0, 1], "number_at"),
        (field("a.s", Test::AtLeast(value(&json!("s09999")))), vec![9_999], "string_at"),
        (field("a.s", Test::StartsWith("s0123".into())), (1_230..1_240).collect(), "string_at"),
        (field("a.t", since), vec![9_998, 9_999], "time_at"),
        (equals("a.b", &json!(true)), vec![4_321], "boolean_at"),
        (field("words", Test::ContainsAny(list(&json!(["w8", "w9"])))), vec![8, 9], "#>"),
        (field("words", Test::ContainsAll(list(&json!(["w8", "x"])))), vec![8], "#>"),
        (equals("words[]", &json!("w7")), vec![7], "#>"),
    ];
    for (filter, wanted, definition) in table {
        let scans = format!(
            "SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes
             WHERE pg_get_indexdef(indexrelid) LIKE '%{definition}%'"
        );
        let before: i64 = sql.query_one(&scans, &[]).await.unwrap().get(0);
        let wanted: Vec<String> = wanted.into_iter().map(|i| format!("d{i:05}")).collect();
        assert_eq!(selected(&mut client, &filter).await, wanted, "{filter:?}");
        // A session reports what it did when it is idle, after at most 10 seconds.
        crate::support::eventually("the index is used", async || {
            sql.query_one(&scans, &[]).await.unwrap().get::<_, i64>(0) > before
        })
        .await;
    }
}
