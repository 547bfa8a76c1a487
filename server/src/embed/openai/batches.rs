//! Divides texts into requests as large as the provider accepts, and finds refused texts by halving.

use std::sync::atomic::Ordering;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Call, OpenAi, PROBE,
    failure::{Failure, Kind},
    reply::Vectors,
};
use crate::{
    blocking::blocking,
    embed::{EmbedError, Embeddings, Model, Purpose, TokenCounter},
};

/// How often a text is cut to a limit that the provider states. Tokens are not spread evenly over a text, so one cut
/// may not be enough.
const MAX_CUTS: usize = 8;

impl OpenAi {
    /// Embeds non-empty texts with the model `name`, in as many requests as the limits require. The result names the
    /// texts that the provider refuses.
    pub(in crate::embed) async fn embed(
        &self,
        name: &str,
        model: &Model,
        texts: &[&str],
        purpose: Purpose,
    ) -> Result<Embeddings, EmbedError> {
        let call = Call::new(name, model.ask_dimensions.then_some(model.dimensions), purpose);
        let beginnings = beginnings(name, texts).await?;
        // A loop, because a closure would make the future not Send.
        let mut calls = Vec::new();
        for batch in batches(&beginnings, self.0.batch_size.texts(), self.0.config.max_batch_bytes) {
            calls.push(self.embed_batch(&call, model, batch));
        }
        let mut parts = stream::iter(calls).buffered(self.0.config.concurrency);

        let mut embeddings = Embeddings {
            values: Vec::with_capacity(texts.len() * model.dimensions),
            truncated: Vec::with_capacity(texts.len()),
            ..Embeddings::default()
        };
        while let Some(part) = parts.try_next().await? {
            embeddings.append(part);
        }
        for ((truncated, text), beginning) in embeddings.truncated.iter_mut().zip(texts).zip(&beginnings) {
            *truncated |= beginning.len() < text.len();
        }
        Ok(embeddings)
    }

    /// Embeds a batch. A refused batch is halved until it is clear which texts the provider refuses, or that their
    /// number was the reason. This takes at most two requests per text.
    async fn embed_batch(&self, call: &Call<'_>, model: &Model, batch: &[&str]) -> Result<Embeddings, EmbedError> {
        let mut embeddings = Embeddings::default();
        let mut most_passed = 0;
        let mut todo = vec![batch]; // the last one is next
        while let Some(part) = todo.pop() {
            match self.request_checked(call, model, part).await {
                Ok(vectors) => {
                    most_passed = most_passed.max(part.len());
                    embeddings.append(vectors.into_embeddings(part.len()));
                }
                Err(Rejected::Texts(failure)) => {
                    if let [text] = part {
                        embeddings.append(self.embed_refused(call, model, text, failure).await?);
                    } else {
                        let (first, second) = part.split_at(part.len() / 2);
                        todo.extend([second, first]);
                    }
                }
                Err(Rejected::Error(error)) => return Err(error),
            }
        }
        if most_passed == batch.len() {
            self.0.batch_size.passed(batch.len());
        } else if embeddings.cut.is_empty() && embeddings.refused.is_empty() {
            // All of them passed in the end, so their number was the reason.
            self.0.batch_size.learn(most_passed);
        }
        Ok(embeddings)
    }

    /// If the provider states a limit, embeds as much of the beginning of a refused text as fits.
    async fn embed_refused(
        &self,
        call: &Call<'_>,
        model: &Model,
        text: &str,
        mut failure: Failure,
    ) -> Result<Embeddings, EmbedError> {
        let mut beginning = text;
        for _ in 0..MAX_CUTS {
            let Some(bytes) = failure.tokens.and_then(|limit| limit.bytes_of(beginning.len())) else {
                break;
            };
            beginning = cut(beginning, bytes);
            if beginning.trim().is_empty() {
                break;
            }
            match self.request_checked(call, model, &[beginning]).await {
                Ok(vectors) => {
                    let embeddings = vectors.into_embeddings(1);
                    return Ok(Embeddings { truncated: vec![true], cut: vec![(0, beginning.len())], ..embeddings });
                }
                Err(Rejected::Texts(refused)) => failure = refused,
                Err(Rejected::Error(error)) => return Err(error),
            }
        }
        if !self.takes_others(call, model).await? {
            return Err(self.embed_error(call, failure));
        }
        let why = failure.describe_text(&self.0.url, call.model);
        tracing::warn!(why, "a text could not be embedded");
        Ok(Embeddings {
            values: vec![0.0; model.dimensions],
            tokens: 0,
            truncated: vec![false],
            cut: Vec::new(),
            refused: vec![(0, why)],
        })
    }

