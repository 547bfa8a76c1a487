//! The words of the texts of a request, made away from the threads that answer calls.

use std::{ops::Range, sync::Arc};

use super::{CheckedRequest, task::Task};
use crate::{
    blocking::blocking,
    error::Error,
    store::ChunkWords,
    words::{TextAnalyzer, TextLanguage},
};

/// Maximum bytes of texts whose words are made on the current thread, because moving to another thread would cost more.
const SMALL: usize = 4 * 1024;

/// The words of parts of a document, with their positions among its chunks.
pub(super) type DocumentWords = Vec<(usize, ChunkWords)>;
/// Positions of parts of a document.
type Parts = Vec<(usize, Range<usize>)>;

/// Makes the words of all texts that are written and have none yet, for each task by its position. Makes none if
/// Postgres makes them.
pub(super) fn make(
    request: &CheckedRequest,
    tasks: &[Task<'_>],
) -> impl Future<Output = Result<Vec<(usize, DocumentWords)>, Error>> + use<> {
    // An attached collection has no words.
    let language = request.collection.words.language().filter(|_| request.table.is_none());
    let wanted = tasks.iter().map(Task::texts_without_words).enumerate().filter(|(_, texts)| !texts.is_empty());
    let wanted: Vec<(usize, Parts)> = if language.is_some() { wanted.collect() } else { Vec::new() };
    let documents = Arc::clone(&request.documents);
    async move {
        let Some(language) = language else { return Ok(Vec::new()) };
        let bytes: usize = wanted.iter().flat_map(|(_, texts)| texts).map(|(_, range)| range.len()).sum();
        let make = move || {
            let mut analyzer = TextAnalyzer::default();
            let of_task = |(task, texts): (usize, Parts)| {
                (task, of_document(&documents[task].text, texts, language, &mut analyzer))
            };
            wanted.into_iter().map(of_task).collect()
        };
        if bytes > SMALL { Ok(blocking(make).await?) } else { Ok(make()) }
    }
}

/// The words of parts of a document, all by the language of the whole document.
fn of_document(text: &str, parts: Parts, language: TextLanguage, analyzer: &mut TextAnalyzer) -> DocumentWords {
    let language = language.of(text);
    parts.into_iter().map(|(part, range)| (part, ChunkWords::of_text(&text[range], language, analyzer))).collect()
}
