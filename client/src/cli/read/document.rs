//! Parses one JSON document: the fields named in [`Names`], and every other field as metadata.

use std::{borrow::Cow, fmt};

use pgfox_client::v1::{Document, Vector};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Flaw, Names, Options,
    fields::{Draft, Role},
    number,
    value::{Metadata, Nested, message},
};

/// Fields that `get` and `list` always print together beside the document, and that nobody can set.
const OUTPUT_ONLY: [&str; 3] = ["version", "create_time", "update_time"];
/// The columns of the view of a collection, which `row_to_json` writes together.
const VIEW: [&str; 6] = ["id", "chunk", "content", "metadata", "embedding", "words"];

/// Parses `{"id": ..., "text": ..., "vector": [...], "metadata": {...}}`, or other names for the first three. All other
/// fields become metadata too. A row of the view of a collection is the document that it was made of.
pub(super) fn parse(json: &str, options: &Options) -> Result<Document, Flaw> {
    let names = &options.names;
    let Fields(fields) = serde_json::from_str(json).map_err(|error| flaw(&error))?;
    let has_all = |names: &[&str]| names.iter().all(|name| fields.iter().any(|(field, _)| field == name));
    let is_output = has_all(&OUTPUT_ONLY);
    let is_view = fields.len() == VIEW.len() && has_all(&VIEW) && names.are_default();
    let mut draft = Draft::new(names);
    let mut has_id = false;
    let mut other = None;
    for (i, (name, raw)) in fields.iter().enumerate() {
        let at = offset(json, raw.get());
        let wrong = |message: String| Flaw::within(json, at, message);
        if fields[..i].iter().any(|(before, _)| before == name) {
            return Err(wrong(format!("the field `{name}` occurs twice")));
        }
        let is_null = raw.get() == "null";
        let role = match name.as_ref() {
            "content" if is_view => Role::Text(0),
            "embedding" if is_view => Role::Vector,
            "chunk" if is_view && !matches!(raw.get(), "0" | "null") => {
                let message = "it is a chunk of a document: export the documents with `pgfox list --json`";
                return Err(wrong(message.to_owned()));
            }
            "chunk" | "words" if is_view => Role::LeftOut,
            name => names.role(name),
        };
        match role {
            Role::Id => {
                draft.document.id = id(raw.get()).map_err(wrong)?;
                has_id = true;
            }
            Role::Text(text) => draft.set_text(text, self::text(name, raw.get()).map_err(wrong)?),
            Role::Vector if is_null => {}
            Role::Vector => draft.document.vector = Some(vector(raw.get()).map_err(wrong)?),
            Role::Metadata | Role::LeftOut if name == "metadata" => {
                let Metadata(metadata) = if is_null { Metadata::default() } else { exact(json, raw, options)? };
                for (field, value) in metadata.fields {
                    if names.takes(&field) {
                        draft.set_metadata(field, value).map_err(|flaw| wrong(flaw.message))?;
                    }
                }
            }
            Role::LeftOut => {}
            Role::Metadata if is_output && OUTPUT_ONLY.contains(&name.as_ref()) => {}
            Role::Metadata => {
                other.get_or_insert((name, at));
                if raw.get().starts_with('[') || raw.get().starts_with("\"[") {
                    names.check_list(name).map_err(|flaw| wrong(flaw.message))?;
                }
                let Nested(value) = exact(json, raw, options)?;
                draft.set_metadata(name.clone().into_owned(), value).map_err(|flaw| wrong(flaw.message))?;
            }
        }
    }
    let is_numbered = options.numbers_records && around(&fields).is_none();
    if !has_id && !is_numbered {
        return Err(no_id(&fields, names));
    }
    match other {
        // A document without a text and a vector can never be found.
        Some((name, at)) if !draft.has_text() && draft.document.vector.is_none() && names.metadata.is_none() => {
            let message = format!("unknown field `{name}`: {}; {}", described(names), hint(name));
            Err(Flaw::within(json, at, message))
        }
        _ => Ok(draft.finish()),
    }
}

