//! The settings of a new collection: the flags of `collections create` and `ingest --create`.

use clap::{Args, ValueEnum};
use pgfox_client::v1;

use crate::cli::{failure::Failure, output};

/// The settings of a new collection. For a missing flag the server uses its default.
#[derive(Args, Default)]
#[command(next_help_heading = "Collection")]
pub(crate) struct Settings {
    /// Model that turns text into vectors: openai/<model> or local/<name> [default: the server's; none if --dimensions
    /// is given without --model]
    #[arg(long)]
    model: Option<String>,
    /// Elements per vector; without --model the collection has no model, and you send your own vectors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=16_000))]
    dimensions: Option<i32>,
    /// Distance of two vectors [server's default: l2]
    #[arg(long)]
    distance: Option<Distance>,
    /// Storage of vectors [server's default: vector up to 2,000 dimensions, halfvec above]
    #[arg(long)]
    vector_type: Option<VectorType>,
    /// Prefix for the text of every query, for models that need one, such as "query: "
    #[arg(long, value_name = "TEXT", requires = "model")]
    query_prefix: Option<String>,
    /// Prefix for the text of every document, for models that need one, such as "passage: "
    #[arg(long, value_name = "TEXT", requires = "model")]
    document_prefix: Option<String>,
    /// How to split long texts into chunks [server's default: none]
    #[arg(long, value_name = "METHOD")]
    chunking: Option<Chunking>,
    /// Maximum size of a chunk, in characters or tokens [server's default: 1,000 characters, or up to 512 tokens]
    #[arg(long, value_name = "N", requires = "chunking", value_parser = clap::value_parser!(i32).range(1..))]
    chunk_size: Option<i32>,
    /// Unit of the sizes of chunks [server's default: tokens if it can count those of the model, else characters]
    #[arg(long, value_name = "UNIT", requires = "chunking")]
    chunk_unit: Option<ChunkUnit>,
    /// Maximum number of characters or tokens that a chunk repeats of the previous one [server's default: 0]
    #[arg(long, value_name = "N", requires = "chunking", value_parser = clap::value_parser!(i32).range(0..))]
    chunk_overlap: Option<i32>,
    /// Embed the headings above each Markdown chunk together with it [server's default for markdown]
    #[arg(long, requires = "chunking", overrides_with = "no_embed_headings")]
    embed_headings: bool,
    /// Embed each Markdown chunk without the headings above it
    #[arg(long, requires = "chunking", overrides_with = "embed_headings")]
    no_embed_headings: bool,
    /// Language of the texts for full-text search: a name such as german; auto to detect it for each document; simple
    /// for neither stems nor stop words; or a text search configuration of the database [server's default: english]
    #[arg(long, value_name = "NAME")]
    language: Option<String>,
    #[command(flatten)]
    ranking: Ranking,
    /// Index over metadata: gin, or FIELD:number, FIELD:string, FIELD:time, FIELD:boolean or FIELD:string_list; can be
    /// repeated [server's default: gin]
    #[arg(long, value_name = "INDEX", value_parser = metadata_index)]
    metadata_index: Vec<v1::MetadataIndex>,
    /// Additional name of the collection, an alias; can be repeated
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
}

/// The settings of ranking in full-text search.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct Ranking {
    /// How much repetitions of a word count in full-text search (BM25), 0 to 10 [server's default: 1.2]
    #[arg(long, value_name = "NUMBER", value_parser = |text: &str| number(text, 10.0))]
    pub(super) k1: Option<f32>,
    /// How much the length of a text counts in full-text search (BM25), 0 to 1 [server's default: 0.75]
    #[arg(long, value_name = "NUMBER", value_parser = |text: &str| number(text, 1.0))]
    pub(super) b: Option<f32>,
}

