//! `pgfox facets`: counts documents by the values of a field.

use clap::Args;
use pgfox_client::v1;
use serde_json::{Value, json};

use super::{
    Globals,
    failure::Failure,
    filter::Where,
    json,
    output::{self, Align},
};

/// Maximum width of the column of values.
const MAX_VALUE_COLUMNS: usize = 60;

/// Count documents by the values of a field
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox facets films genres
  pgfox facets films genres --where 'year >= 2000' --limit 5
  pgfox facets films year --bucket-width 10
  pgfox facets shirts 'variants[].color'

In a list each different element counts once per document.")]
pub(crate) struct Facets {
    /// Name of the collection
    collection: String,
    /// The field, written as in a filter
    field: String,
    #[command(flatten)]
    filter: Where,
    /// Number of values to show, 1 to 1,000, most frequent first
    #[arg(short, long, default_value = "10", value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    limit: i32,
    /// Count numbers in buckets of this width; the output shows the lower end of each bucket
    #[arg(long, value_name = "WIDTH", value_parser = width)]
    bucket_width: Option<f64>,
}

fn width(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(width) if width > 0.0 && width.is_finite() => Ok(width),
        _ => Err("write a number above 0, such as 10".to_owned()),
    }
}

impl Facets {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let request = v1::FacetDocumentsRequest {
            collection: self.collection.clone(),
            filter: self.filter.filter()?,
            field: self.field.clone(),
            limit: self.limit,
            bucket_width: self.bucket_width.unwrap_or_default(),
        };
        let response = globals.connect().await?.facet_documents(request).await?.into_inner();
        let v1::FacetDocumentsResponse { values, other_value_count, without_value_count, notes } = response;
        let values = values.into_iter().map(|facet| (json::value(&facet.value.unwrap_or_default()), facet.count));
        if globals.json {
            let values: Vec<Value> = values.map(|(value, count)| json!({ "value": value, "count": count })).collect();
            let answer = json!({
                "values": values,
                "other_value_count": other_value_count,
                "without_value_count": without_value_count,
            });
            return output::print_json(&json::with_notes(answer, &notes));
        }
        let rows: Vec<Vec<String>> = values
            .map(|(value, count)| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                vec![output::count(count), output::one_line(&text, MAX_VALUE_COLUMNS)]
            })
            .collect();
        if !rows.is_empty() {
            output::print(&output::table(&[("DOCUMENTS", Align::Right), ("VALUE", Align::Left)], &rows))?;
        }
        if globals.quiet {
            return Ok(());
        }
        if rows.is_empty() {
            output::note("no values\n");
        }
        if other_value_count > 0 {
            let others = output::counted(other_value_count.unsigned_abs(), "other value");
            output::note(&format!("{others}; --limit shows more\n"));
        }
        if without_value_count > 0 {
            let documents = output::counted(without_value_count.unsigned_abs(), "document");
            output::note(&format!("{documents} without a value\n"));
        }
        globals.print_notes(&self.filter, &notes);
        Ok(())
    }
}
