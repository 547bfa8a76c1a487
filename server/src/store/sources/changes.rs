//! How the table of a source differs from what it was when the collection was attached.

use super::{
    Source,
    table::{Table, TableColumn},
};
use crate::store::{NewCollection, Store, StoreError, log, schema::quote};

/// The error of a call that meets such a table. All later calls meet it too, so the log names the table.
pub(in crate::store) fn source_changed(source: &Source, collection: &NewCollection, change: String) -> StoreError {
    let error = StoreError::SourceChanged { collection: collection.name.clone(), table: source.relation(), change };
    log::warn(error.to_string());
    error
}

impl Store {
    /// What a source lacks now, in words. `None` if it has everything.
    pub(in crate::store) async fn changes_of_source(
        &self,
        source: &Source,
        collection: &NewCollection,
    ) -> Result<Option<String>, StoreError> {
        Ok(changes(self.table_of(source).await?.as_ref(), source, collection))
    }

    /// The statements that grant what the role lacks to read the table of a source.
    pub(in crate::store) async fn missing_grants(&self, source: &Source) -> Result<Vec<String>, StoreError> {
        let table = self.table_of(source).await?;
        Ok(table.map(|table| table.read_grants(source)).unwrap_or_default())
    }
}

/// What a source lacks in its table, in words. `None` if it has everything.
pub(super) fn changes(table: Option<&Table>, source: &Source, collection: &NewCollection) -> Option<String> {
    let relation = source.relation();
    let Some(table) = table else { return Some(format!("the table {relation} is gone")) };
    let mut changes = Vec::new();
    for wanted in source.columns() {
        match table.column(&wanted.name) {
            None => changes.push(format!("it has no column {} any more", quote(&wanted.name))),
            Some(column) if column.kind != Some(wanted.kind) => {
                changes.push(format!("its column {} has the type {} now", quote(&wanted.name), column.type_name));
            }
            Some(_) => {}
        }
    }
    let fits = |column: &TableColumn| {
        let dimensions = column.dimensions.or((!source.fixed_dimensions).then_some(collection.dimensions));
        column.vector_type == Some(collection.vector_type) && dimensions == Some(collection.dimensions)
    };
    match table.column(&source.vector) {
        None if source.vector.is_empty() => {}
        None => changes.push(format!("it has no column {} any more", quote(&source.vector))),
        Some(column) if !fits(column) => {
            changes.push(format!("its column {} has the type {} now", quote(&source.vector), column.type_name));
        }
        Some(_) => {}
    }
    changes.dedup();
    (!changes.is_empty()).then(|| format!("the table {relation} has changed: {}", changes.join(", ")))
}
