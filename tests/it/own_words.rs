//! Words that pgfox makes instead of Postgres: how SQL sees them, the language of each document, and the conversion of
//! words from older versions.

mod old;

use pgfox::v1::{self, Distance};
use rstest::rstest;
use tokio_postgres::Client as Sql;
use tonic::Code;

use crate::{
    calls::{ingest, invalid, request},
    support::{Client, Server, Setup, text_document, vectors},
};

/// A collection with callers' own vectors and texts in a language.
fn collection(name: &str, language: &str) -> v1::CreateCollectionRequest {
    let mut request = vectors(name, 1, Distance::L2);
    let full_text = v1::FullText { language: language.into(), ..Default::default() };
    request.collection.as_mut().unwrap().full_text = Some(full_text);
    request
}

fn document(id: &str, text: &str) -> v1::Document {
    v1::Document { vector: Some(v1::Vector { values: vec![1.0] }), ..text_document(id, text) }
}

async fn get(client: &mut Client, name: &str) -> v1::Collection {
    let request = v1::GetCollectionRequest { name: name.into() };
    client.get_collection(request).await.unwrap().into_inner().collection.unwrap()
}

/// A chunk as it is stored.
#[derive(Debug, PartialEq)]
struct Row {
    lexemes: Vec<String>,
    version: i16,
    count: i32,
}

/// The chunks of a document of the only collection of a database.
async fn rows(sql: &Sql, id: &str) -> Vec<Row> {
    let id_of_collection = "SELECT id FROM pgfox_internal.collections";
    let collection: i64 = sql.query_one(id_of_collection, &[]).await.expect("one collection").get(0);
    let rows = format!(
        "SELECT tsvector_to_array(c.words), c.words_version, c.word_count
         FROM pgfox_internal.chunks_{collection} c JOIN pgfox_internal.documents_{collection} d ON d.key = c.document_key
         WHERE d.id = $1 ORDER BY c.ordinal"
    );
    let row = |row: &tokio_postgres::Row| Row { lexemes: row.get(0), version: row.get(1), count: row.get(2) };
    sql.query(&rows, &[&id]).await.unwrap().iter().map(row).collect()
}

/// The documents that SQL finds by words.
async fn found(sql: &Sql, name: &str, text: &str) -> Vec<String> {
    let found = format!("SELECT id FROM pgfox.{name} WHERE words @@ pgfox.tsquery($1, $2) ORDER BY id");
    sql.query(&found, &[&name, &text]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[rstest]
#[tokio::test]
async fn sql_sees_the_words(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    client.create_collection(collection("c", "english")).await.unwrap();
    let text = "The MÜNCHEN foxes ran, running to XK-4711 and /var/log/syslog.";
    ingest(&mut client, "c", vec![document("a", text), document("empty", "")]).await;
    let row = rows(&sql, "a").await.remove(0);
    for lexeme in ["4711", "fox", "log", "munchen", "ran", "run", "syslog", "var", "xk", "xk-4711"] {
        assert!(row.lexemes.iter().any(|found| found == lexeme), "{lexeme} in {row:?}");
    }
    assert!(row.lexemes.is_sorted());
    assert_eq!((row.version, row.count), (1, 9));
    assert_eq!(rows(&sql, "empty").await, []);
    // Positions are stored, so that phrases can be found.
    let phrase =
        "SELECT words @@ 'fox <-> ran'::tsquery AND NOT words @@ 'fox <-> run'::tsquery FROM pgfox.c WHERE id = 'a'";
    assert!(sql.query_one(phrase, &[]).await.unwrap().get::<_, bool>(0));
    for query in ["münchen", "Fox", "unicorn runs", "4711", "syslog"] {
        assert_eq!(found(&sql, "c", query).await, ["a"], "{query}");
    }
    for query in ["unicorn", "the", "", "?! --"] {
        assert_eq!(found(&sql, "c", query).await, [""; 0], "{query}");
    }
    let missing = sql.query("SELECT pgfox.tsquery('missing', 'fox')", &[]).await.unwrap_err();
    assert!(missing.as_db_error().unwrap().message().contains("there is no collection \"missing\""), "{missing:?}");

    // Metadata has no words, and a text has only its own words.
    let place = "SELECT c.ctid::text FROM pgfox_internal.chunks_1 c";
    let before: String = sql.query_one(place, &[]).await.unwrap().get(0);
    let metadata = prost_types::Struct {
        fields: [("n".to_owned(), prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(1.0)) })]
            .into(),
    };
    let changed = v1::Document { metadata: Some(metadata), ..document("a", text) };
    assert_eq!(ingest(&mut client, "c", vec![changed]).await.updated_count, 1);
    assert_eq!(sql.query_one(place, &[]).await.unwrap().get::<_, String>(0), before);
    ingest(&mut client, "c", vec![document("a", "A badger")]).await;
    assert_eq!(rows(&sql, "a").await, [Row { lexemes: vec!["badger".into()], version: 1, count: 1 }]);
    assert_eq!(
        sql.query_one("SELECT words::text FROM pgfox.c WHERE id = 'a'", &[]).await.unwrap().get::<_, String>(0),
        "'badger':2"
    );
}

