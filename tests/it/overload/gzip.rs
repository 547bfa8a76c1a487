//! Compressed messages: too large, damaged, or not compressed at all.

use pgfox::v1;
use tonic::Code;

use super::{RawClient, body, framed, gzip};
use crate::{
    calls::count,
    support::{Server, reason, vector_document, vectors},
};

#[tokio::test]
async fn a_message_that_is_too_large_only_when_decompressed() {
    let server = Server::start(18).await;
    let raw = RawClient::new(&server.address);
    for method in ["Ingest", "Search"] {
        let status = raw.refusal(method, body(framed(1, &gzip(&vec![0; (16 << 20) + 1])))).await;
        assert_eq!((status.code(), reason(&status).0.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
        assert!(status.message().contains("16777216 bytes"), "{status:?}");
    }
    // One that says less than it is.
    let mut lying = gzip(&vec![0; 32 << 20]);
    let end = lying.len() - 4;
    lying[end..].copy_from_slice(&1_000_000_u32.to_le_bytes());
    let mut cut = gzip(&vec![7; 100_000]);
    cut.truncate(cut.len() / 2);
    let mut wrong = gzip(&[7; 100]);
    wrong[20] ^= 0x55;
    for damaged in [lying, cut, wrong, b"no gzip".to_vec(), vec![]] {
        let status = raw.refusal("Search", body(framed(1, &damaged))).await;
        assert_eq!((status.code(), reason(&status).0.as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{status:?}");
    }
}

#[tokio::test]
async fn large_compressed_messages_are_read() {
    let server = Server::start(18).await;
    let mut client = server.client().send_compressed(tonic::codec::CompressionEncoding::Gzip);
    client.create_collection(vectors("points", 1_000, v1::Distance::L2)).await.unwrap();
    let documents = (0..500).map(|i| vector_document(&i.to_string(), &[i as f32; 1_000])).collect();
    let request = v1::IngestRequest { collection: "points".into(), documents, ..Default::default() };
    assert_eq!(client.ingest(request.clone()).await.unwrap().into_inner().upserted_count, 500);
    let mut answers = client.ingest_stream(tokio_stream::iter([request.clone(), request])).await.unwrap().into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!(answer.unchanged_count, 500);
    }
    assert_eq!(count(&mut client, "points").await, 500);
}
