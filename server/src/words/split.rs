//! Where the words of a text are.
//!
//! A word is a run of letters, digits and marks. Runs of scripts that are written without spaces are cut by ICU4X with
//! its dictionaries; an emoji is a word. Apostrophes part words: `customer's` is `customer` and `s`.
//!
//! Words that follow each other with a single joiner between them, without white space, form compounds. There are two
//! kinds, and each is a whole beside its parts when it has at most [`MAX_WHOLE`] bytes:
//! - words joined by `-` `.` `_` `&` or, between digits, `,`: `XK-4711`, `Node.js`, `snake_case`, `AT&T`, `1.2.3`; with
//!   a `++` or `#` at the end even a single word: `C++`, `C#`
//! - those joined by `/` `\` `:` `@`: `input/output`, `jo.doe@acme.com`, `docs.acme.com/install`
//!
//! `://` joins nothing, so the scheme of a URL is a word of its own. Small and capital letters inside a word, as in
//! `camelCase`, part nothing.

use std::{ops::ControlFlow, sync::LazyLock};

use icu_properties::{
    CodePointMapData, CodePointSetData, CodePointSetDataBorrowed,
    props::{ExtendedPictographic, GeneralCategory, GeneralCategoryGroup},
};
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed, options::WordBreakInvariantOptions};

use super::fold;

/// Maximum bytes of a compound as a whole.
const MAX_WHOLE: usize = 64;
/// Maximum parts of a compound. More than a whole can have.
const MAX_PARTS: usize = MAX_WHOLE / 2;
/// Maximum bytes that are cut by the dictionaries at once, which bounds memory; no sentence is longer.
const MAX_UNSPACED: usize = 4_096;
/// Bytes of Thai, Lao, Burmese and Khmer at the beginning of a text that are cut by ICU4X's models, at about 0.5 MB/s.
/// They find `ไทย` in `ประเทศไทย`, and the dictionaries, which cut the rest forty times as fast, do not.
const MAX_MODELLED: usize = 256 * 1024;

/// A word or compound, bytes `start..end` of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub start: usize,
    pub end: usize,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// A part of an English short form: `s` of `it's`, `don` and `t` of `don't`.
    Contraction,
    /// A word of a script without spaces. `is_first` in a run of them.
    Unspaced {
        is_first: bool,
    },
    /// A compound. Its parts follow, and the first of them has its position.
    Whole,
    /// A compound of one part, such as `C++`, which follows.
    Suffixed,
}

/// Calls `each` with the words and compounds of a text, in order, until it breaks.
pub(super) fn split(text: &str, mut each: impl FnMut(Token) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut splitter = Splitter { text, at: 0, parts: Vec::new(), modelled: 0 };
    while let Some(class) = splitter.skip_to_word() {
        match class {
            Class::Letter => splitter.compound(&mut each)?,
            Class::Unspaced => splitter.unspaced(&mut each)?,
            _ => splitter.emoji(&mut each)?,
        }
    }
    ControlFlow::Continue(())
}

/// What a character does to words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Letters and digits.
    Letter,
    /// Marks and ignorable characters. They continue a word and begin none.
    Mark,
    /// Letters of scripts without spaces.
    Unspaced,
    Emoji,
    /// Half of a flag.
    Region,
    Other,
}

fn class(c: char) -> Class {
    const CATEGORIES: icu_properties::CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::new();
    const EMOJI: CodePointSetDataBorrowed<'static> = CodePointSetData::new::<ExtendedPictographic>();
    match c {
        '0'..='9' | 'A'..='Z' | 'a'..='z' => Class::Letter,
        '\0'..='\x7f' => Class::Other,
        'À'..='ɏ' if c != '×' && c != '÷' => Class::Letter,
        'Ѐ'..='ҁ' => Class::Letter,
        // An apostrophe by its use.
        '\u{2bc}' => Class::Other,
        '\u{1f1e6}'..='\u{1f1ff}' => Class::Region,
        // The colours of skins.
        '\u{1f3fb}'..='\u{1f3ff}' => Class::Mark,
        c if fold::is_ignorable(c) => Class::Mark,
        c if is_unspaced(c) => Class::Unspaced,
        c if c >= '\u{2300}' && EMOJI.contains(c) => Class::Emoji,
        c if GeneralCategoryGroup::Mark.contains(CATEGORIES.get(c)) => Class::Mark,
        c if c.is_alphanumeric() => Class::Letter,
        _ => Class::Other,
    }
}

