//! Parses JSON values directly into those of protobuf.

use std::fmt;

use prost_types::{ListValue, Struct, Value, value::Kind};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::number;
use crate::cli::json::MAX_EXACT_INTEGER;

/// Maximum nesting of messages: 100 in the protobuf decoders of most languages, less the messages around the metadata.
/// An object in an object takes three levels (Struct, map entry, Value), a list two.
const MAX_NESTING: usize = 90;

/// Parses the JSON value at the front of a text. Returns it with its size in bytes; an error has the number of bytes
/// before it.
pub(crate) fn parse_value(json: &str) -> Result<(Value, usize), (usize, String)> {
    struct Any(Value);
    impl<'de> Deserialize<'de> for Any {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            ValueSeed { nesting: 0 }.deserialize(deserializer).map(Self)
        }
    }
    let mut values = serde_json::Deserializer::from_str(json).into_iter::<Any>();
    match values.next() {
        Some(Ok(Any(value))) => match number::first_inexact(&json[..values.byte_offset()]) {
            Some(number) => Err((number.start, inexact(&json[number]))),
            None => Ok((value, values.byte_offset())),
        },
        Some(Err(error)) => {
            let bytes = if error.line() == 1 { error.column().saturating_sub(1) } else { 0 };
            Err((bytes, message(&error)))
        }
        None => Err((0, "expected a value".to_owned())),
    }
}

/// Parses metadata on its own, as on the command line.
pub(crate) fn parse_metadata(json: &str) -> Result<Struct, String> {
    if let Some(number) = number::first_inexact(json) {
        return Err(inexact(&json[number]));
    }
    serde_json::from_str::<Metadata>(json).map(|Metadata(fields)| fields).map_err(|error| message(&error))
}

fn inexact(number: &str) -> String {
    format!("the number {number} would lose digits, because numbers are doubles: write it as a string")
}

/// A JSON object as metadata.
#[derive(Default)]
pub(super) struct Metadata(pub(super) Struct);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match (ValueSeed { nesting: 0 }).deserialize(deserializer)?.kind {
            Some(Kind::StructValue(fields)) => Ok(Self(fields)),
            _ => Err(de::Error::custom("`metadata` is not a JSON object")),
        }
    }
}

/// The value of one metadata field.
pub(super) struct Nested(pub(super) Value);

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ValueSeed { nesting: 0 }.below(3)?.deserialize(deserializer).map(Self)
    }
}

/// Parses any JSON value into protobuf's.
#[derive(Clone, Copy)]
struct ValueSeed {
    nesting: usize,
}

impl ValueSeed {
    fn below<E: de::Error>(self, cost: usize) -> Result<Self, E> {
        let nesting = self.nesting + cost;
        if nesting > MAX_NESTING {
            return Err(E::custom("the metadata is nested too deeply; the limit is about 30 levels"));
        }
        Ok(Self { nesting })
    }
}

fn kind(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

/// An integer as a double, if that is exact.
fn integer<E: de::Error>(is_negative: bool, digits: u64) -> Result<Value, E> {
    let sign = if is_negative { "-" } else { "" };
    if digits > MAX_EXACT_INTEGER {
        return Err(E::custom(format!(
            "the integer {sign}{digits} in the metadata would lose digits, because numbers are doubles: write it as a \
             string"
        )));
    }
    let value = digits as f64;
    Ok(kind(Kind::NumberValue(if is_negative { -value } else { value })))
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(kind(Kind::NullValue(0)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(kind(Kind::BoolValue(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        integer(false, value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        integer(value < 0, value.unsigned_abs())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(kind(Kind::NumberValue(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(kind(Kind::StringValue(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(kind(Kind::StringValue(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let seed = self.below(2)?;
        let mut values = Vec::new();
        while let Some(value) = elements.next_element_seed(seed)? {
            values.push(value);
        }
        Ok(kind(Kind::ListValue(ListValue { values })))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let seed = self.below(3)?;
        let mut fields = Struct::default();
        while let Some(name) = map.next_key::<String>()? {
            if fields.fields.contains_key(&name) {
                return Err(de::Error::custom(format!("the field `{name}` occurs twice")));
            }
            fields.fields.insert(name, map.next_value_seed(seed)?);
        }
        Ok(kind(Kind::StructValue(fields)))
    }
}

/// Describes a mistake in a JSON text, without its place.
pub(super) fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text.split_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    match error.classify() {
        serde_json::error::Category::Eof => format!("the JSON ends too early ({message})"),
        serde_json::error::Category::Syntax => format!("this is not JSON: {message}"),
        serde_json::error::Category::Data | serde_json::error::Category::Io => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_the_front() {
        let (value, bytes) = parse_value(r#"["a", 1] and more"#).unwrap();
        assert!(matches!(value.kind, Some(Kind::ListValue(list)) if list.values.len() == 2));
        assert_eq!(bytes, 8);
        assert!(parse_value(r#"["a" "b"]"#).is_err_and(|(bytes, _)| bytes == 5));
        assert!(parse_value("[").is_err() && parse_value("").is_err());
    }
}
