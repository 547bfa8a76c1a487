//! The cost of a change of a text, and the result of concurrent writers of the same text.

use super::*;

#[tokio::test]
async fn only_changed_chunks_are_embedded() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    client.create_collection(chunked("c", 100, 0)).await.unwrap();
    let mut from = 0;
    let names: Vec<String> = (0..100).map(|i| format!("n{i}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(put(&mut client, &text(&names)).await, (1, 0, 0));
    assert_eq!(asked(&provider, &mut from), names.iter().map(|name| paragraph(name)).collect::<Vec<_>>());
    let before = rows(&sql, "a").await;
    agrees(&before, &text(&names));
    assert_eq!(before.len(), 100);

    // The same again: the provider is not called and no row is written.
    assert_eq!(put(&mut client, &text(&names)).await, (0, 0, 1));
    assert_eq!((asked(&provider, &mut from).len(), rows(&sql, "a").await), (0, before.clone()));

    // One chunk changes but keeps its length: the others are not even moved.
    names[40] = "x40";
    assert_eq!(put(&mut client, &text(&names)).await, (1, 1, 0));
    assert_eq!(asked(&provider, &mut from), [paragraph("x40")]);
    let after = rows(&sql, "a").await;
    agrees(&after, &text(&names));
    assert_eq!((&after[..40], &after[41..]), (&before[..40], &before[41..]));
    assert_eq!((before[40].chunk, after[40].chunk), (40, 100));

    // A new chunk at the beginning moves the others, but their vectors are not written.
    let before = after;
    names.insert(0, "new");
    assert_eq!(put(&mut client, &text(&names)).await, (1, 1, 0));
    assert_eq!(asked(&provider, &mut from), [paragraph("new")]);
    let after = rows(&sql, "a").await;
    agrees(&after, &text(&names));
    for (before, after) in before.iter().zip(&after[1..]) {
        assert_eq!((before.chunk, &before.places.1), (after.chunk, &after.places.1));
        assert_eq!(before.ordinal + 1, after.ordinal);
    }

    // In reverse order, with some repeated and some deleted.
    names.reverse();
    names.truncate(50);
    names.extend_from_within(..10);
    assert_eq!(put(&mut client, &text(&names)).await, (1, 1, 0));
    assert_eq!(asked(&provider, &mut from), names[..10].iter().map(|name| paragraph(name)).collect::<Vec<_>>());
    let before = rows(&sql, "a").await;
    agrees(&before, &text(&names));
    names.remove(0);
    assert_eq!(put(&mut client, &text(&names)).await, (1, 1, 0));
    assert_eq!(asked(&provider, &mut from), Vec::<String>::new());
    agrees(&rows(&sql, "a").await, &text(&names));

    // If only the metadata changes, only the document is written.
    let before = rows(&sql, "a").await;
    let metadata = prost_types::Struct {
        fields: [("k".to_owned(), prost_types::Value { kind: Some(prost_types::value::Kind::NullValue(0)) })].into(),
    };
    let document = v1::Document { metadata: Some(metadata), ..text_document("a", &text(&names)) };
    assert_eq!(counts(&ingest(&mut client, "c", vec![document]).await), (1, 1, 0));
    assert_eq!((asked(&provider, &mut from).len(), rows(&sql, "a").await), (0, before));

    // From many chunks to one, to none, and to many again.
    for names in [&["one"][..], &["two"], &[], &["three", "four", "three"], &["five", "six"], &["five"]] {
        assert_eq!(put(&mut client, &text(names)).await, (1, 1, 0));
        let rows = rows(&sql, "a").await;
        assert_eq!(rows.len(), names.len());
        agrees(&rows, &text(names));
        assert_eq!(orphans(&sql).await, (0, 0));
    }
    assert_eq!(asked(&provider, &mut from), ["one", "two", "three", "four", "five", "six", "five"].map(paragraph));
}

#[tokio::test]
async fn the_longest_text_is_stored() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    client.create_collection(chunked("c", 10_000, 0)).await.unwrap();
    let mut long: String = (0..200_000).map(|i| format!("The fox number {i} jumps over the dog.\n")).collect();
    long.truncate(8 << 20);
    assert_eq!(put(&mut client, &long).await, (1, 0, 0));
    let chunks = rows(&sql, "a").await;
    assert!(chunks.len() > 700, "{}", chunks.len());
    assert_eq!(chunks.last().unwrap().characters.1 as usize, long.trim_end().len());
    // One word in the middle: one chunk is embedded.
    let middle = long[..4 << 20].rfind("jumps").unwrap();
    long.replace_range(middle..middle + 5, "walks");
    let response = ingest(&mut client, "c", vec![text_document("a", &long)]).await;
    assert_eq!((counts(&response), response.embedded_count), ((1, 1, 0), 1));
}

