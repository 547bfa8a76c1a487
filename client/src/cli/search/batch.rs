//! Many searches over few calls: `search --batch` and `evaluate`.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
};

use pgfox_client::{
    Client, error,
    v1::{self, search_request},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{Globals, failure::Failure, json, output};

/// Number of searches per call, of the 100 that the server accepts: few enough that a call ends well before its
/// deadline.
const SEARCHES_PER_CALL: usize = 32;

/// Runs the searches in order and hands over each answer with its position.
pub(crate) async fn run(
    client: &mut Client,
    searches: &[v1::SearchRequest],
    mut answer: impl FnMut(usize, &v1::SearchResponse) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut per_call = SEARCHES_PER_CALL;
    let mut done = 0;
    while done < searches.len() {
        let chunk = &searches[done..searches.len().min(done + per_call)];
        let request = v1::SearchBatchRequest { searches: chunk.to_vec(), ..Default::default() };
        match client.search_batch(request).await {
            Ok(response) => {
                let responses = response.into_inner().responses;
                if responses.len() != chunk.len() {
                    return Err(Failure::refused("the server did not answer every search of a batch"));
                }
                for response in &responses {
                    answer(done, response)?;
                    done += 1;
                }
            }
            // If the texts are long, the answers do not fit into one message.
            Err(status) if chunk.len() > 1 && error::reason(&status) == Some(v1::ErrorReason::MessageTooLarge) => {
                per_call = chunk.len() / 2;
            }
            Err(status) => return Err(status.into()),
        }
    }
    Ok(())
}

/// A line of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(alias = "_id")]
    id: Option<Value>,
    text: Option<String>,
    vector: Option<Vec<f32>>,
    document_id: Option<String>,
    full_text: Option<String>,
}

/// Searches for every line of the file and prints one line of JSON for each, in the same order.
pub(super) async fn search_file(globals: &Globals, path: &Path, search: &v1::SearchRequest) -> Result<(), Failure> {
    let mut searches = Vec::new();
    let mut ids = Vec::new();
    for (number, line) in read_lines(path)? {
        let wrong = |message: &dyn std::fmt::Display| Failure::usage(format!("{}:{number}: {message}", name(path)));
        let line: Line = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
        let query = match (line.text, line.vector, line.document_id) {
            (Some(text), None, None) => search_request::Query::Text(text),
            (None, Some(values), None) => search_request::Query::Vector(v1::Vector { values }),
            (None, None, Some(id)) => search_request::Query::DocumentId(id),
            _ => return Err(wrong(&"a search has one of text, vector and document_id")),
        };
        let full_text = line.full_text.unwrap_or_else(|| search.full_text.clone());
        searches.push(v1::SearchRequest { query: Some(query), full_text, ..search.clone() });
        ids.push(line.id);
    }
    let mut client = globals.connect().await?;
    run(&mut client, &searches, |position, response| {
        let mut object = json!({});
        if let Some(id) = &ids[position] {
            object["id"] = id.clone();
        }
        if let (Value::Object(object), Value::Object(found)) = (&mut object, json::search(response)) {
            object.extend(found);
        }
        output::print(&(object.to_string() + "\n"))
    })
    .await
}

/// The lines of a file, or of stdin for `-`, that are not empty, with their numbers.
pub(crate) fn read_lines(path: &Path) -> Result<Vec<(usize, String)>, Failure> {
    let cannot = |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", name(path)));
    let reader: Box<dyn std::io::Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(cannot)?)
    };
    let mut lines = Vec::new();
    for (i, line) in BufReader::new(reader).lines().enumerate() {
        let line = line.map_err(cannot)?;
        let line = if i == 0 { line.trim_start_matches('\u{feff}').to_owned() } else { line };
        if !line.trim().is_empty() {
            lines.push((i + 1, line));
        }
    }
    Ok(lines)
}

/// The name of a file in messages.
pub(crate) fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { path.display().to_string() }
}
