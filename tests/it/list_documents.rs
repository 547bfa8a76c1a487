//! ListDocuments and CountDocuments: pages, their tokens, their order and their size.

use std::collections::BTreeSet;

use pgfox::v1::{self, DocumentOrder, condition::Test};
use prost_types::FieldMask;
use rstest::rstest;
use serde_json::json;

use crate::{
    calls::{ingest, invalid, refusal, sent},
    metadata::{self, document, equals, field, fill, value},
    naughty::NAUGHTY,
    support::{Client, Server, vector_document, vectors},
};

fn listing() -> v1::ListDocumentsRequest {
    v1::ListDocumentsRequest { collection: "c".into(), ..Default::default() }
}

async fn list(client: &mut Client, request: &v1::ListDocumentsRequest) -> v1::ListDocumentsResponse {
    client.list_documents(request.clone()).await.expect("a page").into_inner()
}

fn ids(page: &v1::ListDocumentsResponse) -> Vec<&str> {
    page.documents.iter().map(|document| document.id.as_str()).collect()
}

/// The ids of all pages. Every page except the last has `page_size` documents.
async fn walk(client: &mut Client, mut request: v1::ListDocumentsRequest) -> Vec<String> {
    let mut walked = Vec::new();
    loop {
        let page = list(client, &request).await;
        walked.extend(ids(&page).into_iter().map(str::to_owned));
        if page.next_page_token.is_empty() {
            return walked;
        }
        assert_eq!(page.documents.len() as i32, request.page_size);
        request.page_token = page.next_page_token;
    }
}

#[rstest]
#[tokio::test]
async fn pages_have_every_document_once(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    // Stored in an order that differs from the ids.
    let mut stored: Vec<&str> = NAUGHTY.to_vec();
    stored.reverse();
    fill(&mut client, vec![]).await;
    for id in &stored {
        ingest(&mut client, "c", vec![document(id, &json!({"length": id.len()}))]).await;
    }
    let mut sorted = stored.clone();
    sorted.sort_unstable();
    for (order, wanted) in
        [(DocumentOrder::Unspecified, &sorted), (DocumentOrder::Id, &sorted), (DocumentOrder::CreateTime, &stored)]
    {
        for page_size in [1, 7, NAUGHTY.len() as i32 - 1, NAUGHTY.len() as i32, 1_000] {
            let request = v1::ListDocumentsRequest { page_size, order: order.into(), ..listing() };
            assert_eq!(walk(&mut client, request.clone()).await, *wanted);
            let mut reversed = walk(&mut client, v1::ListDocumentsRequest { descending: true, ..request }).await;
            reversed.reverse();
            assert_eq!(reversed, *wanted);
        }
    }
    let filter = field("length", Test::AtMost(value(&json!(4))));
    let wanted: Vec<&str> = stored.iter().copied().filter(|id| id.len() <= 4).collect();
    let order = DocumentOrder::CreateTime.into();
    let request = v1::ListDocumentsRequest { filter: Some(filter), page_size: 3, order, ..listing() };
    assert_eq!(walk(&mut client, request).await, wanted);
    assert_eq!(list(&mut client, &listing()).await.documents.len(), NAUGHTY.len().min(100));
    let nothing = v1::ListDocumentsRequest { filter: Some(equals("no", &json!("body"))), ..listing() };
    let notes = vec!["`no` has no value in any document".to_owned()];
    assert_eq!(list(&mut client, &nothing).await, v1::ListDocumentsResponse { notes, ..Default::default() });
}

#[rstest]
#[tokio::test]
async fn what_changes_between_pages_disturbs_nothing_else(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, (0..100).map(|i| document(&format!("d{i:02}"), &json!({}))).collect()).await;
    let mut request = v1::ListDocumentsRequest { page_size: 10, ..listing() };
    let mut seen = Vec::new();
    for page in 0..10 {
        let response = list(&mut client, &request).await;
        seen.extend(ids(&response).into_iter().map(str::to_owned));
        request.page_token = response.next_page_token;
        // The last document of the page is gone, one before it is new, one of the next is changed.
        let doomed =
            v1::DeleteDocumentsRequest { collection: "c".into(), ids: vec![format!("d{page}9")], ..Default::default() };
        client.delete_documents(doomed).await.unwrap();
        let next = document(&format!("d{}5", (page + 1) % 10), &json!({"changed": page}));
        ingest(&mut client, "c", vec![document(&format!("d{page}1 new"), &json!({})), next]).await;
    }
    assert_eq!(request.page_token, "");
    assert_eq!(seen, (0..100).map(|i| format!("d{i:02}")).collect::<Vec<_>>());
}

