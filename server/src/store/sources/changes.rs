//! How the table of a source differs from what it was when the collection was attached.

use super::{
    Source,
    table::{Table, TableColumn},
};
use crate::store::{NewCollection, Store, StoreError, log, schema::quote};

/// The error of a call that meets such a table. All later calls meet it too, so the log names the table.
pub(super) fn source_changed(source: &Source, collection: &NewCollection, change: String) -> StoreError {
    let error = StoreError::SourceChanged { collection: collection.name.clone(), table: source.relation(), change };
    log::warn(error.to_string());
    error
}

impl Store {
    /// What an error of a statement over the table of a source means: the role may not read it, or the table has changed. A
    /// column of another type can fail in many ways.
    pub(in crate::store) async fn error_of_source(
        &self,
        source: &Source,
        collection: &NewCollection,
        error: StoreError,
    ) -> StoreError {
        let (StoreError::Refused(_) | StoreError::Stale(_) | StoreError::Database(_)) = error else { return error };
        // If it cannot be looked at, the error of the statement says more.
        let Ok(table) = self.table_of(source).await else { return error };
        if let StoreError::Refused(_) = error {
            let statements = table.map(|table| table.read_grants(source)).unwrap_or_default();
            if statements.is_empty() {
                return error;
            }
            let why = format!("the role of the server may not read the table {}", source.relation());
            return StoreError::SourceRefused { collection: collection.name.clone(), why, statements };
        }
        match changes(table.as_ref(), source, collection) {
            Some(change) => source_changed(source, collection, change),
            None => error,
        }
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
