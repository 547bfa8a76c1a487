//! Finds the Markdown headings above each chunk. It scans line by line: a parser would first build a tree of the whole
//! text, which can be a hundred times as large.

use std::{iter::Peekable, ops::Range, sync::Arc};

use pulldown_cmark::{Event, Options, Parser};

use super::Splitter;

#[cfg(test)]
mod tests;

/// The separator between two headings, as in `Guide > Install`.
const BETWEEN: &str = " > ";
/// The separator between the headings and the text of a chunk, as the model reads them.
pub(crate) const AFTER_HEADINGS: &str = "\n\n";
/// Maximum number of bytes of a heading that are read.
const MAX_HEADING: usize = 1_000;

/// Finds the headings above the chunks of a text, called for one chunk after the other.
pub(super) struct Above<'t> {
    splitter: &'t Splitter,
    headings: Peekable<Headings<'t>>,
    /// The headings of the section in which the last chunk begins, outermost first.
    open: Vec<Heading<'t>>,
}

impl<'t> Above<'t> {
    pub(super) fn new(splitter: &'t Splitter, text: &'t str) -> Self {
        Self { splitter, headings: Headings::new(text).peekable(), open: Vec::new() }
    }

    /// The headings above the chunk at `start`, as the model reads them, without a heading that begins the chunk.
    pub(super) fn chunk(&mut self, start: usize) -> Option<Arc<str>> {
        while let Some(heading) = self.headings.next_if(|heading| heading.bytes.end <= start) {
            self.open.retain(|open| open.level < heading.level);
            self.open.push(heading);
        }
        let own = self.headings.peek().filter(|heading| heading.bytes.start <= start);
        let above = self.open.iter().filter(|open| own.is_none_or(|own| open.level < own.level));
        let titles: Vec<String> = above.map(|open| plain(open.title)).filter(|title| !title.is_empty()).collect();
        self.fit(&titles).filter(|headings| !headings.is_empty()).map(Arc::from)
    }

    /// As many of the innermost headings as fit, or the beginning of the innermost one.
    fn fit(&self, titles: &[String]) -> Option<String> {
        let fits = |headings: &str| {
            self.splitter.size(&format!("{headings}{AFTER_HEADINGS}")) <= self.splitter.chunking.headings_size()
        };
        let all = (0..titles.len()).map(|first| titles[first..].join(BETWEEN));
        if let Some(headings) = all.into_iter().find(|headings| fits(headings)) {
            return Some(headings);
        }
        let title = titles.last()?;
        let ends: Vec<usize> = title.char_indices().map(|(position, _)| position).collect();
        let longer = ends.partition_point(|end| fits(&title[..*end]));
        Some(title[..ends[longer.checked_sub(1)?]].trim_end().to_owned())
    }
}

/// A heading as people read it: without markup, addresses and attributes.
fn plain(title: &str) -> String {
    let title: Vec<&str> = title[..title.floor_char_boundary(MAX_HEADING)].split_whitespace().collect();
    let title = format!("# {}", title.join(" "));
    let mut plain = String::new();
    for event in Parser::new_ext(&title, Options::ENABLE_HEADING_ATTRIBUTES | Options::ENABLE_STRIKETHROUGH) {
        if let Event::Text(text) | Event::Code(text) = event {
            plain.push_str(&text);
        }
    }
    plain.trim().to_owned()
}

#[derive(Debug)]
struct Heading<'t> {
    /// The bytes of its lines.
    bytes: Range<usize>,
    level: usize,
    title: &'t str,
}

/// The block that is still open after the lines so far.
enum Inside {
    Nothing,
    /// A paragraph that begins at this byte. A line below it can make it a heading.
    Paragraph(usize),
    /// A paragraph of a quote or a list. The next line may continue it.
    Contained,
    /// A code block, until a fence at least as long as this one.
    Fence(String),
    /// HTML, until a line contains this text, or until an empty line if `None`.
    Html(Option<&'static str>),
}

/// The headings of a text, except those in code, quotes and lists.
struct Headings<'t> {
    text: &'t str,
    position: usize,
    inside: Inside,
    /// Lines indented by at least this many columns belong to a list. 0 means that there is no list.
    list: usize,
}