#[rstest]
#[tokio::test]
async fn postgres_makes_the_words_of_configurations_that_pgfox_does_not_know(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    sql.batch_execute("CREATE TEXT SEARCH CONFIGURATION mine (COPY = english)").await.unwrap();
    client.create_collection(collection("c", "mine")).await.unwrap();
    let full_text = get(&mut client, "c").await.full_text.unwrap();
    assert_eq!((full_text.language.as_str(), full_text.progress), ("mine", 1.0));
    let long = format!("{}last", "word ".repeat(60_000));
    let response = ingest(&mut client, "c", vec![document("a", "running foxes"), document("long", &long)]).await;
    assert_eq!((response.upserted_count, response.full_text_cut_count), (2, 1));
    assert_eq!(rows(&sql, "a").await, [Row { lexemes: vec!["fox".into(), "run".into()], version: 0, count: 0 }]);
    assert_eq!(rows(&sql, "long").await[0].lexemes, ["word"]);
    assert_eq!(found(&sql, "c", "a running unicorn").await, ["a"]);

    let unknown = client.create_collection(collection("d", "klingon")).await.unwrap_err();
    assert!(unknown.message().contains("\"auto\"") && unknown.message().contains("mine"), "{}", unknown.message());
    invalid::<()>(Err(unknown), &["collection.full_text.language"]);
}

#[rstest]
#[tokio::test]
async fn a_writer_that_does_not_know_the_version_of_words_is_refused(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    client.create_collection(collection("c", "english")).await.unwrap();
    // The row as version 5 of the schema wrote it.
    let old = "INSERT INTO pgfox_internal.chunks_1 (document_key, chunk, ordinal, start_char, end_char, words)
               VALUES (1, 0, 0, 0, 1, 'fox')";
    let refused = sql.batch_execute(old).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "23502");
    let old = "INSERT INTO pgfox_internal.collections (name) VALUES ('old')";
    assert_eq!(sql.batch_execute(old).await.unwrap_err().code().unwrap().code(), "23502");

    // Here this version is the old one, after a newer one has migrated the schema.
    sql.batch_execute("ALTER TABLE pgfox_internal.chunks_1 ADD COLUMN newer int NOT NULL").await.unwrap();
    let refused = client.ingest(request("c", vec![document("a", "fox")])).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("the database has changed in the meantime"), "{}", refused.message());
    sql.batch_execute("ALTER TABLE pgfox_internal.chunks_1 ALTER COLUMN newer DROP NOT NULL").await.unwrap();
    assert_eq!(ingest(&mut client, "c", vec![document("a", "fox")]).await.upserted_count, 1);
}

const GERMAN: &str = "Die Füchse laufen durch den dunklen Wald und suchen nach etwas, das sie fressen können. Im Winter ist \
                      das schwer, denn die Mäuse schlafen unter dem Schnee.";
const ENGLISH: &str = "The foxes are running through the dark forest and looking for something that they could eat. In the \
                       winter that is hard, since the mice are sleeping under the snow.";
const FRENCH: &str = "Les renards courent dans la forêt sombre et cherchent quelque chose qu'ils pourraient manger. En hiver \
                      c'est difficile, car les souris dorment sous la neige.";

