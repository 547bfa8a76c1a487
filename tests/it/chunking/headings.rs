//! The headings above a chunk, which the model reads with it.

use super::*;
use crate::{
    support::{Setup, sql},
    upgrade::migration,
};

/// A collection that splits Markdown into chunks of at most 100 characters.
fn markdown(name: &str, embed_headings: Option<bool>) -> v1::CreateCollectionRequest {
    let mut request = chunked(name, 100, 0);
    let chunking = request.collection.as_mut().unwrap().chunking.as_mut().unwrap();
    chunking.method = ChunkingMethod::Markdown.into();
    chunking.embed_headings = embed_headings;
    request
}

/// A sentence of 70 characters, so that each chunk has one.
fn sentence(what: &str) -> String {
    format!("{what:.<69}!")
}

/// A text, its chunks, and the chunks as the model reads them.
fn guide(title: &str, section: &str) -> (String, Vec<String>, Vec<String>) {
    let parts = [
        (sentence("before"), None),
        (format!("# {title}"), None),
        (sentence("first"), Some(title.to_owned())),
        (format!("{section}\n---"), Some(title.to_owned())),
        (sentence("second"), Some(format!("{title} > {section}"))),
        ("```sh\n# no heading\n```".to_owned(), Some(format!("{title} > {section}"))),
        (sentence("third"), Some(format!("{title} > {section}"))),
        ("# End".to_owned(), None),
        (sentence("first"), Some("End".to_owned())),
    ];
    let read = parts.iter().map(|(text, above)| match above {
        Some(above) => format!("{above}\n\n{text}"),
        None => text.clone(),
    });
    let chunks: Vec<String> = parts.iter().map(|(text, _)| text.clone()).collect();
    (chunks.join("\n\n"), chunks.clone(), read.collect())
}

/// Compares what is stored for a text with the text and with what the model read.
#[track_caller]
fn are(rows: &[Row], chunks: &[String], read: &[String]) {
    let stored: Vec<(&str, Option<&Vec<f32>>)> =
        rows.iter().map(|row| (row.text.as_deref().unwrap(), row.vector.as_ref())).collect();
    let vectors: Vec<Vec<f32>> = read.iter().map(|read| vector(read, DIMENSIONS)).collect();
    let wanted: Vec<(&str, Option<&Vec<f32>>)> =
        chunks.iter().zip(&vectors).map(|(chunk, vector)| (chunk.as_str(), Some(vector))).collect();
    assert_eq!(stored, wanted);
}

#[tokio::test]
async fn headings_are_read_with_the_chunks_below_them() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    let mut request = markdown("c", None);
    request.collection.as_mut().unwrap().embedding = Some(v1::Embedding {
        model: "openai/text-embedding-3-small".into(),
        document_prefix: "passage: ".into(),
        ..Default::default()
    });
    let created = client.create_collection(request).await.unwrap().into_inner().collection.unwrap();
    assert_eq!(created.chunking.unwrap().embed_headings, Some(true));

    let mut from = 0;
    let prefixed = |read: &[String]| read.iter().map(|read| format!("passage: {read}")).collect::<Vec<_>>();
    let (text, chunks, read) = guide("Guide", "Install");
    assert_eq!(put(&mut client, &text).await, (1, 0, 0));
    assert_eq!(asked(&provider, &mut from), prefixed(&read));
    let before = rows(&sql, "a").await;
    are(&before, &chunks, &prefixed(&read));
    // The places are those in the text.
    let characters: Vec<char> = text.chars().collect();
    for (row, chunk) in before.iter().zip(&chunks) {
        let passage = &characters[row.characters.0 as usize..row.characters.1 as usize];
        assert_eq!(&passage.iter().collect::<String>(), chunk);
        assert!(!row.words.contains("guid") || chunk.contains("Guide"), "{}", row.words);
    }

    // The same again is not embedded, and no row of it is written.
    assert_eq!(put(&mut client, &text).await, (0, 0, 1));
    assert_eq!((asked(&provider, &mut from).len(), rows(&sql, "a").await), (0, before.clone()));

    // Another heading: only the text below it is embedded.
    let (text, chunks, read) = guide("Guide", "Set up");
    assert_eq!(put(&mut client, &text).await, (1, 1, 0));
    assert_eq!(asked(&provider, &mut from), prefixed(&read[3..7]));
    let after = rows(&sql, "a").await;
    are(&after, &chunks, &prefixed(&read));
    for kept in [0, 1, 2, 7, 8] {
        assert_eq!((before[kept].chunk, &before[kept].places.1), (after[kept].chunk, &after[kept].places.1));
    }
    // Under another heading an equal text has another vector.
    assert_eq!((&after[2].text, after[2].vector == after[8].vector), (&after[8].text, false));
    assert_eq!(orphans(&sql).await, (0, 0));
}