    /// Whether the provider embeds other texts. If not, it refuses the call, not the text.
    async fn takes_others(&self, call: &Call<'_>, model: &Model) -> Result<bool, EmbedError> {
        if call.is_answered.load(Ordering::Relaxed) {
            return Ok(true);
        }
        match self.request_checked(call, model, &[PROBE]).await {
            Ok(_) => Ok(true),
            Err(Rejected::Texts(_)) => Ok(false),
            Err(Rejected::Error(error)) => Err(error),
        }
    }

    /// Sends one request and checks the dimensions of its vectors.
    async fn request_checked(&self, call: &Call<'_>, model: &Model, texts: &[&str]) -> Result<Vectors, Rejected> {
        match self.request(call, texts).await {
            Ok(vectors) if vectors.dimensions != model.dimensions => Err(Rejected::Error(EmbedError::Dimensions {
                model: model.name.clone(),
                expected: model.dimensions,
                actual: vectors.dimensions,
            })),
            Ok(vectors) => {
                call.is_answered.store(true, Ordering::Relaxed);
                Ok(vectors)
            }
            Err(failure) if failure.kind == Kind::Texts => Err(Rejected::Texts(failure)),
            Err(failure) => Err(Rejected::Error(self.embed_error(call, failure))),
        }
    }
}

/// Why a request returned no vectors.
enum Rejected {
    /// Fewer or other texts may succeed.
    Texts(Failure),
    Error(EmbedError),
}

/// The part of each text that the model reads if its tokenizer is known, else the whole text.
async fn beginnings<'t>(name: &str, texts: &[&'t str]) -> Result<Vec<&'t str>, EmbedError> {
    let mut beginnings = texts.to_vec();
    let Some(counter) = TokenCounter::openai(name) else {
        return Ok(beginnings);
    };
    // A token has at least one byte.
    let long = texts.iter().enumerate().filter(|(_, text)| text.len() > counter.max_tokens());
    let long: Vec<(usize, String)> = long.map(|(index, text)| (index, (*text).to_owned())).collect();
    if long.is_empty() {
        return Ok(beginnings);
    }
    let measure = move || -> Vec<(usize, usize)> {
        long.into_iter().map(|(index, text)| (index, counter.beginning(&text).len())).collect()
    };
    for (index, bytes) in blocking(measure).await? {
        beginnings[index] = &texts[index][..bytes];
    }
    Ok(beginnings)
}

/// Divides texts into runs of at most `max_texts` texts and `max_bytes` bytes. A text above `max_bytes` is alone.
fn batches<'b, 't>(texts: &'b [&'t str], max_texts: usize, max_bytes: usize) -> Vec<&'b [&'t str]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (end, text) in texts.iter().enumerate() {
        if end > start && (end - start == max_texts || bytes + text.len() > max_bytes) {
            batches.push(&texts[start..end]);
            (start, bytes) = (end, 0);
        }
        bytes += text.len();
    }
    if start < texts.len() {
        batches.push(&texts[start..]);
    }
    batches
}

/// The beginning of a text, at most `bytes` long, without splitting a character.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_order_and_bounds() {
        let texts = ["aa", "b", "cccc", "dddddddd", "e", "f", "g"];
        let batches = batches(&texts, 2, 5);
        assert_eq!(batches, [&["aa", "b"][..], &["cccc"], &["dddddddd"], &["e", "f"], &["g"]]);
        assert!(super::batches(&[], 2, 5).is_empty());
    }

    #[test]
    fn cuts_between_characters() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        assert_eq!(cut("aäb", 100), "aäb");
        assert_eq!(cut("ä", 1), "");
    }
}
