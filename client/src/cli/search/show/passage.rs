//! Shows a passage with its words on the lines of a terminal.

use pgfox_client::v1;
use unicode_width::UnicodeWidthChar as _;

const INDENT: usize = 5;
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// The passage in lines of at most `columns` columns. Breaks lines at white space if possible, and shows the words in
/// bold if the terminal has styles. Leaves out control characters, so that a stored text cannot move the cursor.
pub(super) fn lines(highlight: &v1::Highlight, columns: usize, has_styles: bool) -> String {
    let width = columns.saturating_sub(INDENT).max(1);
    let mut text = String::new();
    let mut rest = &characters(highlight)[..];
    while !rest.is_empty() {
        let fitting = fitting(rest, width);
        let (line, behind) = match rest[..fitting].iter().rposition(|(c, _)| *c == ' ') {
            Some(space) if fitting < rest.len() && rest[fitting].0 != ' ' && space > 0 => {
                (&rest[..space], &rest[space + 1..])
            }
            _ => rest.split_at(fitting),
        };
        text += &format!("{:INDENT$}{}\n", "", styled(line, has_styles));
        rest = behind.strip_prefix(&[(' ', false)]).unwrap_or(behind);
    }
    text
}

/// The characters, and whether they belong to a word.
fn characters(highlight: &v1::Highlight) -> Vec<(char, bool)> {
    let mut characters: Vec<(char, bool)> = Vec::new();
    for (c, position) in highlight.text.chars().zip(highlight.start..) {
        let is_word = highlight.words.iter().any(|word| (word.start..word.end).contains(&position));
        if !c.is_whitespace() && !c.is_control() {
            characters.push((c, is_word));
        } else if characters.last().is_some_and(|(last, _)| *last != ' ') {
            characters.push((' ', false));
        }
    }
    characters
}

/// The number of characters that fit, at least one.
fn fitting(characters: &[(char, bool)], width: usize) -> usize {
    let mut used = 0;
    let beyond = characters.iter().position(|(c, _)| {
        used += c.width().unwrap_or(0);
        used > width
    });
    beyond.unwrap_or(characters.len()).max(1)
}

fn styled(line: &[(char, bool)], has_styles: bool) -> String {
    let runs = line.chunk_by(|(_, before), (_, after)| before == after).map(|run| {
        let text: String = run.iter().map(|(c, _)| *c).collect();
        if has_styles && run[0].1 { format!("{BOLD}{text}{PLAIN}") } else { text }
    });
    runs.collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_wide_as_the_terminal() {
        let text = "many foxes, 狐狐狐 and others".to_owned();
        let words = vec![v1::Span { start: 12, end: 15 }, v1::Span { start: 19, end: 21 }];
        let highlight = v1::Highlight { start: 7, end: 33, text, words };
        let shown = lines(&highlight, 16, true);
        assert_eq!(shown, "     many \u{1b}[1mfox\u{1b}[0mes,\n     \u{1b}[1m狐狐\u{1b}[0m狐 and\n     others\n");
        assert_eq!(lines(&highlight, usize::MAX, false), "     many foxes, 狐狐狐 and others\n");
        assert_eq!(lines(&v1::Highlight::default(), 80, true), "");
        let long = v1::Highlight { text: "x\u{1b}[2J".repeat(10), ..Default::default() };
        assert!(lines(&long, 15, false).lines().all(|line| line.len() <= 15 && !line.contains('\u{1b}')));
    }
}