/// The error of one record. Its own position says more than the parser's.
pub(super) fn flaw(error: &serde_json::Error) -> Flaw {
    let flaw = Flaw::new(message(error));
    let lines = (error.line() as u64).saturating_sub(1);
    Flaw { column: (error.column() > 0).then_some(error.column()), lines, ..flaw }
}

/// The number of bytes before a part of a text.
fn offset(json: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(json.as_ptr() as usize).min(json.len())
}

fn described(names: &Names) -> String {
    format!("a document has the fields {}, {}, {} and metadata", names.id, names.texts.join(", "), names.vector)
}

fn hint(name: &str) -> String {
    let short: String = name.chars().take(60).collect();
    match name {
        "embedding" | "values" | "vectors" => format!("if it is the vector, add --vector-field {short}"),
        _ => format!("if it is part of the text, add --text-fields {short},...; other fields become metadata"),
    }
}

fn no_id(fields: &[(Cow<'_, str>, &RawValue)], names: &Names) -> Flaw {
    let guess = ["_id", "ID", "Id", "uuid", "key", "doc_id", "docid"];
    let list: Vec<&str> = fields.iter().take(20).map(|(name, _)| name.as_ref()).collect();
    let list = if list.is_empty() { "it is empty".to_owned() } else { format!("it has {}", list.join(", ")) };
    let hint = match guess.iter().find(|guess| fields.iter().any(|(name, _)| name == *guess)) {
        Some(found) => format!("if that is the id, add --id-field {found}"),
        None => "name the field with the id with --id-field, or add --number-records".to_owned(),
    };
    Flaw::new(match around(fields) {
        Some(around) => around,
        None => format!("the document has no field `{}`: {list}; {hint}", names.id),
    })
}

/// Advice about an object that is not a document but contains some.
fn around(fields: &[(Cow<'_, str>, &RawValue)]) -> Option<String> {
    let is_object = |raw: &RawValue| raw.get().starts_with('{');
    let is_list = |raw: &RawValue| {
        raw.get().strip_prefix('[').is_some_and(|elements| elements.trim_ascii_start().starts_with('{'))
    };
    let take_out =
        |jq: String| format!("take them out, for example with `jq -c {jq} FILE | pgfox ingest ... - --format jsonl`");
    if let Some((name, _)) = fields.iter().find(|(_, raw)| is_list(raw)) {
        let path = format!("'.[{}][]'", serde_json::Value::from(name.as_ref()));
        return Some(format!("it is one object that contains documents in `{name}`: {}", take_out(path)));
    }
    if fields.is_empty() || !fields.iter().all(|(_, raw)| is_object(raw)) {
        return None;
    }
    let jq = "'to_entries[] | .value + {id: .key}'".to_owned();
    Some(format!("it is one object that contains documents by their ids: {}", take_out(jq)))
}

/// Metadata, whose numbers are doubles. A number that a double cannot represent is refused or becomes a string.
fn exact<T: de::DeserializeOwned>(json: &str, raw: &RawValue, options: &Options) -> Result<T, Flaw> {
    let text = raw.get();
    let text = match number::first_inexact(text) {
        None => Cow::Borrowed(text),
        Some(_) if options.keeps_digits => number::quote_inexact(text),
        Some(number) => {
            let message = format!(
                "the number {} in the metadata would lose digits, because numbers are doubles: write it as a string, \
                 or add --inexact-as-strings",
                text[number.clone()].chars().take(60).collect::<String>()
            );
            return Err(Flaw::within(json, offset(json, text) + number.start, message));
        }
    };
    serde_json::from_str(&text).map_err(|error| Flaw::within(json, offset(json, raw.get()), message(&error)))
}

/// The fields of an object in their order, unparsed.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"a document such as {"id": "1", "text": "...", "metadata": {}}"#)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A string, or a whole number as its digits.
fn id(raw: &str) -> Result<String, String> {
    if raw.starts_with('"') {
        return serde_json::from_str(raw).map_err(|error| message(&error));
    }
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    if digits.starts_with(|c: char| c.is_ascii_digit()) {
        return if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(raw.to_owned())
        } else {
            // Such a number can be written in more than one way.
            Err("the id is a number that is not whole: write it as a string".to_owned())
        };
    }
    Err(format!("expected a string or a whole number as id, not {}", short(raw)))
}

/// A string, or a number as it is written. null means no text.
fn text(name: &str, raw: &str) -> Result<String, String> {
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map_err(|error| message(&error)),
        Some(b'-' | b'0'..=b'9') => Ok(raw.to_owned()),
        Some(b'n') => Ok(String::new()),
        _ => Err(format!("expected a string in the field `{name}`, which is part of the text, not {}", short(raw))),
    }
}

/// The beginning of a value, for a message.
fn short(raw: &str) -> String {
    let mut text: String = raw.chars().take(30).collect();
    if text.len() < raw.len() {
        text.push('…');
    }
    text
}

/// `[0.1, 0.2]`, or `{"values": [0.1, 0.2]}` as protobuf writes a Vector.
struct Floats(Vec<f32>);

impl<'de> Deserialize<'de> for Floats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FloatsVisitor;
        impl<'de> Visitor<'de> for FloatsVisitor {
            type Value = Floats;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of numbers as vector")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Floats, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = elements.next_element::<f32>()? {
                    if !value.is_finite() {
                        let message = format!("element {} of the vector is too large for a 4-byte float", values.len());
                        return Err(de::Error::custom(message));
                    }
                    values.push(value);
                }
                Ok(Floats(values))
            }

            /// As SQL writes a vector into JSON.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Floats, E> {
                parse_vector(text).map(|vector| Floats(vector.values)).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Floats, A::Error> {
                match map.next_key::<String>()?.as_deref() {
                    Some("values") => {}
                    _ => {
                        return Err(de::Error::custom(r#"a vector is an array of numbers, or {"values": [...]}"#));
                    }
                }
                let values = map.next_value()?;
                if map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    return Err(de::Error::custom("a vector has nothing but `values`"));
                }
                Ok(Floats(values))
            }
        }
        deserializer.deserialize_any(FloatsVisitor)
    }
}

