//! Writes whose BEGIN fails, as it does if a request to cancel arrives late: the statements after it must not become
//! transactions of their own.

use pgfox::v1::{self, Distance};

use crate::{
    calls::{count, get, request},
    relay::Relay,
    support::{Setup, cluster, create_database, vector_document, vectors},
};

#[tokio::test]
async fn a_write_without_its_begin_writes_nothing() {
    let relay = Relay::start(&create_database(&cluster(18).postgres).await).await;
    let server = Setup::new(relay.database_url.clone()).start().await;
    server.ready().await;
    let mut client = server.client();
    client.create_collection(vectors("c", 1, Distance::L2)).await.unwrap();
    let document = |value: f32| v1::Document { text: value.to_string(), ..vector_document("a", &[value]) };
    client.ingest(request("c", vec![document(1.0)])).await.unwrap();

    relay.spoil_begin();
    let changed = vec![document(2.0), vector_document("b", &[2.0])];
    client.ingest(request("c", changed.clone())).await.expect_err("no transaction");
    assert!(!relay.spoils_begin());
    assert_eq!(get(&mut client, "c", &["a"]).await, [document(1.0)]);
    assert_eq!(count(&mut client, "c").await, 1);

    relay.spoil_begin();
    let update = v1::UpdateMetadataRequest {
        collection: "c".into(),
        ids: vec!["a".into()],
        metadata: Some(prost_types::Struct { fields: [("x".to_owned(), prost_types::Value::from(1.0))].into() }),
        ..Default::default()
    };
    client.update_metadata(update).await.expect_err("no transaction");
    assert!(!relay.spoils_begin());
    assert_eq!(get(&mut client, "c", &["a"]).await, [document(1.0)]);

    relay.spoil_begin();
    let delete = v1::DeleteDocumentsRequest { collection: "c".into(), ids: vec!["a".into()], ..Default::default() };
    client.delete_documents(delete).await.expect_err("no transaction");
    assert!(!relay.spoils_begin());
    assert_eq!(get(&mut client, "c", &["a"]).await, [document(1.0)]);

    // Nothing of this blocks the next write.
    client.ingest(request("c", changed)).await.unwrap();
    assert_eq!(get(&mut client, "c", &["a"]).await, [document(2.0)]);
}
