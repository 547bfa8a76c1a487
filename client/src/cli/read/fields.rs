//! Maps the fields of a record to the parts of a document: one rule for JSON, CSV and Parquet.

use pgfox_client::v1::Document;
use prost_types::{Struct, Value};

use super::Flaw;

/// Usual names of a vector. A list of numbers under such a name does not become metadata unless the user asks for it.
const VECTOR_NAMES: [&str; 6] = ["embedding", "embeddings", "vector", "vectors", "values", "vec"];

/// The names of the fields of JSON documents, and of the columns of CSV and Parquet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) id: String,
    /// The fields that become the text, joined by spaces.
    pub(crate) texts: Vec<String>,
    pub(crate) vector: String,
    /// The fields that become metadata. `None`: all others.
    pub(crate) metadata: Option<Vec<String>>,
}

impl Default for Names {
    fn default() -> Self {
        Self { id: "id".to_owned(), texts: vec!["text".to_owned()], vector: "vector".to_owned(), metadata: None }
    }
}

/// The part of a document that a field becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Id,
    /// An element of `Names::texts`.
    Text(usize),
    Vector,
    Metadata,
    LeftOut,
}

impl Names {
    pub(super) fn are_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn role(&self, name: &str) -> Role {
        if name == self.id {
            Role::Id
        } else if let Some(i) = self.texts.iter().position(|text| text == name) {
            Role::Text(i)
        } else if name == self.vector {
            Role::Vector
        } else if self.takes(name) {
            Role::Metadata
        } else {
            Role::LeftOut
        }
    }

    /// Whether a metadata field is wanted.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.metadata.as_ref().is_none_or(|picked| picked.iter().any(|field| field == name))
    }

    /// Refuses a field as metadata if it is probably the vector.
    pub(super) fn check_list(&self, name: &str) -> Result<(), Flaw> {
        if self.metadata.is_none() && VECTOR_NAMES.contains(&name) {
            return Err(Flaw::new(format!(
                "the field `{name}` looks like the vector: add --vector-field {name}, or name the metadata fields \
                 with --metadata-fields"
            )));
        }
        Ok(())
    }

    /// Refuses a file whose columns lack the id, or both the text and the vector.
    pub(super) fn check_columns(&self, columns: &[&str], is_numbered: bool) -> Result<(), Flaw> {
        let has = |name: &str| columns.contains(&name);
        let list = columns.join(", ");
        if !has(&self.id) && !is_numbered {
            return Err(Flaw::new(format!(
                "the file has no column `{}`, only: {list}; name the column with the ids with --id-field, or add \
                 --number-records",
                self.id
            )));
        }
        let missing = self.texts.iter().find(|name| !has(name));
        // Documents with own vectors need no text, unless the user asked for one.
        if let Some(missing) = missing.filter(|_| self.texts.len() > 1 || !has(&self.vector)) {
            return Err(Flaw::new(format!(
                "the file has neither a column `{missing}` nor `{}`, only: {list}; name the columns with the texts \
                 with --text-fields",
                self.vector
            )));
        }
        let twice = columns.iter().enumerate().find_map(|(i, name)| columns[..i].contains(name).then_some(name));
        if let Some(twice) = twice {
            return Err(Flaw::new(format!("the column `{twice}` occurs twice: rename one of them")));
        }
        Ok(())
    }
}

/// A document that is being built.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) document: Document,
    texts: Vec<Option<String>>,
    metadata: Struct,
}

impl Draft {
    pub(super) fn new(names: &Names) -> Self {
        Self { texts: vec![None; names.texts.len()], ..Self::default() }
    }

    pub(super) fn set_text(&mut self, i: usize, text: String) {
        self.texts[i] = Some(text);
    }

    /// Whether a text field was present, even if it was empty.
    pub(super) fn has_text(&self) -> bool {
        self.texts.iter().any(Option::is_some)
    }

    pub(super) fn set_metadata(&mut self, name: String, value: Value) -> Result<(), Flaw> {
        if self.metadata.fields.contains_key(&name) {
            return Err(Flaw::new(format!("the metadata has the field `{name}` twice")));
        }
        self.metadata.fields.insert(name, value);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Document {
        self.document.text = join(self.texts.into_iter().flatten());
        self.document.metadata = (!self.metadata.fields.is_empty()).then_some(self.metadata);
        self.document
    }
}

/// The parts of a text that are not empty, joined by spaces.
fn join(parts: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for part in parts.filter(|part| !part.is_empty()) {
        if text.is_empty() {
            text = part;
        } else {
            text.push(' ');
            text.push_str(&part);
        }
    }
    text
}
