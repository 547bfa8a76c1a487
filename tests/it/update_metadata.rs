//! UpdateMetadata: the results of merging and replacing, and the fields that stay untouched.

use pgfox::v1::{self, MetadataUpdate, condition::Test};
use prost_types::{Struct, Value, value::Kind};
use rstest::rstest;
use serde_json::{Value as Json, json};
use tonic::Code;

use crate::{
    calls::{get, ingest, invalid, refusal},
    metadata::{document, equals, field, fill, object, value, with_ids},
    naughty::NAUGHTY,
    support::{Client, Server},
};

fn update(ids: &[&str], metadata: &Json) -> v1::UpdateMetadataRequest {
    v1::UpdateMetadataRequest {
        collection: "c".into(),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        metadata: Some(object(metadata)),
        ..Default::default()
    }
}

/// How many documents matched, and how many changed.
async fn change(client: &mut Client, request: v1::UpdateMetadataRequest) -> (i64, i64) {
    let response = client.update_metadata(request).await.expect("an update").into_inner();
    (response.matched_count, response.updated_count)
}

async fn versions(client: &mut Client, ids: &[&str]) -> Vec<i64> {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    let request = v1::GetDocumentsRequest { collection: "c".into(), ids, ..Default::default() };
    let documents = client.get_documents(request).await.unwrap().into_inner().documents;
    documents.iter().map(|document| document.version).collect()
}

#[rstest]
#[tokio::test]
async fn merged_or_replaced(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, vec![document("a", &json!({})), document("b", &json!({}))]).await;
    // The stored value, the value to merge, and the result: the examples of RFC 7396 and more.
    let table = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"a": "b"}), json!({"a": {"b": {"c": null, "d": 1}}}), json!({"a": {"b": {"d": 1}}})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!({}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
        (json!({"a": {"b": 1}}), json!({"a": [null, {"x": null}]}), json!({"a": [null, {"x": null}]})),
        (json!({"a": 1}), json!({}), json!({"a": 1})),
        (json!({"é.\"": {"\\": 1, "": 2}}), json!({"é.\"": {"": null}}), json!({"é.\"": {"\\": 1}})),
    ];
    for (stored, patch, merged) in &table {
        for (wanted, kind) in [(merged, MetadataUpdate::Merge), (patch, MetadataUpdate::Replace)] {
            ingest(&mut client, "c", vec![document("a", stored)]).await;
            let before = versions(&mut client, &["a", "b"]).await;
            let changes = i64::from(stored != wanted);
            let dry = v1::UpdateMetadataRequest { update: kind.into(), dry_run: true, ..update(&["a"], patch) };
            assert_eq!(change(&mut client, dry.clone()).await, (1, changes), "{stored} {patch}");
            assert_eq!(get(&mut client, "c", &["a"]).await[0].metadata.clone().unwrap_or_default(), object(stored));
            let request = v1::UpdateMetadataRequest { dry_run: false, ..dry };
            assert_eq!(change(&mut client, request.clone()).await, (1, changes));
            let found = &get(&mut client, "c", &["a"]).await[0];
            assert_eq!(found.metadata.clone().unwrap_or_default(), object(wanted), "{stored} {patch}");
            assert_eq!(found.vector.as_ref().unwrap().values, [1.0]);
            // Metadata that already has the requested value is not written.
            assert_eq!(change(&mut client, request).await, (1, 0));
            assert_eq!(versions(&mut client, &["a", "b"]).await, [before[0] + changes, before[1]]);
        }
    }
}

#[rstest]
#[tokio::test]
async fn by_ids_or_by_a_filter(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    // More than one statement changes.
    let documents = (0..10_500).map(|i| document(&format!("d{i}"), &json!({"i": i, "old": i >= 100})));
    fill(&mut client, documents.collect()).await;
    let tag = json!({"tag": "x"});
    assert_eq!(change(&mut client, update(&["d1", "d2", "nobody", "d1"], &tag)).await, (2, 2));
    let by = |filter| v1::UpdateMetadataRequest { filter: Some(filter), ..update(&[], &tag) };
    assert_eq!(change(&mut client, by(with_ids(&["d2", "d3"]))).await, (2, 1));
    assert_eq!(change(&mut client, by(field("i", Test::LessThan(value(&json!(10)))))).await, (10, 7));
    // It changes the field by which it filters.
    let turned = |filter| v1::UpdateMetadataRequest { filter: Some(filter), ..update(&[], &json!({"old": false})) };
    let dry = v1::UpdateMetadataRequest { dry_run: true, ..turned(equals("old", &json!(true))) };
    assert_eq!(change(&mut client, dry).await, (10_400, 10_400));
    assert_eq!(change(&mut client, turned(equals("old", &json!(true)))).await, (10_400, 10_400));
    assert_eq!(change(&mut client, turned(equals("old", &json!(false)))).await, (10_500, 0));
    assert_eq!(crate::metadata::count(&mut client, Some(&equals("tag", &json!("x")))).await, 10);
}

