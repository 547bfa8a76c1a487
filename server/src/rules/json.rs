//! Converts metadata between protobuf and JSON text, without a tree in between.

use std::fmt::{self, Write as _};

use prost_types::{ListValue, Struct, Value, value::Kind};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Maximum size of the metadata of a document, as JSON in bytes.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// Maximum nesting of objects and lists, including the metadata itself. protobuf libraries read 100 nested messages,
/// and an object takes three of them.
const MAX_DEPTH: usize = 32;

/// The path in an error message stops growing at this length.
const MAX_PATH_BYTES: usize = 256;

/// Integers up to this one are exact as doubles and are written without a fraction.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// The JSON of a struct, or what jsonb would refuse and where.
pub(crate) fn write(fields: &Struct) -> Result<String, String> {
    let mut out = String::new();
    write_struct(&mut out, fields, "metadata", 1)?;
    if out.len() > MAX_BYTES {
        return Err(format!("metadata has {} bytes as JSON, but at most {MAX_BYTES} are allowed", out.len()));
    }
    Ok(out)
}

/// The JSON of any value, or what jsonb would refuse and where. Errors call it `name`.
pub(crate) fn write_any(value: &Value, name: &str) -> Result<String, String> {
    let mut out = String::new();
    write_value(&mut out, value, "", name, 0)?;
    Ok(out)
}

fn write_struct(out: &mut String, fields: &Struct, path: &str, depth: usize) -> Result<(), String> {
    check_depth(path, depth)?;
    out.push('{');
    for (position, (key, value)) in fields.fields.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write_string(out, key, path)?;
        out.push(':');
        write_value(out, value, path, key, depth)?;
    }
    out.push('}');
    Ok(())
}

fn check_depth(path: &str, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("{path} is nested more than {MAX_DEPTH} levels deep"));
    }
    Ok(())
}

/// `depth` is the depth of the object or list that contains the value.
fn write_value(out: &mut String, value: &Value, path: &str, key: &str, depth: usize) -> Result<(), String> {
    // The path is built only for values with parts, and for errors.
    let path = || match path.len() {
        0 => key.to_owned(),
        1..MAX_PATH_BYTES => format!("{path}.{}", shorten(key)),
        _ => path.to_owned(),
    };
    match &value.kind {
        // A client that sets nothing may have meant any value.
        None => return Err(format!("{} is a Value without a kind; set null_value for null", path())),
        Some(Kind::NullValue(_)) => out.push_str("null"),
        Some(Kind::BoolValue(value)) => out.push_str(if *value { "true" } else { "false" }),
        Some(Kind::NumberValue(value)) if !value.is_finite() => {
            return Err(format!("{} must be finite; JSON has no NaN and no infinity", path()));
        }
        // Writing to a string cannot fail.
        Some(Kind::NumberValue(value)) if value.fract() == 0.0 && value.abs() <= MAX_EXACT_INTEGER => {
            let _ = write!(out, "{}", *value as i64);
        }
        // Writes all digits, as jsonb returns them, so that what is within the limit now stays within it.
        Some(Kind::NumberValue(value)) => {
            let _ = write!(out, "{value}");
        }
        Some(Kind::StringValue(value)) => write_string(out, value, key)?,
        Some(Kind::StructValue(value)) => write_struct(out, value, &path(), depth + 1)?,
        Some(Kind::ListValue(ListValue { values })) => {
            let path = path();
            check_depth(&path, depth + 1)?;
            out.push('[');
            for (position, value) in values.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_value(out, value, &path, &position.to_string(), depth + 1)?;
            }
            out.push(']');
        }
    }
    Ok(())
}

fn write_string(out: &mut String, text: &str, path: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err(format!("{} must not contain NUL, which Postgres cannot store", shorten(path)));
    }
    // Cannot fail: it serializes a string into memory.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
    Ok(())
}

/// A key in the form for error messages.
fn shorten(key: &str) -> String {
    const SHOWN: usize = 64;
    key.chars().take(SHOWN).filter(|c| *c != '\0').collect()
}

