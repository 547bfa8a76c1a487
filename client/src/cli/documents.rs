//! `pgfox get` and `pgfox delete`: documents by id.

use clap::Args;
use pgfox_client::v1;
use serde_json::{Value, json};

use super::failure::Failure;
use super::{Globals, json, output};

/// Ids per GetDocuments: few, so that long texts stay below the 16 MiB of a response.
const IDS_PER_GET: usize = 100;
/// Ids per DeleteDocuments: the server's limit.
const IDS_PER_DELETE: usize = 1_000;

/// Show documents by id
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox get films \"Heat-1995-12\"
  pgfox get films 17 18 19 --include-vector --json

Ids that do not exist are named on stderr, and the exit code is 1.")]
pub(crate) struct Get {
    /// Name of the collection
    collection: String,
    /// Ids of the documents
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Show the vectors too
    #[arg(long)]
    include_vector: bool,
}

/// Delete documents by id
#[derive(Args)]
#[command(after_help = "\
Examples:
  pgfox delete films \"Heat-1995-12\"

Ids that do not exist are no error; the output counts what was deleted.")]
pub(crate) struct Delete {
    /// Name of the collection
    collection: String,
    /// Ids of the documents
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

impl Get {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let mut client = globals.connect().await?;
        let mut documents = Vec::new();
        let mut missing_ids = Vec::new();
        for ids in self.ids.chunks(IDS_PER_GET) {
            let request = v1::GetDocumentsRequest {
                collection: self.collection.clone(),
                ids: ids.to_vec(),
                include_vector: self.include_vector,
                allow_missing: true,
            };
            let response = client.get_documents(request).await?.into_inner();
            documents.extend(response.documents);
            missing_ids.extend(response.missing_ids);
        }
        if globals.json {
            let documents: Vec<Value> = documents.iter().map(json::document).collect();
            output::print_json(&json!({ "documents": documents, "missing_ids": missing_ids }))?;
        } else {
            let texts: Vec<String> = documents.iter().map(describe).collect();
            output::print(&texts.join("\n"))?;
        }
        if missing_ids.is_empty() {
            return Ok(());
        }
        if globals.json {
            return Err(Failure::silent());
        }
        Err(Failure::refused(format!("{} has no document {}", self.collection, missing_ids.join(", "))))
    }
}

fn describe(document: &v1::Document) -> String {
    let mut pairs = vec![("id", document.id.clone()), ("text", document.text.clone())];
    if let Some(metadata) = &document.metadata {
        pairs.push(("metadata", json::metadata(metadata).to_string()));
    }
    if let Some(vector) = &document.vector {
        pairs.push(("vector", Value::from_iter(vector.values.iter().map(|value| json::float(*value))).to_string()));
    }
    output::properties(&pairs)
}

impl Delete {
    pub(crate) async fn run(&self, globals: &Globals) -> Result<(), Failure> {
        let mut client = globals.connect().await?;
        let mut deleted = 0;
        for ids in self.ids.chunks(IDS_PER_DELETE) {
            let request = v1::DeleteDocumentsRequest {
                collection: self.collection.clone(),
                ids: ids.to_vec(),
                ..Default::default()
            };
            deleted += client.delete_documents(request).await?.into_inner().deleted_count;
        }
        if globals.json {
            return output::print_json(&json!({ "deleted_count": deleted }));
        }
        output::print(&format!("deleted {}\n", output::counted(u64::try_from(deleted).unwrap_or(0), "document")))
    }
}