impl<'t> Iterator for Headings<'t> {
    type Item = Heading<'t>;

    fn next(&mut self) -> Option<Heading<'t>> {
        while self.position < self.text.len() {
            let rest = &self.text[self.position..];
            let line = self.position..self.position + rest.find('\n').map_or(rest.len(), |end| end + 1);
            self.position = line.end;
            if let Some(heading) = self.read(line) {
                return Some(heading);
            }
        }
        None
    }
}

impl<'t> Headings<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, position: front_matter(text), inside: Inside::Nothing, list: 0 }
    }

    fn read(&mut self, bytes: Range<usize>) -> Option<Heading<'t>> {
        let text: &'t str = self.text;
        let (columns, line) = indentation(&text[bytes.clone()]);
        let is_contained = self.list > 0 && columns >= self.list;
        match &self.inside {
            // A line to the left of the list ends the code in it.
            Inside::Fence(fence) if is_contained || self.list == 0 || line.is_empty() => {
                if line.starts_with(fence.as_str()) && line.chars().all(|character| fence.starts_with(character)) {
                    self.inside = Inside::Nothing;
                }
                return None;
            }
            Inside::Html(end) if end.map_or(!line.is_empty(), |end| !line.contains(end)) => return None,
            Inside::Html(Some(_)) => {
                self.inside = Inside::Nothing;
                return None;
            }
            _ if line.is_empty() => {
                self.inside = Inside::Nothing;
                return None;
            }
            Inside::Fence(_) => self.inside = Inside::Nothing,
            _ => {}
        }
        if is_contained {
            self.read_contained(line, columns);
            return None;
        }
        if columns >= 4 {
            // Code, or the continuation of a paragraph.
            return None;
        }
        if let Inside::Paragraph(start) = self.inside
            && let Some(level) = underline(line)
        {
            self.inside = Inside::Nothing;
            return Some(Heading { title: &text[start..bytes.start], bytes: start..bytes.end, level });
        }
        if let Some((level, title)) = hashes(line) {
            (self.inside, self.list) = (Inside::Nothing, 0);
            return Some(Heading { bytes, level, title });
        }
        let is_lazy = matches!(self.inside, Inside::Contained);
        if is_rule(line) {
            (self.inside, self.list) = (Inside::Nothing, 0);
        } else if line.starts_with('>') || list_item(line).is_some() {
            self.list = 0;
            self.read_contained(line, columns);
        } else if let Some(fence) = fence(line) {
            (self.inside, self.list) = (Inside::Fence(fence), 0);
        } else if let Some(end) = html(line) {
            (self.inside, self.list) = (end, 0);
        } else if !is_lazy {
            self.list = 0;
            match self.inside {
                Inside::Paragraph(_) => {}
                // The address of a link is not a title.
                _ if line.starts_with('[') && line.contains("]:") => {}
                _ => self.inside = Inside::Paragraph(bytes.start),
            }
        }
        None
    }

    /// Reads a line of a quote or a list.
    fn read_contained(&mut self, mut line: &str, mut columns: usize) {
        while let Some(width) = list_item(line) {
            columns += width;
            self.list = if self.list == 0 { columns } else { self.list };
            line = line[width.min(line.len())..].trim_start();
        }
        self.inside = fence(line).map_or(Inside::Contained, Inside::Fence);
    }
}

/// The indentation of a line, and the line without it.
fn indentation(line: &str) -> (usize, &str) {
    let trimmed = line.trim();
    let blank = &line[..line.len() - line.trim_start().len()];
    (
        blank.chars().fold(0, |column, character| if character == '\t' { column / 4 * 4 + 4 } else { column + 1 }),
        trimmed,
    )
}

