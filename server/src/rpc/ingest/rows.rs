//! Ingest into an attached collection, whose documents are rows of a table of the user.

use pgfox::v1;

use super::{CheckedRequest, Work};
use crate::{
    error::Error,
    rules::{
        Violation, Violations,
        documents::{CheckedDocument, document_error},
    },
    store::{ContentHash, RefusedRow, SourceRow, StoredContent},
};

impl Work<'_> {
    /// Finds out which documents have a row, and which rows have the same text and a vector. These need no embedding.
    pub(super) async fn read_rows(&mut self) -> Result<(), Error> {
        let CheckedRequest { collection, documents, .. } = self.request;
        let rows = documents.iter().map(|document| SourceRow {
            id: &document.id,
            text: Some(&document.text),
            vector: document.vector.as_deref(),
            is_embedded: document.needs_embedding,
        });
        let rows: Vec<SourceRow<'_>> = rows.collect();
        let stored = self.app.store.stored_rows(collection, &rows).await?;
        for (task, is_same) in self.tasks.iter_mut().zip(stored) {
            task.stored = is_same.map(|is_same| StoredContent {
                // A hash that no content has.
                content_hash: if is_same { task.document.content_hash } else { ContentHash::default() },
                version: 0,
                chunks: Vec::new(),
            });
        }
        Ok(())
    }

    /// Skips documents that would be new rows without a value that every row must have.
    pub(super) fn admit_rows(&mut self, response: &mut v1::IngestResponse) -> Result<(), Error> {
        let CheckedRequest { collection, table: Some(table), skip_invalid, .. } = self.request else { return Ok(()) };
        let mut incomplete = Vec::new();
        for task in &mut self.tasks {
            if !task.is_admitted || task.stored.is_some() {
                continue;
            }
            table.check_open(collection)?;
            let CheckedDocument { index, id, metadata, .. } = task.document;
            let missing = table.missing_columns(metadata);
            if missing.is_empty() {
                continue;
            }
            task.is_admitted = false;
            let rule = "is required in a new row: its column is NOT NULL and has no default";
            if *skip_invalid {
                let fields: Vec<String> = missing.iter().map(|column| format!("metadata.{column} {rule}")).collect();
                let error = document_error(*index, id, v1::ErrorReason::InvalidField, fields.join("; "));
                response.errors.push(error);
            } else {
                let violation = |column: &&str| Violation::new(format!("documents[{index}].metadata.{column}"), rule);
                incomplete.push((*index, missing.iter().map(violation).collect::<Vec<_>>()));
            }
        }
        // In the order of the request.
        incomplete.sort_by_key(|(index, _)| *index);
        let violations: Violations = incomplete.into_iter().flat_map(|(_, violations)| violations).collect();
        Ok(violations.finish()?)
    }

    /// Skips documents that the table has refused.
    pub(super) fn skip_rows(&mut self, response: &mut v1::IngestResponse, refused: Vec<RefusedRow>) {
        for RefusedRow { id, why } in refused {
            // Tasks are in the order of ids.
            let Ok(position) = self.tasks.binary_search_by(|task| task.document.id.cmp(&id)) else { continue };
            let task = &mut self.tasks[position];
            task.skip();
            let message = format!("the table refuses it: {why}");
            response.errors.push(document_error(
                task.document.index,
                &id,
                v1::ErrorReason::CollectionAttached,
                message,
            ));
        }
        // In the order of the request.
        response.errors.sort_by_key(|error| error.index);
    }
}
