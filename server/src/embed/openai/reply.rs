//! Reads a reply in OpenAI's format into one flat vector, and accepts what servers really send.
//!
//! Only `data` with its `embedding`s is required. Some servers leave out `object`, `model`, `usage` or even `index`.
//! Some number every vector 0, and some send base64 although floats were requested.

use std::{fmt, mem};

use base64::Engine as _;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::embed::Embeddings;

/// A reply as it was sent, unchecked.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The vectors one after another, in the order of the reply.
    values: Vec<f32>,
    vectors: Vec<Vector>,
    /// The number of tokens that the provider says it read; 0 if it does not say.
    tokens: u64,
    has_data: bool,
    /// All other fields.
    rest: Map<String, Value>,
}

#[derive(Debug)]
struct Vector {
    /// The index of the text that this vector belongs to. If it is missing, the position counts.
    index: Option<usize>,
    start: usize,
    end: usize,
}

/// Vectors in the order of the texts, `dimensions` values each.
#[derive(Debug)]
pub(super) struct Vectors {
    pub(super) values: Vec<f32>,
    pub(super) dimensions: usize,
    pub(super) tokens: u64,
}

impl Vectors {
    /// Converts the vectors of `count` texts that were read as a whole.
    pub(super) fn into_embeddings(self, count: usize) -> Embeddings {
        Embeddings { values: self.values, tokens: self.tokens, truncated: vec![false; count], ..Embeddings::default() }
    }
}

impl Reply {
    /// Describes what the provider sent instead of embeddings, or an error beside them.
    pub(super) fn without_vectors(&mut self) -> Option<Value> {
        // Some servers always send the field.
        let none = [Value::Null, Value::Bool(false), Value::from(""), Value::from(0)];
        let has_error = self.rest.get("error").is_some_and(|error| !none.contains(error));
        (has_error || !self.has_data).then(|| Value::Object(mem::take(&mut self.rest)))
    }

    /// Checks that each of `count` texts has exactly one finite vector, and that all have the same length.
    pub(super) fn into_vectors(self, count: usize) -> Result<Vectors, String> {
        if self.vectors.len() != count {
            return Err(format!("{} vectors for {count} texts", self.vectors.len()));
        }
        let dimensions = self.vectors.first().map_or(0, |first| first.end - first.start);
        if dimensions == 0 {
            return Err("an empty vector".to_owned());
        }
        if self.vectors.iter().any(|vector| vector.end - vector.start != dimensions) {
            return Err("vectors of different lengths".to_owned());
        }
        if !self.values.iter().all(|value| value.is_finite()) {
            return Err("a value that is not a finite number".to_owned());
        }

        // Some servers embed text by text and do not number the vectors.
        let all_zero = self.vectors.iter().all(|vector| vector.index == Some(0));
        // order[i] is the position in the reply of the vector of text i.
        let mut order = vec![None; count];
        for (position, vector) in self.vectors.iter().enumerate() {
            let index = vector.index.filter(|_| !all_zero).unwrap_or(position);
            let Some(slot) = order.get_mut(index) else {
                return Err(format!("index {index} for {count} texts"));
            };
            if slot.replace(position).is_some() {
                return Err(format!("index {index} twice"));
            }
        }
        let in_order = order.iter().enumerate().all(|(index, position)| *position == Some(index));
        let values = if in_order {
            self.values
        } else {
            let mut values = Vec::with_capacity(self.values.len());
            for position in order.into_iter().flatten() {
                values.extend_from_slice(&self.values[position * dimensions..][..dimensions]);
            }
            values
        };
        Ok(Vectors { values, dimensions, tokens: self.tokens })
    }
}

impl<'de> Deserialize<'de> for Reply {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReplyVisitor)
    }
}

struct ReplyVisitor;

impl<'de> Visitor<'de> for ReplyVisitor {
    type Value = Reply;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with \"data\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reply, A::Error> {
        let mut reply = Reply::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "data" if !reply.has_data => {
                    map.next_value_seed(Data(&mut reply))?;
                    reply.has_data = true;
                }
                "data" => return Err(A::Error::duplicate_field("data")),
                "usage" => {
                    let usage = map.next_value::<Option<Usage>>()?.unwrap_or_default();
                    reply.tokens = usage.prompt_tokens.or(usage.total_tokens).unwrap_or(0);
                }
                _ => {
                    reply.rest.insert(key, map.next_value()?);
                }
            }
        }
        Ok(reply)
    }
}

#[derive(Default, Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

/// The list `data`.
struct Data<'r>(&'r mut Reply);

impl<'de> DeserializeSeed<'de> for Data<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Data<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of embeddings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Item(self.0))?.is_some() {}
        Ok(())
    }
}

