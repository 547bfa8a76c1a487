//! Which field of a record becomes what: one rule for JSON, CSV and Parquet.

use pgfox_client::v1::Document;
use prost_types::{Struct, Value};

use super::Flaw;

/// Names that a vector often has; a list of numbers under such a name is not taken for metadata unasked.
const VECTOR_NAMES: [&str; 6] = ["embedding", "embeddings", "vector", "vectors", "values", "vec"];

/// How the fields of JSON documents, and the columns of CSV and Parquet, are called.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) id: String,
    /// What becomes the text, joined by spaces.
    pub(crate) texts: Vec<String>,
    pub(crate) vector: String,
    /// The fields that become metadata. None: every other one.
    pub(crate) metadata: Option<Vec<String>>,
}

impl Default for Names {
    fn default() -> Self {
        Self { id: "id".to_owned(), texts: vec!["text".to_owned()], vector: "vector".to_owned(), metadata: None }
    }
}

/// What a field becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Id,
    /// One of `Names::texts`.
    Text(usize),
    Vector,
    Metadata,
    LeftOut,
}

impl Names {
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

    /// Whether a field of the metadata was asked for.
    pub(super) fn takes(&self, name: &str) -> bool {
        self.metadata.as_ref().is_none_or(|picked| picked.iter().any(|field| field == name))
    }

    /// Refuses to take for metadata what is likely the vector.
    pub(super) fn check_list(&self, name: &str) -> Result<(), Flaw> {
        if self.metadata.is_none() && VECTOR_NAMES.contains(&name) {
            return Err(Flaw::new(format!(
                "the field `{name}` looks like the vector: add --vector-field {name}, or name the fields that are \
                 metadata with --metadata-fields"
            )));
        }
        Ok(())
    }

    /// Refuses the columns of a file that lack the id, or both the text and the vector.
    pub(super) fn check_columns(&self, columns: &[&str], is_numbered: bool) -> Result<(), Flaw> {
        let has = |name: &str| columns.contains(&name);
        let list = columns.join(", ");
        if !has(&self.id) && !is_numbered {
            return Err(Flaw::new(format!(
                "there is no column `{}`, only: {list}; --id-field names the one with the ids, and \
                 --number-records does without",
                self.id
            )));
        }
        let missing = self.texts.iter().find(|name| !has(name));
        // Own vectors need no text, unless the user asked for one.
        if let Some(missing) = missing.filter(|_| self.texts.len() > 1 || !has(&self.vector)) {
            return Err(Flaw::new(format!(
                "there is neither a column `{missing}` nor `{}`, only: {list}; --text-fields names those with the texts",
                self.vector
            )));
        }
        let twice = columns.iter().enumerate().find_map(|(i, name)| columns[..i].contains(name).then_some(name));
        if let Some(twice) = twice {
            return Err(Flaw::new(format!("the column `{twice}` is there twice: rename one of them")));
        }
        Ok(())
    }
}

/// A document that is being put together.
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

    /// Whether a field of the text was there, be it empty.
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

/// The parts of a text that are not empty, with a space between them.
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
