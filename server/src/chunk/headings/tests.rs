use std::path::Path;

use pulldown_cmark::{Tag, TagEnd};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    chunk::{
        Chunk,
        tests::{by_characters, by_tokens, check, counter},
    },
    store::{ChunkMethod, Chunking, ContentHash},
};

/// The levels and titles of the headings outside other blocks, as a full Markdown parser sees them.
fn parsed(text: &str) -> Vec<(usize, String)> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_STRIKETHROUGH;
    let (mut found, mut depth, mut inside) = (Vec::new(), 0, false);
    for event in Parser::new_ext(text, options) {
        match event {
            Event::Start(Tag::Heading { level, .. }) if depth == 0 => {
                inside = true;
                found.push((level as usize, String::new()));
            }
            Event::Text(text) | Event::Code(text) if inside => found.last_mut().unwrap().1.push_str(&text),
            Event::SoftBreak if inside => found.last_mut().unwrap().1.push(' '),
            Event::End(TagEnd::Heading(_)) => inside = false,
            Event::Start(Tag::BlockQuote(_) | Tag::List(_)) => depth += 1,
            Event::End(TagEnd::BlockQuote(_) | TagEnd::List(_)) => depth -= 1,
            _ => {}
        }
    }
    found
}

fn scanned(text: &str) -> Vec<(usize, String)> {
    Headings::new(text).map(|heading| (heading.level, plain(heading.title))).collect()
}

#[test]
fn headings_are_those_that_a_parser_finds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut texts: Vec<String> =
        ["README.md", "CHANGELOG.md", "ARCHITECTURE.md", "docs/ingest.md", "docs/reference.md"]
            .iter()
            .map(|name| std::fs::read_to_string(root.join(name)).unwrap())
            .collect();
    let cases = [
        "# One\n## Two ##\n### Three#\n#No\n####### no\n#\n# \n   # Indented\n    # code\n\\# no\n#\tTab",
        "Setext\n===\n\nOf two\nlines\n---\n\ntext\n\n---\n\nno\n\n===\n",
        "```sh\n# code\n```\n# One\n~~~\n```\n# code\n~~~~\n# Two\n```\n# to the end",
        "```js`\n# Three\n",
        "- ```sh\n  # code\n  ```\n- # in a list\n\n# One\n",
        "1. item\n\n   ```\n   # code\n   ```\n\n   # in the list\n\n   text\n   ---\n\nText\n---\n# Two",
        "- a\n  - b\n\n    ```\n    # code\n    ```\n- c\n# One\n- d\n# Two",
        "- item\nlazy\n---\n\nTitle\n---\n",
        "> # quoted\n> ```\n> # code\n\nOne\n===\n> quote\nlazy\n===\n\n# Two",
        "* * *\nTitle\n---\n___\nTitle\n===\n- - -\nTitle\n---",
        "---\ntitle: A\n# comment\n---\n# One\nTwo\n---",
        "+++\n# comment = 1\n+++\n\n# One",
        "---\n\n# One\n",
        "<!-- # no\n\n# no\n--> \n# One\n<!-- --> text\n# Two\n<div>\n# no\n</div>\n\n# Three",
        "<pre>\n\n# no\n</pre>\n# One\n<https://a.example>\n===\n</div>\n# no\n\n# Three",
        "[a]: https://a.example\n---\n\nText\n[b](c)\n---\n| a | b |\n|---|---|\n| c | d |\n\n# One",
        "# `code` *of* **a** ~~b~~ [link](https://a.example \"t\") ![image](i.png) <br> &amp; \\# # {#id .class}\n",
        "# One\r\n\r\ntext\r\n\r\nTwo\r\n---\r\n\r\n```\r\n# no\r\n```\r\n### Three ###\r\n",
        "# 狐\n\nлиса 🦊\n===\n",
        "# 1. Begin\n## - Item\n### > Quote\n#### # Hash\n",
        "text\n# One\ntext\n## Two\ntext\n    # more\n---\n",
    ];
    texts.extend(cases.map(str::to_owned));
    for text in texts {
        assert_eq!(scanned(&text), parsed(&text), "{}", &text[..text.floor_char_boundary(300)]);
    }
    assert_eq!(scanned("\u{feff}---\na: b\n---\n# One"), [(1, "One".to_owned())]);
    assert_eq!(scanned("\u{feff}# One"), [(1, "One".to_owned())]);
}

#[test]
fn any_text_has_headings_or_none() {
    let parts = ["# ", "#", "\n", "\n\n", "```\n", "~~~", "- ", "1. ", "> ", "    ", "\t", "---", "===", "<!--", "-->"];
    let parts: Vec<&str> =
        parts.into_iter().chain(["<div>", "狐", "\u{a0}", "\u{2028}", "word ", "\r\n", "+++"]).collect();
    let mut dice = 1_u32;
    for _ in 0..100 {
        let text: String = (0..400)
            .map(|_| {
                dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                parts[(dice >> 16) as usize % parts.len()]
            })
            .collect();
        for overlap in [0, 50] {
            check(&with_headings(100, overlap), &text);
        }
    }
}

fn with_headings(max_size: usize, overlap: usize) -> Splitter {
    let mut splitter = by_characters(ChunkMethod::Markdown, max_size, overlap);
    splitter.chunking.embed_headings = true;
    splitter
}

/// Each chunk as the model reads it.
fn read(splitter: &Splitter, text: &str) -> Vec<(Option<String>, String)> {
    check(splitter, text);
    let read = |chunk: Chunk| (chunk.headings.map(|headings| headings.to_string()), text[chunk.bytes].to_owned());
    splitter.split(text).into_iter().map(read).collect()
}

/// A sentence of 70 characters, so that each chunk of 100 has one.
fn sentence(what: &str) -> String {
    format!("{what:.<69}!")
}