/// Reads the struct of a JSON object from the database.
pub(crate) fn read(json: &str) -> Result<Struct, serde_json::Error> {
    match read_any(json)?.kind {
        Some(Kind::StructValue(fields)) => Ok(fields),
        _ => Ok(Struct::default()),
    }
}

/// Reads a JSON value from the database. A number beyond the range of a double becomes its text.
pub(crate) fn read_any(json: &str) -> Result<Value, serde_json::Error> {
    let read = |json: &str| AnyValue.deserialize(&mut serde_json::Deserializer::from_str(json));
    // Only a table of the user can have such a number.
    read(json).or_else(|_| read(&quote_large_numbers(json)))
}

/// Writes numbers beyond the range of a double as strings. jsonb writes them without an exponent.
fn quote_large_numbers(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + 2);
    let mut rest = json;
    while let Some(start) = rest.find(|c: char| matches!(c, '"' | '-') || c.is_ascii_digit()) {
        let (before, token) = rest.split_at(start);
        out.push_str(before);
        let length = if token.starts_with('"') { string_length(token) } else { number_length(token) };
        let (token, after) = token.split_at(length);
        let is_large = token.parse::<f64>().is_ok_and(f64::is_infinite);
        let quote = if is_large { "\"" } else { "" };
        out.extend([quote, token, quote]);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The length of the string at the beginning of JSON, with its quotes.
fn string_length(json: &str) -> usize {
    let mut is_escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 2)
}

/// The length of the number at the beginning of JSON.
fn number_length(json: &str) -> usize {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    json.find(|c| !is_part(c)).unwrap_or(json.len())
}

/// Reads any JSON value as a protobuf one.
struct AnyValue;

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(value(Kind::NullValue(0)))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(value(Kind::BoolValue(flag)))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(value(Kind::NumberValue(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(value(Kind::StringValue(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(value(Kind::StringValue(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut values = Vec::with_capacity(elements.size_hint().unwrap_or(0));
        while let Some(element) = elements.next_element_seed(AnyValue)? {
            values.push(element);
        }
        Ok(value(Kind::ListValue(ListValue { values })))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Struct::default();
        while let Some(key) = entries.next_key::<String>()? {
            fields.fields.insert(key, entries.next_value_seed(AnyValue)?);
        }
        Ok(value(Kind::StructValue(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Struct {
        read(json).expect("JSON")
    }

    #[test]
    fn json_round_trips() {
        let json = r#"{"a":[1,2.5,true,null,"x\"\n"],"b":{"c":{}},"z":-3}"#;
        assert_eq!(write(&object(json)).expect("JSON"), json);
    }

    #[test]
    fn what_jsonb_does_not_take_is_refused_with_its_place() {
        let mut fields = object(r#"{"a":{"b":1}}"#);
        let inner = |kind| Struct { fields: [("b".to_owned(), value(kind))].into() };
        fields.fields.insert("a".into(), value(Kind::StructValue(inner(Kind::NumberValue(f64::NAN)))));
        assert!(write(&fields).unwrap_err().starts_with("metadata.a.b must be finite"));
        let nothing = || Value { kind: None };
        for (found, place) in [
            (nothing(), "a"),
            (value(Kind::ListValue(ListValue { values: vec![value(Kind::NullValue(0)), nothing()] })), "metadata.a.1"),
            (value(Kind::StructValue(Struct { fields: [("b".to_owned(), nothing())].into() })), "metadata.a.b"),
        ] {
            fields.fields.insert("a".into(), found);
            assert!(write(&fields).unwrap_err().contains(&format!("{place} is a Value without a kind")));
        }
        fields.fields.insert("a".into(), value(Kind::StringValue("x\0y".into())));
        assert!(write(&fields).unwrap_err().contains("NUL"));
    }

    #[test]
    fn large_and_small_numbers_stay_what_they_are() {
        let random = (0..1_000).map(|_| f64::from_bits(rand::random())).filter(|number| number.is_finite());
        for number in [1e300, -1.5e-300, 5e-324, f64::MAX, 9_007_199_254_740_993.0, 0.1].into_iter().chain(random) {
            let fields = Struct { fields: [("n".to_owned(), value(Kind::NumberValue(number)))].into() };
            assert_eq!(object(&write(&fields).expect("JSON")), fields);
        }
    }
}