/// Scripts without spaces for which ICU4X has a dictionary or model: Thai, Lao, Burmese, Khmer, Japanese and Chinese.
fn is_unspaced(c: char) -> bool {
    matches!(
        c,
        '\u{e01}'..='\u{eff}'
            | '\u{1000}'..='\u{109f}'
            | '\u{1780}'..='\u{17ff}'
            | '\u{2e80}'..='\u{2fdf}'
            | '\u{3005}'..='\u{3007}'
            | '\u{3041}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{a9e0}'..='\u{a9ff}'
            | '\u{aa60}'..='\u{aa7f}'
            | '\u{f900}'..='\u{faff}'
            | '\u{ff66}'..='\u{ff9f}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

/// What stands between two words of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joiner {
    /// Joins the first kind of compounds.
    Inner,
    /// Joins the second kind.
    Outer,
}

fn joiner(c: char, before: char, after: char) -> Option<Joiner> {
    match c {
        '-' | '.' | '_' | '&' | '\u{2010}' | '\u{2011}' | '－' | '．' | '＿' | '＆' => Some(Joiner::Inner),
        ',' | '，' if before.is_numeric() && after.is_numeric() => Some(Joiner::Inner),
        '/' | '\\' | ':' | '@' | '／' | '：' | '＠' => Some(Joiner::Outer),
        _ => None,
    }
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}' | '\u{2018}' | '\u{2bc}' | '＇')
}

struct Splitter<'a> {
    text: &'a str,
    at: usize,
    /// Parts of the compound that is being read, with the joiners before them.
    parts: Vec<(Token, Joiner)>,
    /// Bytes that were cut by models.
    modelled: usize,
}

