//! The SQL that an attached collection runs on the table, for those who look after the database.

use super::{FoundSource, find::sample_sql};
use crate::store::{
    Collection, IndexKind, NewCollection, Store, StoreError, catalog::Entry, follow::trigger_statements,
    indexes::create_index_sql,
};

const READS_DIMENSIONS: &str = "Attaching reads how many dimensions the vectors have, if they are not given.";

/// A statement, and when it runs.
#[derive(Clone, Debug)]
pub(crate) struct PlannedStatement {
    pub purpose: String,
    pub sql: String,
}

impl Store {
    /// What attaching a collection runs on the table of its source, and what its calls run later. Nothing is run.
    pub(crate) fn plan_source(
        &self,
        found: &FoundSource,
        new: &NewCollection,
    ) -> Result<Vec<PlannedStatement>, StoreError> {
        let extension = self.extension()?;
        let source = &found.source;
        let mut statements = Vec::new();
        let mut add = |purpose: &str, sql: String| statements.push(PlannedStatement { purpose: purpose.into(), sql });
        for grant in &found.grants {
            add("The role of the server lacks this privilege. Run it before you attach the collection.", grant.clone());
        }
        if let Some(grant) = &found.write_grant {
            add(
                "Only writes need these privileges, which the role lacks: Ingest needs INSERT and UPDATE, UpdateMetadata \
                 UPDATE, DeleteDocuments DELETE and, as it locks the rows first, UPDATE on at least one column.",
                grant.clone(),
            );
        }
        if found.follow.is_some() {
            if found.vectors.is_some() && !source.fixed_dimensions {
                add(READS_DIMENSIONS, sample_sql(&extension.schema, source));
            }
            for statement in trigger_statements(&self.inner.names.internal, 0, source, &found.followed) {
                add("Attaching runs this, with the id of the new collection in place of 0.", statement);
            }
            return Ok(statements);
        }
        if !source.fixed_dimensions {
            add(READS_DIMENSIONS, sample_sql(&extension.schema, source));
        }
        let entry = Entry::new(&self.inner.names.internal, &extension, Collection::planned(new.clone()), Vec::new());
        add("Search runs this, read-only, in a form that fits the request.", entry.search.nearest[0].clone());
        if source.partitioned {
            return Ok(statements);
        }
        let kind = IndexKind::Hnsw { m: 16, ef_construction: 64 };
        if kind.unsupported(&entry.collection).is_none() {
            add(
                "BuildIndex runs this, only if you call it. It needs the owner of the table. Search also uses an index that \
                 you make yourself, under any name.",
                create_index_sql(&entry, kind, &format!("{}_hnsw_1", source.stem)),
            );
            add("BuildIndex runs this after it.", format!("ANALYZE {}", source.relation()));
        }
        Ok(statements)
    }
}