#[rstest]
#[tokio::test]
async fn a_token_belongs_to_its_request(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, (0..10).map(|i| document(&format!("d{i}"), &json!({"i": i}))).collect()).await;
    let filter = |most: i32| Some(field("i", Test::AtMost(value(&json!(most)))));
    let first = v1::ListDocumentsRequest { page_size: 2, filter: filter(8), ..listing() };
    let page_token = list(&mut client, &first).await.next_page_token;
    let second = v1::ListDocumentsRequest { page_token: page_token.clone(), ..first.clone() };
    assert_eq!(ids(&list(&mut client, &second).await), ["d2", "d3"]);
    // A different page size is fine, and so is asking again.
    let larger = v1::ListDocumentsRequest { page_size: 4, ..second.clone() };
    assert_eq!(ids(&list(&mut client, &larger).await), ["d2", "d3", "d4", "d5"]);

    let others = [
        v1::ListDocumentsRequest { filter: filter(7), ..second.clone() },
        v1::ListDocumentsRequest { filter: None, ..second.clone() },
        v1::ListDocumentsRequest { descending: true, ..second.clone() },
        v1::ListDocumentsRequest { order: DocumentOrder::CreateTime.into(), ..second.clone() },
        v1::ListDocumentsRequest { include_vector: true, ..second.clone() },
        v1::ListDocumentsRequest { read_mask: Some(FieldMask { paths: vec!["id".into()] }), ..second.clone() },
        v1::ListDocumentsRequest { page_token: page_token[1..].into(), ..second.clone() },
        v1::ListDocumentsRequest { page_token: "d2".into(), ..second.clone() },
        v1::ListDocumentsRequest { page_token: "\0🦊".into(), ..second.clone() },
    ];
    for other in others {
        invalid(client.list_documents(other).await, &["page_token"]);
    }
    // From another collection with the same documents, even if it has the same name or alias.
    client.create_collection(vectors("b", 1, v1::Distance::L2)).await.unwrap();
    let other = v1::ListDocumentsRequest { collection: "b".into(), ..second.clone() };
    invalid(client.list_documents(other).await, &["page_token"]);
    let set_alias = async |name: &str| {
        let collection = v1::Collection { name: name.into(), aliases: vec!["alias".into()], ..Default::default() };
        let update_mask = Some(FieldMask { paths: vec!["aliases".into()] });
        let request = v1::UpdateCollectionRequest { collection: Some(collection), update_mask };
        server.client().update_collection(request).await.unwrap();
    };
    set_alias("c").await;
    let mut by_alias = v1::ListDocumentsRequest { collection: "alias".into(), ..first.clone() };
    by_alias.page_token = list(&mut client, &by_alias).await.next_page_token;
    assert_eq!(ids(&list(&mut client, &by_alias).await), ["d2", "d3"]);
    set_alias("b").await;
    invalid(client.list_documents(by_alias).await, &["page_token"]);
    client.delete_collection(v1::DeleteCollectionRequest { name: "c".into(), ..Default::default() }).await.unwrap();
    assert_eq!(refusal(client.list_documents(second.clone()).await).1, "COLLECTION_NOT_FOUND");
    fill(&mut client, (0..10).map(|i| document(&format!("d{i}"), &json!({"i": i}))).collect()).await;
    invalid(client.list_documents(second).await, &["page_token"]);
}