/// `{"index": 0, "embedding": [...]}`, an element of `data`.
struct Item<'r>(&'r mut Reply);

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with \"embedding\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Key {
            Index,
            Embedding,
            #[serde(other)]
            Other,
        }

        let start = self.0.values.len();
        let mut index = None;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Index => index = map.next_value::<Option<usize>>()?,
                Key::Embedding => map.next_value_seed(Values(&mut self.0.values))?,
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let end = self.0.values.len();
        self.0.vectors.push(Vector { index, start, end });
        Ok(())
    }
}

/// The values of one vector: a list of numbers, or little-endian f32 in base64.
struct Values<'r>(&'r mut Vec<f32>);

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of numbers or a base64 string")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<(), A::Error> {
        while let Some(number) = numbers.next_element()? {
            self.0.push(number);
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|_| E::custom("a string that is not base64"))?;
        let (values, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(E::custom("base64 that is not a list of f32"));
        }
        self.0.extend(values.iter().map(|value| f32::from_le_bytes(*value)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, count: usize) -> Result<Vectors, String> {
        let mut reply = serde_json::from_str::<Reply>(json).map_err(|error| error.to_string())?;
        reply.without_vectors().map_or(Ok(()), |body| Err(body.to_string()))?;
        reply.into_vectors(count)
    }

    #[test]
    fn reads_what_openai_sends() {
        let json = r#"{"object":"list","model":"m","data":[
            {"object":"embedding","index":0,"embedding":[1,-2.5]},
            {"object":"embedding","index":1,"embedding":[3e-1,4]}],
            "usage":{"prompt_tokens":7,"total_tokens":8}}"#;
        let vectors = read(json, 2).unwrap();
        assert_eq!(vectors.values, [1.0, -2.5, 0.3, 4.0]);
        assert_eq!((vectors.dimensions, vectors.tokens), (2, 7));
    }

    #[test]
    fn order_is_by_index_wherever_it_stands() {
        let json =
            r#"{"data":[{"embedding":[5,6],"index":2},{"index":0,"embedding":[1,2]},{"embedding":[3,4],"index":1}]}"#;
        assert_eq!(read(json, 3).unwrap().values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn object_usage_and_index_may_be_missing() {
        let vectors = read(r#"{"data":[{"embedding":[1]},{"embedding":[2]}],"usage":null}"#, 2).unwrap();
        assert_eq!((vectors.values, vectors.tokens), (vec![1.0, 2.0], 0));
    }

    #[test]
    fn servers_that_do_not_count_keep_the_order() {
        let json = r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}],"error":null}"#;
        assert_eq!(read(json, 2).unwrap().values, [1.0, 2.0]);
    }

    #[test]
    fn base64_is_read() {
        let vectors = read(r#"{"data":[{"index":0,"embedding":"AACAPwAAAMA="}]}"#, 1).unwrap();
        assert_eq!(vectors.values, [1.0, -2.0]);
    }

    #[test]
    fn everything_else_is_an_error() {
        for (json, count) in [
            ("", 1),
            ("<html></html>", 1),
            ("null", 1),
            ("{}", 1),
            (r#"{"data":null}"#, 1),
            (r#"{"data":[]}"#, 1),
            (r#"{"data":[{}]}"#, 1),
            (r#"{"data":[{"embedding":[]}]}"#, 1),
            (r#"{"data":[{"embedding":null}]}"#, 1),
            (r#"{"data":[{"embedding":[1,null]}]}"#, 1),
            (r#"{"data":[{"embedding":[1,"2"]}]}"#, 1),
            (r#"{"data":[{"embedding":[[1,2]]}]}"#, 1),
            (r#"{"data":[{"embedding":[1e300]}]}"#, 1),
            (r#"{"data":[{"embedding":[1e999]}]}"#, 1),
            (r#"{"data":[{"embedding":[NaN]}]}"#, 1),
            (r#"{"data":[{"embedding":"not base64!"}]}"#, 1),
            (r#"{"data":[{"embedding":"AAA="}]}"#, 1),
            (r#"{"data":[{"embedding":"AADAfw=="}]}"#, 1),
            (r#"{"data":[{"embedding":[1]}],"data":[{"embedding":[1]}]}"#, 2),
            (r#"{"data":[{"embedding":[1,2]},{"embedding":[1]}]}"#, 2),
            (r#"{"data":[{"embedding":[1]}]}"#, 2),
            (r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#, 1),
            (r#"{"data":[{"index":1,"embedding":[1]},{"index":1,"embedding":[2]}]}"#, 2),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]},{"index":1,"embedding":[2]}]}"#, 3),
            (r#"{"data":[{"index":0,"embedding":[1]}],"error":{"message":"no"}}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[2]}]}"#, 2),
            (r#"{"data":[{"index":-1,"embedding":[1]}]}"#, 1),
            (r#"{"data":[{"index":0,"embedding":[1]"#, 1),
            (r#"{"error":{"message":"no"}}"#, 1),
        ] {
            assert!(read(json, count).is_err(), "{json}");
        }
    }
}
