//! Reads judged queries in the formats of TREC and of BEIR.

use std::{collections::HashSet, path::Path};

use serde_json::Value;

use super::metrics::Qrels;
use crate::cli::{
    failure::Failure,
    search::batch::{name, read_lines},
};

#[derive(Debug, PartialEq)]
pub(super) struct Query {
    pub(super) id: String,
    pub(super) text: String,
}

pub(super) fn queries(path: &Path) -> Result<Vec<Query>, Failure> {
    parse(path, parse_queries)
}

pub(super) fn qrels(path: &Path) -> Result<Qrels, Failure> {
    parse(path, parse_qrels)
}

type Lines = [(usize, String)];

/// Parses a file. Errors name the line.
fn parse<T>(path: &Path, parse: impl FnOnce(&Lines) -> Result<T, (usize, String)>) -> Result<T, Failure> {
    parse(&read_lines(path)?).map_err(|(number, message)| Failure::usage(format!("{}:{number}: {message}", name(path))))
}

/// JSON Lines if the first line is an object, else an id, a tab and a text.
fn parse_queries(lines: &Lines) -> Result<Vec<Query>, (usize, String)> {
    let is_json = lines.first().is_some_and(|(_, line)| line.trim_start().starts_with('{'));
    let mut ids = HashSet::new();
    let mut queries = Vec::with_capacity(lines.len());
    for (number, line) in lines {
        let query = if is_json { json_query(line) } else { tsv_query(line) }.map_err(|message| (*number, message))?;
        if query.text.trim().is_empty() {
            return Err((*number, format!("the query {} has no text", query.id)));
        }
        if !ids.insert(query.id.clone()) {
            return Err((*number, format!("the query {} occurs twice", query.id)));
        }
        queries.push(query);
    }
    Ok(queries)
}

fn json_query(line: &str) -> Result<Query, String> {
    let wrong = || r#"expected {"_id": "...", "text": "..."}"#.to_owned();
    let object: Value = serde_json::from_str(line).map_err(|error| format!("this is not JSON: {error}"))?;
    let id = match object.get("_id").or_else(|| object.get("id")) {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => return Err(wrong()),
    };
    let text = object.get("text").and_then(Value::as_str).ok_or_else(wrong)?.to_owned();
    Ok(Query { id, text })
}

fn tsv_query(line: &str) -> Result<Query, String> {
    let (id, text) = line.split_once('\t').ok_or("expected an id, a tab and a text, or a JSON object")?;
    Ok(Query { id: id.trim().to_owned(), text: text.trim().to_owned() })
}

/// `query 0 document grade`, or `query document grade` with or without a header. If a document is judged twice, the
/// later grade counts.
fn parse_qrels(lines: &Lines) -> Result<Qrels, (usize, String)> {
    let mut qrels = Qrels::new();
    for (i, (number, line)) in lines.iter().enumerate() {
        // With tabs, ids may contain spaces.
        let fields: Vec<&str> = if line.contains('\t') {
            line.split('\t').map(str::trim).collect()
        } else {
            line.split_whitespace().collect()
        };
        let (query, document, grade) = match fields.as_slice() {
            [query, _, document, grade] | [query, document, grade] => (*query, *document, *grade),
            _ => return Err((*number, "expected `query 0 document grade` or `query document grade`".to_owned())),
        };
        let grade = match grade.parse::<f64>() {
            Ok(grade) if grade.is_finite() => grade.max(0.0),
            _ if i == 0 => continue,
            _ => return Err((*number, format!("the grade `{grade}` is not a number"))),
        };
        qrels.entry(query.to_owned()).or_default().insert(document.to_owned(), grade);
    }
    Ok(qrels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(usize, String)> {
        text.lines().enumerate().map(|(i, line)| (i + 1, line.to_owned())).collect()
    }

    #[test]
    fn queries_of_both_formats() {
        let expected = [("1", "a fox"), ("2", "in love")].map(|(id, text)| Query { id: id.into(), text: text.into() });
        let json = "{\"_id\": \"1\", \"text\": \"a fox\", \"metadata\": {}}\n{\"id\": 2, \"text\": \"in love\"}";
        assert_eq!(parse_queries(&lines(json)).unwrap(), expected);
        assert_eq!(parse_queries(&lines("1\ta fox\n2\tin love")).unwrap(), expected);
        let second =
            |text: &str| parse_queries(&lines(&format!("{{\"_id\":\"1\",\"text\":\"x\"}}\n{text}"))).unwrap_err();
        assert_eq!(second("{"), (2, second("{").1));
        assert!(second("{\"_id\":\"1\",\"text\":\"y\"}").1.contains("twice"));
        assert!(second("{\"_id\":\"2\",\"text\":\" \"}").1.contains("no text"));
        assert!(second("{\"text\":\"y\"}").1.contains("expected"));
        assert!(parse_queries(&lines("1 a fox")).unwrap_err().1.contains("a tab"));
    }

    #[test]
    fn judgements_of_both_formats() {
        let trec = parse_qrels(&lines("1 0 d1 2\n1 0 d2 -1\n2\t0\td1\t0")).unwrap();
        assert_eq!((trec["1"]["d1"], trec["1"]["d2"], trec["2"]["d1"]), (2.0, 0.0, 0.0));
        let beir = parse_qrels(&lines("query-id\tcorpus-id\tscore\n1\tmy doc\t3\n1\tmy doc\t1")).unwrap();
        assert_eq!(beir["1"]["my doc"], 1.0);
        assert_eq!(beir.len(), 1);
        assert_eq!(parse_qrels(&lines("1 0 d1 1\n1 0 d2 x")).unwrap_err(), (2, "the grade `x` is not a number".into()));
        assert_eq!(parse_qrels(&lines("1 0 d1 1\n1")).unwrap_err().0, 2);
    }
}
