//! The languages: their stemmers and stop words.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use snowball_stemmers_rs::{Algorithm, Stemmer};

use super::fold;

/// Declares the languages with their names, Snowball stemmers and stop words.
macro_rules! languages {
    ($($language:ident $name:literal $(stop $file:literal)?),+ $(,)?) => {
        /// How words are stemmed, and which of them are stop words. Words in Latin letters of a language of another
        /// script are English.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Language {
            /// Neither stems nor stop words.
            Simple,
            $($language,)+
        }

        impl Language {
            /// Every language.
            pub(crate) const ALL: &[Self] = &[Self::Simple, $(Self::$language),+];

            /// By its name, such as `english`: the names of Postgres's own text search configurations.
            pub(crate) fn from_name(name: &str) -> Option<Self> {
                match name {
                    "simple" => Some(Self::Simple),
                    $($name => Some(Self::$language),)+
                    _ => None,
                }
            }

            pub(crate) fn name(self) -> &'static str {
                match self {
                    Self::Simple => "simple",
                    $(Self::$language => $name,)+
                }
            }

            fn stemmer(self) -> Option<Stemmer> {
                match self {
                    Self::Simple => None,
                    $(Self::$language => Some(Stemmer::create(Algorithm::$language)),)+
                }
            }

            /// One a line.
            fn stop_list(self) -> &'static str {
                match self {
                    $($(Self::$language => include_str!(concat!("stop_words/", $file)),)?)+
                    _ => "",
                }
            }
        }
    };
}

languages! {
    Arabic "arabic",
    Armenian "armenian",
    Basque "basque",
    Catalan "catalan",
    Danish "danish" stop "danish.stop",
    Dutch "dutch" stop "dutch.stop",
    English "english" stop "english.stop",
    Estonian "estonian",
    Finnish "finnish" stop "finnish.stop",
    French "french" stop "french.stop",
    German "german" stop "german.stop",
    Greek "greek",
    Hindi "hindi",
    Hungarian "hungarian" stop "hungarian.stop",
    Indonesian "indonesian",
    Irish "irish",
    Italian "italian" stop "italian.stop",
    Lithuanian "lithuanian",
    Nepali "nepali" stop "nepali.stop",
    Norwegian "norwegian" stop "norwegian.stop",
    Portuguese "portuguese" stop "portuguese.stop",
    Romanian "romanian",
    Russian "russian" stop "russian.stop",
    Serbian "serbian",
    Spanish "spanish" stop "spanish.stop",
    Swedish "swedish" stop "swedish.stop",
    Tamil "tamil",
    Turkish "turkish" stop "turkish.stop",
    Yiddish "yiddish",
}

impl Language {
    /// Words in Latin letters are English, as in Postgres.
    fn has_other_script(self) -> bool {
        matches!(
            self,
            Self::Arabic
                | Self::Armenian
                | Self::Greek
                | Self::Hindi
                | Self::Nepali
                | Self::Russian
                | Self::Tamil
                | Self::Yiddish
        )
    }

    /// The stop words, in small letters.
    pub(super) fn stop_words(self) -> &'static HashSet<&'static str> {
        static LISTS: LazyLock<HashMap<Language, HashSet<&'static str>>> = LazyLock::new(|| {
            let list = |language: &Language| language.stop_list().split_whitespace().collect();
            Language::ALL.iter().map(|language| (*language, list(language))).collect()
        });
        &LISTS[&self]
    }
}

/// Maximum bytes of a lexeme, a limit of tsvector.
const MAX_LEXEME: usize = 2_046;
/// Longer words are cut before anything else is done with them. Some letters become shorter by the case folding.
const MAX_WORD: usize = 4 * MAX_LEXEME;
/// Longer words are not stemmed: nobody writes them, and the time of a stemmer can grow with the square of the length.
const MAX_STEMMED: usize = 256;

/// What becomes of a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    Lexeme(String),
    /// It was too long.
    Cut(String),
    StopWord,
}

/// Makes lexemes of words.
pub(super) struct Analyzer {
    language: Language,
    stemmer: Option<Stemmer>,
    stop_words: &'static HashSet<&'static str>,
    /// For words in Latin letters.
    latin: Option<Box<Self>>,
}

impl Analyzer {
    pub(super) fn new(language: Language) -> Self {
        Self {
            language,
            stemmer: language.stemmer(),
            stop_words: language.stop_words(),
            latin: language.has_other_script().then(|| Box::new(Self::new(Language::English))),
        }
    }

    /// The form of a word as it is written in the text.
    pub(super) fn word(&self, word: &str) -> Form {
        let (word, is_cut) = cut(word, MAX_WORD);
        if let Some(latin) = &self.latin
            && word.is_ascii()
        {
            return latin.word(word);
        }
        let folded = fold::case(word, self.language);
        if self.stop_words.contains(folded.as_str()) {
            return Form::StopWord;
        }
        form(self.stem(folded), is_cut)
    }

    pub(super) fn is_stop_word(&self, word: &str) -> bool {
        match &self.latin {
            Some(latin) if word.is_ascii() => latin.is_stop_word(word),
            // No stop word is longer.
            _ => word.len() <= 64 && self.stop_words.contains(fold::case(word, self.language).as_str()),
        }
    }

    /// The form of a compound as a whole, which is neither stemmed nor a stop word.
    pub(super) fn whole(&self, compound: &str) -> Form {
        form(fold::accents(fold::case(compound, self.language), self.language), false)
    }

    /// `t` of `don't`, `s` of `it's` and the like are stop words.
    pub(super) fn drops_contractions(&self) -> bool {
        self.language == Language::English || self.latin.is_some()
    }

    fn stem(&self, folded: String) -> String {
        let Some(stemmer) = &self.stemmer else { return fold::accents(folded, self.language) };
        // The stemmers of these languages know no accents. Those of others need them.
        let folded = match self.language {
            Language::English | Language::Greek | Language::Indonesian => fold::accents(folded, self.language),
            _ => folded,
        };
        if folded.len() > MAX_STEMMED || folded.chars().any(char::is_numeric) {
            return fold::accents(folded, self.language);
        }
        let stem = fold::accents(stemmer.stem(&folded).into_owned(), self.language);
        // Nothing is left of some words that are endings themselves.
        if stem.is_empty() { fold::accents(folded, self.language) } else { stem }
    }
}

fn form(mut text: String, was_cut: bool) -> Form {
    let (_, is_cut) = cut(&text, MAX_LEXEME);
    text.truncate(text.floor_char_boundary(MAX_LEXEME));
    if text.is_empty() {
        // Marks and nothing else.
        Form::StopWord
    } else if was_cut || is_cut {
        Form::Cut(text)
    } else {
        Form::Lexeme(text)
    }
}

/// At most `max` bytes, and whether they are not all.
fn cut(text: &str, max: usize) -> (&str, bool) {
    let end = text.floor_char_boundary(max);
    (&text[..end], end < text.len())
}
