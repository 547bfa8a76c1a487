//! `pgfox delete` and `pgfox update-metadata`: change documents by id or by filter.

use clap::Args;
use pgfox_client::v1;
use serde_json::json;

use super::{Globals, failure::Failure, filter::Where, json::with_notes, output, search::read_argument};

/// Maximum number of ids per request, the server's limit.
pub(crate) const IDS_PER_REQUEST: usize = 1_000;

/// Which documents to change. Leaving out an argument never means all of them.
#[derive(Args)]
struct Selection {
    /// Ids of the documents; give ids, --where or --all
    #[arg(value_name = "ID", conflicts_with = "expression", required_unless_present_any = ["expression", "all"])]
    ids: Vec<String>,
    #[command(flatten)]
    filter: Where,
    /// Select all documents of the collection
    #[arg(long, conflicts_with_all = ["expression", "ids"])]
    all: bool,
    /// Only count the documents
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before a change by --where or --all
    #[arg(short, long)]
    yes: bool,
}

/// The selection of one request: ids or a filter.
type Part = (Vec<String>, Option<v1::Filter>);

impl Selection {
    /// The requests: one with the filter, or as many as the ids need.
    fn requests(&self) -> Result<Vec<Part>, Failure> {
        if self.all {
            let everything = v1::Filter { node: Some(v1::filter::Node::Everything(true)) };
            return Ok(vec![(Vec::new(), Some(everything))]);
        }
        if let Some(filter) = self.filter.filter()? {
            return Ok(vec![(Vec::new(), Some(filter))]);
        }
        Ok(self.ids.chunks(IDS_PER_REQUEST).map(|ids| (ids.to_vec(), None)).collect())
    }

    /// Whether to count and ask first. A filter shows less clearly than ids what it selects.
    fn asks(&self) -> bool {
        (self.filter.is_given() || self.all) && !self.yes && !self.dry_run
    }
}

fn documents(count: i64) -> String {
    output::counted(u64::try_from(count).unwrap_or(0), "document")
}

/// Delete documents by id or by filter
#[derive(Args)]
#[command(override_usage = "pgfox delete [OPTIONS] <COLLECTION> <ID... | --where <FILTER> | --all>")]
#[command(after_help = "\
Examples:
  pgfox delete films \"Heat-1995-12\"
  pgfox delete films --where 'year < 1950' --dry-run     only counts them
  pgfox delete films --where 'year < 1950'               asks before
  pgfox delete films --all                               asks before; the collection stays

Unknown ids are not an error; the output counts the deleted documents. Use
`pgfox collections delete` to delete the collection itself.")]
pub(crate) struct Delete {
    /// Name of the collection
    collection: String,
    #[command(flatten)]
    selection: Selection,
}

impl Delete {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let requests = self.selection.requests()?;
        let mut client = globals.connect().await?;
        let request = |(ids, filter): &Part, dry_run| v1::DeleteDocumentsRequest {
            collection: self.collection.clone(),
            ids: ids.clone(),
            filter: filter.clone(),
            dry_run,
        };
        if self.selection.asks() {
            let mut count = 0;
            for part in &requests {
                count += client.delete_documents(request(part, true)).await?.into_inner().deleted_count;
            }
            if count > 0 {
                output::confirm(&format!("Delete {} of {}?", documents(count), self.collection))?;
            }
        }
        let dry_run = self.selection.dry_run;
        let (mut deleted, mut notes) = (0, Vec::new());
        for part in &requests {
            let response = client.delete_documents(request(part, dry_run)).await?.into_inner();
            deleted += response.deleted_count;
            notes = response.notes;
        }
        if globals.json {
            let answer = json!({ "deleted_count": deleted, "dry_run": dry_run });
            return output::print_json(&with_notes(answer, &notes));
        }
        let would = if dry_run { "would delete" } else { "deleted" };
        output::print(&format!("{would} {}\n", documents(deleted)))?;
        globals.print_notes(&self.selection.filter, &notes);
        Ok(())
    }
}

/// Change the metadata of documents by id or by filter, without embedding anything
#[derive(Args)]
#[command(
    override_usage = "pgfox update-metadata [OPTIONS] --set <JSON> <COLLECTION> <ID... | --where <FILTER> | --all>"
)]
#[command(after_help = "\
Examples:
  pgfox update-metadata films 17 18 --set '{\"seen\": true}'
  pgfox update-metadata films --where 'year < 1950' --set '{\"era\": \"classic\", \"draft\": null}'
  pgfox update-metadata films 17 --set @metadata.json --replace

The object is merged into the stored metadata by RFC 7396: a value replaces the one with the same
name, null removes it, and objects are merged recursively.")]
pub(crate) struct UpdateMetadata {
    /// Name of the collection
    collection: String,
    #[command(flatten)]
    selection: Selection,
    /// The metadata as a JSON object, or @FILE with the object; @- is stdin
    #[arg(long, value_name = "JSON")]
    set: String,
    /// Replace the metadata as a whole instead of merging
    #[arg(long)]
    replace: bool,
}

impl UpdateMetadata {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let requests = self.selection.requests()?;
        let json = read_argument("metadata", &self.set)?;
        let metadata = super::read::value::parse_metadata(&json).map_err(|message| {
            Failure::usage(format!("--set: {message}")).with_hint("write a JSON object, such as '{\"seen\": true}'")
        })?;
        let update = if self.replace { v1::MetadataUpdate::Replace } else { v1::MetadataUpdate::Merge };
        let request = |(ids, filter): &Part, dry_run| v1::UpdateMetadataRequest {
            collection: self.collection.clone(),
            ids: ids.clone(),
            filter: filter.clone(),
            metadata: Some(metadata.clone()),
            update: update.into(),
            dry_run,
        };
        let mut client = globals.connect().await?;
        if self.selection.asks() {
            let mut count = 0;
            for part in &requests {
                count += client.update_metadata(request(part, true)).await?.into_inner().updated_count;
            }
            if count > 0 {
                output::confirm(&format!("Change the metadata of {} in {}?", documents(count), self.collection))?;
            }
        }
        let dry_run = self.selection.dry_run;
        let (mut matched, mut updated, mut notes) = (0, 0, Vec::new());
        for part in &requests {
            let response = client.update_metadata(request(part, dry_run)).await?.into_inner();
            matched += response.matched_count;
            updated += response.updated_count;
            notes = response.notes;
        }
        if globals.json {
            let counts = json!({ "matched_count": matched, "updated_count": updated, "dry_run": dry_run });
            return output::print_json(&with_notes(counts, &notes));
        }
        let would = if dry_run { "would change" } else { "changed" };
        output::print(&format!("{would} {} of {} that match\n", output::count(updated), documents(matched)))?;
        globals.print_notes(&self.selection.filter, &notes);
        Ok(())
    }
}
