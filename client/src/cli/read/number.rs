//! Finds numbers that would change silently. Metadata stores doubles, which cannot represent every number of JSON and
//! CSV.

use std::{borrow::Cow, ops::Range};

use crate::cli::json::MAX_EXACT_INTEGER;

/// Whether a double represents a JSON number: every digit of an integer, and all written digits of a fraction.
pub(crate) fn is_exact(token: &str) -> bool {
    let is_integer = token.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if is_integer {
        return token.trim_start_matches('-').parse::<u64>().is_ok_and(|digits| digits <= MAX_EXACT_INTEGER);
    }
    let Ok(value) = token.parse::<f64>() else { return false };
    let Some((digits, exponent)) = decimal(token) else { return false };
    if digits.is_empty() || !value.is_finite() {
        return digits.is_empty();
    }
    // Rust writes the double's own digits, as many as requested.
    let written = format!("{:.*e}", digits.len() - 1, value);
    decimal(&written).is_some_and(|same| same == (digits, exponent))
}

/// The digits of a number without zeros around them, and the power of ten of the first one.
fn decimal(token: &str) -> Option<(String, i64)> {
    let token = token.trim_start_matches(['-', '+']);
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0').to_owned();
    let exponent = exponent.parse::<i64>().ok()?.checked_add(whole.len() as i64 - 1 - leading as i64)?;
    Some((digits, exponent))
}

/// The place of the first number in a JSON text that a double cannot represent.
pub(crate) fn first_inexact(json: &str) -> Option<Range<usize>> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let end = bytes[at..].iter().position(|byte| !is_part(byte)).map_or(bytes.len(), |n| at + n);
                if !is_exact(&json[at..end]) {
                    return Some(at..end);
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    None
}

fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The JSON text, with quotes around every number that a double cannot represent.
pub(crate) fn quote_inexact(json: &str) -> Cow<'_, str> {
    let mut quoted = String::new();
    let mut rest = json;
    while let Some(number) = first_inexact(rest) {
        quoted += &format!("{}\"{}\"", &rest[..number.start], &rest[number.clone()]);
        rest = &rest[number.end..];
    }
    if quoted.is_empty() { Cow::Borrowed(json) } else { Cow::Owned(quoted + rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_double_keeps() {
        for kept in [
            "0",
            "-0",
            "0.0",
            "1999",
            "-7",
            "9007199254740992",
            "0.1",
            "0.10000000000000001",
            "1.50",
            "1e300",
            "1E+2",
            "3.141592653589793",
            "0.30000000000000004",
            "-2.5e-3",
            "00.5",
            "1e23",
        ] {
            assert!(is_exact(kept), "{kept}");
        }
        for lost in [
            "9007199254740993",
            "18446744073709551616",
            "-9007199254740993",
            "12345678901234567.25",
            "3.14159265358979323846",
            "1e400",
            "1e-400",
            "123456789012345678901234567890.5",
        ] {
            assert!(!is_exact(lost), "{lost}");
        }
    }

    #[test]
    fn numbers_are_found_between_strings() {
        let json = r#"{"a \"9007199254740993": 1, "b": [9007199254740993, 2, 1e400]}"#;
        assert_eq!(&json[first_inexact(json).unwrap()], "9007199254740993");
        assert_eq!(quote_inexact(json), r#"{"a \"9007199254740993": 1, "b": ["9007199254740993", 2, "1e400"]}"#);
        assert_eq!(first_inexact(r#"{"a": "9007199254740993", "b": 1.5}"#), None);
    }
}
