//! Answers that are empty, or that change nothing, say why.

use std::time::Duration;

use pgfox::v1::{self, condition::Test};
use rstest::rstest;
use serde_json::json;

use super::filters::{NOON, at};
use crate::{
    calls::{near, search},
    metadata::{all_of, any_of, document, equals, everything, field, fill, list, none_of, object, value, with_ids},
    support::{Client, Server, Setup},
};

/// The notes of every call with a filter, which must be the same.
async fn notes(client: &mut Client, filter: Option<v1::Filter>) -> Vec<String> {
    let collection = || "c".to_owned();
    let searched = search(client, v1::SearchRequest { filter: filter.clone(), ..near("c", &[1.0], 3) }).await;
    let listed = v1::ListDocumentsRequest { collection: collection(), filter: filter.clone(), ..Default::default() };
    let listed = client.list_documents(listed).await.unwrap().into_inner();
    let counted = v1::CountDocumentsRequest { collection: collection(), filter: filter.clone(), ..Default::default() };
    let counted = client.count_documents(counted).await.unwrap().into_inner();
    let batch = v1::SearchBatchRequest {
        collection: collection(),
        searches: vec![v1::SearchRequest { filter: filter.clone(), ..near("", &[1.0], 3) }],
    };
    let mut batch = client.search_batch(batch).await.unwrap().into_inner();
    assert_eq!(batch.responses.len(), 1);
    let mut all = vec![searched.notes.clone(), listed.notes, counted.notes, batch.responses.remove(0).notes];
    if filter.is_some() {
        for dry_run in [true, false] {
            let update = v1::UpdateMetadataRequest {
                collection: collection(),
                filter: filter.clone(),
                metadata: Some(object(&json!({}))),
                dry_run,
                ..Default::default()
            };
            all.push(client.update_metadata(update).await.unwrap().into_inner().notes);
        }
        let delete =
            v1::DeleteDocumentsRequest { collection: collection(), filter, dry_run: true, ..Default::default() };
        all.push(client.delete_documents(delete).await.unwrap().into_inner().notes);
    }
    assert!(all.iter().all(|notes| *notes == searched.notes), "{all:?}");
    searched.notes
}

#[rstest]
#[tokio::test]
async fn every_answer_says_why_nothing_matches(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, vec![]).await;
    assert_eq!(notes(&mut client, None).await, ["the collection has no documents"]);
    assert_eq!(notes(&mut client, Some(equals("v", &json!(1)))).await, ["the collection has no documents"]);

    let metadata = |i: i32| {
        let size = json!({"size": i, "names": ["a"]});
        json!({"year": 2_000 + i, "title": format!("T{i}"), "tags": ["a", "b"], "day": "1. Mai", "at": "2024-05-01", "v": [size]})
    };
    let documents = (0..20).map(|i| document(&format!("d{i}"), &metadata(i))).collect();
    crate::calls::ingest(&mut client, "c", documents).await;
    let text = |name: &str| field(name, Test::ContainsAny(list(&json!(["T1"]))));
    let cases = [
        (
            equals("year", &json!("2001")),
            "`year` equals compares strings, but the field contains numbers: nothing matches",
        ),
        (
            text("title"),
            "`title` contains_any compares lists, but the field contains strings: nothing matches; contains_text searches \
             strings",
        ),
        (
            field("day", Test::Since(at(NOON, 0))),
            "`day` since compares times, but no string in the field is a time: nothing matches",
        ),
        (field("at", Test::Since(at(NOON, 0))), "`at` since is true for no value in any document"),
        (equals("titel", &json!("T1")), "`titel` has no value in any document"),
        (equals("v[].sise", &json!(1)), "`v[].sise` has no value in any document"),
        (
            equals("v[].size", &json!("1")),
            "`v[].size` equals compares strings, but the field contains numbers: nothing matches",
        ),
        (
            field("v[].names", Test::ContainsText("a".into())),
            "`v[].names` contains_text compares strings, but the field contains lists: nothing matches",
        ),
        (
            all_of(vec![equals("title", &json!("T1")), equals("year", &json!(1_999))]),
            "`year` equals is true for no value in any document",
        ),
    ];
    for (filter, note) in cases {
        assert_eq!(notes(&mut client, Some(filter.clone())).await, [note], "{filter:?}");
    }
    // Each condition is right by itself.
    let both = all_of(vec![equals("title", &json!("T1")), equals("year", &json!(2_002))]);
    assert!(notes(&mut client, Some(both)).await.is_empty());
    assert!(notes(&mut client, Some(none_of(vec![everything()]))).await.is_empty());
    assert!(notes(&mut client, Some(with_ids(&["nobody"]))).await.is_empty());
    // A result with documents needs no notes.
    let found = any_of(vec![equals("titel", &json!(1)), equals("title", &json!("T1"))]);
    assert!(notes(&mut client, Some(found)).await.is_empty());
}

/// The number of documents that are checked is limited, and so is the time. Without time the answer still comes.
#[tokio::test]
async fn notes_are_bounded() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client, vec![document("d", &json!({"v": 1}))]).await;
    let conditions = (0..40).map(|i| field(&format!("f{i}"), Test::AtMost(value(&json!(1))))).collect();
    let filter = Some(any_of(conditions));
    assert_eq!(notes(&mut client, filter.clone()).await.len(), 16);

    let mut setup = Setup::new(server.database_url.clone());
    setup.limits.notes = Duration::ZERO;
    let hasty = setup.start().await;
    hasty.ready().await;
    assert!(notes(&mut hasty.client(), filter).await.is_empty());
}
