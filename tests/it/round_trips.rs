//! How often a search waits for the database.

use pgfox::v1::{self, Completeness, Distance, index_spec::Kind};

use crate::{
    calls::{build_index, ingest, near, search, similar},
    relay::Relay,
    support::{AN_HOUR, Setup, cluster, create_database, vector_document, vectors},
};

#[tokio::test]
async fn a_search_is_one_round_trip_and_finding_its_document_another() {
    let relay = Relay::start(&create_database(&cluster(18).postgres).await).await;
    let mut setup = Setup::new(relay.database_url.clone());
    setup.pool_size = 1;
    // Looking for changes of followed tables would count.
    setup.limits.follow.look_every = AN_HOUR;
    let server = setup.start().await;
    server.ready().await;
    let mut client = server.client();
    client.create_collection(vectors("points", 2, Distance::L2)).await.unwrap();
    let documents = (0..100).map(|i| vector_document(&format!("p{i}"), &[i as f32, 1.0])).collect();
    ingest(&mut client, "points", documents).await;
    build_index(&mut client, "points", Kind::Hnsw(v1::Hnsw::default())).await;

    for (request, expected) in [(near("points", &[41.2, 1.0], 3), 1), (similar("points", "p41", 3), 2)] {
        let mut search = async || {
            let found = search(&mut client, request.clone()).await;
            assert_eq!(found.completeness(), Completeness::Approximate);
        };
        // The second search on a connection prepares its statements.
        search().await;
        search().await;
        // The server checks its database over the same connection occasionally, but not three times in a row.
        let mut fewest = usize::MAX;
        for _ in 0..3 {
            fewest = fewest.min(relay.round_trips(search()).await);
        }
        assert_eq!(fewest, expected, "{request:?}");
    }
}
