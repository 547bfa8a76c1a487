//! Collections: creating, getting, listing and deleting them, and every way to do that wrong.

use pgfox::v1::{self, Distance, VectorType};
use pgfox_server::OpenAiConfig;
use rstest::rstest;
use tonic::Code;

use crate::{
    calls::{about, count, get, info, ingest, invalid, near, refusal, search, with_provider},
    naughty::NAUGHTY,
    provider::{DIMENSIONS, Provider},
    support::{Client, Server, Setup, cluster, create_database, sql, text_document, texts, vector_document, vectors},
};

fn with_model(name: &str, model: &str, dimensions: i32) -> v1::CreateCollectionRequest {
    let embedding = v1::Embedding { model: model.into(), dimensions, ..Default::default() };
    let collection = v1::Collection { name: name.into(), embedding: Some(embedding), ..Default::default() };
    v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() }
}

async fn create(client: &mut Client, request: v1::CreateCollectionRequest) -> v1::Collection {
    client.create_collection(request).await.expect("created").into_inner().collection.expect("a collection")
}

async fn delete(
    client: &mut Client,
    name: &str,
) -> Result<tonic::Response<v1::DeleteCollectionResponse>, tonic::Status> {
    client.delete_collection(v1::DeleteCollectionRequest { name: name.into(), ..Default::default() }).await
}

/// The names on a page, and the token of the next.
async fn page(client: &mut Client, page_size: i32, page_token: &str) -> (Vec<String>, String) {
    let request = v1::ListCollectionsRequest { page_size, page_token: page_token.into() };
    let response = client.list_collections(request).await.expect("a page").into_inner();
    (response.collections.into_iter().map(|collection| collection.name).collect(), response.next_page_token)
}

#[rstest]
#[tokio::test]
async fn created_got_listed_and_deleted(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let created = create(&mut client, vectors("points", 3, Distance::Unspecified)).await;
    assert_eq!((created.distance(), created.vector_type()), (Distance::L2, VectorType::Vector));
    assert_eq!(created.embedding, Some(v1::Embedding { dimensions: 3, ..Default::default() }));
    assert!(created.create_time.is_some());
    let got = client.get_collection(v1::GetCollectionRequest { name: "points".into() }).await.unwrap();
    assert_eq!(got.into_inner().collection, Some(created));

    for name in ["b", "a_1", "a", "c9"] {
        create(&mut client, vectors(name, 1, Distance::L1)).await;
    }
    assert_eq!(
        page(&mut client, 0, "").await,
        (["a", "a_1", "b", "c9", "points"].map(String::from).into(), String::new())
    );
    let (first, token) = page(&mut client, 2, "").await;
    assert_eq!(first, ["a", "a_1"]);
    // The next page continues where this one ended, whatever is created or deleted meanwhile.
    delete(&mut client, "a_1").await.unwrap();
    create(&mut client, vectors("aa", 1, Distance::L1)).await;
    create(&mut client, vectors("bb", 1, Distance::L1)).await;
    let (second, token) = page(&mut client, 2, &token).await;
    assert!(!second.contains(&"a".to_owned()) && second.len() == 2);
    let (third, end) = page(&mut client, 1_000, &token).await;
    assert_eq!(
        [second, third].concat().iter().filter(|name| *name != "aa").collect::<Vec<_>>(),
        ["b", "bb", "c9", "points"]
    );
    assert_eq!(end, "");

    delete(&mut client, "points").await.unwrap();
    let (code, reason, _) = refusal(delete(&mut client, "points").await);
    assert_eq!((code, reason.as_str()), (Code::NotFound, "COLLECTION_NOT_FOUND"));
    // After it is created again, it is a different, empty collection.
    create(&mut client, vectors("points", 5, Distance::Cosine)).await;
    assert_eq!(count(&mut client, "points").await, 0);
    for page_size in [-1, 1_001, i32::MAX] {
        let request = v1::ListCollectionsRequest { page_size, page_token: "\0".into() };
        invalid(client.list_collections(request).await, &["page_size", "page_token"]);
    }
}

