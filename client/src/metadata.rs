//! Metadata of documents from whatever serde serializes, and back.
//!
//! ```
//! use pgfox_client::metadata;
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let encoded = metadata::encode(&json!({ "year": 1999, "genres": ["Crime", "Thriller"] }))?;
//! let plain = metadata::to_json(&encoded);
//! assert_eq!(plain["year"], 1999);
//! # Ok(())
//! # }
//! ```

mod encoder;

use prost_types::{Struct, Value, value::Kind};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, json};

use encoder::Encoder;

/// The largest integer, 2^53; the smallest is its negative. Numbers are sent as doubles, which cannot represent every
/// integer beyond that: send those as strings.
pub const MAX_INTEGER: u64 = 1 << 53;
/// Maximum nesting of objects and lists, including the metadata itself.
pub const MAX_DEPTH: usize = 32;

/// A value that cannot be sent, or that would come back changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} {rule}")]
pub struct InvalidValue {
    /// The path of the value, such as `metadata.crew[3].born`.
    pub path: String,
    /// The rule that it breaks.
    pub rule: String,
}

impl InvalidValue {
    pub(crate) fn new(rule: impl Into<String>) -> Self {
        Self { path: String::new(), rule: rule.into() }
    }

    /// The same error, seen from outside `part`.
    pub(crate) fn within(self, part: &str) -> Self {
        Self { path: format!("{part}{}", self.path), ..self }
    }
}

/// Converts a struct, a map, or a [`serde_json::Value`] that is an object to metadata.
///
/// Times, UUIDs and decimals become what their crates serialize, usually strings. An integer beyond [`MAX_INTEGER`],
/// NaN, infinities and bytes are refused, and the error names their path. `json!` itself turns NaN into null before
/// this function sees it.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Struct, InvalidValue> {
    match encode_value(value).map_err(|error| error.within("metadata"))?.kind {
        Some(Kind::StructValue(metadata)) => Ok(metadata),
        _ => Err(InvalidValue::new("must be a struct or a map with strings as keys").within("metadata")),
    }
}

/// Reads metadata into a type of your choice.
pub fn decode<T: DeserializeOwned>(metadata: &Struct) -> Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::Object(to_json(metadata)))
}

/// Metadata as JSON, with whole numbers up to [`MAX_INTEGER`] as integers.
pub fn to_json(metadata: &Struct) -> Map<String, serde_json::Value> {
    metadata.fields.iter().map(|(key, value)| (key.clone(), value_to_json(value))).collect()
}

/// Converts a single value in the same way, such as a facet's value.
pub fn value_to_json(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => json!(value),
        Some(Kind::NumberValue(value)) if value.fract() == 0.0 && value.abs() <= MAX_INTEGER as f64 => {
            json!(*value as i64)
        }
        Some(Kind::NumberValue(value)) => json!(value),
        Some(Kind::StringValue(value)) => json!(value),
        Some(Kind::StructValue(value)) => serde_json::Value::Object(to_json(value)),
        Some(Kind::ListValue(list)) => list.values.iter().map(value_to_json).collect(),
    }
}

pub(crate) fn encode_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, InvalidValue> {
    value.serialize(Encoder::default())
}

/// A key in the form that paths use: as it is, or in quotes.
pub(crate) fn key_text(key: &str) -> String {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return key.to_owned();
    }
    format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Film {
        title: String,
        year: i64,
        price: f32,
        rating: Option<f64>,
        genres: Vec<Genre>,
        crew: Vec<Person>,
        size: (u8, u8),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Genre {
        Crime,
        Other(String),
        Series { seasons: u32 },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Person {
        born: u64,
    }

    fn film() -> Film {
        Film {
            title: "Heat".into(),
            year: -(MAX_INTEGER as i64),
            price: 0.1,
            rating: None,
            genres: vec![Genre::Crime, Genre::Other("Heist".into()), Genre::Series { seasons: 2 }],
            crew: vec![Person { born: MAX_INTEGER }, Person { born: 1943 }],
            size: (16, 9),
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let encoded = encode(&film()).unwrap();
        let expected = json!({
            "title": "Heat", "year": -9_007_199_254_740_992_i64, "price": 0.1, "rating": null,
            "genres": ["Crime", { "Other": "Heist" }, { "Series": { "seasons": 2 } }],
            "crew": [{ "born": 9_007_199_254_740_992_i64 }, { "born": 1943 }], "size": [16, 9],
        });
        assert_eq!(serde_json::Value::Object(to_json(&encoded)), expected);
        assert_eq!(encode(&expected).unwrap(), encoded);
        assert_eq!(decode::<Film>(&encoded).unwrap(), film());
        let half = encode(&json!({ "whole": 3.0, "half": 0.5, "huge": 1e300 })).unwrap();
        assert_eq!(to_json(&half)["whole"], json!(3));
        assert_eq!(to_json(&half)["huge"], json!(1e300));
    }

    #[test]
    fn what_would_change_is_refused_by_its_path() {
        let refusal = |result: Result<Struct, InvalidValue>| result.unwrap_err().to_string();
        let large = "must be an integer from -2^53 to 2^53, not 9007199254740993: send it as a string";
        let born = Film { crew: vec![Person { born: 1 }, Person { born: MAX_INTEGER + 1 }], ..film() };
        assert_eq!(refusal(encode(&born)), format!("metadata.crew[1].born {large}"));
        assert_eq!(
            refusal(encode(&json!({ "a": { "first name": [0, 9_007_199_254_740_993_i64] } }))),
            format!("metadata.a.\"first name\"[1] {large}"),
        );
        let series = BTreeMap::from([("a", Genre::Series { seasons: 1 })]);
        assert!(encode(&series).is_ok());
        assert_eq!(refusal(encode(&HashMap::from([("a", f64::NAN)]))), "metadata.a must be a finite number, not NaN");
        assert!(refusal(encode(&HashMap::from([("a", i128::MAX)]))).starts_with("metadata.a must be an integer"));
        assert!(refusal(encode(&HashMap::from([("a", u64::MAX)]))).starts_with("metadata.a must be an integer"));
        assert_eq!(refusal(encode(&HashMap::from([(1, 2)]))), "metadata must have strings as keys");
        assert_eq!(refusal(encode(&[1])), "metadata must be a struct or a map with strings as keys");
        let mut deep = json!(1);
        for _ in 0..MAX_DEPTH {
            deep = json!({ "in": deep });
        }
        assert!(encode(&deep).is_ok());
        let refused = refusal(encode(&json!({ "in": deep })));
        assert!(refused.ends_with("is nested deeper than 32 objects and lists"), "{refused}");
    }
}