#[tokio::test]
async fn headings_count_as_what_the_model_reads() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(markdown("c", None)).await.unwrap();
    provider.limit_text_bytes(80);
    // The second would fit if its heading did not count.
    let document = |title: &str| text_document(title, &format!("# {title}\n\n{}\n\n{0}", sentence("text")));
    for _ in 0..2 {
        let response = ingest(&mut client, "c", vec![document("Guide"), document("A guide of foxes")]).await;
        assert_eq!((response.errors.len(), response.truncated_count), (0, 1));
    }
    let read = |title: &str| format!("{title}\n\n{}", sentence("text"));
    let sql = server.sql().await;
    let of = async |id: &str| rows(&sql, id).await.pop().unwrap().vector.unwrap();
    assert_eq!(of("Guide").await, vector(&read("Guide"), DIMENSIONS));
    assert_eq!(of("A guide of foxes").await, vector(&read("A guide of foxes")[..80], DIMENSIONS));
}

#[tokio::test]
async fn collections_of_older_versions_stay_without_headings() {
    let provider = Provider::start().await;
    let server = Server::start_with(18, with_provider(&provider)).await;
    let mut client = server.client();
    client.create_collection(markdown("c", Some(false))).await.unwrap();
    let text = guide("Guide", "Install").0;
    put(&mut client, &text).await;
    let admin = server.sql().await;
    let before = rows(&admin, "a").await;
    agrees(&before, &text);
    // The hashes have not changed: of the content, with all lengths and settings, and of each chunk alone.
    let (documents, stored, _) = tables(&admin).await;
    let lengths = |text: &str| (text.len() as u64).to_le_bytes();
    let model = "openai/text-embedding-3-small";
    let content = [
        &lengths(model)[..],
        model.as_bytes(),
        &lengths("")[..],
        b"markdown characters 100 0",
        &lengths(&text)[..],
        text.as_bytes(),
    ]
    .concat();
    let hashes = format!(
        "SELECT (SELECT bool_and(content_hash = sha256($1::bytea)) FROM {documents}),
                (SELECT bool_and(hash = sha256(convert_to(text, 'UTF8'))) FROM {stored})"
    );
    let row = admin.query_one(&hashes, &[&content]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (true, true));

    // The state that the previous version left behind.
    let database_url = server.database_url.clone();
    server.stop().await.expect("stopped");
    admin.batch_execute("ALTER TABLE pgfox_internal.collections DROP COLUMN chunk_headings").await.unwrap();
    let fifth = migration(include_str!("../../../server/migrations/0005_embed_headings.sql"));
    admin.batch_execute(&fifth).await.unwrap();
    let mut setup = Setup::new(database_url.clone());
    with_provider(&provider)(&mut setup);
    let server = setup.start().await;
    server.ready().await;
    let mut client = server.client();
    let request = v1::GetCollectionRequest { name: "c".into() };
    let collection = client.get_collection(request).await.unwrap().into_inner().collection.unwrap();
    assert_eq!(collection.chunking.unwrap().embed_headings, Some(false));
    let texts = provider.texts();
    assert_eq!(put(&mut client, &text).await, (0, 0, 1));
    assert_eq!(provider.texts(), texts);
    assert_eq!(rows(&sql(&database_url).await, "a").await, before);
}