#[rstest]
#[tokio::test]
async fn taken_and_unknown_names(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    create(&mut client, vectors("taken", 3, Distance::L2)).await;
    for request in [vectors("taken", 3, Distance::L2), texts("taken"), with_model("taken", "local/unknown", 0)] {
        let status = client.create_collection(request).await.unwrap_err();
        assert_eq!((status.code(), info(&status)["collection"].as_str()), (Code::AlreadyExists, "taken"));
    }
    let other = "Taken".to_owned();
    for name in [&other, "taken ", "pgfox.taken", "\"taken\"", "taken'; DROP TABLE x; --"].iter().chain(NAUGHTY) {
        let name = (*name).to_owned();
        let request = v1::GetCollectionRequest { name: name.clone() };
        let status = client.get_collection(request).await.unwrap_err();
        if name.is_empty() || name.contains('\0') || name.len() > 1_000 {
            invalid::<()>(Err(status), &["name"]);
            continue;
        }
        assert_eq!((status.code(), &info(&status)["collection"]), (Code::NotFound, &name));
        crate::calls::fits_headers(&status);
        assert_eq!(refusal(delete(&mut client, &name).await).0, Code::NotFound);
        assert_eq!(refusal(client.search(near(&name, &[1.0], 1)).await).0, Code::NotFound);
    }
    assert_eq!(page(&mut client, 0, "").await.0, ["taken"]);
}

#[rstest]
#[tokio::test]
async fn names_are_identifiers(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let longest = "x".repeat(63);
    for name in [longest.as_str(), "a", "select", "user", "table", "documents_1", "pg_class"] {
        create(&mut client, vectors(name, 2, Distance::L2)).await;
        ingest(&mut client, name, vec![vector_document("a", &[1.0, 2.0])]).await;
        let count = format!("SELECT count(*) FROM pgfox.\"{name}\"");
        assert_eq!(server.sql().await.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 1);
    }
    let too_long = "x".repeat(64);
    let bad = [
        "",
        "A",
        "aB",
        "1a",
        "_a",
        "a-b",
        "a b",
        "ä",
        "aä",
        "a\0",
        "a\n",
        "a'; DROP SCHEMA pgfox CASCADE; --",
        "a\"b",
        &too_long,
    ];
    for name in bad.iter().chain(NAUGHTY).filter(|name| !["null", "undefined", "nan"].contains(name)) {
        invalid(client.create_collection(vectors(name, 2, Distance::L2)).await, &["collection.name"]);
    }
    assert_eq!(page(&mut client, 0, "").await.0.len(), 7);
}

#[rstest]
#[tokio::test]
async fn every_violation_is_named_at_once(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let long = "p".repeat(1_001);
    let embedding =
        v1::Embedding { model: "gpt".into(), dimensions: -1, query_prefix: long.clone(), document_prefix: "\0".into() };
    let collection = v1::Collection {
        name: "Bad".into(),
        embedding: Some(embedding),
        distance: 99,
        vector_type: -1,
        document_count: 5,
        ..Default::default()
    };
    let fields = [
        "name",
        "embedding.dimensions",
        "embedding.query_prefix",
        "embedding.document_prefix",
        "embedding.model",
        "distance",
        "vector_type",
    ];
    let mut fields: Vec<String> = fields.iter().map(|field| format!("collection.{field}")).collect();
    fields.push("collection".into());
    let (code, reason, named) = refusal(
        client
            .create_collection(v1::CreateCollectionRequest { collection: Some(collection), ..Default::default() })
            .await,
    );
    assert_eq!((code, reason.as_str(), named), (Code::InvalidArgument, "INVALID_FIELD", fields));
    invalid(
        client.create_collection(v1::CreateCollectionRequest { collection: None, ..Default::default() }).await,
        &["collection"],
    );
}

#[rstest]
#[tokio::test]
async fn dimensions_have_a_range(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    for dimensions in [0, -1, 16_001, i32::MIN, i32::MAX] {
        invalid(
            client.create_collection(vectors("x", dimensions, Distance::L2)).await,
            &["collection.embedding.dimensions"],
        );
    }
    for (name, dimensions, vector_type) in [
        ("v1", 1, VectorType::Vector),
        ("v2000", 2_000, VectorType::Vector),
        ("v2001", 2_001, VectorType::Halfvec),
        ("v16000", 16_000, VectorType::Halfvec),
    ] {
        assert_eq!(create(&mut client, vectors(name, dimensions, Distance::L2)).await.vector_type(), vector_type);
    }
    let mut whole = vectors("whole", 16_000, Distance::L2);
    whole.collection.as_mut().unwrap().vector_type = VectorType::Vector.into();
    create(&mut client, whole).await;
    for (name, dimensions) in [("v16000", 16_000), ("whole", 16_000), ("v1", 1)] {
        let values: Vec<f32> = (0..dimensions).map(|i| (i % 64) as f32).collect();
        ingest(&mut client, name, vec![vector_document("a", &values)]).await;
        assert_eq!(get(&mut client, name, &["a"]).await[0].vector.as_ref().unwrap().values, values);
        assert_eq!(search(&mut client, near(name, &values, 1)).await.results[0].distance, Some(0.0));
    }
    let prefixed = v1::Embedding { dimensions: 3, query_prefix: "q: ".into(), ..Default::default() };
    let mut request = vectors("prefixed", 3, Distance::L2);
    request.collection.as_mut().unwrap().embedding = Some(prefixed);
    invalid(client.create_collection(request).await, &["collection.embedding"]);
}

