//! Chunks: how a long text is split, and what a change of it costs.

mod changes;
mod headings;

use std::collections::HashMap;

use pgfox::v1::{self, ChunkUnit, ChunkingMethod, Distance};
use rstest::rstest;
use tokio_postgres::Client as Sql;

use crate::{
    calls::{counts, get, ingest, invalid, request, with_provider},
    provider::{DIMENSIONS, Provider, vector},
    support::{Client, Server, text_document, texts, vectors},
};

/// A collection that splits texts by characters.
fn chunked(name: &str, max_size: i32, overlap: i32) -> v1::CreateCollectionRequest {
    let chunking = v1::Chunking {
        method: ChunkingMethod::Text.into(),
        unit: ChunkUnit::Characters.into(),
        max_size,
        overlap,
        embed_headings: None,
    };
    let mut request = texts(name);
    request.collection.as_mut().unwrap().chunking = Some(chunking);
    request
}

/// A paragraph of 60 to 90 characters, so that two do not fit into 100.
fn paragraph(what: &str) -> String {
    format!("The paragraph about {what:_<10} says a lot about {what} and the fox, as all do.")
}

fn text(paragraphs: &[&str]) -> String {
    paragraphs.iter().map(|what| paragraph(what)).collect::<Vec<_>>().join("\n\n")
}

/// A row of a chunk, with its vector if it has one.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    chunk: i32,
    ordinal: i32,
    characters: (i32, i32),
    hash: bool,
    text: Option<String>,
    words: String,
    vector: Option<Vec<f32>>,
    /// The places of the rows of the chunk and of its vector. They change with each write.
    places: (String, Option<String>),
}

/// The tables of the only collection of a database.
async fn tables(sql: &Sql) -> (String, String, String) {
    let row = sql
        .query_one("SELECT collection_id, id FROM pgfox_internal.embedding_spaces", &[])
        .await
        .expect("one collection");
    let (collection, space): (i64, i64) = (row.get(0), row.get(1));
    (
        format!("pgfox_internal.documents_{collection}"),
        format!("pgfox_internal.chunks_{collection}"),
        format!("pgfox_internal.embeddings_{collection}_{space}"),
    )
}

/// The chunks of a document, in order.
async fn rows(sql: &Sql, id: &str) -> Vec<Row> {
    let (documents, chunks, embeddings) = tables(sql).await;
    let rows = format!(
        "SELECT c.chunk, c.ordinal, c.start_char, c.end_char, c.hash IS NOT NULL, c.text, c.words::text,
                e.embedding::text, c.ctid::text || ' ' || c.xmin::text, e.ctid::text || ' ' || e.xmin::text
         FROM {documents} d JOIN {chunks} c ON c.document_key = d.key
         LEFT JOIN {embeddings} e ON e.document_key = d.key AND e.chunk = c.chunk
         WHERE d.id = $1 ORDER BY c.ordinal"
    );
    let row = |row: &tokio_postgres::Row| Row {
        chunk: row.get(0),
        ordinal: row.get(1),
        characters: (row.get(2), row.get(3)),
        hash: row.get(4),
        text: row.get(5),
        words: row.get(6),
        vector: row.get::<_, Option<&str>>(7).map(|vector| serde_json::from_str(vector).unwrap()),
        places: (row.get(8), row.get(9)),
    };
    sql.query(&rows, &[&id]).await.unwrap().iter().map(row).collect()
}

