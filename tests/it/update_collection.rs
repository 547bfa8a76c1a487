//! The parts of a collection that can be changed: its metadata indexes and its aliases.

mod jobs;

use pgfox::v1::{self, MetadataIndexType as Type, index_spec::Kind};
use rstest::rstest;
use tonic::Code;

use crate::{
    calls::{build_index, get, ids, ingest, invalid, near, search},
    support::{Client, Server, Setup, reason, vector_document, vectors},
};

fn indexes(wanted: &[(&str, Type)]) -> Vec<v1::MetadataIndex> {
    let index = |(field, kind): &(&str, Type)| v1::MetadataIndex { field: (*field).into(), r#type: (*kind).into() };
    wanted.iter().map(index).collect()
}

fn update(name: &str, paths: &[&str], change: impl FnOnce(&mut v1::Collection)) -> v1::UpdateCollectionRequest {
    let mut collection = v1::Collection { name: name.into(), ..Default::default() };
    change(&mut collection);
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    v1::UpdateCollectionRequest { collection: Some(collection), update_mask: Some(prost_types::FieldMask { paths }) }
}

async fn set_aliases(client: &mut Client, name: &str, aliases: &[&str]) -> Result<v1::Collection, tonic::Status> {
    let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    let response =
        client.update_collection(update(name, &["aliases"], |collection| collection.aliases = aliases)).await;
    Ok(response?.into_inner().collection.expect("a collection"))
}

async fn create(client: &mut Client, name: &str, document: &str) {
    client.create_collection(vectors(name, 2, v1::Distance::L2)).await.unwrap();
    store(client, name, document).await;
}

async fn store(client: &mut Client, collection: &str, id: &str) {
    ingest(client, collection, vec![vector_document(id, &[1.0, 2.0])]).await;
}

async fn found(client: &mut Client, collection: &str) -> Vec<String> {
    let response = search(client, near(collection, &[1.0, 2.0], 10)).await;
    ids(&response).into_iter().map(str::to_owned).collect()
}

/// The definitions of the metadata indexes in the database, all of them valid.
async fn definitions(server: &Server) -> Vec<String> {
    let sql = "SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid
               WHERE relname LIKE '%_metadata_%' AND relname LIKE 'documents_%' ORDER BY oid";
    let rows = server.sql().await.query(sql, &[]).await.unwrap();
    assert!(rows.iter().all(|row| row.get(1)));
    rows.iter().map(|row| row.get(0)).collect()
}

#[rstest]
#[tokio::test]
async fn metadata_indexes_are_added_and_dropped(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let created = client.create_collection(vectors("c", 2, v1::Distance::L2)).await.unwrap().into_inner();
    assert_eq!(created.collection.unwrap().metadata_indexes, indexes(&[("", Type::Gin)]));
    store(&mut client, "c", "one").await;

    let wanted = indexes(&[
        ("year", Type::Number),
        ("", Type::Gin),
        (r#"author."first name""#, Type::String),
        (r#""it's""#, Type::Time),
    ]);
    let request = update("c", &["metadata_indexes"], |c| c.metadata_indexes.clone_from(&wanted));
    let updated = client.update_collection(request.clone()).await.unwrap().into_inner().collection.unwrap();
    let mut sorted = wanted.clone();
    sorted.swap(0, 1); // the one that was there comes first
    assert_eq!(updated.metadata_indexes, sorted);
    let there = definitions(&server).await;
    assert_eq!(there.len(), 4);
    for part in ["USING gin", "{year}", "{author,\"first name\"}", "{it''s}"] {
        assert!(there.iter().any(|definition| definition.contains(part)), "{part} is not in {there:?}");
    }
    // The same again changes nothing.
    client.update_collection(request).await.unwrap();
    assert_eq!(definitions(&server).await, there);

    let none = update("c", &["metadata_indexes"], |_| {});
    let updated = client.update_collection(none).await.unwrap().into_inner().collection.unwrap();
    assert_eq!(updated.metadata_indexes, []);
    assert_eq!(definitions(&server).await, Vec::<String>::new());
}

/// A string of any length can be indexed: no document is refused because of an index.
#[rstest]
#[tokio::test]
async fn long_strings_are_indexed(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let mut request = vectors("c", 2, v1::Distance::L2);
    request.collection.as_mut().unwrap().metadata_indexes = indexes(&[("title", Type::String)]);
    client.create_collection(request).await.unwrap();
    for length in [3_000, 100_000] {
        let title: String = (0..length).map(|_| char::from(rand_letter())).collect();
        let title = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(title)) };
        let metadata = prost_types::Struct { fields: [("title".to_owned(), title)].into() };
        let document = v1::Document { metadata: Some(metadata), ..vector_document(&length.to_string(), &[1.0, 2.0]) };
        ingest(&mut client, "c", vec![document]).await;
    }
}

/// A server that died during a build leaves an index that is not ready. The next update drops it.
#[rstest]
#[tokio::test]
async fn leftovers_are_dropped(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    client.create_collection(vectors("c", 2, v1::Distance::L2)).await.unwrap();
    let sql = server.sql().await;
    sql.batch_execute(
        "INSERT INTO pgfox_internal.metadata_indexes (collection_id, type, path, ready)
             VALUES (1, 'number', '{year}', false);
         CREATE INDEX documents_1_metadata_2 ON pgfox_internal.documents_1
             USING btree ((pgfox_internal.number_at(metadata, '{year}'::text[])));",
    )
    .await
    .unwrap();
    let wanted = v1::GetCollectionRequest { name: "c".into() };
    let collection = client.get_collection(wanted).await.unwrap().into_inner().collection.unwrap();
    assert_eq!(collection.metadata_indexes.len(), 1);

    let wanted = indexes(&[("year", Type::Number)]);
    let request = update("c", &["metadata_indexes"], |c| c.metadata_indexes.clone_from(&wanted));
    let updated = client.update_collection(request).await.unwrap().into_inner().collection.unwrap();
    assert_eq!(updated.metadata_indexes, wanted);
    let there = definitions(&server).await;
    assert!(there.len() == 1 && there[0].contains("documents_1_metadata_3"), "{there:?}");
}

#[rstest]
#[tokio::test]
async fn an_alias_works_everywhere(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    create(&mut client, "films_1", "old").await;
    set_aliases(&mut client, "films_1", &["films", "movies"]).await.unwrap();

    let wanted = v1::GetCollectionRequest { name: "films".into() };
    let collection = client.get_collection(wanted).await.unwrap().into_inner().collection.unwrap();
    assert_eq!(
        (collection.name.as_str(), &collection.aliases[..]),
        ("films_1", &["films".into(), "movies".into()][..])
    );
    store(&mut client, "films", "new").await;
    assert_eq!(found(&mut client, "films").await.len(), 2);
    assert_eq!(get(&mut client, "movies", &["new"]).await.len(), 1);
    build_index(&mut client, "films", Kind::Hnsw(v1::Hnsw::default())).await;
    assert_eq!(found(&mut client, "films").await.len(), 2);

    // It is not a name: it can be used neither to create nor to delete a collection.
    let taken = client.create_collection(vectors("films", 2, v1::Distance::L2)).await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).0.as_str()), (Code::AlreadyExists, "COLLECTION_EXISTS"));
    let delete = |name: &str| v1::DeleteCollectionRequest { name: name.into(), ..Default::default() };
    invalid(client.delete_collection(delete("films")).await, &["name"]);
    // A name is not an alias either.
    create(&mut client, "films_2", "other").await;
    let taken = set_aliases(&mut client, "films_2", &["films_1"]).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);

    // It goes with its collection.
    client.delete_collection(delete("films_1")).await.unwrap();
    let gone = client.get_collection(v1::GetCollectionRequest { name: "films".into() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

/// Another server has cached the alias, and still never answers from the collection that the alias has left.
#[rstest]
#[tokio::test]
async fn an_alias_moves_for_every_server(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    let mut elsewhere = other.client();
    create(&mut client, "films_1", "old").await;
    create(&mut client, "films_2", "new").await;
    set_aliases(&mut client, "films_1", &["films"]).await.unwrap();
    for round in 0..3 {
        assert_eq!(found(&mut elsewhere, "films").await, ["old"], "{round}");
        let moved = set_aliases(&mut client, "films_2", &["films"]).await.unwrap();
        assert_eq!(moved.aliases, ["films"]);
        assert_eq!(found(&mut elsewhere, "films").await, ["new"], "{round}");
        set_aliases(&mut client, "films_1", &["films"]).await.unwrap();
    }
    // An empty collection has no row that could show it.
    client.create_collection(vectors("films_3", 2, v1::Distance::L2)).await.unwrap();
    set_aliases(&mut client, "films_3", &["films"]).await.unwrap();
    assert_eq!(found(&mut elsewhere, "films").await, Vec::<String>::new());
    set_aliases(&mut client, "films_2", &["films"]).await.unwrap();
    assert_eq!(found(&mut elsewhere, "films").await, ["new"]);
    // Writes go where it points now.
    set_aliases(&mut client, "films_1", &["films"]).await.unwrap();
    store(&mut elsewhere, "films", "newest").await;
    assert_eq!(found(&mut elsewhere, "films_1").await.len(), 2);
}

/// SQL finds an alias as a view, which moves with it.
#[rstest]
#[tokio::test]
async fn an_alias_is_a_view_too(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let sql = server.sql().await;
    let rows = async |view: &str| -> Vec<String> {
        let rows = sql.query(&format!("SELECT id FROM pgfox.{view} WHERE embedding IS NOT NULL"), &[]).await;
        rows.map_or_else(
            |error| vec![error.code().unwrap().code().into()],
            |rows| rows.iter().map(|row| row.get(0)).collect(),
        )
    };
    create(&mut client, "films_1", "old").await;
    create(&mut client, "films_2", "new").await;
    client.create_collection(vectors("wide", 3, v1::Distance::L2)).await.unwrap();
    set_aliases(&mut client, "films_1", &["films", "movies"]).await.unwrap();
    assert_eq!((rows("films").await, rows("movies").await), (vec!["old".into()], vec!["old".into()]));

    // Objects that use the view stay as it moves.
    sql.batch_execute("CREATE VIEW public.mine AS SELECT id FROM pgfox.films; GRANT SELECT ON pgfox.films TO PUBLIC")
        .await
        .unwrap();
    set_aliases(&mut client, "films_2", &["films"]).await.unwrap();
    assert_eq!((rows("films").await, rows("movies").await), (vec!["new".into()], vec!["old".into()]));
    let mine = sql.query_one("SELECT id, has_table_privilege('pg_monitor', 'pgfox.films', 'SELECT') FROM mine", &[]);
    let mine = mine.await.unwrap();
    assert_eq!((mine.get(0), mine.get(1)), ("new", true));
    // Vectors of other dimensions need another view.
    let in_use = set_aliases(&mut client, "wide", &["films"]).await.unwrap_err();
    assert_eq!((in_use.code(), reason(&in_use).0.as_str()), (Code::FailedPrecondition, "COLLECTION_IN_USE"));
    assert_eq!(rows("films").await, ["new"]);
    sql.batch_execute("DROP VIEW public.mine").await.unwrap();
    set_aliases(&mut client, "wide", &["films"]).await.unwrap();
    assert_eq!(rows("films").await, Vec::<String>::new());

    // An object that somebody has created with this name is not replaced.
    sql.batch_execute("CREATE TABLE pgfox.taken (id int)").await.unwrap();
    let taken = set_aliases(&mut client, "films_2", &["films", "taken"]).await.unwrap_err();
    assert_eq!((taken.code(), rows("films").await.len()), (Code::AlreadyExists, 0));
    sql.batch_execute("DROP TABLE pgfox.taken; DROP VIEW pgfox.movies").await.unwrap();
    // A view that somebody has dropped comes back with the next change.
    set_aliases(&mut client, "films_1", &["movies", "taken"]).await.unwrap();
    assert_eq!((rows("movies").await, rows("taken").await), (vec!["old".into()], vec!["old".into()]));
    set_aliases(&mut client, "films_1", &["taken"]).await.unwrap();
    assert_eq!(rows("movies").await, ["42P01"]);
    let delete = v1::DeleteCollectionRequest { name: "films_1".into(), ..Default::default() };
    client.delete_collection(delete).await.unwrap();
    assert_eq!(rows("taken").await, ["42P01"]);
}

#[rstest]
#[tokio::test]
async fn what_cannot_be_changed_is_refused(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    create(&mut client, "c", "one").await;
    let many = vec![v1::MetadataIndex::default(); 17];
    let cases: [(v1::UpdateCollectionRequest, &[&str]); 8] = [
        (update("c", &[], |_| {}), &["update_mask"]),
        (update("c", &["distance", "aliases"], |_| {}), &["update_mask"]),
        (v1::UpdateCollectionRequest::default(), &["collection"]),
        (update("", &["aliases"], |_| {}), &["collection.name"]),
        (
            update("c", &["aliases"], |c| c.aliases = vec!["A".into(), "b".into(), "b".into()]),
            &["collection.aliases[0]", "collection.aliases[2]"],
        ),
        (
            update("c", &["metadata_indexes"], |c| {
                c.metadata_indexes = indexes(&[
                    ("", Type::Number),
                    ("a..b", Type::Time),
                    ("a", Type::Gin),
                    ("", Type::Gin),
                    ("", Type::Unspecified),
                ]);
            }),
            &[
                "collection.metadata_indexes[0].field",
                "collection.metadata_indexes[1].field",
                "collection.metadata_indexes[2].field",
                "collection.metadata_indexes[4]",
            ],
        ),
        (update("c", &["metadata_indexes"], |c| c.metadata_indexes = many), &["collection.metadata_indexes"]),
        (
            update("c", &["metadata_indexes"], |c| {
                c.metadata_indexes = vec![v1::MetadataIndex { field: "a".into(), r#type: 99 }];
            }),
            &["collection.metadata_indexes[0].type"],
        ),
    ];
    for (request, fields) in cases {
        invalid(client.update_collection(request).await, fields);
    }
    let missing = client.update_collection(update("nobody", &["aliases"], |_| {})).await.unwrap_err();
    assert_eq!((missing.code(), reason(&missing).0.as_str()), (Code::NotFound, "COLLECTION_NOT_FOUND"));
}

/// A lower-case letter by chance.
fn rand_letter() -> u8 {
    use std::hash::{BuildHasher as _, RandomState};
    b'a' + (RandomState::new().hash_one(0) % 26) as u8
}