#[rstest]
#[tokio::test]
async fn naughty_strings_are_merged(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, vec![document("a", &json!({}))]).await;
    for text in NAUGHTY {
        let patch = json!({(*text): {"in": text, (*text): [text]}});
        assert_eq!(change(&mut client, update(&["a"], &patch)).await, (1, 1), "{text}");
    }
    let all: serde_json::Map<String, Json> =
        NAUGHTY.iter().map(|text| ((*text).to_owned(), json!({"in": text, (*text): [text]}))).collect();
    assert_eq!(get(&mut client, "c", &["a"]).await[0].metadata, Some(object(&all.into())));
    for text in NAUGHTY {
        assert_eq!(change(&mut client, update(&["a"], &json!({(*text): null}))).await, (1, 1), "{text}");
    }
    assert_eq!(get(&mut client, "c", &["a"]).await[0].metadata, None);
}

#[rstest]
#[tokio::test]
async fn what_cannot_be_stored_is_refused(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    // Spaces that Postgres writes, and that are not counted.
    let zeros = |count: usize| vec![0; count];
    let stored = [document("a", &json!({"z": zeros(400_000)})), document("b", &json!({})), document("c", &json!({}))];
    fill(&mut client, stored.to_vec()).await;
    let ids = ["a", "b", "c"];
    assert_eq!(change(&mut client, update(&ids, &json!({"y": zeros(100_000)}))).await, (3, 3));
    let metadata = get(&mut client, "c", &ids).await;
    let status = client.update_metadata(update(&ids, &json!({"x": zeros(100_000)}))).await.unwrap_err();
    assert!(status.message().contains("\"a\"") && status.message().contains("1048576"), "{}", status.message());
    assert_eq!(refusal::<()>(Err(status)), (Code::InvalidArgument, "INVALID_FIELD".into(), vec!["metadata".into()]));
    // None is changed.
    assert_eq!(get(&mut client, "c", &ids).await, metadata);
    let replaced = v1::UpdateMetadataRequest {
        update: MetadataUpdate::Replace.into(),
        ..update(&ids, &json!({"x": zeros(100_000)}))
    };
    assert_eq!(change(&mut client, replaced).await, (3, 3));

    let with = |kind: Kind| {
        let fields = [("k".to_owned(), Value { kind: Some(kind) })].into();
        v1::UpdateMetadataRequest { metadata: Some(Struct { fields }), ..update(&ids, &json!({})) }
    };
    invalid(client.update_metadata(with(Kind::NumberValue(f64::NAN))).await, &["metadata"]);
    invalid(client.update_metadata(with(Kind::StringValue("\0".into()))).await, &["metadata"]);
    invalid(client.update_metadata(with(Kind::StringValue("x".repeat(1_100_000)))).await, &["metadata"]);
    let deep = (0..32).fold(json!(1), |inner, _| json!({"k": inner}));
    assert_eq!(change(&mut client, update(&["b"], &deep)).await, (1, 1));
    invalid(client.update_metadata(update(&ids, &json!({"k": deep}))).await, &["metadata"]);

    let nothing = v1::UpdateMetadataRequest { update: 3, ..Default::default() };
    invalid(client.update_metadata(nothing).await, &["collection", "ids", "metadata", "update"]);
    let both = v1::UpdateMetadataRequest { filter: Some(with_ids(&ids)), ..update(&ids, &json!({})) };
    invalid(client.update_metadata(both).await, &["filter"]);
    let empty = v1::UpdateMetadataRequest { filter: Some(v1::Filter::default()), ..update(&[], &json!({})) };
    invalid(client.update_metadata(empty).await, &["filter"]);
    let unknown = v1::UpdateMetadataRequest { collection: "unknown".into(), ..update(&ids, &json!({})) };
    assert_eq!(refusal(client.update_metadata(unknown).await).1, "COLLECTION_NOT_FOUND");
}

/// Many concurrent changes of the same documents: none is lost, and no deadlock occurs.
#[rstest]
#[tokio::test]
async fn concurrent_updates_are_all_there(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, (0..200).map(|i| document(&format!("d{i}"), &json!({"i": i}))).collect()).await;
    let mut calls = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let mut client = server.client();
        calls.spawn(async move {
            let all = field("i", Test::Exists(true));
            let key = format!("k{writer}");
            let request = v1::UpdateMetadataRequest { filter: Some(all), ..update(&[], &json!({(key): writer})) };
            change(&mut client, request).await
        });
    }
    assert!(calls.join_all().await.into_iter().all(|counts| counts == (200, 200)));
    let found = &get(&mut client, "c", &["d7"]).await[0];
    assert_eq!(found.metadata.as_ref().unwrap().fields.len(), 17);
    assert_eq!(versions(&mut client, &["d7", "d199"]).await, [17, 17]);
}
