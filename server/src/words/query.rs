//! What a query looks for.

use std::ops::ControlFlow;

use super::{
    Language, MAX_QUERY_WORDS, Pattern, Piece, Step, Syntax, Term,
    language::{Analyzer, Form},
    split::{Kind, split},
};

/// Longer runs of a script without spaces are sentences: their words count, but not that they follow each other.
const MAX_RUN: usize = 4;

/// The pieces of a query that have a word, at most [`MAX_QUERY_WORDS`] words.
///
/// Under [`Syntax::Operators`] a text in double quotes, also curly ones, is a phrase; a quote right behind a letter or
/// digit, or without a second one, is punctuation. A single `-` at the beginning or after white space excludes what
/// follows, if that is
/// - a phrase, or
/// - a word that does not look like an option of a command: it begins with at least three letters that have one of
///   `a e i o u y` among them, or with letters of which one is not ASCII.
///
/// So `fox -dog` and `狐 -狗` exclude, `tar -xvf`, `ls -l`, `docker run --rm -it` and `error -1073741819` do not, and
/// `-"xvf"` always does. Where nothing would be left, as in `-dog`, nothing is excluded: that looks for `dog`.
pub(crate) fn pieces(query: &str, syntax: Syntax) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut words_left = MAX_QUERY_WORDS;
    let mut rest = query.trim_start();
    let mut is_start = true;
    while !rest.is_empty() && words_left > 0 {
        let piece = match syntax {
            Syntax::Plain => Read { length: end_of_word(rest), text: &rest[..end_of_word(rest)], ..Read::default() },
            Syntax::Operators => read(rest, is_start),
        };
        if let Some(text) = first_words(piece.text, &mut words_left) {
            let Read { is_phrase, is_excluded, .. } = piece;
            pieces.push(Piece { text: text.to_owned(), is_phrase, is_excluded });
        }
        let behind = &rest[piece.length..];
        rest = behind.trim_start();
        is_start = rest.len() < behind.len();
    }
    if pieces.iter().all(|piece| piece.is_excluded) {
        for piece in &mut pieces {
            piece.is_excluded = false;
        }
    }
    pieces
}

/// A piece as it was read, `length` bytes with its operators.
#[derive(Default)]
struct Read<'a> {
    length: usize,
    text: &'a str,
    is_phrase: bool,
    is_excluded: bool,
}

/// The first piece of `rest`. `is_start`: it follows white space or nothing.
fn read(rest: &str, is_start: bool) -> Read<'_> {
    let excluded = if is_start { rest.strip_prefix('-') } else { None };
    if let Some((text, length)) = excluded.and_then(phrase) {
        return Read { length: 1 + length, text, is_phrase: true, is_excluded: true };
    }
    if let Some((text, length)) = phrase(rest) {
        return Read { length, text, is_phrase: true, is_excluded: false };
    }
    // A phrase may also begin right behind punctuation or a letter of a script without spaces.
    let mut before = '"';
    let length = rest
        .char_indices()
        .find(|(_, c)| {
            let is_end = c.is_whitespace() || is_quote(*c) && !is_quote(before) && !is_attached(before);
            before = *c;
            is_end
        })
        .map_or(rest.len(), |(at, _)| at);
    match excluded.filter(|word| !looks_like_option(word)) {
        Some(_) => Read { length, text: &rest[1..length], is_phrase: false, is_excluded: true },
        None => Read { length, text: &rest[..length], is_phrase: false, is_excluded: false },
    }
}

/// The text of the phrase that `rest` begins with, and its bytes with the quotes.
fn phrase(rest: &str) -> Option<(&str, usize)> {
    let open = rest.chars().next().filter(|c| is_quote(*c))?;
    let inside = &rest[open.len_utf8()..];
    let (end, close) = inside.char_indices().find(|(_, c)| is_quote(*c))?;
    Some((&inside[..end], open.len_utf8() + end + close.len_utf8()))
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '“' | '”' | '„' | '‟' | '＂')
}

/// A quote behind it is a sign for inches or the like.
fn is_attached(c: char) -> bool {
    c.is_ascii_alphanumeric()
}

fn looks_like_option(word: &str) -> bool {
    let letters = || word.chars().take_while(|c| c.is_alphabetic());
    if letters().any(|c| !c.is_ascii()) {
        return false;
    }
    letters().count() < 3 || !letters().any(|c| "aeiouy".contains(c.to_ascii_lowercase()))
}

fn end_of_word(rest: &str) -> usize {
    rest.find(char::is_whitespace).unwrap_or(rest.len())
}