impl Splitter<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Moves to the next character that begins a word.
    fn skip_to_word(&mut self) -> Option<Class> {
        let bytes = self.text.as_bytes();
        loop {
            match *bytes.get(self.at)? {
                byte if byte.is_ascii_alphanumeric() => return Some(Class::Letter),
                byte if byte.is_ascii() => self.at += 1,
                _ => {
                    let c = self.peek()?;
                    match class(c) {
                        Class::Mark | Class::Other => self.at += c.len_utf8(),
                        class => return Some(class),
                    }
                }
            }
        }
    }

    /// Moves behind the letters and marks here.
    fn read_word(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if byte.is_ascii_alphanumeric() {
                self.at += 1;
            } else if byte.is_ascii() {
                break;
            } else {
                match self.peek() {
                    Some(c) if matches!(class(c), Class::Letter | Class::Mark) => self.at += c.len_utf8(),
                    _ => break,
                }
            }
        }
    }

    /// A word, with those that are joined to it.
    fn compound(&mut self, each: &mut impl FnMut(Token) -> ControlFlow<()>) -> ControlFlow<()> {
        self.parts.clear();
        let mut joined_by = Joiner::Inner;
        loop {
            let start = self.at;
            self.read_word();
            self.parts.push((Token { start, end: self.at, kind: Kind::Word }, joined_by));
            if self.parts.len() == MAX_PARTS {
                break;
            }
            let bytes = self.text.as_bytes();
            // A word usually ends at white space.
            if bytes.get(self.at).is_none_or(|byte| *byte == b' ' || *byte == b'\n') {
                break;
            }
            let mut next = self.text[self.at..].chars();
            let (Some(c), Some(after)) = (next.next(), next.next()) else { break };
            if class(after) != Class::Letter {
                break;
            }
            let before = self.text[..self.at].chars().next_back().unwrap_or(' ');
            let Some(joiner) = joiner(c, before, after) else { break };
            joined_by = joiner;
            self.at += c.len_utf8();
        }
        let suffix = suffix(&self.text[self.at..]);
        self.emit(suffix, each)?;
        self.at += suffix;
        self.contraction(each)
    }

    /// The wholes of the compound that was read and its parts. `suffix`: bytes of the last word's `++` or `#`.
    fn emit(&self, suffix: usize, each: &mut impl FnMut(Token) -> ControlFlow<()>) -> ControlFlow<()> {
        let parts = &self.parts;
        if let [(part, _)] = parts[..]
            && suffix == 0
        {
            return each(self.checked(part));
        }
        let whole = |first: usize, last: usize| {
            let start = parts[first].0.start;
            let end = parts[last].0.end + if last + 1 == parts.len() { suffix } else { 0 };
            let is_compound = last > first || end > parts[last].0.end;
            let kind = if last > first { Kind::Whole } else { Kind::Suffixed };
            (is_compound && end - start <= MAX_WHOLE).then_some(Token { start, end, kind })
        };
        let last = parts.len() - 1;
        if parts.iter().skip(1).any(|(_, joiner)| *joiner == Joiner::Outer)
            && let Some(token) = whole(0, last)
        {
            each(token)?;
        }
        for (index, (part, joiner)) in parts.iter().enumerate() {
            if index == 0 || *joiner == Joiner::Outer {
                let rest = parts[index + 1..].iter().take_while(|(_, joiner)| *joiner == Joiner::Inner).count();
                if let Some(token) = whole(index, index + rest) {
                    each(token)?;
                }
            }
            each(if index == last { self.checked(*part) } else { *part })?;
        }
        ControlFlow::Continue(())
    }

    /// The word before the `'t` that follows here is a part of a short form.
    fn checked(&self, mut part: Token) -> Token {
        if contraction(&self.text[part.end..]).is_some_and(|(_, end)| end.eq_ignore_ascii_case("t")) {
            part.kind = Kind::Contraction;
        }
        part
    }

    /// The `'s` that follows here.
    fn contraction(&mut self, each: &mut impl FnMut(Token) -> ControlFlow<()>) -> ControlFlow<()> {
        let Some((skip, end)) = contraction(&self.text[self.at..]) else { return ControlFlow::Continue(()) };
        let start = self.at + skip;
        self.at = start + end.len();
        each(Token { start, end: self.at, kind: Kind::Contraction })
    }

    /// Cuts a run of letters without spaces.
    fn unspaced(&mut self, each: &mut impl FnMut(Token) -> ControlFlow<()>) -> ControlFlow<()> {
        let rest = &self.text[self.at..];
        let end = rest
            .char_indices()
            .find(|(at, c)| *at >= MAX_UNSPACED || !is_unspaced(*c) && class(*c) != Class::Mark)
            .map_or(rest.len(), |(at, _)| at);
        let start = self.at;
        self.at += end;
        let is_modelled = self.modelled < MAX_MODELLED;
        // Chinese and Japanese have no model.
        let modelled = rest[..end].chars().filter(|c| *c < '\u{2e80}');
        self.modelled += modelled.map(char::len_utf8).sum::<usize>();
        let mut is_first = true;
        segment(&rest[..end], is_modelled, |from, to| {
            let kind = Kind::Unspaced { is_first };
            is_first = false;
            each(Token { start: start + from, end: start + to, kind })
        })
    }

    /// An emoji without the marks behind it, or two halves of a flag.
    fn emoji(&mut self, each: &mut impl FnMut(Token) -> ControlFlow<()>) -> ControlFlow<()> {
        let start = self.at;
        let mut is_region = false;
        while let Some(c) = self.peek() {
            match class(c) {
                Class::Emoji if self.at == start => {}
                Class::Region if self.at == start => is_region = true,
                Class::Region if is_region => is_region = false,
                _ => break,
            }
            self.at += c.len_utf8();
        }
        each(Token { start, end: self.at, kind: Kind::Word })
    }
}

/// The length of `++` or `#` at the beginning of `rest`, when no word continues behind it.
fn suffix(rest: &str) -> usize {
    let length = if rest.starts_with("++") {
        2
    } else if rest.starts_with('#') {
        1
    } else {
        return 0;
    };
    match rest[length..].chars().next() {
        Some(c) if c == '#' || c == '+' || class(c) == Class::Letter => 0,
        _ => length,
    }
}

