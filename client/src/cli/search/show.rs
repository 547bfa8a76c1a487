//! Shows the results of a search to people.

mod passage;

use std::fmt::Write as _;

use pgfox_client::v1::{self, Completeness, ShortReason};
use unicode_width::UnicodeWidthStr as _;

use crate::cli::{
    columns::Columns,
    output::{self, Align},
};

/// Maximum number of columns of a word in a remark.
const MAX_WORD_COLUMNS: usize = 60;

/// One row for each result. If a result has passages, they are shown below it instead of its text.
pub(super) fn table(results: &[v1::SearchResult], shown: &Columns, columns: usize, has_styles: bool) -> String {
    let has_chunks = results.iter().any(|result| result.chunk.is_some());
    let mut header =
        vec![("#", Align::Right), ("DISTANCE", Align::Right), ("SCORE", Align::Right), ("ID", Align::Left)];
    if has_chunks {
        header.push(("CHUNK", Align::Right));
    }
    header.extend(shown.header());
    let nothing = v1::Document::default();
    let mut rows: Vec<Vec<String>> = results
        .iter()
        .enumerate()
        .map(|(i, result)| {
            let document = result.document.as_ref().unwrap_or(&nothing);
            let mut row = vec![
                (i + 1).to_string(),
                result.distance.map_or_else(|| "-".to_owned(), |distance| format!("{distance:.4}")),
                format!("{:.4}", result.score),
                output::cell(&document.id, columns),
            ];
            if has_chunks {
                row.push(result.chunk.as_ref().map_or_else(|| "-".to_owned(), |chunk| chunk.ordinal.to_string()));
            }
            row.extend(shown.cells(document, columns));
            row
        })
        .collect();
    // The text gets the columns that the others leave.
    let width = |column: usize, title: &str| {
        rows.iter().map(|row| row[column].width()).max().unwrap_or(0).max(title.width()) + 2
    };
    let others = rows.first().map_or(0, Vec::len);
    let taken: usize = header.iter().take(others).enumerate().map(|(column, (title, _))| width(column, title)).sum();
    let text_columns = columns.saturating_sub(taken + 1).max(20);
    for (row, result) in rows.iter_mut().zip(results) {
        let mut text = shown.text(result.document.as_ref().unwrap_or(&nothing), result.chunk.as_ref());
        if !result.highlights.is_empty() {
            text = text.map(|_| String::new());
        }
        row.extend(text.map(|text| output::one_line(&text, text_columns)));
    }
    let mut lines = output::table(&header, &rows).lines().map(str::to_owned).collect::<Vec<_>>().into_iter();
    let mut text = lines.next().unwrap_or_default() + "\n";
    for (line, result) in lines.zip(results) {
        text += &(line + "\n");
        for highlight in &result.highlights {
            text += &passage::lines(highlight, columns, has_styles);
        }
    }
    text
}

/// How complete the results are, and why there are so few.
pub(super) fn remarks(response: &v1::SearchResponse, limit: i32) -> String {
    let found = response.results.len();
    let mut text = match response.short_reason() {
        ShortReason::Unspecified => String::new(),
        ShortReason::FewDocuments => {
            format!("{found} of {limit}: the collection has no more documents with a vector\n")
        }
        ShortReason::FewMatches => format!("{found} of {limit}: no more documents match\n"),
        ShortReason::MaxDistance => format!("{found} of {limit}: the others are farther than --max-distance\n"),
        ShortReason::OutOfTime => {
            format!(
                "{found} of {limit}: time ran out before every vector was compared; a longer --timeout finds more\n"
            )
        }
    };
    if !response.excluded_words.is_empty() {
        let quoted = |word: &String| {
            let word = output::one_line(word, MAX_WORD_COLUMNS);
            if word.contains(' ') { format!("\"{word}\"") } else { word }
        };
        let words: Vec<String> = response.excluded_words.iter().map(quoted).collect();
        let _ = writeln!(text, "left out: texts with {}", words.join(", "));
    }
    text += match response.completeness() {
        Completeness::Unspecified => "",
        Completeness::Exact => "exact: nothing nearer is missing\n",
        Completeness::Approximate => "approximate: an index was used; --exact compares with every vector\n",
        Completeness::Truncated => "incomplete: nearer documents may be missing\n",
    };
    text
}

