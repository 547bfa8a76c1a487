//! The rules for the chunking of a collection.

use pgfox::v1;

use super::{Violation, Violations};
use crate::{
    chunk::CHARACTERS_PER_TOKEN,
    embed::TokenCounter,
    store::{ChunkMethod, ChunkUnit, Chunking},
};

const FIELD: &str = "collection.chunking";

/// Minimum and default size of a chunk.
const CHARACTERS: (usize, usize) = (100, 1_000);
const TOKENS: (usize, usize) = (16, 512);

/// Maximum number of tokens of a chunk if the server does not know how many the model reads: as many as OpenAI's
/// models.
const MAX_TOKENS_UNKNOWN: usize = 8_191;

/// A chunking that follows the rules of every model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkingSpec {
    method: ChunkMethod,
    unit: Option<ChunkUnit>,
    max_size: Option<usize>,
    overlap: usize,
    embed_headings: bool,
}

/// Reads a chunking. `None` if texts are not split.
pub(crate) fn read(
    violations: &mut Violations,
    chunking: Option<v1::Chunking>,
    has_model: bool,
) -> Option<ChunkingSpec> {
    let chunking = chunking?;
    let v1::Chunking { method, unit, max_size, overlap, embed_headings } = chunking;
    let unit = match v1::ChunkUnit::try_from(unit) {
        Ok(v1::ChunkUnit::Unspecified) => None,
        Ok(v1::ChunkUnit::Characters) => Some(ChunkUnit::Characters),
        Ok(v1::ChunkUnit::Tokens) => Some(ChunkUnit::Tokens),
        Err(_) => {
            violations.push(Violation::new(format!("{FIELD}.unit"), "must be a ChunkUnit"));
            None
        }
    };
    let method = match v1::ChunkingMethod::try_from(method) {
        Ok(v1::ChunkingMethod::Text) => ChunkMethod::Text,
        Ok(v1::ChunkingMethod::Markdown) => ChunkMethod::Markdown,
        Ok(v1::ChunkingMethod::Unspecified | v1::ChunkingMethod::None) => {
            let rule = "must be CHUNKING_METHOD_TEXT or CHUNKING_METHOD_MARKDOWN if other fields of chunking are set";
            let alone = (chunking.unit, max_size, overlap) == (0, 0, 0) && embed_headings != Some(true);
            violations.check(alone, &format!("{FIELD}.method"), rule);
            return None;
        }
        Err(_) => {
            violations.push(Violation::new(format!("{FIELD}.method"), "must be a ChunkingMethod"));
            return None;
        }
    };
    let has_headings = method == ChunkMethod::Markdown;
    let rule = "must be false or absent with CHUNKING_METHOD_TEXT: only CHUNKING_METHOD_MARKDOWN knows headings";
    violations.check(has_headings || embed_headings != Some(true), &format!("{FIELD}.embed_headings"), rule);
    let embed_headings = embed_headings.unwrap_or(has_headings);
    violations.check(has_model, FIELD, "needs a model: without one the caller sends the vector of each document");
    let mut size = |name: &str, size: i32| {
        let rule = format!("must not be negative, as {size} is");
        violations.check(size >= 0, &format!("{FIELD}.{name}"), &rule);
        usize::try_from(size).unwrap_or_default()
    };
    let max_size = Some(size("max_size", max_size)).filter(|size| *size > 0);
    Some(ChunkingSpec { method, unit, max_size, overlap: size("overlap", overlap), embed_headings })
}

/// Fills in the defaults and applies the rules of a model. `readable` is what it reads beside the prefix of documents.
pub(crate) fn complete(
    spec: &ChunkingSpec,
    model: &str,
    counter: Option<&TokenCounter>,
    document_prefix: &str,
) -> Result<Chunking, Violations> {
    let unit = spec.unit.unwrap_or(if counter.is_some() { ChunkUnit::Tokens } else { ChunkUnit::Characters });
    let readable = match counter {
        Some(counter) if document_prefix.is_empty() => counter.max_tokens(),
        Some(counter) => counter.max_tokens().saturating_sub(counter.count(document_prefix)),
        None if unit == ChunkUnit::Tokens => {
            let rule = format!(
                "must be CHUNK_UNIT_CHARACTERS: the server knows only the tokenizers of local models and of OpenAI's \
                 own models, not that of \"{model}\""
            );
            return Err(Violation::new(format!("{FIELD}.unit"), rule).into());
        }
        None => MAX_TOKENS_UNKNOWN,
    };
    let (name, (least, usual), most) = match unit {
        ChunkUnit::Characters => ("characters", CHARACTERS, readable * CHARACTERS_PER_TOKEN),
        ChunkUnit::Tokens => ("tokens", TOKENS, readable),
    };
    let mut violations = Violations::default();
    let max_size = spec.max_size.unwrap_or(usual.min(most));
    if most < least {
        let rule = format!(
            "is impossible: beside the prefix the model reads {readable} tokens, less than the minimum chunk of \
             {least} {name}"
        );
        violations.push(Violation::new(FIELD, rule));
    } else if !(least..=most).contains(&max_size) {
        let limit = if counter.is_some() { ", because the model reads no more" } else { "" };
        let rule = format!("must be {least} to {most} {name}{limit}, not {max_size}");
        violations.push(Violation::new(format!("{FIELD}.max_size"), rule));
    }
    if spec.overlap > max_size / 2 {
        let rule = format!("must be 0 to {}, half of max_size, not {}", max_size / 2, spec.overlap);
        violations.push(Violation::new(format!("{FIELD}.overlap"), rule));
    }
    violations.finish()?;
    Ok(Chunking { method: spec.method, unit, max_size, overlap: spec.overlap, embed_headings: spec.embed_headings })
}

/// The chunking of a collection, with its defaults filled in.
pub(crate) fn to_message(chunking: Option<Chunking>) -> v1::Chunking {
    let Some(Chunking { method, unit, max_size, overlap, embed_headings }) = chunking else {
        return v1::Chunking { method: v1::ChunkingMethod::None.into(), ..Default::default() };
    };
    let embed_headings = (method == ChunkMethod::Markdown).then_some(embed_headings);
    let method = match method {
        ChunkMethod::Text => v1::ChunkingMethod::Text,
        ChunkMethod::Markdown => v1::ChunkingMethod::Markdown,
    };
    let unit = match unit {
        ChunkUnit::Characters => v1::ChunkUnit::Characters,
        ChunkUnit::Tokens => v1::ChunkUnit::Tokens,
    };
    // Sizes are at most 8 times the number of tokens that a model reads.
    v1::Chunking {
        method: method.into(),
        unit: unit.into(),
        max_size: max_size as i32,
        overlap: overlap as i32,
        embed_headings,
    }
}
