//! Ingest into a table that refuses some of the documents: finds them by halving, each part within a savepoint.

use tokio_postgres::Client;

use super::{WritableTable, refused, rows::write};
use crate::store::{NewDocument, StoreError, Written, catalog::Entry};

/// How often refused documents are tried, as long as others are written. A row can depend on one that comes after it.
const ATTEMPTS: usize = 4;

/// A document that the table refuses, and why.
#[derive(Clone, Debug)]
pub(crate) struct RefusedRow {
    pub id: String,
    pub why: String,
}

/// Writes the documents that the table accepts. Stops when it has found `most` that it refuses.
pub(super) async fn write_parts(
    client: &Client,
    entry: &Entry,
    table: &WritableTable,
    documents: &[&NewDocument<'_>],
    only_absent: bool,
    most: usize,
) -> Result<(Written, Vec<RefusedRow>), StoreError> {
    let mut parts = Parts { client, entry, table, only_absent, written: Written::default() };
    let mut left = documents.to_vec();
    let mut refused = Vec::new();
    for _ in 0..ATTEMPTS {
        refused = parts.write(&left, most).await?;
        if refused.is_empty() || refused.len() == left.len() {
            break;
        }
        left = refused.iter().map(|(document, _)| *document).collect();
    }
    let row = |(document, why): (&NewDocument<'_>, String)| RefusedRow { id: document.id.to_owned(), why };
    Ok((parts.written, refused.into_iter().map(row).collect()))
}

struct Parts<'p> {
    client: &'p Client,
    entry: &'p Entry,
    table: &'p WritableTable,
    only_absent: bool,
    written: Written,
}

impl Parts<'_> {
    /// Writes documents. Returns those that the table refuses, at most `most` of them; the others after these are not
    /// written.
    async fn write<'d>(
        &mut self,
        documents: &[&'d NewDocument<'d>],
        most: usize,
    ) -> Result<Vec<(&'d NewDocument<'d>, String)>, StoreError> {
        let mut refused = Vec::new();
        let mut parts = vec![documents];
        while let Some(part) = parts.pop().filter(|_| refused.len() < most) {
            match self.write_part(part).await {
                Ok(written) => self.written += written,
                Err(StoreError::RowsRefused { why, .. }) => {
                    self.client.batch_execute("ROLLBACK TO part; RELEASE part").await?;
                    if let [document] = part {
                        refused.push((*document, why));
                    } else {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    async fn write_part(&self, documents: &[&NewDocument<'_>]) -> Result<Written, StoreError> {
        self.client.batch_execute("SAVEPOINT part; SET CONSTRAINTS ALL DEFERRED").await?;
        let written = write(self.client, self.entry, self.table, documents, self.only_absent).await?;
        let checked = self.client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE; RELEASE part").await;
        checked.map_err(|error| refused(self.entry, error))?;
        Ok(written)
    }
}
