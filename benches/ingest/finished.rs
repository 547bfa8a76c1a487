//! The rows that pgfox makes of documents, copied by `psql` into tables like those that pgfox wrote them to: what remains
//! when nobody has to make them.

use std::{fmt::Write as _, fs, path::Path, path::PathBuf};

use anyhow::ensure;

use super::{BATCH, COLLECTION, ROWS, Rows, create_collection, delete_collection, psql, stream};
use crate::setup::{Postgres, Server};

/// The tables to copy to, and how psql does it.
pub(super) struct Finished {
    /// Named like those of the collection, in another schema.
    tables: Vec<String>,
    /// The file of commands: as many transactions as there are requests.
    script: PathBuf,
}

impl Finished {
    /// Stores the documents in a collection, writes its rows to files in `folder` and makes tables like its own, with the
    /// same indexes and settings.
    pub(super) async fn export(
        postgres: &Postgres,
        sql: &tokio_postgres::Client,
        server: &Server,
        rows: &Rows,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut client = server.client()?;
        create_collection(&mut client).await?;
        let stored = stream(&client, rows, true, ROWS, BATCH).await?;
        ensure!(stored == (ROWS, 0), "{stored:?} of {ROWS} documents were stored and unchanged");

        let id = "SELECT id::text FROM pgfox_internal.collections WHERE name = $1";
        let id: String = sql.query_one(id, &[&COLLECTION]).await?.get(0);
        // The columns that COPY takes, and the settings, which LIKE leaves out.
        let tables = "SELECT relname::text, array_to_string(reloptions, ', '),
                             (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
                              WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '')
                      FROM pg_class c
                      WHERE relkind = 'r' AND relnamespace = 'pgfox_internal'::regnamespace
                        AND relname ~ ('^(documents|chunks|embeddings)_' || $1 || '(_\\d+)?$')
                      ORDER BY array_position('{d,c,e}'::text[], left(relname, 1))";
        let tables = sql.query(tables, &[&id]).await?;
        ensure!(tables.len() == 3, "the collection has {} tables", tables.len());
        // Documents have keys in the order in which they are stored; all rows of one are copied together.
        let first = format!("SELECT min(key) FROM pgfox_internal.documents_{id}");
        let first: i64 = sql.query_one(&first, &[]).await?.get(0);
        let (mut export, mut import) = (String::new(), String::new());
        for batch in 0..ROWS.div_ceil(BATCH) {
            import.push_str("BEGIN;\n");
            for table in &tables {
                let (name, columns): (&str, &str) = (table.get(0), table.get(2));
                let file = folder.join(format!("{name}.{batch}"));
                let key = if name.starts_with("documents") { "key" } else { "document_key" };
                let (from, end) = (first + (batch * BATCH) as i64, first + ((batch + 1) * BATCH) as i64);
                let rows = format!(
                    "SELECT {columns} FROM pgfox_internal.{name} WHERE {key} >= {from} AND {key} < {end} ORDER BY {key}"
                );
                writeln!(export, "\\copy ({rows}) TO '{}' (FORMAT binary)", file.display())?;
                writeln!(import, "\\copy public.{name} ({columns}) FROM '{}' (FORMAT binary)", file.display())?;
            }
            import.push_str("COMMIT;\n");
        }
        let script = folder.join("export.sql");
        fs::write(&script, export)?;
        psql(postgres, &["--file", &script.display().to_string()]).await?;
        let script = folder.join("import.sql");
        fs::write(&script, import)?;

        let mut names = Vec::new();
        for table in &tables {
            let (name, settings): (&str, Option<&str>) = (table.get(0), table.get(1));
            let like = format!("CREATE TABLE public.{name} (LIKE pgfox_internal.{name} INCLUDING ALL)");
            let with = settings.map(|settings| format!(" WITH ({settings})")).unwrap_or_default();
            sql.batch_execute(&(like + &with)).await?;
            names.push(format!("public.{name}"));
        }
        delete_collection(&mut client).await?;
        Ok(Self { tables: names, script })
    }

    /// Empties the tables, which are then as new ones.
    pub(super) async fn clear(&self, sql: &tokio_postgres::Client) -> anyhow::Result<()> {
        Ok(sql.batch_execute(&format!("TRUNCATE {}", self.tables.join(", "))).await?)
    }

    /// Documents/s of psql.
    pub(super) async fn copy(&self, postgres: &Postgres, sql: &tokio_postgres::Client) -> anyhow::Result<f64> {
        let elapsed = psql(postgres, &["--file", &self.script.display().to_string()]).await?;
        for table in &self.tables {
            let count: i64 = sql.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await?.get(0);
            ensure!(count == ROWS as i64, "COPY stored {count} rows in {table}");
        }
        Ok(ROWS as f64 / elapsed.as_secs_f64())
    }
}
