//! Compares strings without case, by the full case folding of Unicode, whatever the locale of the database.
//!
//! Postgres folds letters by its locale; for the locale C that means ASCII only. So the server says which letters
//! become which, and Postgres only replaces them. It names only the letters that become a letter of the wanted strings.
//! Any other letter makes a string differ from the wanted ones, folded or not.

use std::{collections::HashSet, sync::LazyLock};

use tokio_postgres::types::Type;
use unicase::UniCase;

use crate::store::wire::Parameters;

/// No letter from here on has another case.
const LETTERS_END: char = '\u{20000}';

/// The letters beyond ASCII that folding changes, and their results.
static FOLDED: LazyLock<Vec<(char, String)>> = LazyLock::new(|| {
    let letters = ('\u{80}'..LETTERS_END).map(|letter| (letter, fold(letter.encode_utf8(&mut [0; 4]))));
    letters.filter(|(letter, folded)| !folded.chars().eq([*letter])).collect()
});

fn fold(text: &str) -> String {
    UniCase::unicode(text).to_folded_case()
}

/// The wanted strings, folded, and how to make other strings comparable to them.
pub(super) struct Folding {
    /// Sorted, without repetitions.
    pub(super) wanted: Vec<String>,
    /// Letters that become a single letter, and those letters.
    from: String,
    to: String,
    /// Letters that become several letters, and those letters.
    long_from: Vec<String>,
    long_to: Vec<String>,
}

impl Folding {
    pub(super) fn of<'s>(strings: impl IntoIterator<Item = &'s String>) -> Self {
        let mut wanted: Vec<String> = strings.into_iter().map(|string| fold(string)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let letters: HashSet<char> = wanted.iter().flat_map(|string| string.chars()).collect();
        let mut folding =
            Self { wanted, from: String::new(), to: String::new(), long_from: Vec::new(), long_to: Vec::new() };
        for (letter, folded) in FOLDED.iter().filter(|(_, folded)| folded.chars().any(|c| letters.contains(&c))) {
            if folded.chars().nth(1).is_none() {
                folding.from.push(*letter);
                folding.to.push_str(folded);
            } else {
                folding.long_from.push(letter.to_string());
                folding.long_to.push(folded.clone());
            }
        }
        folding
    }

    /// The SQL for a string that is compared with the wanted ones.
    pub(super) fn sql(&self, string: &str, parameters: &mut Parameters<'_>) -> String {
        let mut sql = string.to_owned();
        if !self.long_from.is_empty() {
            let from = parameters.push(self.long_from.clone(), Type::TEXT_ARRAY);
            let to = parameters.push(self.long_to.clone(), Type::TEXT_ARRAY);
            for position in 1..=self.long_from.len() {
                sql = format!("replace({sql}, (${from})[{position}], (${to})[{position}])");
            }
        }
        // With this collation only ASCII changes.
        sql = format!("lower({sql} COLLATE \"C\")");
        if !self.from.is_empty() {
            let from = parameters.push(self.from.clone(), Type::TEXT);
            let to = parameters.push(self.to.clone(), Type::TEXT);
            sql = format!("translate({sql}, ${from}, ${to})");
        }
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_letter_is_left_out() {
        assert!((LETTERS_END..=char::MAX).all(|c| fold(c.encode_utf8(&mut [0; 4])).chars().eq([c])));
        assert!(FOLDED.len() > 1_400, "{}", FOLDED.len());
    }

    /// A string as Postgres folds it.
    fn replaced(folding: &Folding, text: &str) -> String {
        let mut text = text.to_owned();
        for (from, to) in folding.long_from.iter().zip(&folding.long_to) {
            text = text.replace(from, to);
        }
        let other = |c: char| folding.from.chars().zip(folding.to.chars()).find(|(from, _)| *from == c);
        text.to_ascii_lowercase().chars().map(|c| other(c).map_or(c, |(_, to)| to)).collect()
    }

    #[test]
    fn strings_are_equal_when_their_foldings_are() {
        let texts = [
            "straße",
            "STRASSE",
            "STRAẞE",
            "strase",
            "Σίσυφος",
            "ΣΊΣΥΦΟΣ",
            "σίσυφοσ",
            "K",
            "k",
            "\u{212a}",
            "Ǆ",
            "ǅ",
            "ǆ",
            "İ",
            "i\u{307}",
            "i",
            "ı",
            "ﬃ",
            "FFI",
            "ſ",
            "s",
            "Ω",
            "ω",
            "\u{2126}",
            "狐",
            "𐐀",
            "𐐨",
            "Ж",
            "ж",
            "",
            "%_\\",
        ];
        for wanted in texts {
            let folding = Folding::of([&wanted.to_owned()]);
            for text in texts {
                assert_eq!(
                    replaced(&folding, text) == folding.wanted[0],
                    fold(text) == fold(wanted),
                    "{wanted} {text}"
                );
                let contains = replaced(&folding, text).contains(&folding.wanted[0]);
                assert_eq!(contains, fold(text).contains(&fold(wanted)), "{wanted} {text}");
            }
        }
        assert_eq!(fold("STRAẞE"), "strasse");
        assert_eq!(fold("ΣΊΣΥΦΟΣ"), fold("Σίσυφος"));
    }
}