#[tokio::test]
async fn equal_texts_are_embedded_once() {
    let provider = Provider::start().await;
    let server = Server::start_with(16, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(chunked("c", 100, 0)).await.unwrap();
    let documents = (0..50).map(|i| text_document(&i.to_string(), &text(&["same", "twice", "same"]))).collect();
    let response = ingest(&mut client, "c", documents).await;
    assert_eq!((response.upserted_count, response.embedded_count), (50, 2));
    assert_eq!(asked(&provider, &mut 0), [paragraph("same"), paragraph("twice")]);
    let sql = server.sql().await;
    for id in ["0", "17", "49"] {
        agrees(&rows(&sql, id).await, &text(&["same", "twice", "same"]));
    }

    client.create_collection(texts("whole")).await.unwrap();
    let documents = (0..50).map(|i| text_document(&i.to_string(), if i % 2 == 0 { "even" } else { "odd" })).collect();
    let response = ingest(&mut client, "whole", documents).await;
    assert_eq!((response.embedded_count, asked(&provider, &mut 2)), (2, vec!["even".to_owned(), "odd".to_owned()]));
}

#[tokio::test]
async fn a_vector_of_the_callers_own_stands_for_the_whole_text() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    client.create_collection(chunked("c", 100, 20)).await.unwrap();
    let long = text(&["one", "two", "three"]);
    let own = vec![0.5; DIMENSIONS];
    let document = v1::Document { vector: Some(v1::Vector { values: own.clone() }), ..text_document("a", &long) };
    for round in 0..2 {
        let response = ingest(&mut client, "c", vec![document.clone()]).await;
        assert_eq!((response.upserted_count, response.updated_count, response.embedded_count), (1, round, 0));
        let whole = rows(&sql, "a").await;
        assert_eq!((whole.len(), &whole[0].text, whole[0].vector.as_ref()), (1, &None, Some(&own)));
        assert_eq!(whole[0].characters, (0, long.chars().count() as i32));
        put(&mut client, &long).await;
        let split = rows(&sql, "a").await;
        assert!(split.len() >= 3);
        agrees(&split, &long);
        assert_eq!(orphans(&sql).await, (0, 0));
    }
}

#[tokio::test]
async fn a_chunk_longer_than_the_model_reads_is_reported() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(chunked("c", 200, 0)).await.unwrap();
    provider.limit_text_bytes(150);
    let long = format!("{}\n\n{}", paragraph("short"), "word ".repeat(39));
    let documents = vec![text_document("a", &long), text_document("b", &long.repeat(3)), text_document("c", "a fox")];
    let response = ingest(&mut client, "c", documents).await;
    assert_eq!((response.upserted_count, response.truncated_count), (3, 2));
}

#[tokio::test]
async fn tokens_of_unknown_models_are_not_counted() {
    let provider = Provider::start().await;
    let server = Server::start_with(16, with_provider(&provider)).await;
    let mut client = server.client();
    let create = |model: &str, unit: ChunkUnit, max_size: i32| {
        let mut request = chunked(&format!("c{max_size}"), max_size, 0);
        let collection = request.collection.as_mut().unwrap();
        collection.embedding = Some(v1::Embedding { model: model.into(), ..Default::default() });
        collection.chunking.as_mut().unwrap().unit = unit.into();
        request
    };
    let unknown = "openai/nomic-embed-text";
    invalid(client.create_collection(create(unknown, ChunkUnit::Tokens, 0)).await, &["collection.chunking.unit"]);
    invalid(
        client.create_collection(create(unknown, ChunkUnit::Characters, 65_529)).await,
        &["collection.chunking.max_size"],
    );
    let created = client.create_collection(create(unknown, ChunkUnit::Unspecified, 0)).await.unwrap().into_inner();
    let chunking = created.collection.unwrap().chunking.unwrap();
    assert_eq!((chunking.unit(), chunking.max_size), (ChunkUnit::Characters, 1_000));
    let known = "openai/text-embedding-3-large";
    invalid(client.create_collection(create(known, ChunkUnit::Tokens, 8_192)).await, &["collection.chunking.max_size"]);
    let created = client.create_collection(create(known, ChunkUnit::Unspecified, 600)).await.unwrap().into_inner();
    assert_eq!(created.collection.unwrap().chunking.unwrap().unit(), ChunkUnit::Tokens);
    let long = "A fox jumps over the lazy dog. ".repeat(500);
    ingest(&mut client, "c600", vec![text_document("a", &long)]).await;
    // 8 tokens each.
    let shown = server.sql().await.query_one("SELECT count(embedding) FROM pgfox.c600", &[]).await.unwrap();
    assert_eq!(shown.get::<_, i64>(0), 7);
}

