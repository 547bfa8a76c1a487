//! The words of a full-text search, as callers type them.

use tokio_postgres::types::Type;

use crate::store::wire::Parameters;

/// Most words that count. More make a statement that takes long to plan, and hardly a better result.
const MAX_WORDS: usize = 256;
/// Most bytes of a word: Postgres indexes no longer ones.
const MAX_WORD_BYTES: usize = 2_046;

/// Words and phrases. A text matches when it has any of `any` and none of `none`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    any: Vec<String>,
    none: Vec<String>,
}

impl Words {
    /// Reads what a caller typed, in the syntax of web search: "a phrase" in double quotes, `-` before what must not be
    /// there. `or` needs no meaning, since any word will do.
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = Self::default();
        let mut left = MAX_WORDS;
        let mut rest = text.trim_start();
        while left > 0 && !rest.is_empty() {
            let (negated, after) = match rest.strip_prefix('-') {
                Some(after) => (true, after),
                None => (false, rest),
            };
            let phrase;
            (phrase, rest) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_at(after.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(after.len())),
            };
            rest = rest.trim_start();
            let counted: Vec<&str> = phrase.split_whitespace().filter(|word| is_word(word)).take(left).collect();
            if counted.is_empty() {
                continue;
            }
            left -= counted.len();
            let is_one = counted.len() == 1;
            let list = if negated { &mut words.none } else { &mut words.any };
            list.push(counted.join(" "));
            if is_one && !negated {
                // Postgres takes `well-known` for a phrase; any part of it will do too.
                let parts = counted[0].split(['-', '/']).filter(|part| is_word(part) && *part != counted[0]);
                let before = words.any.len();
                words.any.extend(parts.take(left).map(str::to_owned));
                left -= words.any.len() - before;
            }
        }
        words
    }

    /// The query by which matches are ranked, and the condition that a text matches: `column` is its tsvector.
    pub(super) fn sql<'a>(&'a self, config: &str, column: &str, parameters: &mut Parameters<'a>) -> (String, String) {
        // Of constants Postgres computes this once, when it plans; it then knows how many rows match. A piece of stop
        // words only is empty, and joining it changes nothing.
        let config = format!("'{}'::regconfig", config.replace('\'', "''"));
        let mut join = |pieces: &'a [String]| {
            let pieces = pieces.iter().map(|piece| {
                let number = parameters.push(piece, Type::TEXT);
                format!("phraseto_tsquery({config}, ${number})")
            });
            format!("({})", pieces.collect::<Vec<_>>().join(" || "))
        };
        if self.any.is_empty() {
            return ("''::tsquery".into(), "false".into());
        }
        let any = join(&self.any);
        let condition = if self.none.is_empty() {
            format!("{column} @@ {any}")
        } else {
            // Without the second condition, stop words and `-fox` would match all that has no fox.
            format!("{column} @@ ({any} && !!{}) AND numnode({any}) > 0", join(&self.none))
        };
        (any, condition)
    }
}

/// Whether Postgres could find a word in it.
fn is_word(word: &str) -> bool {
    word.len() <= MAX_WORD_BYTES && word.contains(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, Vec<String>) {
        let Words { any, none } = Words::parse(text);
        (any, none)
    }

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn words_phrases_and_what_must_not_be_there() {
        assert_eq!(parsed(" red  fox\n"), (list(&["red", "fox"]), list(&[])));
        assert_eq!(parsed(r#"a "red fox" -"lazy dog" -cat"#), (list(&["a", "red fox"]), list(&["lazy dog", "cat"])));
        assert_eq!(parsed(r#"one"two three"four"#), (list(&["one", "two three", "four"]), list(&[])));
        assert_eq!(parsed(r#""never closed"#), (list(&["never closed"]), list(&[])));
        assert_eq!(parsed("well-known"), (list(&["well-known", "well", "known"]), list(&[])));
        assert_eq!(parsed("-well-known"), (list(&[]), list(&["well-known"])));
        for nothing in ["", "  ", "-", "- -", "\"", "\"\"", "-\"\"", "&|!():*<->", "\" \" ' \\"] {
            assert_eq!(parsed(nothing), (list(&[]), list(&[])), "{nothing}");
        }
    }

    #[test]
    fn only_so_many_words_count() {
        let many: Vec<String> = (0..1_000).map(|i| format!("w{i}")).collect();
        assert_eq!(parsed(&many.join(" ")).0.len(), MAX_WORDS);
        assert_eq!(parsed(&format!("\"{}\"", many.join(" "))).0, [many[..MAX_WORDS].join(" ")]);
        assert_eq!(parsed(&many.join("-")), (list(&[]), list(&[])), "longer than Postgres indexes");
        assert_eq!(parsed(&many[..300].join("-")).0.len(), MAX_WORDS);
        assert_eq!(parsed(&"x".repeat(3_000)), (list(&[]), list(&[])));
    }

    #[test]
    fn text_is_bound() {
        let words = Words::parse("'); -- \"a' b\" -c");
        let mut parameters = Parameters::default();
        let (rank, condition) = words.sql("my'config", "w.words", &mut parameters);
        assert_eq!(rank, "(phraseto_tsquery('my''config'::regconfig, $1))");
        assert_eq!(
            condition,
            format!("w.words @@ ({rank} && !!(phraseto_tsquery('my''config'::regconfig, $2))) AND numnode({rank}) > 0")
        );
    }
}
