//! Missing parts of messages are refused. None is read as null, or as a default that changes data.

use pgfox::v1::{self, condition::Test, filter::Node};
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::json;

use crate::{
    calls::{invalid, near, request},
    metadata::{all_of, count, document, everything, field, fill, object},
    support::{Client, Server},
};

/// A value whose kind the client did not set.
fn nothing() -> Value {
    Value { kind: None }
}

fn within(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

/// Metadata with such a value in each possible place.
fn incomplete() -> Vec<Struct> {
    let object = |value| Struct { fields: [("k".to_owned(), value)].into() };
    let list = |value| within(Kind::ListValue(ListValue { values: vec![within(Kind::NullValue(0)), value] }));
    vec![
        object(nothing()),
        object(list(nothing())),
        object(within(Kind::StructValue(object(nothing())))),
        object(list(within(Kind::StructValue(object(list(nothing())))))),
    ]
}

async fn stored(client: &mut Client) -> Option<Struct> {
    let request = v1::GetDocumentsRequest { collection: "c".into(), ids: vec!["a".into()], ..Default::default() };
    client.get_documents(request).await.unwrap().into_inner().documents.remove(0).metadata
}

#[tokio::test]
async fn a_value_has_a_kind() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let before = json!({"k": 1});
    fill(&mut client, vec![document("a", &before)]).await;
    for metadata in incomplete() {
        let incomplete = v1::Document { metadata: Some(metadata.clone()), ..document("a", &before) };
        invalid(client.ingest(request("c", vec![incomplete.clone()])).await, &["documents[0].metadata"]);
        let skipping = v1::IngestRequest { skip_invalid: true, ..request("c", vec![incomplete]) };
        assert_eq!(client.ingest(skipping).await.unwrap().into_inner().errors.len(), 1);
        for update in [v1::MetadataUpdate::Merge, v1::MetadataUpdate::Replace] {
            let update = v1::UpdateMetadataRequest {
                collection: "c".into(),
                ids: vec!["a".into()],
                metadata: Some(metadata.clone()),
                update: update.into(),
                ..Default::default()
            };
            invalid(client.update_metadata(update).await, &["metadata"]);
        }
        // As null it would match every document without the field.
        let value = within(Kind::StructValue(metadata));
        let filter = field("x", Test::NotEquals(value));
        let delete = v1::DeleteDocumentsRequest { collection: "c".into(), filter: Some(filter), ..Default::default() };
        invalid(client.delete_documents(delete).await, &["filter.condition.not_equals"]);
    }
    assert_eq!(stored(&mut client).await, Some(object(&before)));
}

#[tokio::test]
async fn nothing_is_selected_by_omission() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client, vec![document("a", &json!({})), document("b", &json!({}))]).await;
    let condition = |test| v1::Filter {
        node: Some(Node::Condition(v1::Condition { field: "x".into(), test, ignore_case: false })),
    };
    let list = |values| ListValue { values };
    for (filter, wrong) in [
        (None, "ids"),
        (Some(v1::Filter { node: None }), "filter"),
        (Some(v1::Filter { node: Some(Node::Everything(false)) }), "filter.everything"),
        (Some(all_of(vec![])), "filter.all_of.filters"),
        (Some(all_of(vec![v1::Filter { node: None }])), "filter.all_of.filters[0]"),
        (Some(condition(None)), "filter.condition.test"),
        (Some(condition(Some(Test::Equals(nothing())))), "filter.condition.equals"),
        (Some(condition(Some(Test::NotEquals(nothing())))), "filter.condition.not_equals"),
        (Some(condition(Some(Test::AtLeast(nothing())))), "filter.condition.at_least"),
        (Some(condition(Some(Test::NoneOf(list(vec![nothing()]))))), "filter.condition.none_of.values[0]"),
        (Some(condition(Some(Test::NoneOf(list(vec![]))))), "filter.condition.none_of"),
        (Some(v1::Filter { node: Some(Node::Ids(v1::IdList::default())) }), "filter.ids.ids"),
    ] {
        let delete =
            v1::DeleteDocumentsRequest { collection: "c".into(), filter: filter.clone(), ..Default::default() };
        let refused = client.delete_documents(delete).await;
        if filter.is_none() {
            let message = refused.as_ref().unwrap_err().message().to_owned();
            assert!(message.contains("filter.everything"), "{message}");
        }
        invalid(refused, &[wrong]);
        let metadata = Some(object(&json!({"k": 1})));
        let update = v1::UpdateMetadataRequest { collection: "c".into(), filter, metadata, ..Default::default() };
        invalid(client.update_metadata(update).await, &[wrong]);
    }
    let update = v1::UpdateMetadataRequest {
        collection: "c".into(),
        filter: Some(everything()),
        update: v1::MetadataUpdate::Replace.into(),
        ..Default::default()
    };
    invalid(client.update_metadata(update).await, &["metadata"]);
    invalid(client.search(v1::SearchRequest { query: None, ..near("c", &[1.0], 1) }).await, &["query"]);
    invalid(client.create_collection(v1::CreateCollectionRequest::default()).await, &["collection"]);
    invalid(client.update_collection(v1::UpdateCollectionRequest::default()).await, &["collection"]);
    let collection = Some(v1::Collection { name: "c".into(), ..Default::default() });
    let update = v1::UpdateCollectionRequest { collection, update_mask: None };
    invalid(client.update_collection(update).await, &["update_mask"]);
    assert_eq!(count(&mut client, None).await, 2);
}

/// All documents, on purpose.
#[tokio::test]
async fn everything_is_selected_when_asked_for() {
    let server = Server::start_with(18, |setup| setup.limits.max_bulk_documents = 3).await;
    let mut client = server.client();
    fill(&mut client, (0..4).map(|i| document(&format!("d{i}"), &json!({"i": i}))).collect()).await;
    assert_eq!(count(&mut client, Some(&everything())).await, 4);
    let all = v1::DeleteDocumentsRequest { collection: "c".into(), filter: Some(everything()), ..Default::default() };
    let refused = client.delete_documents(all.clone()).await.unwrap_err();
    assert_eq!(crate::support::reason(&refused).0, "TOO_MANY_DOCUMENTS");
    let found =
        crate::calls::search(&mut client, v1::SearchRequest { filter: Some(everything()), ..near("c", &[1.0], 10) });
    assert_eq!(found.await.results.len(), 4);
    let one = v1::DeleteDocumentsRequest { collection: "c".into(), ids: vec!["d0".into()], ..Default::default() };
    client.delete_documents(one).await.unwrap();
    let update = v1::UpdateMetadataRequest {
        collection: "c".into(),
        filter: Some(everything()),
        metadata: Some(object(&json!({"seen": true}))),
        ..Default::default()
    };
    assert_eq!(client.update_metadata(update).await.unwrap().into_inner().updated_count, 3);
    assert_eq!(client.delete_documents(all).await.unwrap().into_inner().deleted_count, 3);
    assert_eq!(count(&mut client, None).await, 0);
}