fn number(text: &str, most: f32) -> Result<f32, String> {
    let number = text.parse().ok().filter(|number| (0.0..=most).contains(number));
    number.ok_or_else(|| format!("must be a number from 0 to {most}"))
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Distance {
    /// Euclidean distance
    L2,
    /// 1 - cosine similarity
    Cosine,
    /// Negative inner product
    #[value(alias = "inner-product")]
    Ip,
    /// Taxicab distance
    L1,
}

#[derive(Clone, Copy, ValueEnum)]
enum VectorType {
    /// 4-byte floats
    Vector,
    /// 2-byte floats: half the size
    Halfvec,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Chunking {
    /// Not at all: if a text is longer than the model reads, its vector covers only the beginning
    None,
    /// Between paragraphs, else between sentences, words or characters
    Text,
    /// Like text, but between the sections, blocks and list items of Markdown first
    Markdown,
}

#[derive(Clone, Copy, ValueEnum)]
enum ChunkUnit {
    /// Unicode characters
    Characters,
    /// Tokens of the model's own tokenizer
    Tokens,
}

/// Parses `gin`, or a field and the type of its index.
pub(super) fn metadata_index(text: &str) -> Result<v1::MetadataIndex, String> {
    let wrong = || {
        "write gin or FIELD:TYPE, such as year:number; TYPE is one of number, string, time, boolean, string_list"
            .to_owned()
    };
    if text == "gin" {
        return Ok(v1::MetadataIndex { field: String::new(), r#type: v1::MetadataIndexType::Gin.into() });
    }
    let (field, kind) = text.rsplit_once(':').ok_or_else(wrong)?;
    let kind = match kind {
        "number" => v1::MetadataIndexType::Number,
        "string" => v1::MetadataIndexType::String,
        "time" => v1::MetadataIndexType::Time,
        "boolean" => v1::MetadataIndexType::Boolean,
        "string_list" => v1::MetadataIndexType::StringList,
        _ => return Err(wrong()),
    };
    if field.is_empty() {
        return Err(wrong());
    }
    Ok(v1::MetadataIndex { field: field.to_owned(), r#type: kind.into() })
}

impl From<Distance> for v1::Distance {
    fn from(distance: Distance) -> Self {
        match distance {
            Distance::L2 => Self::L2,
            Distance::Cosine => Self::Cosine,
            Distance::Ip => Self::InnerProduct,
            Distance::L1 => Self::L1,
        }
    }
}

impl From<VectorType> for v1::VectorType {
    fn from(vector_type: VectorType) -> Self {
        match vector_type {
            VectorType::Vector => Self::Vector,
            VectorType::Halfvec => Self::Halfvec,
        }
    }
}

impl Settings {
    pub(crate) fn is_empty(&self) -> bool {
        self.to_collection("") == v1::Collection::default()
    }

    pub(crate) fn to_collection(&self, name: &str) -> v1::Collection {
        let embedding = (self.model.is_some() || self.dimensions.is_some()).then(|| v1::Embedding {
            model: self.model.clone().unwrap_or_default(),
            dimensions: self.dimensions.unwrap_or(0),
            query_prefix: self.query_prefix.clone().unwrap_or_default(),
            document_prefix: self.document_prefix.clone().unwrap_or_default(),
        });
        let chunking = self.chunking.map(|method| v1::Chunking {
            method: match method {
                Chunking::None => v1::ChunkingMethod::None,
                Chunking::Text => v1::ChunkingMethod::Text,
                Chunking::Markdown => v1::ChunkingMethod::Markdown,
            }
            .into(),
            unit: match self.chunk_unit {
                None => v1::ChunkUnit::Unspecified,
                Some(ChunkUnit::Characters) => v1::ChunkUnit::Characters,
                Some(ChunkUnit::Tokens) => v1::ChunkUnit::Tokens,
            }
            .into(),
            max_size: self.chunk_size.unwrap_or(0),
            overlap: self.chunk_overlap.unwrap_or(0),
            embed_headings: (self.embed_headings || self.no_embed_headings).then_some(self.embed_headings),
        });
        v1::Collection {
            name: name.to_owned(),
            embedding,
            chunking,
            text_search_language: self.language.clone().unwrap_or_default(),
            full_text: (self.ranking.k1.is_some() || self.ranking.b.is_some()).then(|| v1::FullText {
                k1: self.ranking.k1,
                b: self.ranking.b,
                ..Default::default()
            }),
            metadata_indexes: self.metadata_index.clone(),
            aliases: self.alias.clone(),
            distance: self.distance.map_or(0, |distance| v1::Distance::from(distance).into()),
            vector_type: self.vector_type.map_or(0, |vector_type| v1::VectorType::from(vector_type).into()),
            ..Default::default()
        }
    }

    /// Refuses an existing collection whose settings differ from these.
    pub(crate) fn check(&self, actual: &v1::Collection) -> Result<(), Failure> {
        let wanted = self.to_collection(&actual.name);
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: String, actual: String| {
            if expected != actual {
                differences.push(format!("{what} {actual} instead of {expected}"));
            }
        };
        if let Some(wanted) = &wanted.embedding {
            let actual = actual.embedding.clone().unwrap_or_default();
            let model = |name: &str| {
                if name.is_empty() { "none".to_owned() } else { name.to_owned() }
            };
            compare("model", model(&wanted.model), model(&actual.model));
            if wanted.dimensions > 0 {
                compare("dimensions", wanted.dimensions.to_string(), actual.dimensions.to_string());
            }
            if self.query_prefix.is_some() {
                compare("query prefix", format!("{:?}", wanted.query_prefix), format!("{:?}", actual.query_prefix));
            }
            if self.document_prefix.is_some() {
                compare(
                    "document prefix",
                    format!("{:?}", wanted.document_prefix),
                    format!("{:?}", actual.document_prefix),
                );
            }
        }
        if self.distance.is_some() {
            compare("distance", distance_name(wanted.distance()), distance_name(actual.distance()));
        }
        if self.vector_type.is_some() {
            compare("vector type", vector_type_name(wanted.vector_type()), vector_type_name(actual.vector_type()));
        }
        if let Some(wanted) = &wanted.chunking {
            let actual = actual.chunking.unwrap_or_default();
            let has_chunks = |chunking: &v1::Chunking| {
                !matches!(chunking.method(), v1::ChunkingMethod::None | v1::ChunkingMethod::Unspecified)
            };
            let method =
                |chunking: &v1::Chunking| if has_chunks(chunking) { method_name(chunking) } else { "none".to_owned() };
            compare("chunking", method(wanted), method(&actual));
            if self.chunk_unit.is_some() {
                compare("chunk unit", unit_name(wanted), unit_name(&actual));
            }
            if self.chunk_size.is_some() {
                compare("chunk size", wanted.max_size.to_string(), actual.max_size.to_string());
            }
            if self.chunk_overlap.is_some() {
                compare("chunk overlap", wanted.overlap.to_string(), actual.overlap.to_string());
            }
            if wanted.embed_headings.is_some() {
                let headings = |chunking: &v1::Chunking| {
                    (if chunking.embed_headings() { "embedded" } else { "not embedded" }).to_owned()
                };
                compare("headings", headings(wanted), headings(&actual));
            }
        }
        if self.language.is_some() {
            let actual = actual.text_search_language.clone();
            compare("language", wanted.text_search_language.clone(), actual);
        }
        let full_text = actual.full_text.clone().unwrap_or_default();
        for (what, wanted, actual) in [("k1", self.ranking.k1, full_text.k1), ("b", self.ranking.b, full_text.b)] {
            if let Some(wanted) = wanted {
                compare(what, wanted.to_string(), actual.unwrap_or_default().to_string());
            }
        }
        for index in wanted.metadata_indexes.iter().filter(|index| !actual.metadata_indexes.contains(index)) {
            differences.push(format!("no metadata index {}", metadata_index_name(index)));
        }
        for alias in wanted.aliases.iter().filter(|alias| !actual.aliases.contains(alias)) {
            differences.push(format!("no alias {alias}"));
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(Failure::refused(format!("the collection {} exists with {}", actual.name, differences.join(", ")))
            .with_hint("leave the flags out to use it as it is, or take another name"))
    }
}

pub(super) fn distance_name(distance: v1::Distance) -> String {
    output::short_name(distance.as_str_name(), "DISTANCE_")
}

pub(super) fn vector_type_name(vector_type: v1::VectorType) -> String {
    output::short_name(vector_type.as_str_name(), "VECTOR_TYPE_")
}

fn method_name(chunking: &v1::Chunking) -> String {
    output::short_name(chunking.method().as_str_name(), "CHUNKING_METHOD_")
}

fn unit_name(chunking: &v1::Chunking) -> String {
    output::short_name(chunking.unit().as_str_name(), "CHUNK_UNIT_")
}

/// The chunking on one line, such as "markdown, 256 tokens, 32 repeated, with headings".
pub(super) fn chunking_name(chunking: Option<&v1::Chunking>) -> String {
    let Some(chunking) = chunking
        .filter(|chunking| !matches!(chunking.method(), v1::ChunkingMethod::None | v1::ChunkingMethod::Unspecified))
    else {
        return "none".to_owned();
    };
    let overlap = if chunking.overlap > 0 { format!(", {} repeated", chunking.overlap) } else { String::new() };
    let headings = if chunking.embed_headings() { ", with headings" } else { "" };
    format!("{}, {} {}{overlap}{headings}", method_name(chunking), chunking.max_size, unit_name(chunking))
}

/// The settings of ranking on one line, such as "k1 1.2, b 0.75".
pub(super) fn full_text_name(full_text: &v1::FullText) -> String {
    let progress = if full_text.progress < 1.0 {
        format!(", {:.0} % of the words are of this version of pgfox", (full_text.progress * 100.0).floor())
    } else {
        String::new()
    };
    format!("k1 {}, b {}{progress}", full_text.k1(), full_text.b())
}

/// The fields that have codes, and how far these are made, such as "year:number, 40 % made".
pub(super) fn codes_name(codes: &v1::Codes) -> String {
    let fields: Vec<String> = codes.fields.iter().map(metadata_index_name).collect();
    let fields = if fields.is_empty() { "of all vectors".to_owned() } else { fields.join(", ") };
    match codes.progress {
        ..1.0 => format!("{fields}, {:.0} % made", (codes.progress * 100.0).floor()),
        _ => fields,
    }
}

/// A metadata index in the form of `--metadata-index`.
pub(super) fn metadata_index_name(index: &v1::MetadataIndex) -> String {
    if index.field.is_empty() {
        return "gin".to_owned();
    }
    // As `metadata_index` reads it.
    let kind = output::short_name(index.r#type().as_str_name(), "METADATA_INDEX_TYPE_").replace(' ', "_");
    format!("{}:{kind}", index.field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn films() -> v1::Collection {
        v1::Collection {
            name: "films".into(),
            embedding: Some(v1::Embedding { model: "local/a".into(), dimensions: 384, ..Default::default() }),
            distance: v1::Distance::L2.into(),
            vector_type: v1::VectorType::Vector.into(),
            ..Default::default()
        }
    }

    #[test]
    fn settings_that_fit_or_say_nothing() {
        Settings::default().check(&films()).unwrap();
        let same = Settings { model: Some("local/a".into()), distance: Some(Distance::L2), ..Settings::default() };
        same.check(&films()).unwrap();
    }

    #[test]
    fn settings_that_differ_are_named_with_both_values() {
        let other = Settings { dimensions: Some(512), distance: Some(Distance::Cosine), ..Settings::default() };
        let message = format!("{:?}", other.check(&films()).unwrap_err());
        for part in ["model local/a instead of none", "dimensions 384 instead of 512", "distance l2 instead of cosine"]
        {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
    }

    #[test]
    fn chunking_and_indexes_that_differ_are_named_too() {
        let chunking = v1::Chunking {
            method: v1::ChunkingMethod::Markdown.into(),
            unit: v1::ChunkUnit::Tokens.into(),
            max_size: 256,
            overlap: 32,
            embed_headings: Some(true),
        };
        let actual = v1::Collection {
            chunking: Some(chunking),
            text_search_language: "german".into(),
            metadata_indexes: vec![metadata_index("gin").unwrap()],
            aliases: vec!["movies".into()],
            ..films()
        };
        let same = Settings {
            chunking: Some(Chunking::Markdown),
            chunk_size: Some(256),
            embed_headings: true,
            language: Some("german".into()),
            metadata_index: vec![metadata_index("gin").unwrap()],
            alias: vec!["movies".into()],
            ..Settings::default()
        };
        same.check(&actual).unwrap();
        let message = format!("{:?}", same.check(&films()).unwrap_err());
        for part in ["chunking none instead of markdown", "no metadata index gin", "no alias movies"] {
            assert!(message.contains(part), "{part:?} is not in {message}");
        }
        assert_eq!(chunking_name(actual.chunking.as_ref()), "markdown, 256 tokens, 32 repeated, with headings");
        let without = Settings { embed_headings: false, no_embed_headings: true, ..same };
        let message = format!("{:?}", without.check(&actual).unwrap_err());
        assert!(message.contains("headings embedded instead of not embedded"), "{message}");
        let none = Settings { chunking: Some(Chunking::None), ..Settings::default() };
        none.check(&films()).unwrap();
        assert!(!none.is_empty() && Settings::default().is_empty());
    }

    #[test]
    fn ranking_that_differs_is_named_and_shown() {
        let full_text = v1::FullText { language: "english".into(), k1: Some(1.2), b: Some(0.5), progress: 1.0 };
        let actual = v1::Collection { full_text: Some(full_text.clone()), ..films() };
        let settings = |k1, b| Settings { ranking: Ranking { k1, b }, ..Settings::default() };
        settings(Some(1.2), Some(0.5)).check(&actual).unwrap();
        let message = format!("{:?}", settings(Some(2.0), None).check(&actual).unwrap_err());
        assert!(message.contains("k1 1.2 instead of 2"), "{message}");
        assert_eq!(full_text_name(&full_text), "k1 1.2, b 0.5");
        let old = full_text_name(&v1::FullText { progress: 0.999, ..full_text });
        assert_eq!(old, "k1 1.2, b 0.5, 99 % of the words are of this version of pgfox");
    }

    #[test]
    fn codes_are_shown_with_their_progress() {
        let fields = vec![metadata_index("year:number").unwrap(), metadata_index("genres:string_list").unwrap()];
        assert_eq!(codes_name(&v1::Codes { fields, progress: 1.0 }), "year:number, genres:string_list");
        assert_eq!(codes_name(&v1::Codes { fields: Vec::new(), progress: 0.456 }), "of all vectors, 45 % made");
    }

    #[test]
    fn metadata_indexes() {
        for text in ["gin", "year:number", "author.name:string", "\"a:b\":time", "seen:boolean", "genres:string_list"] {
            assert_eq!(metadata_index_name(&metadata_index(text).unwrap()), text);
        }
        for bad in ["", "year", "year:", ":number", "year:date", "gin:number:"] {
            assert!(metadata_index(bad).is_err(), "{bad:?} was accepted");
        }
    }
}
