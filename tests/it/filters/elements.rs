//! Paths that lead into the elements of lists.

use pgfox::v1::{self, MetadataIndexType, condition::Test};
use serde_json::{Value as Json, json};

use super::{NOON, at};
use crate::{
    calls::{invalid, near},
    metadata::{document, equals, field, fill, list, selected, value},
    support::Server,
};

fn shirts() -> Vec<(&'static str, Json)> {
    vec![
        ("red-s", json!({"variants": [{"color": "red", "size": "s", "price": 9, "since": "2024-05-01"}]})),
        (
            "red-blue",
            json!({"variants": [{"color": "red", "price": 10}, {"color": "blue", "price": 30, "tags": ["new"]}]}),
        ),
        ("blue", json!({"variants": [{"color": "blue", "tags": ["new", "wool"], "parts": [{"of": ["x", "y"]}]}, {}]})),
        ("none", json!({"variants": []})),
        ("object", json!({"variants": {"color": "red"}})),
        ("list", json!({"variants": [["red"], "red", null, 5, [{"color": "red"}]]})),
        ("absent", json!({})),
        ("bracket", json!({"variants[]": {"color": "red"}, "tags": ["a", ["a"], {"0": "b"}]})),
    ]
}

#[tokio::test]
async fn a_condition_holds_for_any_element() {
    let server = Server::start(18).await;
    let mut client = server.client();
    let shirts = shirts();
    fill(&mut client, shirts.iter().map(|(id, metadata)| document(id, metadata)).collect()).await;
    let color = |test| field("variants[].color", test);
    let cheap: Json = ["red", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9"].into();
    let table = [
        (color(Test::Equals(value(&json!("red")))), vec!["red-s", "red-blue"]),
        (color(Test::NotEquals(value(&json!("red")))), vec!["blue", "none", "object", "list", "absent", "bracket"]),
        (color(Test::OneOf(list(&json!(["blue", 1])))), vec!["red-blue", "blue"]),
        (color(Test::OneOf(list(&cheap))), vec!["red-s", "red-blue"]),
        (
            color(Test::NoneOf(list(&json!(["blue", "green"])))),
            vec!["red-s", "none", "object", "list", "absent", "bracket"],
        ),
        (color(Test::Exists(true)), vec!["red-s", "red-blue", "blue"]),
        (color(Test::Exists(false)), vec!["none", "object", "list", "absent", "bracket"]),
        (color(Test::StartsWith("bl".into())), vec!["red-blue", "blue"]),
        (color(Test::ContainsText("e".into())), vec!["red-s", "red-blue", "blue"]),
        (field("variants[].price", Test::AtLeast(value(&json!(30)))), vec!["red-blue"]),
        (field("variants[].price", Test::LessThan(value(&json!(10)))), vec!["red-s"]),
        (field("variants[].since", Test::Before(at(NOON, 0))), vec!["red-s"]),
        (field("variants[].tags", Test::ContainsAll(list(&json!(["new", "wool"])))), vec!["blue"]),
        (field("variants[].tags", Test::ContainsAny(list(&json!(["new"])))), vec!["red-blue", "blue"]),
        (equals("variants[].tags", &json!(["new"])), vec!["red-blue"]),
        (equals("variants[].tags[]", &json!("wool")), vec!["blue"]),
        (equals("variants[].parts[].of[]", &json!("y")), vec!["blue"]),
        (field("variants[].parts[].of", Test::ContainsAll(list(&json!(["y", "x"])))), vec!["blue"]),
        (equals("variants[]", &json!("red")), vec!["list"]),
        (equals("variants[]", &json!({})), vec!["blue"]),
        (field("variants[]", Test::GreaterThan(value(&json!(4)))), vec!["list"]),
        (field("variants[]", Test::ContainsAny(list(&json!(["red"])))), vec!["list"]),
        // A key with brackets is in quotes.
        (equals("\"variants[]\".color", &json!("red")), vec!["bracket"]),
        // Positions are not keys.
        (equals("tags[].0", &json!("a")), vec![]),
        (field("tags[].0", Test::Exists(true)), vec!["bracket"]),
        (field("variants[].0.color", Test::Exists(true)), vec![]),
        (field("variants.0[].color", Test::Exists(true)), vec![]),
    ];
    for (filter, wanted) in table {
        let mut wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        wanted.sort_unstable();
        assert_eq!(selected(&mut client, &filter).await, wanted, "{filter:?}");
    }
}

/// The name of a single value of a document leads through objects alone.
#[tokio::test]
async fn indexes_and_masks_take_no_elements() {
    let server = Server::start(18).await;
    let mut client = server.client();
    fill(&mut client, vec![document("a", &json!({}))]).await;
    let index = v1::MetadataIndex { field: "a[].b".into(), r#type: MetadataIndexType::Number.into() };
    let collection = v1::Collection { name: "c".into(), metadata_indexes: vec![index], ..Default::default() };
    let mask = |path: &str| Some(prost_types::FieldMask { paths: vec![path.into()] });
    let request = v1::UpdateCollectionRequest { collection: Some(collection), update_mask: mask("metadata_indexes") };
    invalid(client.update_collection(request).await, &["collection.metadata_indexes[0].field"]);
    let request = v1::SearchRequest { read_mask: mask("metadata.a[]"), ..near("c", &[1.0], 1) };
    invalid(client.search(request).await, &["read_mask.paths[0]"]);
}