#[rstest]
#[tokio::test]
async fn the_view_is_for_sql(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let sql = server.sql().await;
    sql.batch_execute(
        "CREATE TABLE public.documents (id int PRIMARY KEY, title text);
         INSERT INTO public.documents VALUES (1, 'mine')",
    )
    .await
    .unwrap();
    create(&mut client, texts("documents")).await;
    ingest(&mut client, "documents", vec![text_document("1", "a fox"), text_document("2", " ")]).await;
    let join = "SELECT m.title, d.content, d.chunk, d.metadata::text, d.embedding IS NOT NULL
                FROM pgfox.documents d JOIN public.documents m ON m.id::text = d.id";
    let rows = sql.query(join, &[]).await.unwrap();
    let row = &rows[0];
    let values: (String, String, i32, String, bool) = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    assert_eq!((rows.len(), values), (1, ("mine".into(), "a fox".into(), 0, "{}".into(), true)));
    // Documents without a vector are included.
    assert_eq!(sql.query("SELECT FROM pgfox.documents WHERE embedding IS NULL", &[]).await.unwrap().len(), 1);

    sql.batch_execute("CREATE VIEW public.mine AS SELECT id FROM pgfox.documents").await.unwrap();
    let status = delete(&mut client, "documents").await.unwrap_err();
    assert_eq!(refusal::<()>(Err(status.clone())).1, "COLLECTION_IN_USE");
    assert_eq!((status.code(), info(&status)["collection"].as_str()), (Code::FailedPrecondition, "documents"));
    assert_eq!(count(&mut client, "documents").await, 2);
    assert_eq!(search(&mut client, about("documents", "a fox", 1)).await.results.len(), 1);
    sql.batch_execute("DROP VIEW public.mine").await.unwrap();
    delete(&mut client, "documents").await.unwrap();
    // Only the user's own objects are left.
    let tables = "SELECT count(*) FROM pg_class
                  WHERE relname ~ '^(documents|embeddings)_[0-9]' OR relnamespace = 'pgfox'::regnamespace";
    assert_eq!(sql.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert_eq!(sql.query("SELECT FROM public.documents", &[]).await.unwrap().len(), 1);
}

#[rstest]
#[tokio::test]
async fn one_of_many_creates_wins(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let creates = (1..=12).map(|dimensions| {
        let mut client = server.client();
        tokio::spawn(async move { client.create_collection(vectors("contested", dimensions, Distance::L2)).await })
    });
    let mut created = Vec::new();
    for create in creates.collect::<Vec<_>>() {
        match create.await.unwrap() {
            Ok(response) => created.push(response.into_inner().collection.unwrap()),
            refused => assert_eq!(refusal(refused).0, Code::AlreadyExists),
        }
    }
    assert_eq!(created.len(), 1);
    let got = server.client().get_collection(v1::GetCollectionRequest { name: "contested".into() }).await.unwrap();
    assert_eq!(got.into_inner().collection.unwrap(), created[0]);
}

#[rstest]
#[tokio::test]
async fn two_schemas_share_a_database(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut setup = Setup::new(server.database_url.clone());
    setup.schema = "Other \"fox\"".into();
    let other = setup.start().await;
    other.ready().await;
    let (mut here, mut there) = (server.client(), other.client());
    create(&mut here, vectors("points", 2, Distance::L2)).await;
    create(&mut there, vectors("points", 3, Distance::Cosine)).await;
    ingest(&mut here, "points", vec![vector_document("a", &[1.0, 2.0])]).await;
    ingest(&mut there, "points", vec![vector_document("b", &[1.0, 2.0, 3.0])]).await;
    for (client, values) in [(&mut here, &[1.0, 2.0][..]), (&mut there, &[1.0, 2.0, 3.0])] {
        crate::calls::build_index(client, "points", v1::index_spec::Kind::Hnsw(v1::Hnsw::default())).await;
        assert_eq!(search(client, near("points", values, 5)).await.results.len(), 1);
    }
    delete(&mut here, "points").await.unwrap();
    assert_eq!(count(&mut there, "points").await, 1);
    let view = server.sql().await.query("SELECT id FROM \"Other \"\"fox\"\"\".points", &[]).await.unwrap();
    assert_eq!(view[0].get::<_, &str>(0), "b");
}

#[rstest]
#[tokio::test]
async fn models_are_checked(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    for model in
        ["local/unknown", "local/..", "local/../tiny-bert", "local//etc/passwd", "openai/text-embedding-3-small"]
    {
        let status = client.create_collection(with_model("x", model, 0)).await.unwrap_err();
        assert_eq!((status.code(), info(&status)["model"].as_str()), (Code::FailedPrecondition, model));
        assert_eq!(refusal::<()>(Err(status)).1, "MODEL_UNAVAILABLE");
    }
    let long = format!("local/{}", "x".repeat(250));
    for model in ["tiny-bert", "local/", "openai/", "/", "huggingface/x", "local/\n", "openai/a\0", &long] {
        invalid(client.create_collection(with_model("x", model, 0)).await, &["collection.embedding.model"]);
    }
    let natural = create(&mut client, with_model("natural", "local/tiny-bert", 0)).await.embedding.unwrap().dimensions;
    create(&mut client, with_model("same", "local/tiny-bert", natural)).await;
    let status = client.create_collection(with_model("x", "local/tiny-bert", natural + 1)).await.unwrap_err();
    assert_eq!(
        (&info(&status)["expected"], &info(&status)["actual"]),
        (&(natural + 1).to_string(), &natural.to_string())
    );
    let (code, reason, fields) = refusal::<()>(Err(status));
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "DIMENSION_MISMATCH"));
    assert_eq!(fields, ["collection.embedding.dimensions"]);
}