/// The text up to its last word that is left, and takes its words off. None: it has no word.
fn first_words<'a>(text: &'a str, words_left: &mut usize) -> Option<&'a str> {
    let mut count = 0;
    let mut end = 0;
    let is_cut = split(text, |token| {
        if matches!(token.kind, Kind::Whole | Kind::Suffixed) {
            return ControlFlow::Continue(());
        }
        if count == *words_left {
            return ControlFlow::Break(());
        }
        count += 1;
        end = token.end;
        ControlFlow::Continue(())
    })
    .is_break();
    *words_left -= count;
    (count > 0).then(|| if is_cut { &text[..end] } else { text })
}

/// What pieces of a query look for, each term once. A word that is excluded, or in double quotes, is one term: a phrase
/// of its parts where it has several. Other words give
/// - themselves; the parts of a compound, and the compound as a whole if it has a digit, as part numbers and versions have,
///   or if its parts are stop words. Others as a whole are so rare that they would outweigh all else: without them Cisi's
///   nDCG@10 is 0.414 instead of 0.406, and Medline's 0.694 instead of 0.682;
/// - in scripts without spaces, for runs of two to four words, also the phrase of them.
///
/// Stop words are left out and make gaps in phrases. With several languages a word is looked for in the forms of each.
pub(crate) fn of_pieces<'a>(pieces: impl IntoIterator<Item = &'a Piece>, languages: &[Language]) -> Vec<Term> {
    let analyzers: Vec<_> = languages.iter().copied().map(Analyzer::new).collect();
    let mut terms = Vec::new();
    for piece in pieces {
        let words = words(&piece.text, &analyzers);
        if piece.is_phrase || piece.is_excluded {
            together(&words).into_iter().for_each(|pattern| count_term(&mut terms, pattern));
            continue;
        }
        let has_parts = words.iter().any(|word| word.kind != Kind::Whole && !word.any.is_empty());
        for word in words.iter().filter(|word| !word.any.is_empty()) {
            if word.kind != Kind::Whole || is_code(word) || !has_parts {
                count_term(&mut terms, Pattern::Word(word.any.clone()));
            }
        }
        for run in words.chunk_by(|_, next| next.kind == Kind::Unspaced { is_first: false }) {
            // A run of which only one word is not a stop word was counted above.
            if matches!(run[0].kind, Kind::Unspaced { .. })
                && (2..=MAX_RUN).contains(&run.len())
                && let Some(phrase @ Pattern::Phrase(_)) = together(run)
            {
                count_term(&mut terms, phrase);
            }
        }
    }
    terms
}

/// Adds a term, or counts it once more.
pub(crate) fn count_term(terms: &mut Vec<Term>, pattern: Pattern) {
    match terms.iter_mut().find(|term| term.pattern == pattern) {
        Some(term) => term.count += 1,
        None => terms.push(Term { pattern, count: 1 }),
    }
}

/// A word of a piece.
struct Word {
    kind: Kind,
    position: u16,
    /// Its forms in the languages. Empty: a stop word in each.
    any: Vec<String>,
}

/// Whether a compound is something like a part number, which is looked for as a whole.
fn is_code(word: &Word) -> bool {
    word.any.iter().any(|form| form.contains(char::is_numeric))
}

fn words(text: &str, analyzers: &[Analyzer]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut position = 0;
    let _ = split(text, |token| {
        let is_whole = matches!(token.kind, Kind::Whole | Kind::Suffixed);
        position += u16::from(!is_whole);
        let mut any = Vec::new();
        for analyzer in analyzers {
            if token.kind == Kind::Contraction && analyzer.drops_contractions() {
                continue;
            }
            let word = &text[token.start..token.end];
            match if is_whole { analyzer.whole(word) } else { analyzer.word(word) } {
                Form::Lexeme(form) | Form::Cut(form) if !any.contains(&form) => any.push(form),
                _ => {}
            }
        }
        words.push(Word { kind: token.kind, position: position + u16::from(is_whole), any });
        ControlFlow::Continue(())
    });
    words
}

/// All words together: their parts as a phrase, the only one as a word, or a compound that has only stop words.
fn together(words: &[Word]) -> Option<Pattern> {
    let mut parts: Vec<&Word> = Vec::new();
    for word in words.iter().filter(|word| word.kind != Kind::Whole && !word.any.is_empty()) {
        // `c++` stands for its `c`.
        if parts.last().is_none_or(|last| last.position != word.position) {
            parts.push(word);
        }
    }
    match parts[..] {
        [] => words.iter().find(|word| !word.any.is_empty()).map(|word| Pattern::Word(word.any.clone())),
        [word] => Some(Pattern::Word(word.any.clone())),
        _ => {
            let distances = parts.windows(2).map(|pair| pair[1].position - pair[0].position);
            let steps = std::iter::once(0).chain(distances).zip(&parts);
            Some(Pattern::Phrase(steps.map(|(distance, part)| Step { distance, any: part.any.clone() }).collect()))
        }
    }
}
