//! The rows of a table of codes, as the server writes them.

use tokio_postgres::{Client, types::ToSql};

use super::{Code, Codes};
use crate::store::{StoreError, catalog::Entry, connection::Value, tables::Tables, wire::Bits};

/// Codes to write, with the keys of their vectors.
#[derive(Default)]
pub(in crate::store) struct CodeRows<'a> {
    pub(in crate::store) documents: Vec<i64>,
    pub(in crate::store) chunks: Vec<i32>,
    bits: Vec<Bits<&'a [u8]>>,
    norms: Vec<f32>,
    cells: Vec<i16>,
}

impl<'a> CodeRows<'a> {
    pub(in crate::store) fn push(&mut self, document: i64, chunk: i32, code: &'a Code) {
        self.documents.push(document);
        self.chunks.push(chunk);
        self.bits.push(Bits(&code.bits));
        self.norms.push(code.norm);
        self.cells.push(code.cell);
    }

    /// The statement that writes the codes beside the values of the fields that their documents have now.
    pub(in crate::store) fn sql(&self, entry: &Entry, codes: &Codes) -> String {
        format!(
            "-- insert_codes
             INSERT INTO {table} AS c (document_key, chunk, code, norm, cell{columns})
             SELECT n.document_key, n.chunk, n.code, n.norm, n.cell{values}
             FROM unnest($1::bigint[], $2::int[], $3::varbit[], $4::real[], $5::smallint[])
                  AS n (document_key, chunk, code, norm, cell)
             JOIN {documents} d ON d.key = n.document_key
             ON CONFLICT (document_key, chunk) DO UPDATE SET {replaced}",
            table = codes.table,
            columns = codes.columns(),
            values = codes.values(&entry.tables.internal, FIRST_PATH),
            documents = entry.tables.documents,
            replaced = codes.replaced(),
        )
    }

    /// Its values.
    pub(in crate::store) fn parameters<'v>(&'v self, codes: &'v Codes) -> Vec<&'v dyn Value> {
        let mut parameters: Vec<&dyn Value> = vec![&self.documents, &self.chunks, &self.bits, &self.norms, &self.cells];
        parameters.extend(codes.fields.iter().map(|field| &field.path as &dyn Value));
        parameters
    }

    /// Writes the codes of vectors that had no row, in a transaction of a job. A row that others have added meanwhile can be
    /// of a newer vector, so it stays.
    pub(super) async fn insert_missing(&self, client: &Client, entry: &Entry, codes: &Codes) -> Result<(), StoreError> {
        let Tables { documents, embeddings, internal, .. } = &entry.tables;
        // Writes lock the documents first, and in this order. So what the next statement sees stays.
        let sql =
            format!("-- insert_codes\n SELECT FROM {documents} d WHERE d.key = ANY($1) ORDER BY d.id FOR SHARE OF d");
        client.execute(&sql, &[&self.documents]).await?;
        // In the order in which the triggers add rows, so that neither waits for the other.
        let sql = format!(
            "-- insert_codes
             INSERT INTO {table} (document_key, chunk, code, norm, cell{columns})
             SELECT n.document_key, n.chunk, n.code, n.norm, n.cell{values}
             FROM unnest($1::bigint[], $2::int[], $3::varbit[], $4::real[], $5::smallint[])
                  AS n (document_key, chunk, code, norm, cell)
             JOIN {documents} d ON d.key = n.document_key
             JOIN {embeddings} e ON e.document_key = n.document_key AND e.chunk = n.chunk
             ORDER BY n.document_key, n.chunk
             ON CONFLICT DO NOTHING",
            table = codes.table,
            columns = codes.columns(),
            values = codes.values(internal, FIRST_PATH),
        );
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&self.documents, &self.chunks, &self.bits, &self.norms, &self.cells];
        parameters.extend(codes.fields.iter().map(|field| &field.path as &(dyn ToSql + Sync)));
        client.execute(&sql, &parameters).await?;
        Ok(())
    }

    /// Writes the codes of rows without one, in a transaction of a job, unless a row has another version than it had when its
    /// vector was read: every change of a vector changes its row. Returns how many it has written.
    pub(super) async fn fill_unchanged(
        &self,
        client: &Client,
        codes: &Codes,
        versions: &[i64],
    ) -> Result<u64, StoreError> {
        let table = &codes.table;
        // In the order of the triggers, too.
        let sql = format!(
            "-- fill_codes
             SELECT FROM {table} c
             JOIN unnest($1::bigint[], $2::int[]) AS n (document_key, chunk)
                 ON c.document_key = n.document_key AND c.chunk = n.chunk
             ORDER BY c.document_key, c.chunk FOR UPDATE OF c"
        );
        client.execute(&sql, &[&self.documents, &self.chunks]).await?;
        let sql = format!(
            "-- fill_codes
             UPDATE {table} c SET code = n.code, norm = n.norm, cell = n.cell
             FROM unnest($1::bigint[], $2::int[], $3::varbit[], $4::real[], $5::smallint[], $6::bigint[])
                  AS n (document_key, chunk, code, norm, cell, version)
             WHERE c.document_key = n.document_key AND c.chunk = n.chunk AND c.xmin::text::bigint = n.version"
        );
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&self.documents, &self.chunks, &self.bits, &self.norms, &self.cells, &versions];
        Ok(client.execute(&sql, &parameters).await?)
    }
}

/// The parameter of the path of the first field.
const FIRST_PATH: usize = 6;
