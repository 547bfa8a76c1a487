//! Reads a plain text or Markdown file as one document, with its path, heading and front matter as metadata.

use std::io::{BufRead, Read as _};

use pgfox_client::v1::Document;
use prost_types::{ListValue, Struct, Value, value::Kind};
use pulldown_cmark::{Event, Options as Extensions, Parser, Tag, TagEnd};
use yaml_rust2::{Yaml, YamlLoader};

use super::{Flaw, Format, MAX_TEXT_BYTES, Names, fields::Draft, number, source::unreadable, utf8};

/// Metadata fields that show where a document comes from.
pub(crate) const PATH: &str = "path";
pub(crate) const SOURCE: &str = "source";

/// The origin of a file.
#[derive(Debug)]
pub(super) struct Origin {
    /// The id of its document.
    pub(super) id: String,
    /// Its path below the folder that the user named. `None`: stdin.
    pub(super) path: Option<String>,
    /// The folder, as `--prune` knows it.
    pub(super) source: Option<String>,
}

/// The document of a file, and notes for the user.
pub(super) fn read(
    reader: Box<dyn BufRead>,
    format: Format,
    origin: &Origin,
    names: &Names,
) -> Result<(Document, Vec<String>), Flaw> {
    let mut bytes = Vec::new();
    // One byte above the limit distinguishes a text at the limit from a longer one.
    reader.take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(Flaw::new("the text has more than 8 MiB: split it"));
    }
    let text = utf8(&bytes)?;
    let mut notes = Vec::new();
    let mut draft = Draft::default();
    let mut put = |name: &str, value: Value, notes: &mut Vec<String>| {
        // `--prune` finds the documents whatever fields are picked.
        if (names.takes(name) || name == SOURCE) && draft.set_metadata(name.to_owned(), value).is_err() {
            notes.push(format!("the front matter has a field `{name}`, which is left out"));
        }
    };
    for (name, value) in [(PATH, &origin.path), (SOURCE, &origin.source)] {
        if let Some(value) = value {
            put(name, string(value.clone()), &mut notes);
        }
    }
    let outline = if format == Format::Markdown { outline(text) } else { Outline::default() };
    let mut body = text;
    let mut fields = Struct::default();
    match outline.front_matter.map(|yaml| parse_front_matter(&yaml)) {
        Some(Ok(front_matter)) => {
            body = text[outline.body..].trim_start_matches(['\n', '\r']);
            fields = front_matter;
        }
        Some(Err(problem)) => notes.push(format!("the front matter stays in the text, because {problem}")),
        None => {}
    }
    for name in ["title", "heading"] {
        if let Some(heading) = &outline.heading {
            fields.fields.entry(name.to_owned()).or_insert_with(|| string(heading.clone()));
        }
    }
    for (name, value) in fields.fields {
        put(&name, value, &mut notes);
    }
    let mut document = draft.finish();
    (document.id, document.text) = (origin.id.clone(), body.to_owned());
    Ok((document, notes))
}

fn string(text: String) -> Value {
    Value { kind: Some(Kind::StringValue(text)) }
}

/// The metadata in a Markdown text.
#[derive(Default)]
struct Outline {
    heading: Option<String>,
    front_matter: Option<String>,
    /// The place where the text begins, after the front matter.
    body: usize,
}

/// Reads up to the first heading.
fn outline(text: &str) -> Outline {
    let mut outline = Outline::default();
    let mut collected: Option<String> = None;
    for (event, range) in Parser::new_ext(text, Extensions::ENABLE_YAML_STYLE_METADATA_BLOCKS).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. } | Tag::MetadataBlock(_)) => collected = Some(String::new()),
            Event::End(TagEnd::MetadataBlock(_)) => {
                // Elsewhere in the text it is not front matter.
                if text[..range.start].trim().is_empty() {
                    (outline.front_matter, outline.body) = (collected.take(), range.end);
                }
                collected = None;
            }
            Event::End(TagEnd::Heading(_)) => {
                let heading = collected.take().map(|heading| heading.trim().to_owned());
                outline.heading = heading.filter(|heading| !heading.is_empty());
                if outline.heading.is_some() {
                    break;
                }
            }
            Event::Text(part) | Event::Code(part) => {
                if let Some(collected) = &mut collected {
                    collected.push_str(&part);
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some(collected) = &mut collected {
                    collected.push(' ');
                }
            }
            _ => {}
        }
    }
    outline
}

