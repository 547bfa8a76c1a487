//! Collections over tables that are there already: the tutorial's own, with every kind of key, column and index.

pub(crate) mod changes; // rows and tables that change by SQL, privileges, row-level security
mod columns; // metadata of columns, and filters over them
mod indexes; // indexes that are there, and those that are built
mod keys; // one column of every type, and several
mod libraries; // the tables of other libraries, by their DDL
mod refused; // what cannot be attached, and what an attached collection cannot do
mod writes; // Ingest, DeleteDocuments and UpdateMetadata

use pgfox::v1::{self, Completeness, Distance, SearchMode, index_spec::Kind};
use prost_types::FieldMask;
use rstest::rstest;
use tokio_postgres::Client as Sql;

use crate::{
    calls::{about, build_index, ids, near, request, search, similar, with_provider},
    provider::{self, Provider},
    support::{Client, Server},
};

/// A source: the table, with columns for the text.
pub(crate) fn source(table: &str, text: &[&str]) -> v1::Source {
    v1::Source { table: table.into(), text_columns: owned(text), ..Default::default() }
}

pub(crate) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A collection `c` over a source, whose callers send vectors.
pub(crate) fn attach(source: v1::Source) -> v1::CreateCollectionRequest {
    v1::CreateCollectionRequest {
        collection: Some(v1::Collection {
            name: "c".into(),
            embedding: Some(v1::Embedding::default()),
            distance: Distance::Cosine.into(),
            source: Some(source),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A vector as SQL writes it.
pub(crate) fn literal(values: &[f32]) -> String {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("'[{}]'", values.join(","))
}

/// A table `points` of an id and a vector of two dimensions at 0 to 90 degrees, attached as `c`.
pub(crate) async fn points(server: &Server, count: i32) -> (Client, Sql) {
    let sql = server.sql().await;
    let table = format!(
        "CREATE TABLE points (id int PRIMARY KEY, name text, half int, embedding vector(2));
         INSERT INTO points SELECT i, 'point ' || i, i / 2,
             ('[' || cos(i * pi() / 2 / {count}) || ',' || sin(i * pi() / 2 / {count}) || ']')::vector
         FROM generate_series(0, {count} - 1) i;
         ANALYZE points"
    );
    sql.batch_execute(&table).await.unwrap();
    let mut client = server.client();
    client.create_collection(attach(source("points", &["name"]))).await.unwrap();
    (client, sql)
}

pub(crate) async fn documents(client: &mut Client, ids: &[&str]) -> Vec<v1::Document> {
    let request = v1::GetDocumentsRequest { collection: "c".into(), ids: owned(ids), ..Default::default() };
    client.get_documents(request).await.expect("documents").into_inner().documents
}

const TEXTS: [&str; 4] = [
    "The quick brown fox jumps over the lazy dog",
    "A fox is cunning and quick",
    "Postgres stores vectors in tables",
    "Cats and dogs are not foxes",
];

/// The notebook of the tutorial: its table, its rows and its index.
async fn run_notebook(sql: &Sql) {
    sql.batch_execute("CREATE TABLE documents (id serial PRIMARY KEY, content text, embedding vector(1536))")
        .await
        .unwrap();
    for text in TEXTS {
        let embedding = literal(&provider::vector(text, 1536));
        sql.execute(&format!("INSERT INTO documents (content, embedding) VALUES ($1, {embedding})"), &[&text])
            .await
            .unwrap();
    }
    sql.batch_execute("CREATE INDEX ON documents USING hnsw (embedding vector_l2_ops)").await.unwrap();
}

/// How the table looks to everything but its rows.
pub(crate) async fn shape(sql: &Sql, table: &str) -> Vec<String> {
    let query =
        "SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || a.attnotnull::text || a.attstorage::text
                 FROM pg_attribute a WHERE a.attrelid = $1::text::regclass AND a.attnum > 0
                 UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = $1::text::regclass
                 UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::text::regclass
                 UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgrelid = $1::text::regclass
                 UNION ALL SELECT refobjid::text FROM pg_depend
                           WHERE refobjid = $1::text::regclass AND deptype = 'n'
                 ORDER BY 1";
    sql.query(query, &[&table]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[rstest]
#[tokio::test]
async fn the_tables_of_the_tutorial_are_searched_by_text(#[values(16, 18)] major: u32) {
    let provider = Provider::start().await;
    let server = Server::start_with(major, with_provider(&provider)).await;
    let sql = server.sql().await;
    run_notebook(&sql).await;
    let before = shape(&sql, "documents").await;
    let mut client = server.client();
    let collection = v1::Collection {
        name: "docs".into(),
        embedding: Some(v1::Embedding { model: "openai/text-embedding-3-small".into(), ..Default::default() }),
        source: Some(source("documents", &["content"])),
        ..Default::default()
    };
    let create = v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() };
    let created = client.create_collection(create).await.unwrap().into_inner().collection.unwrap();
    let found = v1::Source {
        table: "\"public\".\"documents\"".into(),
        id_columns: owned(&["id"]),
        vector_column: "embedding".into(),
        ..source("documents", &["content"])
    };
    assert_eq!(created.source, Some(found));
    assert_eq!((created.embedding.unwrap().dimensions, created.distance), (1536, Distance::L2.into()));
    assert_eq!(created.document_count, 4);

    let response = search(&mut client, about("docs", TEXTS[1], 2)).await;
    let first = &response.results[0];
    assert_eq!(first.document.as_ref().unwrap().text, TEXTS[1]);
    assert!(first.distance.unwrap() < 1e-3, "{first:?}");
    assert_eq!(ids(&response), ["2", "1"]);
    // The index of the notebook was found, whatever its name.
    assert_eq!(response.completeness(), Completeness::Approximate);
    let indexes = client.list_indexes(v1::ListIndexesRequest { collection: "docs".into() }).await.unwrap().into_inner();
    assert_eq!(indexes.indexes.len(), 1);
    assert_eq!((indexes.indexes[0].name.as_str(), indexes.indexes[0].made_by_sql), ("documents_embedding_idx", true));

    assert_eq!(ids(&search(&mut client, similar("docs", "2", 1)).await), ["1"]);
    let texts: Vec<v1::SearchRequest> = TEXTS.iter().map(|text| about("docs", text, 1)).collect();
    let batch = client
        .search_batch(v1::SearchBatchRequest { searches: texts, ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let first: Vec<&str> = batch.responses.iter().flat_map(ids).collect();
    assert_eq!(first, ["1", "2", "3", "4"]);

    // What is written by SQL is found at once, and nothing of the table has changed.
    let embedding = literal(&provider::vector("A new text", 1536));
    let insert = format!("INSERT INTO documents (content, embedding) VALUES ('A new text', {embedding})");
    sql.batch_execute(&insert).await.unwrap();
    assert_eq!(ids(&search(&mut client, about("docs", "A new text", 1)).await), ["5"]);
    sql.batch_execute("DELETE FROM documents WHERE id = 5").await.unwrap();
    assert_eq!(ids(&search(&mut client, about("docs", "A new text", 5)).await).len(), 4);
    assert_eq!(shape(&sql, "documents").await, before);
    let delete = v1::DeleteCollectionRequest { name: "docs".into(), ..Default::default() };
    assert!(client.delete_collection(delete).await.unwrap().into_inner().kept_indexes.is_empty());
    assert_eq!(shape(&sql, "documents").await, before);
    let rows: i64 = sql.query_one("SELECT count(*) FROM documents", &[]).await.unwrap().get(0);
    assert_eq!(rows, 4);
}

#[tokio::test]
async fn documents_are_rows() {
    let server = Server::start(18).await;
    let (mut client, sql) = points(&server, 10).await;
    sql.batch_execute("UPDATE points SET embedding = NULL WHERE id = 3; UPDATE points SET name = NULL WHERE id = 4")
        .await
        .unwrap();
    let found = documents(&mut client, &["4", "3"]).await;
    assert_eq!([found[0].text.as_str(), found[1].text.as_str()], ["", "point 3"]);
    assert_eq!((found[0].version, &found[0].create_time), (0, &None));

    let list = |page_token: &str, descending| v1::ListDocumentsRequest {
        collection: "c".into(),
        page_size: 4,
        page_token: page_token.into(),
        include_vector: true,
        descending,
        ..Default::default()
    };
    for descending in [false, true] {
        let (mut listed, mut token) = (Vec::new(), String::new());
        loop {
            let page = client.list_documents(list(&token, descending)).await.unwrap().into_inner();
            listed.extend(page.documents);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let without: Vec<&str> =
            listed.iter().filter(|document| document.vector.is_none()).map(|document| document.id.as_str()).collect();
        assert_eq!(without, ["3"]);
        let listed: Vec<i32> = listed.iter().map(|document| document.id.parse().unwrap()).collect();
        let mut sorted: Vec<i32> = (0..10).collect();
        if descending {
            sorted.reverse();
        }
        assert_eq!(listed, sorted);
    }

    // A row without a vector is found by no search, and is like none.
    let response = search(&mut client, near("c", &[1.0, 0.0], 100)).await;
    assert_eq!(ids(&response), ["0", "1", "2", "4", "5", "6", "7", "8", "9"]);
    let status = client.search(similar("c", "3", 1)).await.unwrap_err();
    assert_eq!(crate::support::reason(&status).0, "DOCUMENT_WITHOUT_VECTOR");
    let status = client.search(similar("c", "77", 1)).await.unwrap_err();
    assert_eq!(crate::support::reason(&status).0, "DOCUMENT_NOT_FOUND");

    let examples = v1::Examples { positive_ids: owned(&["0", "1"]), negative_ids: owned(&["9"]) };
    let query = Some(v1::search_request::Query::Examples(examples));
    let by_examples = v1::SearchRequest { collection: "c".into(), query, limit: 3, ..Default::default() };
    assert_eq!(ids(&search(&mut client, by_examples).await).len(), 3);

    let narrow = v1::SearchRequest {
        max_distance: Some(0.05),
        include_vector: true,
        read_mask: Some(FieldMask { paths: vec!["metadata.half".into()] }),
        ..near("c", &[1.0, 0.0], 100)
    };
    let response = search(&mut client, narrow).await;
    assert_eq!(ids(&response), ["0", "1", "2"]);
    let document = response.results[2].document.as_ref().unwrap();
    assert_eq!((document.text.as_str(), document.vector.as_ref().unwrap().values.len()), ("", 2));
    assert_eq!(document.metadata, Some(crate::metadata::object(&serde_json::json!({"half": 1}))));

    let facets = v1::FacetDocumentsRequest { collection: "c".into(), field: "half".into(), ..Default::default() };
    let facets = client.facet_documents(facets).await.unwrap().into_inner();
    assert_eq!((facets.values.len(), facets.values[0].count), (5, 2));
}

#[tokio::test]
async fn a_vector_without_a_direction_is_no_result() {
    let server = Server::start(18).await;
    let (mut client, sql) = points(&server, 4).await;
    sql.batch_execute("UPDATE points SET embedding = '[0,0]' WHERE id = 2").await.unwrap();
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 10)).await), ["0", "1", "3"]);
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    assert_eq!(ids(&search(&mut client, near("c", &[1.0, 0.0], 10)).await), ["0", "1", "3"]);
}

#[tokio::test]
async fn two_collections_can_have_one_table() {
    let server = Server::start(18).await;
    let (mut client, _sql) = points(&server, 4).await;
    let mut second = attach(source("points", &[]));
    let collection = second.collection.as_mut().unwrap();
    (collection.name, collection.distance) = ("d".into(), Distance::L1.into());
    client.create_collection(second).await.unwrap();
    build_index(&mut client, "c", Kind::Hnsw(v1::Hnsw::default())).await;
    build_index(&mut client, "d", Kind::Hnsw(v1::Hnsw { m: 8, ..Default::default() })).await;
    for name in ["c", "d"] {
        let indexes = client.list_indexes(v1::ListIndexesRequest { collection: name.into() }).await.unwrap();
        assert_eq!(indexes.into_inner().indexes.len(), 1);
        assert_eq!(ids(&search(&mut client, near(name, &[1.0, 0.0], 1)).await), ["0"]);
    }
}

#[tokio::test]
async fn what_needs_words_is_refused() {
    let server = Server::start(18).await;
    let (mut client, _sql) = points(&server, 4).await;
    let attached = |status: tonic::Status| {
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        assert_eq!(crate::support::reason(&status).0, "COLLECTION_ATTACHED");
        assert!(status.message().contains("\"public\".\"points\""), "{status:?}");
        assert_eq!(crate::calls::info(&status)["table"], "\"public\".\"points\"");
    };
    for mode in [SearchMode::FullText, SearchMode::Hybrid] {
        let words = v1::SearchRequest { mode: mode.into(), ..about("c", "point", 1) };
        attached(client.search(words).await.unwrap_err());
    }
    let by_time = v1::ListDocumentsRequest {
        collection: "c".into(),
        order: v1::DocumentOrder::CreateTime.into(),
        ..Default::default()
    };
    attached(client.list_documents(by_time).await.unwrap_err());
    let metadata_indexes = vec![v1::MetadataIndex::default()];
    let update = v1::UpdateCollectionRequest {
        collection: Some(v1::Collection { name: "c".into(), metadata_indexes, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["metadata_indexes".into()] }),
    };
    attached(client.update_collection(update).await.unwrap_err());
}