#[rstest]
#[tokio::test]
async fn what_cannot_be_listed_is_refused(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, vec![]).await;
    let wrong = v1::ListDocumentsRequest {
        collection: String::new(),
        page_size: 1_001,
        order: 3,
        read_mask: Some(FieldMask { paths: vec!["text".into(), "vector".into(), "metadata.x..y".into()] }),
        page_token: "x".into(),
        ..Default::default()
    };
    let fields = ["collection", "page_size", "order", "page_token", "read_mask.paths[1]", "read_mask.paths[2]"];
    invalid(client.list_documents(wrong).await, &fields);
    let unknown = v1::ListDocumentsRequest { collection: "unknown".into(), ..Default::default() };
    assert_eq!(refusal(client.list_documents(unknown).await).1, "COLLECTION_NOT_FOUND");
    for estimated in [false, true] {
        let unknown = v1::CountDocumentsRequest { collection: "unknown".into(), estimated, ..Default::default() };
        assert_eq!(refusal(client.count_documents(unknown).await).1, "COLLECTION_NOT_FOUND");
    }
}

#[rstest]
#[tokio::test]
async fn a_page_of_large_documents_ends_earlier(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let text = "x".repeat(1_500_000);
    let large = |i: i32| v1::Document { text: text.clone(), ..document(&format!("d{i}"), &json!({"i": i})) };
    fill(&mut client, vec![]).await;
    for i in 0..7 {
        ingest(&mut client, "c", vec![large(i)]).await;
    }
    let mut request = listing();
    let mut pages = Vec::new();
    loop {
        let page = list(&mut client, &request).await;
        assert!(page.documents.iter().all(|document| document.text == text));
        pages.push(page.documents.len());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [2, 2, 2, 1]);
    let fields = |paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        v1::ListDocumentsRequest { read_mask: Some(FieldMask { paths }), ..listing() }
    };
    let page = list(&mut client, &fields(&["metadata"])).await;
    assert_eq!((page.documents.len(), page.next_page_token.as_str()), (7, ""));
    for (i, found) in page.documents.into_iter().enumerate() {
        assert_eq!(sent(found), v1::Document { vector: None, ..document(&format!("d{i}"), &json!({"i": i})) });
    }
    let page = list(&mut client, &fields(&["text"])).await;
    assert!(page.documents.iter().all(|document| document.metadata.is_none() && document.text == text));
    let page = list(&mut client, &fields(&["id", "metadata.j"])).await;
    assert!(page.documents.iter().all(|document| document.metadata.is_none() && document.text.is_empty()));
    let page = list(&mut client, &fields(&["id", "metadata.i"])).await;
    assert!(page.documents.iter().all(|document| document.metadata.is_some() && document.text.is_empty()));

    // Metadata that compresses well, and is five times larger in a message.
    let zeros = metadata::object(&json!({"zeros": vec![0; 500_000]}));
    for i in 0..7 {
        let document = v1::Document { metadata: Some(zeros.clone()), ..vector_document(&format!("d{i}"), &[1.0]) };
        ingest(&mut client, "c", vec![document]).await;
    }
    let mut request = fields(&["metadata"]);
    let mut walked = BTreeSet::new();
    loop {
        let page = list(&mut client, &request).await;
        assert!(page.documents.iter().all(|document| document.metadata.as_ref() == Some(&zeros)));
        walked.extend(ids(&page).into_iter().map(str::to_owned));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(walked.len(), 7);
}

#[rstest]
#[tokio::test]
async fn counted_or_estimated(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, vec![]).await;
    let even = equals("even", &json!(true));
    let count = async |filter: Option<&v1::Filter>, estimated: bool| {
        let mut client = server.client();
        let request = v1::CountDocumentsRequest { collection: "c".into(), filter: filter.cloned(), estimated };
        client.count_documents(request).await.unwrap().into_inner().count
    };
    assert_eq!((count(None, false).await, count(None, true).await, count(Some(&even), true).await), (0, 0, 0));
    for start in [0, 1_000, 2_000] {
        let documents = (start..start + 1_000).map(|i| document(&format!("d{i}"), &json!({"even": i % 2 == 0})));
        ingest(&mut client, "c", documents.collect()).await;
    }
    assert_eq!((count(None, false).await, count(Some(&even), false).await), (3_000, 1_500));
    server.sql().await.batch_execute("ANALYZE pgfox_internal.documents_1").await.unwrap();
    assert_eq!(count(None, true).await, 3_000);
    let estimated = count(Some(&even), true).await;
    assert!((1_200..1_800).contains(&estimated), "{estimated}");
    let nobody = equals("even", &json!("'; SELECT 1"));
    assert_eq!(count(Some(&nobody), false).await, 0);
    assert!(count(Some(&nobody), true).await < 100);
}
