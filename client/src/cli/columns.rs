//! The columns of a table of documents, one for each name in `--fields`.

use pgfox_client::v1;
use prost_types::value::Kind;

use super::{
    json,
    output::{self, Align},
};

/// The columns for the requested fields.
pub(crate) struct Columns {
    /// Parts of the metadata with their titles. An empty path means the whole.
    metadata: Vec<(String, Vec<String>)>,
    has_text: bool,
    /// No fields were named.
    is_default: bool,
}

impl Columns {
    /// The columns for `--fields`. If it is empty, the text.
    pub(crate) fn of(fields: &[String]) -> Self {
        let metadata = fields.iter().filter_map(|field| match field.as_str() {
            "metadata" => Some(("METADATA".to_owned(), Vec::new())),
            field => field.strip_prefix("metadata.").map(|path| (path.to_uppercase(), read_path(path))),
        });
        let has_text = fields.is_empty() || fields.iter().any(|field| field == "text");
        Self { metadata: metadata.collect(), has_text, is_default: fields.is_empty() }
    }

    /// The headers, with the text last.
    pub(crate) fn header(&self) -> Vec<(&str, Align)> {
        let text = self.has_text.then_some(("TEXT", Align::Left));
        self.metadata.iter().map(|(title, _)| (title.as_str(), Align::Left)).chain(text).collect()
    }

    /// The cells of the metadata of a document.
    pub(crate) fn cells(&self, document: &v1::Document, columns: usize) -> Vec<String> {
        let show = |(_, path): &(String, Vec<String>)| {
            let text = document.metadata.as_ref().map(|metadata| find(metadata, path)).unwrap_or_default();
            output::cell(&text, columns)
        };
        self.metadata.iter().map(show).collect()
    }

    /// The text of a document or of its chunk, if it is shown.
    pub(crate) fn text(&self, document: &v1::Document, chunk: Option<&v1::Chunk>) -> Option<String> {
        if !self.has_text {
            return None;
        }
        if let Some(chunk) = chunk.filter(|chunk| !chunk.text.trim().is_empty()) {
            return Some(chunk.text.clone());
        }
        Some(match &document.metadata {
            // Documents with own vectors often have no text. Their metadata then show what was found.
            Some(metadata) if self.is_default && document.text.trim().is_empty() => {
                json::metadata(metadata).to_string()
            }
            _ => document.text.clone(),
        })
    }
}

/// The keys of a path, separated by dots. A key in double quotes may contain dots.
fn read_path(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut is_quoted = false;
    for c in path.chars() {
        match (c, keys.last_mut()) {
            ('"', _) => is_quoted = !is_quoted,
            ('.', _) if !is_quoted => keys.push(String::new()),
            (c, Some(key)) => key.push(c),
            (_, None) => {}
        }
    }
    keys
}

/// The value at a path as a text. Empty if there is none.
fn find(metadata: &prost_types::Struct, path: &[String]) -> String {
    let Some((key, rest)) = path.split_first() else { return json::metadata(metadata).to_string() };
    match (metadata.fields.get(key).and_then(|value| value.kind.as_ref()), rest) {
        (None | Some(Kind::NullValue(_)), _) => String::new(),
        (Some(Kind::StringValue(text)), []) => text.clone(),
        (Some(Kind::StructValue(inner)), rest) => find(inner, rest),
        (Some(kind), []) => json::value(&prost_types::Value { kind: Some(kind.clone()) }).to_string(),
        (Some(_), _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_into_objects() {
        assert_eq!(read_path("author.name"), ["author", "name"]);
        assert_eq!(read_path("author.\"first.name\""), ["author", "first.name"]);
        let value = |kind| prost_types::Value { kind: Some(kind) };
        let inner = prost_types::Struct { fields: [("n".to_owned(), value(Kind::NumberValue(1.0)))].into() };
        let outer = prost_types::Struct { fields: [("a".to_owned(), value(Kind::StructValue(inner)))].into() };
        for (path, text) in [("a.n", "1"), ("a", "{\"n\":1}"), ("b", ""), ("a.n.x", "")] {
            assert_eq!(find(&outer, &read_path(path)), text, "{path}");
        }
    }
}