/// The place where the text begins, after its front matter.
fn front_matter(text: &str) -> usize {
    let begin = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut end = begin;
    let mut lines = text[begin..].split_inclusive('\n');
    let mut line = || {
        let line = lines.next()?;
        end += line.len();
        Some((line.trim_end(), end))
    };
    let closes: &[&str] = match line() {
        Some(("---", _)) => &["---", "..."],
        Some(("+++", _)) => &["+++"],
        _ => return begin,
    };
    while let Some((line, end)) = line() {
        if closes.contains(&line) {
            return end;
        }
    }
    begin
}

/// The level and the title of a heading such as `## Install ##`.
fn hashes(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    if !(1..=6).contains(&level) || !(title.is_empty() || title.starts_with([' ', '\t'])) {
        return None;
    }
    let open = title.trim_end_matches('#');
    let is_closed = open.is_empty() || open.ends_with([' ', '\t']);
    Some((level, if is_closed { open } else { title }.trim()))
}

/// The level of the heading that this line underlines.
fn underline(line: &str) -> Option<usize> {
    match line.as_bytes() {
        [b'=', ..] if line.bytes().all(|byte| byte == b'=') => Some(1),
        [b'-', ..] if line.bytes().all(|byte| byte == b'-') => Some(2),
        _ => None,
    }
}

/// Whether the line is a rule, such as `---` or `* * *`.
fn is_rule(line: &str) -> bool {
    let mut marks = line.chars().filter(|character| !character.is_whitespace());
    let Some(mark @ ('-' | '*' | '_')) = marks.next() else {
        return false;
    };
    let mut more = 0;
    marks.all(|next| {
        more += 1;
        next == mark
    }) && more >= 2
}

/// The number of columns that the marker of a list item takes, such as `- ` or `1. `.
fn list_item(line: &str) -> Option<usize> {
    let digits = line.len() - line.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let mark = line[digits..].chars().next()?;
    let is_mark = if digits > 0 { digits < 10 && ".)".contains(mark) } else { "-+*".contains(mark) };
    let after = &line[digits + mark.len_utf8()..];
    let content = after.trim_start();
    if !is_mark || (content.len() == after.len() && !after.is_empty()) {
        return None;
    }
    let gap = after.len() - content.len();
    Some(digits + 1 + if (1..=4).contains(&gap) { gap } else { 1 })
}

/// The fence, if the line begins a code block.
fn fence(line: &str) -> Option<String> {
    let mark = line.chars().next().filter(|mark| "`~".contains(*mark))?;
    let info = line.trim_start_matches(mark);
    let fence = &line[..line.len() - info.len()];
    (fence.len() >= 3 && !(mark == '`' && info.contains(mark))).then(|| fence.to_owned())
}

/// The block that a line beginning with HTML opens.
fn html(line: &str) -> Option<Inside> {
    const PAIRS: [(&str, &str); 8] = [
        ("<!--", "-->"),
        ("<?", "?>"),
        ("<![CDATA[", "]]>"),
        ("<!", ">"),
        ("<script", "</script>"),
        ("<pre", "</pre>"),
        ("<style", "</style>"),
        ("<textarea", "</textarea>"),
    ];
    let tag = line.strip_prefix('<')?;
    if let Some((begin, end)) = PAIRS.iter().find(|(begin, _)| line.starts_with(begin)) {
        return Some(if line[begin.len()..].contains(end) { Inside::Nothing } else { Inside::Html(Some(end)) });
    }
    let is_tag = tag.strip_prefix('/').unwrap_or(tag).starts_with(|first: char| first.is_ascii_alphabetic());
    // Not `<https://…>`.
    let name = tag.find(|character: char| !character.is_ascii_alphanumeric() && character != '/');
    let is_address = name.is_some_and(|end| tag[end..].starts_with([':', '@', '.']));
    (is_tag && !is_address).then_some(Inside::Html(None))
}