#[tokio::test]
async fn dimensions_are_asked_only_of_models_that_take_them() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    let natural = create(&mut client, with_model("natural", "openai/fixed-model", 0)).await;
    assert_eq!(natural.embedding.unwrap().dimensions, DIMENSIONS as i32);
    create(&mut client, with_model("same", "openai/fixed-model", DIMENSIONS as i32)).await;
    assert!(provider.bodies().iter().all(|body| body.get("dimensions").is_none()));

    let (code, reason, fields) = refusal(client.create_collection(with_model("x", "openai/fixed-model", 16)).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "DIMENSION_MISMATCH"));
    assert_eq!(fields, ["collection.embedding.dimensions"]);

    let fewer = create(&mut client, with_model("fewer", "openai/text-embedding-3-small", 16)).await;
    assert_eq!(fewer.embedding.unwrap().dimensions, 16);
    ingest(&mut client, "fewer", vec![text_document("a", "a fox")]).await;
    assert_eq!(provider.last_body()["dimensions"], 16);
    assert_eq!(get(&mut client, "fewer", &["a"]).await[0].vector.as_ref().unwrap().values.len(), 16);
    ingest(&mut client, "same", vec![text_document("a", "a fox")]).await;
    assert!(provider.last_body().get("dimensions").is_none());

    let (code, reason, _) = refusal(client.create_collection(with_model("x", "openai/missing", 0)).await);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "PROVIDER_REFUSED"));
    let (names, _) = page(&mut client, 0, "").await;
    assert_eq!(names, ["fewer", "natural", "same"]);
}

#[rstest]
#[tokio::test]
async fn the_extension_may_live_in_another_schema(#[values(16, 18)] major: u32) {
    let database_url = create_database(&cluster(major).postgres).await;
    sql(&database_url)
        .await
        .batch_execute("CREATE SCHEMA \"Ext\"; CREATE EXTENSION vector SCHEMA \"Ext\"")
        .await
        .unwrap();
    let mut setup = Setup::new(database_url);
    setup.openai = OpenAiConfig::default();
    let server = setup.start().await;
    server.ready().await;
    let mut client = server.client();
    for (name, vector_type) in [("whole", VectorType::Vector), ("half", VectorType::Halfvec)] {
        let mut request = vectors(name, 2, Distance::Cosine);
        request.collection.as_mut().unwrap().vector_type = vector_type.into();
        create(&mut client, request).await;
        let documents = (0..100).map(|i| vector_document(&i.to_string(), &[1.0, i as f32])).collect();
        ingest(&mut client, name, documents).await;
        ingest(&mut client, name, vec![vector_document("0", &[1.0, 0.5])]).await;
        crate::calls::build_index(&mut client, name, v1::index_spec::Kind::Hnsw(v1::Hnsw::default())).await;
        let found = search(&mut client, near(name, &[1.0, 0.5], 1)).await;
        assert_eq!(crate::calls::ids(&found), ["0"]);
    }
}
