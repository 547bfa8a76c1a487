//! The words of a text, within the limits of a tsvector.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc};

use super::{
    Language, Lexeme, TextWords,
    language::{Analyzer, Form},
    split::{Kind, Token, split},
};

/// Maximum position, a limit of tsvector.
const MAX_POSITION: usize = 16_383;
/// Maximum positions of a lexeme, a limit of tsvector.
const MAX_POSITIONS: usize = 256;
/// Maximum bytes of a tsvector's lexemes and positions. Postgres allows 1,048,575; the rest is margin.
const MAX_TSVECTOR: usize = 1_000_000;
/// Maximum bytes of a word that is remembered for the next texts.
const MAX_REMEMBERED: usize = 64;
/// A vocabulary with more entries is forgotten before the next text.
const MAX_VOCABULARY: usize = 65_536;

/// Makes the words of texts, one after the other. It remembers what the words of one text become, because the next text
/// has most of them too, and to look a word up is much faster than to fold and stem it.
#[derive(Default)]
pub(crate) struct TextAnalyzer(HashMap<Language, Vocabulary>);

impl TextAnalyzer {
    /// The words of a text in a language.
    pub(crate) fn words(&mut self, text: &str, language: Language) -> TextWords {
        let vocabulary = self.0.entry(language).or_insert_with(|| Vocabulary::new(language));
        if vocabulary.lexemes.len().max(vocabulary.words.len()) > MAX_VOCABULARY {
            *vocabulary = Vocabulary::new(language);
        }
        let mut words = Words::new(text, vocabulary);
        let _ = split(text, |token| {
            words.add(token);
            ControlFlow::Continue(())
        });
        let (lexemes, count, is_cut) = words.finish();
        TextWords { lexemes, count, language, is_cut }
    }
}

/// The words of a language that were met, and what they become.
struct Vocabulary {
    analyzer: Analyzer,
    /// By words as texts have them.
    words: HashMap<Box<str>, Known>,
    ids: HashMap<Arc<str>, u32>,
    /// By their ids.
    lexemes: Vec<MetLexeme>,
}

/// What becomes of a word.
#[derive(Clone, Copy)]
enum Known {
    StopWord,
    Lexeme { id: u32, is_cut: bool },
}

struct MetLexeme {
    text: Arc<str>,
    /// Where the current text keeps its positions.
    slot: Option<u32>,
}

impl Vocabulary {
    fn new(language: Language) -> Self {
        Self { analyzer: Analyzer::new(language), words: HashMap::new(), ids: HashMap::new(), lexemes: Vec::new() }
    }

    fn look_up(&mut self, word: &str, is_whole: bool) -> Known {
        if let Some(known) = self.words.get(word) {
            return *known;
        }
        let known = match if is_whole { self.analyzer.whole(word) } else { self.analyzer.word(word) } {
            Form::StopWord => Known::StopWord,
            Form::Lexeme(text) => Known::Lexeme { id: self.id(text), is_cut: false },
            Form::Cut(text) => Known::Lexeme { id: self.id(text), is_cut: true },
        };
        if word.len() <= MAX_REMEMBERED {
            self.words.insert(word.into(), known);
        }
        known
    }

    fn id(&mut self, lexeme: String) -> u32 {
        if let Some(id) = self.ids.get(lexeme.as_str()) {
            return *id;
        }
        let id = self.lexemes.len() as u32;
        let text: Arc<str> = lexeme.into();
        self.ids.insert(Arc::clone(&text), id);
        self.lexemes.push(MetLexeme { text, slot: None });
        id
    }
}

/// Collects the words of a text.
struct Words<'a> {
    text: &'a str,
    vocabulary: &'a mut Vocabulary,
    /// The lexemes of the text, by their ids, with their positions.
    slots: Vec<(u32, Vec<u16>)>,
    /// Position of the word before.
    position: usize,
    count: u32,
    /// Size of the tsvector.
    bytes: usize,
    /// No lexeme is added any more.
    is_full: bool,
    is_cut: bool,
}

impl<'a> Words<'a> {
    fn new(text: &'a str, vocabulary: &'a mut Vocabulary) -> Self {
        Self { text, vocabulary, slots: Vec::new(), position: 0, count: 0, bytes: 0, is_full: false, is_cut: false }
    }

    fn add(&mut self, token: Token) {
        let is_whole = matches!(token.kind, Kind::Whole | Kind::Suffixed);
        if !is_whole {
            self.position += 1;
        }
        if token.kind == Kind::Contraction && self.vocabulary.analyzer.drops_contractions() {
            return;
        }
        let word = &self.text[token.start..token.end];
        // The vocabulary does not grow by what a text has no room for.
        if self.is_full && !self.vocabulary.words.contains_key(word) {
            self.count += u32::from(!is_whole && !self.vocabulary.analyzer.is_stop_word(word));
            return;
        }
        let Known::Lexeme { id, is_cut } = self.vocabulary.look_up(word, is_whole) else { return };
        self.count += u32::from(!is_whole);
        if let Some(slot) = self.slot(id) {
            self.is_cut |= is_cut;
            // A whole comes before its first part.
            self.place(slot, self.position + usize::from(is_whole));
        }
    }

    /// Where the positions of a lexeme are. None: there is no room for it.
    fn slot(&mut self, id: u32) -> Option<usize> {
        let lexeme = &self.vocabulary.lexemes[id as usize];
        if let Some(slot) = lexeme.slot {
            return Some(slot as usize);
        }
        // Padding to an even length, the number of positions, and the first of them.
        if !self.fits(lexeme.text.len().next_multiple_of(2) + 4) {
            return None;
        }
        let slot = self.slots.len();
        self.vocabulary.lexemes[id as usize].slot = Some(slot as u32);
        self.slots.push((id, Vec::new()));
        Some(slot)
    }

    fn place(&mut self, slot: usize, position: usize) {
        self.is_cut |= position > MAX_POSITION;
        let position = position.min(MAX_POSITION) as u16;
        let positions = &self.slots[slot].1;
        if positions.last() == Some(&position) {
            return;
        }
        if positions.len() >= MAX_POSITIONS {
            self.is_cut = true;
        } else if positions.is_empty() || self.fits(2) {
            self.slots[slot].1.push(position);
        }
    }

    /// Takes that many more bytes of the tsvector, if it has them.
    fn fits(&mut self, bytes: usize) -> bool {
        if self.is_full || self.bytes + bytes > MAX_TSVECTOR {
            self.is_full = true;
            self.is_cut = true;
            return false;
        }
        self.bytes += bytes;
        true
    }

    /// The lexemes, the number of words, and whether something was left out.
    fn finish(self) -> (Vec<Lexeme>, u32, bool) {
        let met = &mut self.vocabulary.lexemes;
        let lexeme = |(id, positions): (u32, Vec<u16>)| {
            let lexeme = &mut met[id as usize];
            lexeme.slot = None;
            Lexeme { text: Arc::clone(&lexeme.text), positions }
        };
        let mut lexemes: Vec<Lexeme> = self.slots.into_iter().map(lexeme).collect();
        lexemes.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        (lexemes, self.count, self.is_cut)
    }
}
