//! Writes to stdout and stderr, and the formats that the commands share.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use pgfox_client::v1::ErrorReason;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::failure::Failure;

/// The width of a terminal if it is not known.
const DEFAULT_COLUMNS: usize = 120;
/// Minimum width of a table.
const MIN_COLUMNS: usize = 40;
/// Maximum width of a cell beside the text, so that the text has room on a terminal.
const MAX_CELL_COLUMNS: usize = 40;

/// Writes data to stdout. If the reader has closed it, as in `pgfox ... | head`, the command ends quietly.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::refused(format!("cannot write to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Writes a message to stderr. If stderr is closed, that cannot be reported anywhere.
pub(crate) fn note(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints one JSON value: indented for a terminal, on one line otherwise.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() { print(&format!("{value:#}\n")) } else { print(&format!("{value}\n")) }
}

/// The name of a reason, as in google.rpc.ErrorInfo.
pub(crate) fn reason_name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// The last part of an enum's name, as people write it: `cosine` for `DISTANCE_COSINE`.
pub(crate) fn short_name(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase().replace('_', " ")
}

/// 1234567 as 1,234,567.
pub(crate) fn count(value: impl TryInto<u64>) -> String {
    let digits = value.try_into().unwrap_or(0).to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 document", "2,000 documents".
pub(crate) fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(value), if value == 1 { "" } else { "s" })
}

/// A size in bytes with a binary unit.
pub(crate) fn bytes(value: i64) -> String {
    indicatif::BinaryBytes(u64::try_from(value).unwrap_or(0)).to_string()
}

/// Seconds as people read them: 0.4 s, 12 s, 3 min 5 s, 2 h 4 min.
pub(crate) fn seconds(value: f64) -> String {
    let whole = value.round() as u64;
    match whole {
        _ if value < 9.95 => format!("{value:.1} s"),
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        7200.. => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The width of lines: `COLUMNS`, or the width of the terminal. Piped output is never cut.
pub(crate) fn columns() -> usize {
    let stdout = std::io::stdout();
    let given = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
    let columns = match given.filter(|columns| *columns > 0) {
        Some(columns) => columns,
        None if !stdout.is_terminal() => usize::MAX,
        None => terminal_size::terminal_size_of(&stdout).map_or(DEFAULT_COLUMNS, |(width, _)| usize::from(width.0)),
    };
    columns.max(MIN_COLUMNS)
}

/// Whether stdout shows bold text. A terminal does, unless `NO_COLOR` is set.
pub(crate) fn has_styles() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// One cell of a table beside the text, at most `columns` wide.
pub(crate) fn cell(text: &str, columns: usize) -> String {
    one_line(text, if columns == usize::MAX { columns } else { MAX_CELL_COLUMNS })
}

/// One line without control characters, so that a stored text cannot move the cursor, cut to `width` columns.
pub(crate) fn one_line(text: &str, width: usize) -> String {
    let mut line = String::new();
    let mut used = 0;
    let mut after_space = true;
    for c in text.chars() {
        let is_space = c.is_whitespace() || c.is_control();
        if is_space && after_space {
            continue;
        }
        after_space = is_space;
        let c = if is_space { ' ' } else { c };
        let c_width = c.width().unwrap_or(0);
        if used + c_width > width {
            // Make room for the ellipsis, which is one column wide.
            while used + 1 > width {
                let Some(last) = line.pop() else { break };
                used -= last.width().unwrap_or(0);
            }
            return line.trim_end().to_owned() + "…";
        }
        line.push(c);
        used += c_width;
    }
    line.truncate(line.trim_end().len());
    line
}

/// How the cells of a column are aligned.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table with a header. Columns are as wide as their widest cell and two spaces apart.
pub(crate) fn table(header: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|(title, _)| title.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    let mut push = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, ((cell, (_, align)), width)) in cells.zip(header).zip(&widths).enumerate() {
            // Nothing follows the last column, whose other cells can be long.
            let is_last = column + 1 == header.len() && *align == Align::Left;
            let padding = " ".repeat(if is_last { 0 } else { width - cell.width() });
            let (before, after) =
                if *align == Align::Right { (padding, String::new()) } else { (String::new(), padding) };
            line += &format!("{before}{cell}{after}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    push(&mut header.iter().map(|(title, _)| *title));
    for row in rows {
        push(&mut row.iter().map(String::as_str));
    }
    text
}

/// Lines of `name  value`, for one object.
pub(crate) fn properties(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// Asks for confirmation on the terminal. Without a terminal, `--yes` is required.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Failure::usage(format!("{question} There is no terminal to ask on"))
            .with_hint("add --yes to go ahead without a question"));
    }
    note(&format!("{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::refused("nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count(0_u64), "0");
        assert_eq!(count(999_u64), "999");
        assert_eq!(count(1000_i64), "1,000");
        assert_eq!(count(1_234_567_u64), "1,234,567");
        assert_eq!(count(-1_i64), "0");
        assert_eq!(counted(1, "document"), "1 document");
    }

    #[test]
    fn durations() {
        assert_eq!(seconds(0.42), "0.4 s");
        assert_eq!(seconds(42.4), "42 s");
        assert_eq!(seconds(185.0), "3 min 5 s");
        assert_eq!(seconds(7_440.0), "2 h 4 min");
    }

    #[test]
    fn lines_are_cut_by_columns_and_made_harmless() {
        assert_eq!(one_line("  a\n\tb  ", 10), "a b");
        assert_eq!(one_line("abcdef", 6), "abcdef");
        assert_eq!(one_line("abcdefg", 6), "abcde…");
        // Two columns each.
        assert_eq!(one_line("狐狐狐狐", 8), "狐狐狐狐");
        assert_eq!(one_line("狐狐狐狐", 7), "狐狐狐…");
        assert_eq!(one_line("狐狐狐狐", 6), "狐狐…");
        assert_eq!(one_line("a\u{1b}[31mred\u{7}", 20), "a [31mred");
    }

    #[test]
    fn tables_align() {
        let rows =
            [vec!["1".to_owned(), "狐".to_owned(), "x".to_owned()], vec!["10".into(), "fox".into(), String::new()]];
        let header = [("#", Align::Right), ("id", Align::Left), ("text", Align::Left)];
        assert_eq!(table(&header, &rows), " #  id   text\n 1  狐   x\n10  fox\n");
    }
}
