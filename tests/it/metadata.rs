//! Metadata as JSON, and filters over it.

use pgfox::v1::{self, condition::Test, filter::Node};
use prost_types::{ListValue, Struct, Value, value::Kind};
use serde_json::Value as Json;

use crate::{
    calls::ingest,
    support::{Client, vector_document, vectors},
};

pub(crate) fn value(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(value) => Kind::NumberValue(value.as_f64().expect("a number")),
        Json::String(value) => Kind::StringValue(value.clone()),
        Json::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(value).collect() }),
        Json::Object(_) => Kind::StructValue(object(json)),
    };
    Value { kind: Some(kind) }
}

pub(crate) fn object(json: &Json) -> Struct {
    let fields = json.as_object().expect("an object");
    Struct { fields: fields.iter().map(|(key, json)| (key.clone(), value(json))).collect() }
}

pub(crate) fn list(json: &Json) -> ListValue {
    ListValue { values: json.as_array().expect("a list").iter().map(value).collect() }
}

/// A document of a collection with vectors of one dimension.
pub(crate) fn document(id: &str, metadata: &Json) -> v1::Document {
    v1::Document { metadata: Some(object(metadata)), ..vector_document(id, &[1.0]) }
}

/// Creates the collection `c` with these documents.
pub(crate) async fn fill(client: &mut Client, documents: Vec<v1::Document>) {
    client.create_collection(vectors("c", 1, v1::Distance::L2)).await.expect("a collection");
    for documents in documents.chunks(1_000) {
        ingest(client, "c", documents.to_vec()).await;
    }
}

/// A test of a field.
pub(crate) fn field(field: &str, test: Test) -> v1::Filter {
    v1::Filter {
        node: Some(Node::Condition(v1::Condition { field: field.into(), test: Some(test), ignore_case: false })),
    }
}

/// The same condition whatever the case of letters.
pub(crate) fn ignoring_case(mut filter: v1::Filter) -> v1::Filter {
    if let Some(Node::Condition(condition)) = &mut filter.node {
        condition.ignore_case = true;
    }
    filter
}

pub(crate) fn everything() -> v1::Filter {
    v1::Filter { node: Some(Node::Everything(true)) }
}

pub(crate) fn equals(name: &str, json: &Json) -> v1::Filter {
    field(name, Test::Equals(value(json)))
}

pub(crate) fn all_of(filters: Vec<v1::Filter>) -> v1::Filter {
    v1::Filter { node: Some(Node::AllOf(v1::FilterList { filters })) }
}

pub(crate) fn any_of(filters: Vec<v1::Filter>) -> v1::Filter {
    v1::Filter { node: Some(Node::AnyOf(v1::FilterList { filters })) }
}

pub(crate) fn none_of(filters: Vec<v1::Filter>) -> v1::Filter {
    v1::Filter { node: Some(Node::NoneOf(v1::FilterList { filters })) }
}

pub(crate) fn with_ids(ids: &[&str]) -> v1::Filter {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    v1::Filter { node: Some(Node::Ids(v1::IdList { ids })) }
}

/// A key as a field that leads to it.
pub(crate) fn quoted(key: &str) -> String {
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The ids of the documents of `c` that a filter selects, in order. Counting finds as many.
pub(crate) async fn selected(client: &mut Client, filter: &v1::Filter) -> Vec<String> {
    let mut ids = Vec::new();
    let mut request = v1::ListDocumentsRequest {
        collection: "c".into(),
        filter: Some(filter.clone()),
        page_size: 1_000,
        ..Default::default()
    };
    loop {
        let page = client.list_documents(request.clone()).await.expect("a page").into_inner();
        ids.extend(page.documents.into_iter().map(|document| document.id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(count(client, Some(filter)).await, ids.len() as i64, "{filter:?}");
    ids
}

/// How many documents of `c` a filter selects.
pub(crate) async fn count(client: &mut Client, filter: Option<&v1::Filter>) -> i64 {
    let request = v1::CountDocumentsRequest { collection: "c".into(), filter: filter.cloned(), ..Default::default() };
    client.count_documents(request).await.expect("a count").into_inner().count
}