/// Rows of chunks and vectors that belong to no document, or to no chunk.
async fn orphans(sql: &Sql) -> (i64, i64) {
    let (documents, chunks, embeddings) = tables(sql).await;
    let orphans = format!(
        "SELECT (SELECT count(*) FROM {chunks} WHERE document_key NOT IN (SELECT key FROM {documents})),
                (SELECT count(*) FROM {embeddings} e WHERE NOT EXISTS (
                    SELECT FROM {chunks} c WHERE c.document_key = e.document_key AND c.chunk = e.chunk))"
    );
    let row = sql.query_one(&orphans, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// Compares the rows of a document with chunks with its stored text.
#[track_caller]
fn agrees(rows: &[Row], text: &str) {
    let characters: Vec<char> = text.chars().collect();
    let mut covered = 0;
    for (position, row) in rows.iter().enumerate() {
        let (start, end) = (row.characters.0 as usize, row.characters.1 as usize);
        let passage: String = characters[start..end].iter().collect();
        assert_eq!(row.ordinal, position as i32);
        if rows.len() > 1 {
            assert_eq!((row.text.as_ref(), row.hash), (Some(&passage), true));
        } else {
            assert_eq!((row.chunk, &row.text, row.hash, passage.as_str()), (0, &None, false, text));
        }
        assert_eq!(row.vector.as_ref(), Some(&vector(&passage, DIMENSIONS)), "{passage}");
        let between: String = characters[covered.min(start)..start].iter().collect();
        assert_eq!(between.trim(), "");
        covered = end;
    }
    let rest: String = characters[covered..].iter().collect();
    assert_eq!(rest.trim(), "");
}

/// The texts that the provider received since `from`, and how many there are now.
fn asked(provider: &Provider, from: &mut usize) -> Vec<String> {
    let bodies = provider.bodies();
    let texts = bodies.iter().flat_map(|body| body["input"].as_array().unwrap().clone());
    let texts = texts.map(|text| text.as_str().unwrap().to_owned()).filter(|text| text != "dimensions");
    let texts: Vec<String> = texts.skip(*from).collect();
    *from += texts.len();
    texts
}

async fn put(client: &mut Client, text: &str) -> (i32, i32, i32) {
    counts(&ingest(client, "c", vec![text_document("a", text)]).await)
}

#[rstest]
#[tokio::test]
async fn a_long_text_becomes_chunks(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let mut collection = chunked("c", 0, 10);
    collection.collection.as_mut().unwrap().chunking.as_mut().unwrap().unit = ChunkUnit::Unspecified.into();
    let created = client.create_collection(collection).await.unwrap().into_inner().collection.unwrap();
    let chunking = created.chunking.unwrap();
    // The tiny model reads 62 tokens.
    assert_eq!((chunking.unit(), chunking.max_size, chunking.overlap), (ChunkUnit::Tokens, 62, 10));

    let sentence = "A fox jumps over the lazy dog, and “schöne Füchse” – лисы – do the same every day. ";
    let long = format!("\n {}\n\n{}", sentence.repeat(60), "词".repeat(500));
    let documents = vec![text_document("long", &long), text_document("short", " a fox "), text_document("none", "")];
    let response = ingest(&mut client, "c", documents.clone()).await;
    let sql = server.sql().await;
    let chunks = rows(&sql, "long").await;
    assert!(chunks.len() > 30, "{}", chunks.len());
    assert_eq!((counts(&response), response.unembedded_count), ((3, 0, 0), 1));
    assert_eq!((response.truncated_count, response.full_text_cut_count), (0, 0));
    // The sentences are alike, so many chunks are equal.
    assert!((2..=chunks.len() as i32 + 1).contains(&response.embedded_count), "{}", response.embedded_count);
    assert!(chunks.iter().all(|row| row.vector.is_some()));
    let characters: Vec<char> = long.chars().collect();
    for (position, row) in chunks.iter().enumerate() {
        let passage: String = characters[row.characters.0 as usize..row.characters.1 as usize].iter().collect();
        assert_eq!((row.chunk, row.ordinal), (position as i32, position as i32));
        assert_eq!((row.text.as_ref(), row.hash), (Some(&passage), true));
    }
    assert!(chunks[0].words.contains("'jump'"), "{}", chunks[0].words);
    let short = rows(&sql, "short").await;
    assert_eq!((short.len(), short[0].characters, &short[0].text), (1, (0, 7), &None));
    assert_eq!((short[0].hash, short[0].words.as_str(), short[0].vector.is_some()), (false, "'fox':2", true));
    assert_eq!(rows(&sql, "none").await, []);
    assert_eq!(orphans(&sql).await, (0, 0));
    // The view shows passages; the API returns the text.
    let shown: i64 = sql.query_one("SELECT count(embedding) FROM pgfox.c WHERE id = 'long'", &[]).await.unwrap().get(0);
    assert_eq!(shown, chunks.len() as i64);
    assert_eq!(
        get(&mut client, "c", &["long", "short"]).await.iter().map(|d| d.text.as_str()).collect::<Vec<_>>(),
        [long.as_str(), " a fox "]
    );
    assert_eq!(counts(&ingest(&mut client, "c", documents).await), (0, 0, 3));
}

#[rstest]
#[tokio::test]
async fn chunking_is_checked(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let chunking = |method: i32, unit: i32, max_size, overlap| v1::Chunking {
        method,
        unit,
        max_size,
        overlap,
        embed_headings: None,
    };
    let with_headings = |chunking: v1::Chunking, embed| v1::Chunking { embed_headings: Some(embed), ..chunking };
    let (text, tokens, characters) = (2, 2, 1);
    let wrong = [
        (with_headings(chunking(text, 0, 0, 0), true), vec!["embed_headings"]),
        (with_headings(chunking(0, 0, 0, 0), true), vec!["method"]),
        (with_headings(chunking(1, 0, 0, 0), true), vec!["method"]),
        (chunking(9, 0, 0, 0), vec!["method"]),
        (chunking(text, 9, -1, -1), vec!["unit", "max_size", "overlap"]),
        (chunking(0, 0, 100, 0), vec!["method"]),
        (chunking(1, 0, 0, 1), vec!["method"]),
        (chunking(text, characters, 99, 0), vec!["max_size"]),
        // 62 tokens of 8 characters.
        (chunking(text, characters, 497, 0), vec!["max_size"]),
        (chunking(text, tokens, 15, 0), vec!["max_size"]),
        (chunking(text, tokens, 63, 32), vec!["max_size", "overlap"]),
        (chunking(text, tokens, 62, 32), vec!["overlap"]),
        (chunking(text, characters, i32::MAX, i32::MAX), vec!["max_size", "overlap"]),
    ];
    for (chunking, fields) in wrong {
        let mut request = texts("c");
        request.collection.as_mut().unwrap().chunking = Some(chunking);
        let fields: Vec<String> = fields.iter().map(|field| format!("collection.chunking.{field}")).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        invalid(client.create_collection(request).await, &fields);
    }
    let mut request = vectors("c", 2, Distance::L2);
    request.collection.as_mut().unwrap().chunking = Some(chunking(text, characters, 100, 0));
    invalid(client.create_collection(request).await, &["collection.chunking"]);
    // The prefix is read too.
    let mut request = chunked("c", 100, 0);
    request.collection.as_mut().unwrap().embedding = Some(v1::Embedding {
        model: "local/tiny-bert".into(),
        document_prefix: "a fox ".repeat(30),
        ..Default::default()
    });
    invalid(client.create_collection(request).await, &["collection.chunking"]);

    let good = [
        (None, chunking(1, 0, 0, 0)),
        (Some(chunking(1, 0, 0, 0)), chunking(1, 0, 0, 0)),
        (Some(chunking(text, 0, 0, 0)), chunking(text, tokens, 62, 0)),
        (Some(chunking(3, characters, 0, 20)), with_headings(chunking(3, characters, 496, 20), true)),
        (Some(chunking(3, tokens, 16, 8)), with_headings(chunking(3, tokens, 16, 8), true)),
        (Some(with_headings(chunking(3, 0, 0, 0), true)), with_headings(chunking(3, tokens, 62, 0), true)),
        (Some(with_headings(chunking(3, 0, 0, 0), false)), with_headings(chunking(3, tokens, 62, 0), false)),
        (Some(with_headings(chunking(text, 0, 0, 0), false)), chunking(text, tokens, 62, 0)),
        (Some(with_headings(chunking(0, 0, 0, 0), false)), chunking(1, 0, 0, 0)),
    ];
    for (position, (asked, given)) in good.into_iter().enumerate() {
        let mut request = texts(&format!("good{position}"));
        request.collection.as_mut().unwrap().chunking = asked;
        client.create_collection(request).await.unwrap();
        let request = v1::GetCollectionRequest { name: format!("good{position}") };
        let collection = client.get_collection(request).await.unwrap().into_inner().collection.unwrap();
        assert_eq!((collection.chunking, collection.text_search_language), (Some(given), "english".to_owned()));
    }
}

#[rstest]
#[tokio::test]
async fn words_are_in_the_language_of_the_collection(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    for language in ["klingon", "English", "english; DROP TABLE x", "1", "'", &"x".repeat(64), "ü", "a\0b"] {
        let mut request = texts("c");
        request.collection.as_mut().unwrap().text_search_language = language.into();
        invalid(client.create_collection(request).await, &["collection.text_search_language"]);
    }
    let mut request = chunked("c", 100, 0);
    request.collection.as_mut().unwrap().text_search_language = "german".into();
    client.create_collection(request).await.unwrap();
    let long = ["Die Füchse sprangen über die faulen Hunde."; 10].join("\n\n");
    ingest(&mut client, "c", vec![text_document("a", "Die Füchse"), text_document("b", &long)]).await;
    let sql = server.sql().await;
    assert_eq!(rows(&sql, "a").await[0].words, "'fuchs':2");
    for row in rows(&sql, "b").await {
        assert!(row.words.contains("'hund':"), "{}", row.words);
    }
    // Neither a text that becomes empty nor one that is not embedded keeps words.
    ingest(&mut client, "c", vec![text_document("a", ""), text_document("b", " ")]).await;
    assert_eq!(rows(&sql, "a").await, []);
    let blank = rows(&sql, "b").await;
    assert_eq!((blank.len(), blank[0].words.as_str(), &blank[0].vector), (1, "", &None));
    assert_eq!(orphans(&sql).await, (0, 0));
}

#[rstest]
#[tokio::test]
async fn no_text_is_too_long_for_full_text(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    let mut unchunked = vectors("c", 1, Distance::L2);
    unchunked.collection.as_mut().unwrap().text_search_language = "simple".into();
    client.create_collection(unchunked).await.unwrap();
    // Each text makes as many bytes of words as a text of its kind can.
    let word = |mut number: usize, alphabet: &[char]| {
        let mut word = String::new();
        loop {
            word.push(alphabet[number % alphabet.len()]);
            number /= alphabet.len();
            if number == 0 {
                return word;
            }
        }
    };
    let alphabets: [Vec<char>; 4] = [
        ('a'..='z').collect(),
        ('a'..='z').chain('0'..='9').collect(),
        ('\u{4e00}'..'\u{9fff}').collect(),
        ('\u{20000}'..'\u{2a6d0}').collect(),
    ];
    let mut texts = Vec::new();
    for alphabet in &alphabets {
        for parts in [1, 2, 3, 8] {
            let words = move |i: usize| (0..parts).map(|part| word(i * parts + part, alphabet)).collect::<Vec<_>>();
            texts.push((0..).map(move |i| words(i).join("-")));
        }
    }
    let mut texts: Vec<String> = texts
        .into_iter()
        .map(|words| {
            let mut text = String::new();
            for word in words {
                text.push_str(&word);
                text.push(' ');
                if text.len() > 250_000 {
                    break;
                }
            }
            text
        })
        .collect();
    let generated =
        |form: &dyn Fn(&str) -> String| -> String { (0..30_000).map(|i| form(&word(i, &alphabets[1]))).collect() };
    texts.extend([
        generated(&|word| format!("a.de/{word} ")),
        generated(&|word| format!("http://{word}.de/{word}-{word}?{word}={word} ")),
        generated(&|word| format!("{word}-{word}@a-{word}.de ")),
        generated(&|word| format!("/{word}/{word}.txt ")),
        generated(&|word| format!("<a b=\"{word}\">{word}</a>&{word}; ")),
        generated(&|word| format!("{word}.{word}.{word} ")),
        (0..60_000).map(|i| format!("-{i}e{} ", i % 9)).collect(),
        "a ".repeat(200_000),
        "x".repeat(300_000),
        "Ⱥ-Ⱦ".repeat(60_000),
        "\u{1f98a}".repeat(60_000),
    ]);
    for (position, text) in texts.iter().enumerate() {
        assert!(text.len() > 200_000, "{position}: {}", text.len());
        let document = v1::Document { vector: Some(v1::Vector { values: vec![1.0] }), ..text_document("a", text) };
        let response = ingest(&mut client, "c", vec![document]).await;
        assert_eq!((response.upserted_count, response.full_text_cut_count), (1, 1), "{position}");
    }
    // Only the length would be too large.
    let text = format!("{}first {} last", "ü".repeat(10), " ".repeat(400_000));
    let document = v1::Document { vector: Some(v1::Vector { values: vec![1.0] }), ..text_document("a", &text) };
    assert_eq!(ingest(&mut client, "c", vec![document]).await.full_text_cut_count, 0);
    let row = rows(&server.sql().await, "a").await.remove(0);
    assert_eq!(
        (row.words.as_str(), row.characters),
        ("'last':2 'uuuuuuuuuufirst':1", (0, text.chars().count() as i32))
    );
}
