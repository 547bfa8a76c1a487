//! Parses one JSON document straight into a message, without a tree in between.

use std::fmt;

use pgfox_client::v1::{Document, Vector};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    Flaw, Names,
    value::{Metadata, message},
};

/// Parses `{"id": ..., "text": ..., "vector": [...], "metadata": {...}}`, or with other names for the first three.
pub(super) fn parse(json: &str, names: &Names) -> Result<Document, Flaw> {
    let mut parser = serde_json::Deserializer::from_str(json);
    let document = DocumentSeed { names }.deserialize(&mut parser).map_err(|error| flaw(&error))?;
    parser.end().map_err(|error| flaw(&error))?;
    Ok(document)
}

/// The error of one line, whose own position says more than the parser's.
pub(super) fn flaw(error: &serde_json::Error) -> Flaw {
    let hint = if error.is_eof() { ": each line is one whole object" } else { "" };
    let message = message(error) + hint;
    if error.column() > 0 { Flaw::at(message, error.column()) } else { Flaw::new(message) }
}

struct DocumentSeed<'a> {
    names: &'a Names,
}

impl<'de> DeserializeSeed<'de> for DocumentSeed<'_> {
    type Value = Document;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DocumentSeed<'_> {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a document such as {"id": "1", "text": "...", "metadata": {}}"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let names = self.names;
        let (mut id, mut vector, mut metadata) = (None, None, None);
        let mut texts = vec![None; names.texts.len()];
        while let Some(key) = map.next_key_seed(KeySeed { names })? {
            match key {
                Key::Id => put(&mut id, &names.id, map.next_value::<Id>()?)?,
                Key::Text(i) => put(&mut texts[i], &names.texts[i], map.next_value::<Option<String>>()?)?,
                Key::Vector => put(&mut vector, &names.vector, map.next_value::<Option<Floats>>()?)?,
                Key::Metadata => put(&mut metadata, "metadata", map.next_value::<Option<Metadata>>()?)?,
                Key::OutputOnly => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let Some(Id(id)) = id else {
            return Err(de::Error::custom(format!(
                "the document has no {}: {}, and the first is required",
                names.id,
                fields(names)
            )));
        };
        Ok(Document {
            id,
            text: super::join(texts.into_iter().map(Option::flatten).map(Option::unwrap_or_default)),
            vector: vector.flatten().map(|Floats(values)| Vector { values }),
            metadata: metadata.flatten().map(|Metadata(fields)| fields),
            ..Default::default()
        })
    }
}

fn fields(names: &Names) -> String {
    format!("a document has the fields {}, {}, {} and metadata", names.id, names.texts.join(", "), names.vector)
}

fn put<T, E: de::Error>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom(format!("the field `{name}` stands there twice"))),
    }
}

enum Key {
    Id,
    /// One of `Names::texts`.
    Text(usize),
    Vector,
    Metadata,
    /// What `get` and `list` tell of a document and nobody can set.
    OutputOnly,
}

struct KeySeed<'a> {
    names: &'a Names,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Key, E> {
        let names = self.names;
        if name == names.id {
            return Ok(Key::Id);
        }
        if let Some(i) = names.texts.iter().position(|text| text == name) {
            return Ok(Key::Text(i));
        }
        if name == names.vector {
            return Ok(Key::Vector);
        }
        let hint = match name {
            "metadata" => return Ok(Key::Metadata),
            "version" | "create_time" | "update_time" => return Ok(Key::OutputOnly),
            "_id" | "ID" | "Id" | "key" => format!("if it is the id, add --id-field {name}"),
            "title" | "content" | "body" | "document" | "Text" => {
                format!("if it is part of the text, add --text-fields {name},...; else put it into `metadata`")
            }
            "embedding" | "values" | "vectors" => format!("if it is the vector, add --vector-field {name}"),
            "meta" | "payload" | "attributes" => "did you mean `metadata`?".to_owned(),
            _ => "put your own fields into `metadata`".to_owned(),
        };
        let name: String = name.chars().take(60).collect();
        Err(E::custom(format!("unknown field `{name}`: {}; {hint}", fields(names))))
    }
}

/// A string, or a whole number as its digits.
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a whole number as id")
            }

            fn visit_str<E>(self, id: &str) -> Result<Id, E> {
                Ok(Id(id.to_owned()))
            }

            fn visit_string<E>(self, id: String) -> Result<Id, E> {
                Ok(Id(id))
            }

            fn visit_u64<E>(self, id: u64) -> Result<Id, E> {
                Ok(Id(id.to_string()))
            }

            fn visit_i64<E>(self, id: i64) -> Result<Id, E> {
                Ok(Id(id.to_string()))
            }

            // A fraction, or more than 64 bits: there is more than one way to write it.
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Id, E> {
                Err(E::custom("the id is a number that is not exact: write it as a string"))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
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
                while let Some(value) = elements.next_element()? {
                    values.push(value);
                }
                Ok(Floats(values))
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

/// Parses a vector that stands alone, as in a CSV cell or on the command line.
pub(crate) fn parse_vector(json: &str) -> Result<Vector, String> {
    serde_json::from_str::<Floats>(json).map(|Floats(values)| Vector { values }).map_err(|error| message(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Document, Flaw> {
        super::parse(json, &Names::default())
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
    fn ids_are_strings_or_whole_numbers() {
        assert_eq!(parse(r#"{"id":42}"#).unwrap().id, "42");
        assert_eq!(parse(r#"{"id":-7}"#).unwrap().id, "-7");
        assert_eq!(parse(r#"{"id":18446744073709551615}"#).unwrap().id, "18446744073709551615");
        assert!(message(r#"{"id":1.5}"#).contains("write it as a string"));
        assert!(message(r#"{"id":18446744073709551616}"#).contains("write it as a string"));
        assert!(message(r#"{"id":null}"#).contains("expected a string or a whole number"));
        assert!(message(r#"{"text":"x"}"#).contains("no id"));
    }

    #[test]
    fn flaws_say_what_to_do() {
        assert!(message(r#"{"id":"a","title":"x"}"#).contains("unknown field `title`"));
        assert!(message(r#"{"id":"a","genre":"x"}"#).contains("into `metadata`"));
        assert!(message(r#"{"_id":"a"}"#).contains("add --id-field _id"));
        assert!(message(r#"{"id":"a","content":"x"}"#).contains("add --text-fields content"));
        assert!(message(r#"{"id":"a","id":"b"}"#).contains("twice"));
        assert!(message(r#"{"id":"a","metadata":[1]}"#).contains("not a JSON object"));
        assert!(message(r#"{"id":"a","vector":["1"]}"#).contains("expected f32"));
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
            delimiter: None,
        };
        let parse = |json| super::parse(json, &names);
        let document = parse(r#"{"text":"A fox.","_id":"7","title":"Fox","embedding":[1],"metadata":{}}"#).unwrap();
        assert_eq!((document.id.as_str(), document.text.as_str()), ("7", "Fox A fox."));
        assert_eq!(document.vector.unwrap().values, [1.0]);
        assert_eq!(parse(r#"{"_id":"7","title":"","text":"A fox."}"#).unwrap().text, "A fox.");
        assert_eq!(parse(r#"{"_id":"7"}"#).unwrap().text, "");
        assert!(parse(r#"{"id":"7"}"#).unwrap_err().message.contains("the fields _id, title, text, embedding and"));
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
