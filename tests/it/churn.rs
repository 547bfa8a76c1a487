//! Everything at once on one name, through two servers: whatever happens, the answers fit the calls.

use std::time::{Duration, Instant};

use pgfox::v1::{self, Distance};
use rstest::rstest;
use tonic::{Code, Status};

use crate::{
    calls::{near, request, similar},
    support::{Client, Server, Setup, reason, vector_document, vectors},
};

/// How long each test continues.
const TIME: Duration = Duration::from_millis(1_500);

/// One call, chosen by `dice`.
async fn call(client: &mut Client, dice: usize) -> Result<(), Status> {
    let name = "c".to_owned();
    // A different number of dimensions each time, so that every cache is wrong most of the time.
    let dimensions = dice % 3 + 1;
    let values = vec![1.0; dimensions];
    match dice / 3 % 11 {
        0 | 9 | 10 => client.create_collection(vectors("c", dimensions as i32, Distance::L2)).await.map(drop),
        1 => client.delete_collection(v1::DeleteCollectionRequest { name, ..Default::default() }).await.map(drop),
        2 | 3 => {
            let documents = (0..100).map(|i| vector_document(&(i % 80).to_string(), &values)).collect();
            client.ingest(request("c", documents)).await.map(drop)
        }
        4 => client.search(near("c", &values, 10)).await.map(drop),
        5 => client.search(similar("c", "7", 10)).await.map(drop),
        6 => {
            let ids = (0..50).map(|i| i.to_string()).collect();
            client
                .delete_documents(v1::DeleteDocumentsRequest { collection: name, ids, ..Default::default() })
                .await
                .map(drop)
        }
        7 => {
            let mut build =
                client.build_index(v1::BuildIndexRequest { collection: name, ..Default::default() }).await?;
            while build.get_mut().message().await?.is_some() {}
            Ok(())
        }
        _ => {
            client.list_collections(v1::ListCollectionsRequest::default()).await?;
            client.list_indexes(v1::ListIndexesRequest { collection: name }).await.map(drop)
        }
    }
}

#[rstest]
#[tokio::test]
async fn no_call_breaks_another(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    let end = Instant::now() + TIME;
    let callers = (0..8_usize).map(|caller| {
        let mut client = if caller % 2 == 0 { server.client() } else { other.client() };
        tokio::spawn(async move {
            let (mut dice, mut done) = (caller * 7 + 1, 0);
            while Instant::now() < end {
                dice = (dice * 75 + 74) % 65_537;
                let Err(status) = call(&mut client, dice).await else {
                    done += 1;
                    continue;
                };
                let expected = [
                    (Code::NotFound, "COLLECTION_NOT_FOUND"),
                    (Code::NotFound, "DOCUMENT_NOT_FOUND"),
                    // The collection of the build is gone.
                    (Code::NotFound, "INDEX_NOT_FOUND"),
                    (Code::Aborted, "BUILD_FAILED"),
                    (Code::AlreadyExists, "COLLECTION_EXISTS"),
                    (Code::InvalidArgument, "DIMENSION_MISMATCH"),
                    // Replaced several times during the call.
                    (Code::ResourceExhausted, "DATABASE_BUSY"),
                ];
                let (reason, _) = reason(&status);
                assert!(expected.contains(&(status.code(), reason.as_str())), "{status:?}");
            }
            done
        })
    });
    let mut done = 0;
    for caller in callers.collect::<Vec<_>>() {
        done += caller.await.unwrap();
    }
    assert!(done > 0);
}