#[test]
fn chunks_have_the_headings_above_them() {
    let splitter = with_headings(100, 0);
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(sentence);
    let text = format!(
        "{a}\n\n# Guide\n\n{b}\n\n## *Install*\n\n{c}\n\n```\n# no\n```\n\n{d}\n\n#### Deep\n\n{e}\n\n# End\n\n{a}"
    );
    let read = read(&splitter, &text);
    let read: Vec<(Option<&str>, &str)> = read.iter().map(|(above, text)| (above.as_deref(), text.as_str())).collect();
    assert_eq!(
        read,
        [
            (None, a.as_str()),
            (None, "# Guide"),
            (Some("Guide"), &b),
            (Some("Guide"), "## *Install*"),
            (Some("Guide > Install"), &c),
            (Some("Guide > Install"), "```\n# no\n```"),
            (Some("Guide > Install"), &d),
            (Some("Guide > Install"), "#### Deep"),
            (Some("Guide > Install > Deep"), &e),
            (None, "# End"),
            (Some("End"), &a),
        ]
    );
}

#[test]
fn a_chunk_does_not_repeat_its_own_heading() {
    let section = |title: &str| format!("{title}\n\nSome words.\n\n");
    let guide = ["# Guide", "## Install it", "## Another one to use"].map(section).concat();
    let chunk = |above: Option<&str>, text: String| (above.map(str::to_owned), text.trim().to_owned());
    let (first, second) = (section("# Guide") + &section("## Install it"), section("## Another one to use"));
    assert_eq!(
        read(&with_headings(100, 0), &guide.repeat(2)),
        [
            chunk(None, first.clone()),
            chunk(Some("Guide"), second.clone()),
            chunk(None, first),
            chunk(Some("Guide"), second),
        ]
    );
}

#[tokio::test]
async fn headings_and_text_are_no_longer_than_a_chunk_together() {
    let counter = counter("local/tiny-bert").await;
    let mut by_tokens = by_tokens(counter, 60, 10);
    by_tokens.chunking = Chunking { method: ChunkMethod::Markdown, embed_headings: true, ..by_tokens.chunking };
    let long = "fox ".repeat(400);
    let titles =
        ["A fox", &long, &"f".repeat(3_000), "狐狸跳过了懒狗狐狸跳过了懒狗狐狸跳过了懒狗狐狸跳过了懒狗", "**", "#"];
    for splitter in [with_headings(100, 0), with_headings(400, 200), by_tokens] {
        for outer in titles {
            for inner in titles {
                let text = format!("# {outer}\n\n## {inner}\n\n{}", "The fox jumps over the dog.\n\n".repeat(40));
                for (above, passage) in read(&splitter, &text) {
                    let read = above.map_or(passage.clone(), |above| format!("{above}{AFTER_HEADINGS}{passage}"));
                    assert!(splitter.size(&read) <= splitter.chunking.max_size, "{read}");
                }
            }
        }
    }
    // The outermost headings are dropped first, and a single heading is cut.
    let read = |outer: &str, inner: &str| {
        let text = format!("# {outer}\n\n## {inner}\n\n{}", "The fox jumps over the dog.\n\n".repeat(40));
        read(&with_headings(100, 0), &text).pop().unwrap().0
    };
    assert_eq!(read("Guide of foxes", "Installing").as_deref(), Some("Installing"));
    assert_eq!(read("Guide", "Installing").as_deref(), Some("Guide > Installing"));
    assert_eq!(read("Guide", "How to install it on a machine").as_deref(), Some("How to install it on a"));
    assert_eq!(read("Guide", "").as_deref(), Some("Guide"));
}

#[test]
fn a_text_of_one_chunk_is_not_split_for_headings() {
    let text = format!("# Guide\n\n{}\n\n{}", "a ".repeat(20), "b ".repeat(20));
    assert!((80..=100).contains(&text.len()));
    assert_eq!(with_headings(100, 0).split(&text), []);
    assert_eq!(with_headings(100, 0).split(&format!("{text}{}", "c".repeat(20))).len(), 2);
}

#[test]
fn hashes_are_of_what_the_model_reads() {
    let body: Vec<String> = ["a", "b", "c"].map(sentence).to_vec();
    let text = |title: &str| format!("# {title}\n\n{}", body.join("\n\n"));
    let hashes = |splitter: &Splitter, text: &str| -> Vec<ContentHash> {
        splitter.split(text).into_iter().map(|chunk| chunk.hash).collect()
    };
    let splitter = with_headings(100, 0);
    let (one, other) = (hashes(&splitter, &text("One")), hashes(&splitter, &text("Other")));
    assert_eq!(one.len(), 4);
    assert!(one.iter().zip(&other).all(|(one, other)| one != other));
    // Without a heading above it, or without headings at all, the hash covers the text alone.
    let plain = by_characters(ChunkMethod::Markdown, 75, 0);
    assert_eq!(hashes(&splitter, &text("One"))[0], hashes(&plain, &text("One"))[0]);
    assert_eq!(hashes(&plain, &text("One"))[1..], hashes(&plain, &text("Other"))[1..]);
    assert_eq!(hashes(&plain, &text("One"))[1], ContentHash::from(Sha256::digest(&body[0])));
}

#[test]
fn long_texts_have_their_headings_fast() {
    let began = std::time::Instant::now();
    let many = "# a\n".repeat(500_000);
    let deep = format!("{}\n===\n{}", "word ".repeat(100_000), "- ".repeat(100_000));
    for text in [many, deep, "*".repeat(1 << 20), "# ".repeat(1 << 19), "```\n".repeat(1 << 18)] {
        assert!(Headings::new(&text).count() < 1_000_000);
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}
