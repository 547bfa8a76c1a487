//! Hints for people who know another filter language.

use pgfox_client::v1::condition::Test;
use prost_types::value::Kind;

use super::value;

/// Symbols and words that no filter has at their place, with what to write instead.
const SLIPS: [(&[&str], &str); 13] = [
    (&[":"], "write = between a field and a value"),
    (
        &["=~", "~", "regexp", "rlike", "matches", "similar"],
        "regular expressions are not supported: write contains text",
    ),
    (&["["], "write [] for any element of a list, as in tags[] = \"a\""),
    (&["("], "functions are not supported; write `ignoring case` after a test to ignore case"),
    (&[","], "write `and`"),
    (&["&"], "write `and`"),
    (&["|"], "write `or`"),
    (&["!"], "write `not`"),
    (&["*", "$", "@"], "write the name of a metadata field"),
    (&["has", "includes", "include"], "write contains"),
    (
        &["icontains", "iequals", "iexact", "istartswith"],
        "write contains text \"x\" ignoring case, = \"x\" ignoring case",
    ),
    (&["ends", "endswith"], "no test checks the end of a string: write contains text"),
    (&["eq", "equals", "ne", "gt", "gte", "ge", "lt", "lte", "le"], "write =, !=, >, >=, < or <="),
];

/// The hint for the next piece.
pub(super) fn hint(is_symbol: impl Fn(&str) -> bool, is_word: impl Fn(&str) -> bool) -> Option<&'static str> {
    let is_next = |slip: &&str| if slip.starts_with(char::is_alphabetic) { is_word(slip) } else { is_symbol(slip) };
    SLIPS.iter().find(|(slips, _)| slips.iter().any(&is_next)).map(|(_, write)| *write)
}

/// The test for a pattern of LIKE, or a hint what to write.
pub(super) fn like(pattern: &str) -> Result<Test, String> {
    let (begins, rest) = pattern.strip_prefix('%').map_or((true, pattern), |rest| (false, rest));
    let (ends, text) = rest.strip_suffix('%').map_or((true, rest), |text| (false, text));
    if text.contains(['%', '_']) {
        return Err("like supports % at both ends or only at the last one, and no _; write contains text for other \
             strings"
            .to_owned());
    }
    if text.is_empty() {
        return Err("this matches every string: write exists and the field".to_owned());
    }
    match (begins, ends) {
        (true, true) => Ok(Test::Equals(value(Kind::StringValue(text.to_owned())))),
        (true, false) => Ok(Test::StartsWith(text.to_owned())),
        (false, false) => Ok(Test::ContainsText(text.to_owned())),
        (false, true) => Err("no test checks the end of a string: write contains text, or % at both ends".to_owned()),
    }
}
