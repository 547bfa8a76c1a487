//! Documents whose text, metadata and vector contain the same number, so that a mix of two states is visible.

use pgfox::v1;
use prost_types::{Struct, Value, value::Kind as Json};

pub(crate) const DIMENSIONS: usize = 16;
/// The model of the provider of the soak.
pub(crate) const MODEL: &str = "openai/fixed-soak";
/// Maximum number of paragraphs of a document with chunks.
const MAX_PARAGRAPHS: u64 = 4;

/// The collections that are written to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Store {
    /// Callers send vectors.
    Points,
    /// Texts are embedded.
    Texts,
    /// Texts are embedded in chunks.
    Passages,
}

impl Store {
    pub(crate) const ALL: [Self; 3] = [Self::Points, Self::Texts, Self::Passages];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Points => "points",
            Self::Texts => "texts",
            Self::Passages => "passages",
        }
    }

    pub(crate) fn collection(self) -> v1::Collection {
        let model = if self == Self::Points { String::new() } else { MODEL.to_owned() };
        let dimensions = if self == Self::Points { DIMENSIONS as i32 } else { 0 };
        let chunking = (self == Self::Passages).then(|| v1::Chunking {
            method: v1::ChunkingMethod::Text.into(),
            unit: v1::ChunkUnit::Characters.into(),
            max_size: 100,
            overlap: 0,
            embed_headings: None,
        });
        v1::Collection {
            name: self.name().to_owned(),
            embedding: Some(v1::Embedding { model, dimensions, ..Default::default() }),
            chunking,
            ..Default::default()
        }
    }

    /// The text of a document. Each chunk of it says which document and number it belongs to.
    pub(crate) fn text(self, id: &str, number: u64) -> String {
        let paragraph =
            |i: u64| format!("Document {id} holds number {number} in paragraph {i}, as all of its others do.");
        let paragraphs = if self == Self::Passages { 1 + number % MAX_PARAGRAPHS } else { 1 };
        (0..paragraphs).map(paragraph).collect::<Vec<_>>().join("\n\n")
    }

    pub(crate) fn document(self, id: &str, number: u64) -> v1::Document {
        let group = group(id);
        let fields = [("number", Json::NumberValue(number as f64)), ("group", Json::StringValue(group.to_owned()))];
        let vector = (self == Self::Points).then(|| v1::Vector { values: vector(id, number) });
        v1::Document {
            id: id.to_owned(),
            text: self.text(id, number),
            vector,
            metadata: Some(object(fields)),
            ..Default::default()
        }
    }

    /// The state that a stored document shows.
    pub(crate) fn read(self, document: &v1::Document) -> Result<State, String> {
        let fields = document.metadata.as_ref().map(|metadata| &metadata.fields);
        let number = |name: &str| match fields?.get(name)?.kind {
            Some(Json::NumberValue(number)) => Some(number as u64),
            _ => None,
        };
        let state = State { number: number("number").ok_or("its metadata has no number")?, mark: number("mark") };
        if document.text != self.text(&document.id, state.number) {
            return Err(format!("its metadata says {}, its text {:?}", state.number, document.text));
        }
        if let Some(found) = &document.vector
            && !is_near(&found.values, &vector(&document.id, state.number))
        {
            return Err(format!("its metadata says {}, its vector is another one", state.number));
        }
        Ok(state)
    }
}

/// A difference between two states of a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct State {
    pub(crate) number: u64,
    /// Set by UpdateMetadata.
    pub(crate) mark: Option<u64>,
}

/// The documents of an id up to its last "-" belong together.
pub(crate) fn group(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(group, _)| group)
}

pub(crate) fn object<const N: usize>(fields: [(&str, Json); N]) -> Struct {
    let fields = fields.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
    Struct { fields: fields.into_iter().collect() }
}

/// The documents of a group.
pub(crate) fn in_group(group: &str) -> v1::Filter {
    let equals = Value { kind: Some(Json::StringValue(group.to_owned())) };
    let test = v1::condition::Test::Equals(equals);
    let condition = v1::Condition { field: "group".to_owned(), test: Some(test), ignore_case: false };
    v1::Filter { node: Some(v1::filter::Node::Condition(condition)) }
}

/// The vector of a number of a document.
pub(crate) fn vector(id: &str, number: u64) -> Vec<f32> {
    let bytes = id.bytes().chain(number.to_le_bytes());
    let mut state =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(DIMENSIONS).collect()
}

/// The vector that the text of a document or of a chunk of one has; `None` for half of one.
pub(crate) fn embed(text: &str) -> Option<Vec<f32>> {
    if !text.contains("Document") {
        // The server asks for the dimensions by a text of its own.
        return Some(vector(text, 0));
    }
    let (id, rest) = text.split_once("Document ")?.1.split_once(" holds number ")?;
    let number = rest.split_once(' ')?.0.parse().ok()?;
    Some(vector(id, number))
}

/// A document with chunks returns the mean of equal vectors, which rounds.
pub(crate) fn is_near(left: &[f32], right: &[f32]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| (left - right).abs() < 1e-5)
}