/// The end of an English short form at the beginning of `rest`, with the bytes of the apostrophe before it.
fn contraction(rest: &str) -> Option<(usize, &str)> {
    let c = rest.chars().next().filter(|c| is_apostrophe(*c))?;
    let ending = &rest[c.len_utf8()..];
    let length = ending.bytes().take_while(u8::is_ascii_alphabetic).count();
    if length == 0 || length > 2 || ending[length..].chars().next().is_some_and(|c| class(c) == Class::Letter) {
        return None;
    }
    let ending = &ending[..length];
    let is_known = ["s", "t", "d", "m", "ll", "re", "ve"].iter().any(|known| known.eq_ignore_ascii_case(ending));
    is_known.then_some((c.len_utf8(), ending))
}

/// Calls `each` with the words of a run that ICU4X finds, by its models where it has some, or by dictionaries alone.
fn segment(run: &str, is_modelled: bool, mut each: impl FnMut(usize, usize) -> ControlFlow<()>) -> ControlFlow<()> {
    static MODELS: LazyLock<WordSegmenterBorrowed<'static>> =
        LazyLock::new(|| WordSegmenter::new_auto(WordBreakInvariantOptions::default()));
    static DICTIONARIES: LazyLock<WordSegmenterBorrowed<'static>> =
        LazyLock::new(|| WordSegmenter::new_dictionary(WordBreakInvariantOptions::default()));
    let segmenter = if is_modelled { &MODELS } else { &DICTIONARIES };
    // The dictionaries have composed letters.
    let composed = Composed::new(run);
    let text = composed.as_ref().map_or(run, |composed| &composed.text);
    let origin = |at: usize| composed.as_ref().map_or(at, |composed| composed.origin(at));
    let mut start = 0;
    for end in segmenter.segment_str(text) {
        if text[start..end].contains(char::is_alphanumeric) {
            let (from, to) = (origin(start), origin(end));
            if from < to {
                each(from, to)?;
            }
        }
        start = end;
    }
    ControlFlow::Continue(())
}

/// A text in Unicode's form NFKC that knows where it comes from.
struct Composed {
    text: String,
    /// Ends of its characters with their marks: in `text` and in the original.
    ends: Vec<(usize, usize)>,
}

impl Composed {
    /// None: it has this form already.
    fn new(run: &str) -> Option<Self> {
        let is_voiced = |c: char| matches!(c, '\u{3099}' | '\u{309a}' | '\u{ff66}'..='\u{ff9f}');
        if !run.contains(|c| is_voiced(c) || fold::is_ignorable(c)) {
            return None;
        }
        let mut composed = Self { text: String::with_capacity(run.len()), ends: Vec::new() };
        let mut start = 0;
        let mut chars = run.char_indices().peekable();
        while let Some((_, c)) = chars.next() {
            let end = chars.peek().map_or(run.len(), |(at, _)| *at);
            // The voice marks of Japanese, also those of half width, go with the letter before them.
            let goes_on =
                chars.peek().is_some_and(|(_, next)| matches!(next, '\u{ff9e}' | '\u{ff9f}' | '\u{3099}' | '\u{309a}'));
            if goes_on {
                continue;
            }
            // What parts words in these scripts stays. ICU4X takes it as a boundary.
            if c == '\u{200b}' {
                composed.text.push(c);
            } else {
                let cluster: String = run[start..end].chars().filter(|c| !fold::is_ignorable(*c)).collect();
                // The form has other vowels of Thai and Lao than the dictionaries.
                composed.text.push_str(&if c < '\u{3000}' { cluster.into() } else { fold::compose(&cluster) });
            }
            composed.ends.push((composed.text.len(), end));
            start = end;
        }
        Some(composed)
    }

    /// Where in the original the byte `at` of the text is. Inside of a character: its end.
    fn origin(&self, at: usize) -> usize {
        if at == 0 {
            return 0;
        }
        let index = self.ends.partition_point(|(end, _)| *end < at);
        self.ends.get(index).map_or(0, |(_, origin)| *origin)
    }
}
