//! Converts CSV cells to values: strings, unless the header, `--types` or `--infer-types` names another type.

use prost_types::{Timestamp, Value, value::Kind};

use super::number;
use crate::cli::filter::read_time;

/// The type of the cells of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Type {
    String,
    Number,
    Bool,
    Time,
}

/// The type of one column, from `--types`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnType {
    pub(crate) column: String,
    pub(crate) kind: Type,
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Time => "time",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::String, Self::Number, Self::Bool, Self::Time].into_iter().find(|kind| kind.name() == name)
    }

    /// The name and the type of a column such as `year:number`. Other colons belong to the name.
    pub(super) fn of_header(header: &str) -> (&str, Option<Self>) {
        match header.rsplit_once(':').map(|(name, kind)| (name, Self::parse(kind))) {
            Some((name, Some(kind))) if !name.is_empty() => (name, Some(kind)),
            _ => (header, None),
        }
    }

    /// The value of a cell that is not empty. The error completes "the cell is".
    pub(super) fn value(self, cell: &str) -> Result<Value, &'static str> {
        let kind = match self {
            Self::String => Kind::StringValue(cell.to_owned()),
            Self::Number => Kind::NumberValue(parse_number(cell)?),
            Self::Bool => Kind::BoolValue(parse_bool(cell).ok_or("neither true nor false")?),
            Self::Time => {
                Kind::StringValue(parse_time(cell).ok_or("not a time such as 2024-05-01T12:00:00Z")?.to_string())
            }
        };
        Ok(Value { kind: Some(kind) })
    }
}

/// Parses `NAME:TYPE`.
pub(crate) fn column_type(text: &str) -> Result<ColumnType, String> {
    match Type::of_header(text) {
        (column, Some(kind)) => Ok(ColumnType { column: column.to_owned(), kind }),
        _ => Err("write NAME:TYPE with the type number, time, bool or string, such as year:number".to_owned()),
    }
}

fn parse_number(cell: &str) -> Result<f64, &'static str> {
    let cell = cell.trim();
    let is_number = cell.bytes().any(|byte| byte.is_ascii_digit())
        && cell.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let number = cell.parse::<f64>().ok().filter(|_| is_number).ok_or("not a number")?;
    if number::is_exact(cell.trim_start_matches('+')) {
        Ok(number)
    } else {
        Err("a number that would lose digits as a double; the type string keeps them")
    }
}

fn parse_bool(cell: &str) -> Option<bool> {
    match cell.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A date or a time as in filters. Without an offset it is UTC.
fn parse_time(cell: &str) -> Option<Timestamp> {
    read_time(cell.trim())
}

/// Finds the type that all cells of a column have.
#[derive(Debug, Clone)]
pub(super) struct Guess {
    /// The types that no cell has excluded.
    possible: Vec<Type>,
    has_cells: bool,
}

impl Guess {
    pub(super) fn new() -> Self {
        Self { possible: vec![Type::Number, Type::Bool, Type::Time], has_cells: false }
    }

    pub(super) fn see(&mut self, cell: &str) {
        if !cell.is_empty() {
            self.has_cells = true;
            self.possible.retain(|kind| is_written_as(*kind, cell));
        }
    }

    pub(super) fn kind(&self) -> Type {
        self.possible.first().copied().filter(|_| self.has_cells).unwrap_or(Type::String)
    }
}

/// Whether a cell has the usual form of a type: 007 and +49 are codes, not numbers, and 1 is not a boolean.
fn is_written_as(kind: Type, cell: &str) -> bool {
    match kind {
        Type::String => true,
        Type::Number => {
            let digits = cell.strip_prefix('-').unwrap_or(cell);
            let has_leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
            digits.starts_with(|c: char| c.is_ascii_digit())
                && digits.ends_with(|c: char| c.is_ascii_digit())
                && !has_leading_zero
                && parse_number(cell).is_ok()
        }
        Type::Bool => ["true", "false"].iter().any(|word| cell.eq_ignore_ascii_case(word)),
        Type::Time => parse_time(cell).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(cells: &[&str]) -> Type {
        let mut guess = Guess::new();
        cells.iter().for_each(|cell| guess.see(cell));
        guess.kind()
    }

    #[test]
    fn types_are_guessed_with_care() {
        assert_eq!(guess(&["1999", "", "-0.5", "1e3"]), Type::Number);
        assert_eq!(guess(&["true", "False"]), Type::Bool);
        assert_eq!(guess(&["2024-05-01", "2024-05-01 12:00:00+02"]), Type::Time);
        for cells in [&["007"][..], &["+49"], &["1", "n/a"], &["9007199254740993"], &["1."], &["NaN"], &["1,5"], &[""]]
        {
            assert_eq!(guess(cells), Type::String, "{cells:?}");
        }
    }

    #[test]
    fn cells_become_values_or_say_why_not() {
        let text = |kind: Type, cell| match kind.value(cell).map(|value| value.kind) {
            Ok(Some(Kind::StringValue(text))) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(Type::Time, "2024-05-01"), "2024-05-01T00:00:00Z");
        assert_eq!(text(Type::Time, "2024-05-01 12:00:00.5+02"), "2024-05-01T10:00:00.500Z");
        assert_eq!(Type::Number.value("007").unwrap().kind, Some(Kind::NumberValue(7.0)));
        assert_eq!(Type::Bool.value("f").unwrap().kind, Some(Kind::BoolValue(false)));
        assert!(Type::Number.value("9007199254740993").unwrap_err().contains("lose digits"));
        for (kind, cell) in
            [(Type::Number, "inf"), (Type::Number, "1,999"), (Type::Bool, "2"), (Type::Time, "yesterday")]
        {
            assert!(kind.value(cell).is_err(), "{cell}");
        }
    }

    #[test]
    fn headers_name_types() {
        assert_eq!(Type::of_header("year:number"), ("year", Some(Type::Number)));
        assert_eq!(Type::of_header("dc:title"), ("dc:title", None));
        assert_eq!(Type::of_header("dc:date:time"), ("dc:date", Some(Type::Time)));
        assert!(column_type("year").is_err());
    }
}