#[tokio::test]
async fn writers_of_chunks_leave_one_of_them_whole() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(chunked("c", 100, 0)).await.unwrap();
    let writers = (0..6_usize).map(|writer| {
        let mut client = server.client();
        tokio::spawn(async move {
            for round in 0..12 {
                // All writers share some paragraphs, in a different order each time, so that most chunks are kept.
                let document = |i: usize| {
                    let mut names: Vec<String> =
                        (0..8).map(|name| format!("all{}", (name + writer + round) % 8)).collect();
                    names.truncate(1 + (writer * 5 + round * 3 + i) % 8);
                    names.insert(i % names.len(), format!("{writer} {round}"));
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    text_document(&i.to_string(), &text(&names))
                };
                let documents = (0..10).map(document).collect();
                client.ingest(request("c", documents)).await.expect("stored");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let sql = server.sql().await;
    let mut writers: HashMap<String, usize> = HashMap::new();
    for i in 0..10 {
        let id = i.to_string();
        let text = get(&mut client, "c", &[&id]).await.remove(0).text;
        agrees(&rows(&sql, &id).await, &text);
        let writer = text.split("\n\n").find(|paragraph| !paragraph.contains("about all")).unwrap();
        *writers.entry(writer.to_owned()).or_default() += 1;
    }
    assert_eq!(writers.len(), 1, "{writers:?}");
    assert_eq!(orphans(&sql).await, (0, 0));
}

/// Another writer changes a document after its chunks were read and before they are written.
#[tokio::test]
async fn what_was_read_is_read_again_when_it_changed() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    client.create_collection(chunked("c", 100, 0)).await.unwrap();
    put(&mut client, &text(&["one", "two", "three"])).await;
    let mut from = 0;
    asked(&provider, &mut from);

    let held = provider.hold();
    let mut other = server.client();
    let late = tokio::spawn(async move { put(&mut other, &text(&["one", "two", "late"])).await });
    crate::support::eventually("the late one is embedded", async || provider.under_way() == 1).await;
    put(&mut client, &text(&["two", "soon", "one", "two"])).await;
    held.notify_one();
    assert_eq!(late.await.unwrap(), (1, 1, 0));
    agrees(&rows(&sql, "a").await, &text(&["one", "two", "late"]));
    // A text that was embedded once is not embedded again.
    assert_eq!(asked(&provider, &mut from), ["late", "soon", "two"].map(paragraph));
    assert_eq!(orphans(&sql).await, (0, 0));
}

#[tokio::test]
async fn unchanged_documents_are_not_written() {
    let provider = Provider::start().await;
    let server = Server::start_with(16, with_provider(&provider)).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    client.create_collection(chunked("c", 100, 0)).await.unwrap();
    let long: Vec<v1::Document> =
        (0..100).map(|i| text_document(&i.to_string(), &text(&["one", &i.to_string(), "two"]))).collect();
    ingest(&mut client, "c", long.clone()).await;
    let (documents, chunks, embeddings) = tables(&sql).await;
    let mut state = String::new();
    for table in [&documents, &chunks, &embeddings] {
        state += &format!("SELECT '{table}' || ctid::text || xmin::text || xmax::text AS row FROM {table} UNION ALL ");
    }
    let state = format!("SELECT count(*), md5(string_agg(row, ',' ORDER BY row)) FROM ({state} SELECT '') rows");
    let state = async || -> (i64, String) {
        let row = sql.query_one(&state, &[]).await.unwrap();
        (row.get(0), row.get(1))
    };
    let (before, requests) = (state().await, provider.requests());
    assert_eq!(before.0, 100 + 300 + 300 + 1);
    let response = ingest(&mut client, "c", long.clone()).await;
    assert_eq!((counts(&response), response.embedded_count), ((0, 0, 100), 0));
    let mut stream = client.ingest_stream(tokio_stream::iter([request("c", long)])).await.unwrap().into_inner();
    assert_eq!(counts(&stream.message().await.unwrap().unwrap()), (0, 0, 100));
    assert_eq!((state().await, provider.requests()), (before, requests));
}
