//! `pgfox search`: the documents nearest to a text, a vector or a document.

use std::path::Path;

use clap::Args;
use pgfox_client::v1::{self, Completeness, ShortReason, search_request};

use super::failure::Failure;
use super::output::{self, Align};
use super::{Globals, json};

/// Widest column of ids, so that the text keeps its place.
const ID_COLUMNS_MAX: usize = 40;

/// Find the documents nearest to a text, a vector or a stored document
#[derive(Args)]
#[command(override_usage = "pgfox search [OPTIONS] <COLLECTION> <TEXT | --vector <JSON> | --id <ID>>")]
#[command(after_help = "\
Examples:
  pgfox search films \"a fox in love\"
  pgfox search films --id \"Heat-1995-12\" --limit 20
  pgfox search images --vector '[0.1, 0.2, 0.3]' --exact
  pgfox search images --vector @query.json --json | jq -r '.results[].document.id'")]
pub(crate) struct Search {
    /// Name of the collection
    collection: String,
    #[command(flatten)]
    query: Query,
    /// Most results, 1 to 1,000
    #[arg(short, long, default_value = "10", value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    limit: i32,
    /// Compare with every vector instead of using the index
    #[arg(long, conflicts_with_all = ["ef_search", "probes"])]
    exact: bool,
    /// Candidates that an HNSW search keeps, 1 to 1,000: more finds more and takes longer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    ef_search: Option<i32>,
    /// Lists that an IVFFlat search reads, 1 to 32,768: more finds more and takes longer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=32_768))]
    probes: Option<i32>,
    /// Return the vectors too, with --json
    #[arg(long, requires = "json")]
    include_vector: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Query {
    /// What to look for, in words
    text: Option<String>,
    /// A vector as a JSON array, or @FILE that holds one; @- is stdin
    #[arg(long, value_name = "JSON")]
    vector: Option<String>,
    /// Id of a stored document: what is similar to it
    #[arg(long)]
    id: Option<String>,
}

impl Search {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let query = match (&self.query.text, &self.query.vector, &self.query.id) {
            (Some(text), _, _) => search_request::Query::Text(text.clone()),
            (_, Some(vector), _) => search_request::Query::Vector(read_vector(vector)?),
            (_, _, Some(id)) => search_request::Query::DocumentId(id.clone()),
            (None, None, None) => return Err(Failure::usage("give a text, --vector or --id")),
        };
        let request = v1::SearchRequest {
            collection: self.collection.clone(),
            query: Some(query),
            limit: self.limit,
            params: Some(v1::SearchParams { exact: self.exact, ef_search: self.ef_search, probes: self.probes }),
            include_vector: self.include_vector,
            ..Default::default()
        };
        let response = globals.connect().await?.search(request).await?.into_inner();
        if globals.json {
            return output::print_json(&json::search(&response));
        }
        if !response.results.is_empty() {
            output::print(&table(&response.results, output::columns()))?;
        }
        if !globals.quiet {
            output::note(&remarks(&response, self.limit));
        }
        Ok(())
    }
}

fn read_vector(argument: &str) -> Result<v1::Vector, Failure> {
    let json = match argument.strip_prefix('@') {
        None => argument.to_owned(),
        Some("-") => std::io::read_to_string(std::io::stdin())?,
        Some(path) => std::fs::read_to_string(Path::new(path))
            .map_err(|error| Failure::usage(format!("cannot read the vector from {path}: {error}")))?,
    };
    super::read::document::parse_vector(&json).map_err(|message| {
        Failure::usage(format!("--vector: {message}")).with_hint("write a JSON array, such as '[0.1, 0.2, 0.3]'")
    })
}

fn table(results: &[v1::SearchResult], columns: usize) -> String {
    let header = [
        ("#", Align::Right),
        ("DISTANCE", Align::Right),
        ("SCORE", Align::Right),
        ("ID", Align::Left),
        ("TEXT", Align::Left),
    ];
    let mut rows: Vec<Vec<String>> = results
        .iter()
        .enumerate()
        .map(|(i, result)| {
            vec![
                (i + 1).to_string(),
                result.distance.map_or_else(|| "-".to_owned(), |distance| format!("{distance:.4}")),
                format!("{:.4}", result.score),
                output::one_line(result.document.as_ref().map_or("", |document| &document.id), ID_COLUMNS_MAX),
            ]
        })
        .collect();
    // The text takes what the other columns leave.
    let width = |column: usize, title: &str| {
        rows.iter()
            .map(|row| unicode_width::UnicodeWidthStr::width(row[column].as_str()))
            .max()
            .unwrap_or(0)
            .max(title.len())
            + 2
    };
    let taken: usize = header.iter().take(4).enumerate().map(|(column, (title, _))| width(column, title)).sum();
    let text_columns = columns.saturating_sub(taken + 1).max(20);
    for (row, result) in rows.iter_mut().zip(results) {
        let document = result.document.clone().unwrap_or_default();
        let text = match &document.metadata {
            // Own vectors often come without a text; then the metadata tell what was found.
            Some(metadata) if document.text.trim().is_empty() => json::metadata(metadata).to_string(),
            _ => document.text,
        };
        row.push(output::one_line(&text, text_columns));
    }
    output::table(&header, &rows)
}

/// What the results stand for, and why there are so few.
fn remarks(response: &v1::SearchResponse, limit: i32) -> String {
    let found = response.results.len();
    let mut text = match response.short_reason() {
        ShortReason::Unspecified => String::new(),
        ShortReason::FewDocuments => {
            format!("{found} of {limit}: the collection has no more documents with a vector\n")
        }
        ShortReason::FewMatches => format!("{found} of {limit}: no more documents match\n"),
        ShortReason::MaxDistance => format!("{found} of {limit}: the others are farther than the largest distance\n"),
        ShortReason::OutOfTime => {
            format!(
                "{found} of {limit}: the time was over before every vector was compared; a longer --timeout finds more\n"
            )
        }
    };
    text += match response.completeness() {
        Completeness::Unspecified => "",
        Completeness::Exact => "exact: every vector was compared\n",
        Completeness::Approximate => "approximate: an index was used; --exact compares with every vector\n",
        Completeness::Truncated => "incomplete: nearer documents may be missing\n",
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_the_terminal() {
        let result = |id: &str, text: &str| v1::SearchResult {
            document: Some(v1::Document { id: id.into(), text: text.into(), ..Default::default() }),
            distance: Some(0.25),
            score: 0.75,
            ..Default::default()
        };
        let text = table(&[result("狐-1", &"ein Fuchs\n".repeat(50)), result("b", "")], 60);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "#  DISTANCE   SCORE  ID    TEXT");
        assert!(lines[1].starts_with("1    0.2500  0.7500  狐-1  ein Fuchs ein Fuchs"), "{}", lines[1]);
        assert!(lines[1].ends_with('…'));
        assert_eq!(lines[2], "2    0.2500  0.7500  b");
        assert!(lines.iter().all(|line| unicode_width::UnicodeWidthStr::width(*line) <= 60), "{text}");
    }
}
