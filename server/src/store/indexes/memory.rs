//! The memory that a build needs, and the memory that it gets.

use crate::store::{IndexKind, Store, StoreError, catalog::Entry};

impl Store {
    /// Gives the build the memory that it needs, up to the operator's limit. Warns if that is too little.
    pub(super) async fn set_memory(
        &self,
        client: &tokio_postgres::Client,
        entry: &Entry,
        kind: IndexKind,
        index_id: i64,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "-- set_memory
             SELECT greatest(c.reltuples::float8, 0), pg_size_bytes(current_setting('maintenance_work_mem')),
                    (SELECT count(*) FROM (SELECT FROM {} e LIMIT 100000) few)
             FROM pg_class c WHERE c.oid = to_regclass($1)",
            entry.tables.embeddings
        );
        let row = client.query_one(&sql, &[&entry.tables.vectors]).await?;
        let rows = row.get::<_, f64>(0).max(row.get::<_, i64>(2) as f64);
        let configured: i64 = row.get(1);
        let needed = needed_memory(entry, kind, rows);
        let allowed = self.inner.config.build_memory.map_or(configured, |bytes| bytes as i64);
        if needed > configured && allowed > configured {
            let kilobytes = needed.min(allowed) / 1024;
            client.batch_execute(&format!("SET maintenance_work_mem = '{kilobytes}kB'")).await?;
        }
        if needed > allowed && matches!(kind, IndexKind::Hnsw { .. }) {
            let warning = format!(
                "the graph needs about {} MB, but the build has {} MB and will be many times slower; raise \
                 --build-memory of the server",
                needed / MB,
                allowed / MB
            );
            tracing::warn!(index_id, "{warning}");
            client.execute(&self.warn_sql(), &[&index_id, &warning]).await?;
        }
        Ok(())
    }
}

const MB: i64 = 1024 * 1024;

/// The memory of a build, as measured. An HNSW graph takes the elements and about 700 bytes of links per row at m = 16,
/// and 500 more at m = 32. IVFFlat takes its centres and a sample of 50 rows per list, at least 10,000 rows.
fn needed_memory(entry: &Entry, kind: IndexKind, rows: f64) -> i64 {
    let definition = &entry.collection.definition;
    let vector = (definition.dimensions * definition.vector_type.element_size()) as f64;
    let bytes = match kind {
        IndexKind::Hnsw { m, .. } => rows * (vector + 200.0 + 31.25 * f64::from(m)),
        IndexKind::IvfFlat { lists } => {
            let lists = f64::from(lists);
            let samples = (lists * 50.0).max(10_000.0).min(rows);
            // Elkan's k-means keeps bounds for every sample and centre, and distances between the centres.
            samples * vector + lists * vector * 2.0 + 4.0 * (samples * lists + lists * lists)
        }
    };
    // Add a reserve, since too little memory is many times slower than too much.
    (bytes * 1.2) as i64 + 8 * MB
}