async fn languages(sql: &Sql) -> (Vec<String>, i64) {
    let row = sql.query_one("SELECT languages, revision FROM pgfox_internal.collections", &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[rstest]
#[tokio::test]
async fn each_document_has_the_words_of_its_language(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    client.create_collection(collection("c", "auto")).await.unwrap();
    let created = get(&mut client, "c").await;
    assert_eq!((created.text_search_language.as_str(), created.full_text.unwrap().language.as_str()), ("auto", "auto"));
    assert_eq!(languages(&sql).await, (vec![], 1));
    ingest(&mut client, "c", vec![document("english", ENGLISH)]).await;
    assert_eq!(languages(&sql).await, (vec!["english".into()], 2));
    ingest(&mut client, "c", vec![document("german", GERMAN), document("english", ENGLISH)]).await;
    assert_eq!(languages(&sql).await, (vec!["english".into(), "german".into()], 3));
    // Nothing changes, also in the view of another server.
    ingest(&mut client, "c", vec![document("english 2", &format!("{ENGLISH} Foxes!"))]).await;
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    ingest(&mut other.client(), "c", vec![document("german 2", &format!("{GERMAN} Füchse!"))]).await;
    assert_eq!(languages(&sql).await, (vec!["english".into(), "german".into()], 3));
    for (id, lexeme, stop_word) in [("english", "run", "the"), ("german", "wald", "die"), ("german", "fuchs", "und")] {
        let lexemes = &rows(&sql, id).await[0].lexemes;
        let has = |word: &str| lexemes.iter().any(|lexeme| lexeme == word);
        assert!(has(lexeme) && !has(stop_word), "{id}: {lexemes:?}");
    }
    assert_eq!(found(&sql, "c", "FÜCHSEN").await, ["german", "german 2"]);
    assert_eq!(found(&sql, "c", "ran running").await.len(), 2);
}

#[tokio::test]
async fn writers_of_many_languages_do_not_block_each_other() {
    let server = Server::start(18).await;
    let other = Setup::new(server.database_url.clone()).start().await;
    other.ready().await;
    let sql = server.sql().await;
    server.client().create_collection(collection("c", "auto")).await.unwrap();
    let texts = [ENGLISH, GERMAN, FRENCH];
    let writes: tokio::task::JoinSet<i32> = (0..24)
        .map(|writer| {
            let mut client = if writer % 2 == 0 { server.client() } else { other.client() };
            async move {
                // All collections have the same documents, each in another language.
                let text = |i: usize| format!("{} {i} {writer}", texts[(i + writer) % 3]);
                let documents = (0..6).map(|i| document(&i.to_string(), &text(i))).collect();
                ingest(&mut client, "c", documents).await.upserted_count
            }
        })
        .collect();
    assert_eq!(writes.join_all().await, [6; 24]);
    assert_eq!(languages(&sql).await.0, ["english", "french", "german"]);
}

#[tokio::test]
async fn chunks_have_the_language_of_their_document() {
    let server = Server::start(18).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    let mut create = collection("c", "auto");
    let collection = create.collection.as_mut().unwrap();
    collection.embedding = None;
    collection.chunking = Some(v1::Chunking {
        method: v1::ChunkingMethod::Text.into(),
        unit: v1::ChunkUnit::Characters.into(),
        max_size: 100,
        ..Default::default()
    });
    client.create_collection(create).await.unwrap();
    // The last chunk alone could be in any language.
    let text = format!("{GERMAN} {GERMAN}\n\nFoto Computer Winterreifen");
    ingest(&mut client, "c", vec![text_document("a", &text)]).await;
    let chunks = rows(&sql, "a").await;
    assert!(chunks.len() > 3 && chunks.iter().all(|chunk| chunk.version == 1));
    let last = &chunks.last().unwrap().lexemes;
    assert!(last.contains(&"winterreif".to_owned()), "{last:?}");
    assert_eq!(languages(&sql).await.0, ["german"]);
}

#[rstest]
#[tokio::test]
async fn texts_at_the_limits_are_stored_and_flagged(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    client.create_collection(collection("c", "english")).await.unwrap();
    let texts: [(&str, String, bool); 9] = [
        ("one word", "x".repeat(8 << 20), true),
        ("many words", (0..100_000).map(|i| format!("w{i}x ")).collect(), true),
        ("long words", (0..900).map(|i| format!("{}{i} ", "y".repeat(2_000))).collect(), true),
        ("often", "fox ".repeat(300), true),
        ("256 times", "fox ".repeat(256), false),
        ("emoji", "\u{1f98a}".repeat(60_000), true),
        ("invisible", "\u{200b}".repeat(60_000), false),
        ("marks", "\u{301}\u{202e}".repeat(60_000), false),
        // This text is longer than the part that Postgres gets.
        ("long", format!("first{}last", " ".repeat(1 << 20)), false),
    ];
    for (id, text, is_cut) in texts {
        let response = ingest(&mut client, "c", vec![document(id, &text)]).await;
        assert_eq!((response.upserted_count, response.full_text_cut_count), (1, i32::from(is_cut)), "{id}");
        let row = rows(&sql, id).await.remove(0);
        let bytes = "SELECT max(pg_column_size(words))::int8, max(length(words))::int4 FROM pgfox.c WHERE id = $1";
        let bytes = sql.query_one(bytes, &[&id]).await.unwrap();
        assert!(bytes.get::<_, i64>(0) < 2 << 20, "{id}");
        assert_eq!(bytes.get::<_, i32>(1), row.lexemes.len() as i32);
        match id {
            "one word" => assert_eq!((row.lexemes[0].len(), row.count), (2_046, 1)),
            "many words" => assert_eq!((row.count, row.lexemes.contains(&"w9x".to_owned())), (100_000, true)),
            "long" => assert_eq!(row.lexemes, ["first", "last"]),
            _ => {}
        }
        // The flag describes the text that is written.
        let again = ingest(&mut client, "c", vec![document(id, &text)]).await;
        assert_eq!((again.unchanged_count, again.full_text_cut_count), (1, 0), "{id}");
    }
}

fn update(paths: &[&str], k1: Option<f32>, b: Option<f32>) -> v1::UpdateCollectionRequest {
    let full_text = Some(v1::FullText { k1, b, ..Default::default() });
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    v1::UpdateCollectionRequest {
        collection: Some(v1::Collection { name: "c".into(), full_text, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths }),
    }
}

#[tokio::test]
async fn ranking_is_given_and_changed() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let mut create = collection("c", "");
    create.collection.as_mut().unwrap().full_text.as_mut().unwrap().b = Some(0.0);
    let created = client.create_collection(create).await.unwrap().into_inner().collection.unwrap();
    let full_text = |k1, b| v1::FullText { language: "english".into(), k1: Some(k1), b: Some(b), progress: 1.0 };
    assert_eq!(created.full_text, Some(full_text(1.2, 0.0)));
    assert_eq!(get(&mut client, "c").await, created);

    let changes: [(&[&str], _, _, _); 4] = [
        (&["full_text.k1"], Some(2.5), Some(1.0), full_text(2.5, 0.0)),
        (&["full_text.b"], Some(9.0), Some(1.0), full_text(2.5, 1.0)),
        (&["full_text.k1"], None, None, full_text(1.2, 1.0)),
        (&["full_text", "aliases"], Some(10.0), None, full_text(10.0, 0.75)),
    ];
    for (paths, k1, b, expected) in changes {
        let updated = client.update_collection(update(paths, k1, b)).await.unwrap().into_inner().collection.unwrap();
        assert_eq!(updated.full_text, Some(expected), "{paths:?}");
        assert_eq!(get(&mut client, "c").await, updated);
    }
    for bad in [-0.1, 10.1, f32::NAN, f32::INFINITY] {
        invalid(
            client.update_collection(update(&["full_text.k1"], Some(bad), None)).await,
            &["collection.full_text.k1"],
        );
        invalid(client.update_collection(update(&["full_text.b"], None, Some(bad))).await, &["collection.full_text.b"]);
    }
    invalid(client.update_collection(update(&["full_text.language"], None, None)).await, &["update_mask"]);

    let mut bad = collection("d", "german");
    let wrong = bad.collection.as_mut().unwrap();
    wrong.text_search_language = "english".into();
    wrong.full_text = Some(v1::FullText { language: "german".into(), k1: Some(11.0), b: Some(-1.0), progress: 1.0 });
    let fields = ["language", "progress", "k1", "b"].map(|field| format!("collection.full_text.{field}"));
    invalid(client.create_collection(bad).await, &fields.each_ref().map(String::as_str));
    let mut same = collection("d", "german");
    same.collection.as_mut().unwrap().text_search_language = "german".into();
    client.create_collection(same).await.unwrap();
}

/// Words for which SQL must make the same lexemes as the server.
const ENGLISH_WORDS: &str = "
    connection connections connective connected connecting happy happiness ponies caresses cats feed agreed plastered
    motoring sing conflated troubled sized hopping tanned falling hissing fizzed failing filing sky relational conditional
    rational valency digitizer conformably radically differently vileness analogously vietnamization predication operator
    feudalism decisiveness hopefulness callousness formality sensitivity sensibility triplicate formative formalize
    electricity electrical hopeful goodness revival allowance inference airliner adjustable defensible irritant replacement
    adoption communion activate angularity homologous effective bowdlerize probate rate cease controller rolling skies dying
    lying tying news howe atlas cosmos bias andes generate generous general arsenal café naïve façade
    Zürich déjà MP3 B2B 4711 x86 HTTP2 iPhone USA the and of whose running ran runs fox foxes";
const GERMAN_WORDS: &str = "
    Fuchs Füchse Füchsen laufen läuft gelaufen Häuser Haus Häusern Straße Straßen STRASSE Mädchen Bücher Bücherei schön
    schöner schönsten Freiheit Freiheiten Möglichkeit Möglichkeiten Verfügung arbeiten München
    Übung Übungen Größe größer groß Computer Wälder Wald dunklen dunkel fressen Kind Kinder Kindern gehen ging gegangen
    Jahr Jahre Jahren Sprache Sprachen sprechen sprach aufeinander kategorisch kategorische Kategorien der die das und nicht
    Donaudampfschifffahrt 4711 A4";

#[rstest]
#[tokio::test]
async fn sql_makes_the_lexemes_of_the_server(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let (mut client, sql) = (server.client(), server.sql().await);
    for (name, words) in [("english", ENGLISH_WORDS), ("german", GERMAN_WORDS), ("simple", ENGLISH_WORDS)] {
        client.create_collection(collection(name, name)).await.unwrap();
        let documents = words.split_whitespace().map(|word| document(word, word)).collect();
        ingest(&mut client, name, documents).await;
        let different = format!(
            "SELECT id, array_to_string(tsvector_to_array(words), ' '), pgfox.tsquery('{name}', id)::text FROM pgfox.{name}
             WHERE (SELECT coalesce(string_agg(quote_literal(l), ' | '), '') FROM unnest(tsvector_to_array(words)) l)
                   <> pgfox.tsquery('{name}', id)::text"
        );
        let different = sql.query(&different, &[]).await.unwrap();
        let different: Vec<(String, String, String)> =
            different.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        assert!(different.is_empty(), "{name}: {different:?}");
    }
    // Anyone who may read the view may use the function.
    sql.batch_execute(
        "CREATE ROLE reader_of_words; GRANT USAGE ON SCHEMA pgfox TO reader_of_words;
         GRANT SELECT ON pgfox.english TO reader_of_words; SET ROLE reader_of_words",
    )
    .await
    .unwrap();
    assert_eq!(found(&sql, "english", "zurich").await, ["Zürich"]);
    // It runs with the rights of the owner, and so must not call what the caller has put in the way.
    for name in ["pg_ts_dict", "pg_ts_config"] {
        sql.batch_execute(&format!(
            "CREATE OR REPLACE FUNCTION pg_temp.as_whom() RETURNS oid LANGUAGE plpgsql
                 AS $$ BEGIN RAISE EXCEPTION 'called as %', current_user; END $$;
             CREATE TEMP VIEW {name} AS SELECT pg_temp.as_whom() AS oid, 'english_stem'::name AS dictname,
                 'english'::name AS cfgname, pg_temp.as_whom() AS dictnamespace, pg_temp.as_whom() AS cfgnamespace"
        ))
        .await
        .unwrap();
        assert_eq!(found(&sql, "english", "zurich").await, ["Zürich"], "{name}");
    }
    sql.batch_execute("RESET ROLE; DROP OWNED BY reader_of_words; DROP ROLE reader_of_words").await.unwrap();
}