/// How the search ran.
pub(super) fn explanation(response: &v1::SearchResponse) -> String {
    let Some(explanation) = &response.explanation else { return String::new() };
    let timing = response.timing.unwrap_or_default();
    let milliseconds = |part: Option<prost_types::Duration>| {
        let part = part.unwrap_or_default();
        format!("{:.2} ms", part.seconds as f64 * 1e3 + f64::from(part.nanos) / 1e6)
    };
    let or_none = |text: &str| if text.is_empty() { "none" } else { text }.to_owned();
    let mut pairs = vec![("plan", or_none(&explanation.plan_node)), ("index", or_none(&explanation.index))];
    if !explanation.no_index_reason.is_empty() {
        pairs.push(("why no index", explanation.no_index_reason.clone()));
    }
    pairs.extend([
        ("rows scanned", output::count(explanation.rows_scanned)),
        ("rows filtered", output::count(explanation.rows_filtered)),
        ("embedding", milliseconds(timing.embed)),
        ("waiting", milliseconds(timing.wait)),
        ("database", milliseconds(timing.database)),
    ]);
    let mut text = output::properties(&pairs);
    for note in &explanation.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str, text: &str) -> v1::SearchResult {
        v1::SearchResult {
            document: Some(v1::Document { id: id.into(), text: text.into(), ..Default::default() }),
            distance: Some(0.25),
            score: 0.75,
            ..Default::default()
        }
    }

    #[test]
    fn rows_fit_the_terminal() {
        let text = table(&[result("狐-1", &"ein Fuchs\n".repeat(50)), result("b", "")], &Columns::of(&[]), 60, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "#  DISTANCE   SCORE  ID    TEXT");
        assert!(lines[1].starts_with("1    0.2500  0.7500  狐-1  ein Fuchs ein Fuchs"), "{}", lines[1]);
        assert!(lines[1].ends_with('…'));
        assert_eq!(lines[2], "2    0.2500  0.7500  b");
        assert!(lines.iter().all(|line| line.width() <= 60), "{text}");
    }

    #[test]
    fn chunks_show_their_own_text() {
        let chunk = v1::Chunk { ordinal: 3, text: "the passage".into(), start: 100, end: 111 };
        let found = v1::SearchResult { chunk: Some(chunk), distance: None, ..result("a", "") };
        let text = table(&[found, result("b", "whole")], &Columns::of(&[]), 80, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "#  DISTANCE   SCORE  ID  CHUNK  TEXT");
        assert_eq!(lines[1], "1         -  0.7500  a       3  the passage");
        assert_eq!(lines[2], "2    0.2500  0.7500  b       -  whole");
    }

    #[test]
    fn passages_are_below_their_row() {
        let highlight = v1::Highlight {
            start: 4,
            end: 13,
            text: "the\nfox 狐".into(),
            words: vec![v1::Span { start: 8, end: 11 }, v1::Span { start: 12, end: 13 }],
        };
        let found = v1::SearchResult { highlights: vec![highlight; 2], ..result("a", "not the fox 狐") };
        let results = [found, result("b", "whole")];
        let rows = |has_styles| table(&results, &Columns::of(&[]), 80, has_styles);
        let wanted = "#  DISTANCE   SCORE  ID  TEXT\n1    0.2500  0.7500  a\n     the fox 狐\n     the fox 狐\n2    0.2500  0.7500  b   whole\n";
        assert_eq!(rows(false), wanted);
        let bold = wanted.replace("fox 狐", "\u{1b}[1mfox\u{1b}[0m \u{1b}[1m狐\u{1b}[0m");
        assert_eq!(rows(true), bold);
    }

    #[test]
    fn what_was_left_out_is_named() {
        let excluded_words = vec!["dog".to_owned(), "lazy  cat".to_owned()];
        let response = v1::SearchResponse { excluded_words, ..Default::default() };
        assert_eq!(remarks(&response, 0), "left out: texts with dog, \"lazy cat\"\n");
    }
}