/// Parses a single vector, as in a CSV cell or on the command line: a JSON array, which is also how pgvector writes a
/// vector, or `{0.1,0.2}` as Postgres writes an array.
pub(crate) fn parse_vector(text: &str) -> Result<Vector, String> {
    let text = text.trim();
    let array =
        text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).filter(|text| !text.contains(['"', ':']));
    let json = array.map_or(Cow::Borrowed(text), |elements| Cow::Owned(format!("[{elements}]")));
    if !json.starts_with(['[', '{']) || json.contains("}/") {
        return Err("expected an array of numbers as vector, such as [0.1, 0.2]".to_owned());
    }
    vector(&json)
}

fn vector(json: &str) -> Result<Vector, String> {
    serde_json::from_str::<Floats>(json).map(|Floats(values)| Vector { values }).map_err(|error| message(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Document, Flaw> {
        super::parse(json, &Options::default())
    }

    fn message(json: &str) -> String {
        parse(json).expect_err(json).message
    }

    #[test]
    fn every_field() {
        let document =
            parse(r#"{"id":"a","text":"Füchse","vector":[1,-0.5,2e-3],"metadata":{"y":1999,"t":[null,true,"x",{}]}}"#)
                .unwrap();
        assert_eq!((document.id.as_str(), document.text.as_str()), ("a", "Füchse"));
        assert_eq!(document.vector.unwrap().values, [1.0, -0.5, 0.002]);
        let metadata = crate::cli::json::metadata(&document.metadata.unwrap());
        assert_eq!(metadata.to_string(), r#"{"t":[null,true,"x",{}],"y":1999}"#);
    }

    #[test]
    fn null_is_absent_and_protobuf_vectors_are_taken() {
        let document = parse(r#"{"id":"a","text":null,"vector":{"values":[1]},"metadata":null}"#).unwrap();
        assert_eq!(
            document,
            Document { id: "a".into(), vector: Some(Vector { values: vec![1.0] }), ..Default::default() }
        );
    }

    #[test]
    fn rows_of_a_view_are_documents() {
        let row =
            r#"{"id":"a","chunk":0,"content":"Füchse","metadata":{"y":1},"embedding":"[1,2]","words":"'fuchs':1"}"#;
        let document = parse(row).unwrap();
        assert_eq!((document.text.as_str(), document.vector.unwrap().values), ("Füchse", vec![1.0, 2.0]));
        assert_eq!(crate::cli::json::metadata(&document.metadata.unwrap()).to_string(), r#"{"y":1}"#);
        let row = r#"{"id":"a","chunk":null,"content":"","metadata":{},"embedding":null,"words":null}"#;
        assert_eq!(parse(row).unwrap(), Document { id: "a".into(), ..Default::default() });
        let row = r#"{"id":"a","chunk":1,"content":"x","metadata":{},"embedding":"[1]","words":""}"#;
        assert!(message(row).contains("pgfox list --json"));
        // Another table of the user's.
        assert!(message(r#"{"id":"a","chunk":0,"content":"x"}"#).contains("unknown field"));
    }

    #[test]
    fn ids_are_strings_or_whole_numbers() {
        assert_eq!(parse(r#"{"id":42}"#).unwrap().id, "42");
        assert_eq!(parse(r#"{"id":-7}"#).unwrap().id, "-7");
        assert_eq!(parse(r#"{"id":18446744073709551615}"#).unwrap().id, "18446744073709551615");
        assert!(message(r#"{"id":1.5}"#).contains("write it as a string"));
        assert_eq!(parse(r#"{"id":18446744073709551616}"#).unwrap().id, "18446744073709551616");
        assert!(message(r#"{"id":null}"#).contains("expected a string or a whole number"));
        assert!(message(r#"{"text":"x"}"#).contains("no field `id`: it has text"));
    }

    #[test]
    fn flaws_say_what_to_do() {
        assert!(message(r#"{"id":"a","title":"x"}"#).contains("unknown field `title`"));
        assert!(message(r#"{"id":"a","genre":"x"}"#).contains("other fields become metadata"));
        assert!(message(r#"{"_id":"a"}"#).contains("add --id-field _id"));
        assert!(message(r#"{"id":"a","content":"x"}"#).contains("add --text-fields content"));
        assert!(message(r#"{"id":"a","id":"b"}"#).contains("twice"));
        assert!(message(r#"{"id":"a","metadata":[1]}"#).contains("not a JSON object"));
        assert!(message(r#"{"id":"a","vector":["1"]}"#).contains("expected f32"));
        assert!(message(r#"{"id":"a","vector":[1e39]}"#).contains("out of range"));
        assert!(message(r#"{"id":"a""#).contains("ends too early"));
        assert!(message(r#"{"id":"a"} {"id":"b"}"#).contains("trailing characters"));
        assert!(message("[1]").contains("a document such as"));
        assert!(message(r#"{"id":"a","metadata":{"n":9007199254740993}}"#).contains("9007199254740993"));
        assert_eq!(parse(r#"{"id":"a", x}"#).unwrap_err().column, Some(12));
    }

    #[test]
    fn fields_can_have_other_names() {
        let names = Names {
            id: "_id".into(),
            texts: vec!["title".into(), "text".into()],
            vector: "embedding".into(),
            metadata: None,
        };
        let options = Options { names, ..Options::default() };
        let parse = |json| super::parse(json, &options);
        let document = parse(r#"{"text":"A fox.","_id":"7","title":"Fox","embedding":[1],"metadata":{}}"#).unwrap();
        assert_eq!((document.id.as_str(), document.text.as_str()), ("7", "Fox A fox."));
        assert_eq!(document.vector.unwrap().values, [1.0]);
        assert_eq!(parse(r#"{"_id":"7","title":"","text":"A fox."}"#).unwrap().text, "A fox.");
        assert_eq!(parse(r#"{"_id":"7"}"#).unwrap().text, "");
        assert!(parse(r#"{"id":"7"}"#).unwrap_err().message.contains("no field `_id`: it has id"));
        assert!(
            parse(r#"{"_id":"7","x":1}"#).unwrap_err().message.contains("the fields _id, title, text, embedding and")
        );
        assert_eq!(parse(r#"{"_id":"7","title":1984,"text":null}"#).unwrap().text, "1984");
    }

    #[test]
    fn other_fields_become_metadata() {
        let metadata = |document: Document| crate::cli::json::metadata(&document.metadata.unwrap()).to_string();
        let json = r#"{"id":1,"text":"b","year":1999,"url":"u","metadata":{"seen":true},"version":"2"}"#;
        let expected = r#"{"seen":true,"url":"u","version":"2","year":1999}"#;
        assert_eq!(metadata(parse(json).unwrap()), expected);
        let names = Names { metadata: Some(vec!["year".into()]), ..Names::default() };
        let picked = super::parse(json, &Options { names, ..Options::default() }).unwrap();
        assert_eq!(metadata(picked), r#"{"year":1999}"#);
        let twice = message(r#"{"id":1,"text":"b","year":1999,"metadata":{"year":1999}}"#);
        assert_eq!(twice, "the metadata has the field `year` twice");
        assert!(message(r#"{"id":1,"text":"b","embedding":[1]}"#).contains("add --vector-field embedding"));
    }

    #[test]
    fn vectors_are_read_as_sql_writes_them() {
        let vector = |json: &str| parse(json).unwrap().vector.unwrap().values;
        assert_eq!(vector(r#"{"id":1,"vector":"[1,-0.5]"}"#), [1.0, -0.5]);
        assert_eq!(vector(r#"{"id":1,"vector":"{1,-0.5}"}"#), [1.0, -0.5]);
        assert!(message(r#"{"id":1,"vector":"{1:0.5}/3"}"#).contains("expected an array"));
    }

    #[test]
    fn numbers_are_kept_or_refused() {
        let json = r#"{"id":1,"text":"b","n":1.5,"big":9007199254740993}"#;
        let flaw = parse(json).unwrap_err();
        assert!(flaw.message.contains("the number 9007199254740993") && flaw.message.contains("--inexact-as-strings"));
        assert_eq!(flaw.column, Some(34));
        assert!(message(r#"{"id":1,"metadata":{"a":[{"b":18446744073709551616}]}}"#).contains("18446744073709551616"));
        assert!(message(r#"{"id":1,"metadata":{"b":0.12345678901234567891}}"#).contains("lose digits"));
        let kept = super::parse(json, &Options { keeps_digits: true, ..Options::default() }).unwrap();
        let metadata = crate::cli::json::metadata(&kept.metadata.unwrap()).to_string();
        assert_eq!(metadata, r#"{"big":"9007199254740993","n":1.5}"#);
    }

    #[test]
    fn what_get_prints_beside_the_document_is_no_flaw() {
        let document =
            parse(r#"{"id":"a","text":"x","version":3,"create_time":"2024-05-01T00:00:00Z","update_time":null}"#);
        assert_eq!(document.unwrap(), Document { id: "a".into(), text: "x".into(), ..Default::default() });
    }

    #[test]
    fn nesting_is_bounded_as_protobuf_bounds_it() {
        use prost::Message as _;
        let nested = |levels: usize| {
            let json = r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels);
            parse(&format!(r#"{{"id":"a","metadata":{json}}}"#))
        };
        let document = nested(30).unwrap();
        let request = pgfox_client::v1::IngestRequest { documents: vec![document], ..Default::default() };
        pgfox_client::v1::IngestRequest::decode(request.encode_to_vec().as_slice()).unwrap();
        assert!(nested(31).unwrap_err().message.contains("nested too deeply"));
        assert!(nested(100_000).is_err());
    }
}