/// The fields of front matter. The error completes "because".
fn parse_front_matter(yaml: &str) -> Result<Struct, String> {
    let documents = YamlLoader::load_from_str(yaml).map_err(|error| format!("it is not YAML: {error}"))?;
    match documents.into_iter().next().map(value) {
        None | Some(Value { kind: None | Some(Kind::NullValue(_)) }) => Ok(Struct::default()),
        Some(Value { kind: Some(Kind::StructValue(fields)) }) => Ok(fields),
        Some(_) => Err("it has no fields".to_owned()),
    }
}

/// YAML as metadata. A number that a double cannot represent becomes a string.
fn value(yaml: Yaml) -> Value {
    let number = |digits: &str| match digits.parse() {
        Ok(number) if number::is_exact(digits) => Kind::NumberValue(number),
        _ => Kind::StringValue(digits.to_owned()),
    };
    let kind = match yaml {
        Yaml::Real(digits) => number(&digits),
        Yaml::Integer(integer) => number(&integer.to_string()),
        Yaml::String(text) => Kind::StringValue(text),
        Yaml::Boolean(value) => Kind::BoolValue(value),
        Yaml::Array(elements) => Kind::ListValue(ListValue { values: elements.into_iter().map(value).collect() }),
        Yaml::Hash(fields) => {
            let fields = fields.into_iter().map(|(name, field)| (key(name), value(field))).collect();
            Kind::StructValue(Struct { fields })
        }
        Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => Kind::NullValue(0),
    };
    Value { kind: Some(kind) }
}

fn key(yaml: Yaml) -> String {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => text,
        Yaml::Integer(integer) => integer.to_string(),
        Yaml::Boolean(value) => value.to_string(),
        _ => "null".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String, Vec<String>) {
        let origin = Origin { id: "a.md".into(), path: Some("a.md".into()), source: None };
        let reader = Box::new(std::io::Cursor::new(text.as_bytes().to_vec()));
        let (document, notes) = super::read(reader, Format::Markdown, &origin, &Names::default()).unwrap();
        let metadata = crate::cli::json::metadata(&document.metadata.unwrap()).to_string();
        (document.text, metadata, notes)
    }

    #[test]
    fn front_matter_and_headings_become_metadata() {
        let (text, metadata, notes) = read(
            "---\ntitle: The fox\ntags: [a, b]\nyear: 1999\nbig: 9007199254740993\ndate: 2024-05-01\n---\n\n# About `foxes`\n\nx\n",
        );
        assert_eq!(text, "# About `foxes`\n\nx\n");
        let expected = r#"{"big":"9007199254740993","date":"2024-05-01","heading":"About foxes","path":"a.md","tags":["a","b"],"title":"The fox","year":1999}"#;
        assert_eq!((metadata.as_str(), notes), (expected, vec![]));
        let (text, metadata, _) = read("```\n# no\n```\n\nFoxes\n=====\n\n## Later\n");
        assert!(text.starts_with("```"));
        assert_eq!(metadata, r#"{"heading":"Foxes","path":"a.md","title":"Foxes"}"#);
    }

    #[test]
    fn other_text_between_dashes_stays() {
        for text in ["---\nnot: [yaml\n---\nx", "---\njust text\n---\nx"] {
            let (kept, _, notes) = read(text);
            assert_eq!((kept.as_str(), notes.len()), (text, 1), "{notes:?}");
        }
        let (kept, metadata, notes) = read("x\n\n---\n\na: 1\n\n---\n");
        assert_eq!(
            (kept.as_str(), metadata.as_str(), notes.len()),
            ("x\n\n---\n\na: 1\n\n---\n", r#"{"path":"a.md"}"#, 0)
        );
        let (_, metadata, notes) = read("---\npath: /x\n---\nx");
        assert_eq!((metadata.as_str(), notes.len()), (r#"{"path":"a.md"}"#, 1));
    }
}
