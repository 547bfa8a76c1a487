//! Strings that contain a text, and comparisons that ignore case: in every script, whatever the locale of the database.

use pgfox::v1::condition::Test;
use rstest::rstest;
use serde_json::{Value as Json, json};

use crate::{
    metadata::{document, equals, field, fill, ignoring_case, list, none_of, selected, value},
    naughty::NAUGHTY,
    support::{Client, Server, Setup, cluster},
};

/// Words that are equal without their case, a line for each.
const SAME: &[&[&str]] = &[
    &["fox", "FOX", "fOx"],
    &["straße", "STRASSE", "STRAẞE", "strasse"],
    &["ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ", "ὀδυσσεύσ"],
    &["kelvin", "\u{212a}ELVIN"],
    &["ǆ", "ǅ", "Ǆ"],
    &["i\u{307}stanbul", "İstanbul", "İSTANBUL"],
    &["ısparta"],
    &["istanbul", "ISTANBUL"],
    &["oﬃce", "OFFICE", "office"],
    &["ἀγάπῃ", "ἈΓΆΠΗΙ", "ἀγάπηι"],
    &["ёлка", "ЁЛКА"],
    &["ա", "Ա"],
    &["ა", "Ა"],
    &["ꮳꮃꭹ", "ᏣᎳᎩ"],
    &["𐐨", "𐐀"],
    &["狐"],
    &["%_\\.*[a](", "%_\\.*[A]("],
];

async fn check(client: &mut Client, filter: &pgfox::v1::Filter, wanted: &[String]) {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    assert_eq!(selected(client, filter).await, wanted, "{filter:?}");
}

async fn case_is_ignored(client: &mut Client) {
    let all = || SAME.iter().copied().flatten().copied();
    let documents = all().map(|word| {
        document(word, &json!({"v": word, "in": format!("a ({word})!"), "list": [1, word, "x"], "o": [{"k": word}]}))
    });
    fill(client, documents.collect()).await;
    for same in SAME {
        let same: Vec<String> = same.iter().map(|word| (*word).to_owned()).collect();
        let others: Vec<String> = all().map(str::to_owned).filter(|word| !same.contains(word)).collect();
        for word in &same {
            let list = list(&json!(["nothing", word]));
            for filter in [
                equals("v", &json!(word)),
                equals("o[].k", &json!(word)),
                equals("list[]", &json!(word)),
                field("v", Test::OneOf(list.clone())),
                field("list", Test::ContainsAny(list.clone())),
                field("list", Test::ContainsAll(crate::metadata::list(&json!([word, "X", "x"])))),
                field("in", Test::ContainsText(format!("({word})"))),
                field("in", Test::StartsWith(format!("A ({word})"))),
            ] {
                check(client, &ignoring_case(filter), &same).await;
            }
            check(client, &ignoring_case(field("v", Test::NotEquals(value(&json!(word))))), &others).await;
            check(client, &ignoring_case(field("v", Test::NoneOf(list))), &others).await;
        }
    }
}

#[rstest]
#[tokio::test]
async fn case_is_ignored_in_every_script(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    case_is_ignored(&mut server.client()).await;
}

/// A locale without letters beyond ASCII.
#[tokio::test]
async fn case_is_ignored_where_the_locale_is_c() {
    let cluster = cluster(16);
    let url = crate::support::create_database(&cluster.postgres).await;
    let (base, name) = url.rsplit_once('/').unwrap();
    let sql = crate::support::sql(&url).await;
    let c = format!("{name}_c");
    let create = format!("CREATE DATABASE {c} LOCALE 'C' ENCODING 'UTF8' TEMPLATE template0");
    sql.batch_execute(&create).await.unwrap();
    let server = Setup::new(format!("{base}/{c}")).start().await;
    server.ready().await;
    case_is_ignored(&mut server.client()).await;
}

#[rstest]
#[tokio::test]
async fn texts_are_found_within_strings(#[values(16, 18)] major: u32) {
    let server = Server::start(major).await;
    let mut client = server.client();
    fill(&mut client, NAUGHTY.iter().map(|text| document(text, &json!({"v": format!("<{text}>")}))).collect()).await;
    for text in NAUGHTY {
        let with = |text: &str| field("v", Test::ContainsText(text.to_owned()));
        check(&mut client, &with(&format!("<{text}>")), &[(*text).to_owned()]).await;
        let wanted: Vec<String> =
            NAUGHTY.iter().filter(|other| other.contains(text)).map(|text| (*text).to_owned()).collect();
        check(&mut client, &with(text), &wanted).await;
        let others = NAUGHTY.iter().filter(|other| !other.contains(text)).map(|text| (*text).to_owned());
        check(&mut client, &none_of(vec![with(text)]), &others.collect::<Vec<_>>()).await;
        let itself = ignoring_case(with(text));
        assert!(selected(&mut client, &itself).await.contains(&(*text).to_owned()), "{text}");
    }
}

#[tokio::test]
async fn only_strings_contain_texts() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let values: [Json; 7] =
        [json!("a1"), json!(1), json!(true), json!(null), json!(["a1"]), json!({"a1": 1}), json!("")];
    let documents = values.iter().enumerate().map(|(i, v)| document(&format!("{i}"), &json!({"v": v})));
    fill(&mut client, documents.collect()).await;
    let contains = || field("v", Test::ContainsText("1".into()));
    assert_eq!(selected(&mut client, &contains()).await, ["0"]);
    assert_eq!(selected(&mut client, &ignoring_case(contains())).await, ["0"]);
    assert_eq!(selected(&mut client, &field("v[]", Test::ContainsText("1".into()))).await, ["4"]);
    assert_eq!(selected(&mut client, &ignoring_case(equals("v", &json!("")))).await, ["6"]);
}
