//! Which JSON values a column accepts. Postgres reads more forms than these, such as `now` as a time.

use serde_json::Value;

use crate::store::sources::{ColumnType, is_date, is_uuid};

/// What a value must be, if a column of this type does not accept it.
pub(super) fn misfit(kind: ColumnType, value: &Value) -> Option<&'static str> {
    use ColumnType as Kind;
    let is_text = |fits: &dyn Fn(&str) -> bool| value.as_str().is_some_and(fits);
    // JSON has no NaN and no infinity, so these values are texts, as they are in answers.
    let is_special = || is_text(&|text| matches!(text, "NaN" | "Infinity" | "-Infinity"));
    let is_list_of = |fits: &dyn Fn(&Value) -> bool| {
        value.as_array().is_some_and(|values| values.iter().all(|value| value.is_null() || fits(value)))
    };
    let (fits, rule) = match kind {
        Kind::Int2 => (is_integer(value, i16::MIN.into(), i16::MAX.into()), "an integer from -32768 to 32767"),
        Kind::Int4 => (is_integer(value, i32::MIN.into(), i32::MAX.into()), "an integer of 32 bits"),
        // The next double below 2^63.
        Kind::Int8 => (is_integer(value, -9_223_372_036_854_775_808.0, 9_223_372_036_854_774_784.0), "an integer"),
        Kind::Float4 => {
            let fits = value.as_f64().is_some_and(|number| (number as f32).is_finite());
            (fits || is_special(), "a number of single precision")
        }
        Kind::Float8 | Kind::Numeric => (value.is_number() || is_special(), "a number"),
        Kind::Bool => (value.is_boolean(), "a boolean"),
        Kind::Text | Kind::Textual => (value.is_string(), "a string"),
        Kind::Uuid => (is_text(&|text| is_uuid(&text.to_ascii_lowercase())), "a UUID"),
        Kind::Date => (is_text(&is_date), "a date such as \"2024-02-29\""),
        Kind::Timestamp | Kind::Timestamptz => {
            (is_text(&is_rfc_3339), "a time with its zone by RFC 3339, such as \"2024-02-29T12:00:00Z\"")
        }
        Kind::Json | Kind::Jsonb => (true, ""),
        Kind::TextArray => (is_list_of(&Value::is_string), "a list of strings"),
        Kind::Array => (is_list_of(&|value| !value.is_array() && !value.is_object()), "a list of scalars"),
    };
    (!fits).then_some(rule)
}

fn is_integer(value: &Value, low: f64, high: f64) -> bool {
    value.as_f64().is_some_and(|number| number.fract() == 0.0 && (low..=high).contains(&number))
}

/// Whether a text is a time with a zone, such as `2024-02-29T12:00:00.5+02:00`.
fn is_rfc_3339(text: &str) -> bool {
    let number = |from: usize, to: usize, below: u32| {
        let digits = text.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u32>().ok()).is_some_and(|number| number < below)
    };
    let at = |position: usize, allowed: &[u8]| text.as_bytes().get(position).is_some_and(|byte| allowed.contains(byte));
    if !text.get(..10).is_some_and(is_date) || !at(10, b"Tt ") || !at(13, b":") || !at(16, b":") {
        return false;
    }
    let mut zone = 19;
    if at(zone, b".") {
        zone += 1;
        let digits = text.bytes().skip(zone).take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return false;
        }
        zone += digits;
    }
    let is_offset = || {
        text.len() == zone + 6
            && at(zone, b"+-")
            && number(zone + 1, zone + 3, 15)
            && at(zone + 3, b":")
            && number(zone + 4, zone + 6, 60)
    };
    let is_time = number(11, 13, 24) && number(14, 16, 60) && number(17, 19, 60);
    is_time && (text.len() == zone + 1 && at(zone, b"Zz") || is_offset())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_column_accepts_what_it_holds() {
        for (kind, good, bad) in [
            (ColumnType::Int2, json!(32767), json!(32768)),
            (ColumnType::Int4, json!(-1.0), json!(1.5)),
            (ColumnType::Int8, json!(9e18), json!(9.3e18)),
            (ColumnType::Float4, json!(1e38), json!(1e39)),
            (ColumnType::Float8, json!("-Infinity"), json!("inf")),
            (ColumnType::Numeric, json!(0.1), json!("0.1")),
            (ColumnType::Bool, json!(true), json!("true")),
            (ColumnType::Text, json!(""), json!(1)),
            (ColumnType::Uuid, json!("123E4567-e89b-12d3-a456-426614174000"), json!("123")),
            (ColumnType::Date, json!("2024-02-29"), json!("today")),
            (ColumnType::Timestamp, json!("2024-02-29T12:00:00Z"), json!("2024-02-29T12:00:00")),
            (ColumnType::Timestamptz, json!("2024-02-29 23:59:59.123+02:00"), json!("now")),
            (ColumnType::Timestamptz, json!("0001-01-01t00:00:00z"), json!("2023-02-29T12:00:00Z")),
            (ColumnType::Timestamptz, json!("2024-02-29T12:00:00-14:59"), json!("2024-02-29T24:00:00Z")),
            (ColumnType::TextArray, json!(["a", null]), json!([["a"]])),
            (ColumnType::Array, json!([1, true]), json!([{}])),
        ] {
            assert_eq!(misfit(kind, &good), None, "{good}");
            assert!(misfit(kind, &bad).is_some(), "{bad}");
        }
    }
}
