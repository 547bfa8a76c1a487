//! Codes of vectors. They make filters by declared fields cheap, and every search among vectors with too many dimensions for
//! an index.
//!
//! Beside the vectors of an embedding space there is a table with a code of each vector, and with the values of at most
//! [`MAX_FIELDS`] declared fields of its document. Btrees hold all of that, in the order of a field and of the cells in which
//! the vectors lie. So a search reads the codes of what matches without the table: all of them, or those in the cells near to
//! the query. Then it compares the best by their vectors. A search without a filter, if no index can have the vectors, reads
//! the codes of all of them.
//!
//! A list of strings has a table of the same shape, with a row for each of its strings, that triggers fill from the first.
//! A document with more than 1,000 of them has no rows there: searches check its metadata instead.
//!
//! Each set of codes has its own tables. If other fields are declared, or if the vectors drift away from their centre, the
//! server makes another set beside the one in use.
//! Triggers keep the rows in step with documents and vectors. Only the codes come from the server, which writes them before
//! the vectors. A row without a code comes from a server that did not know of the codes yet, or from SQL. Searches compare
//! its vector first, until the job has made its code.

mod build;
mod cells;
mod conditions;
mod maker;
mod measure;
mod reach;
mod rows;
mod table;
mod undeclared;

use std::sync::Arc;

use tokio_postgres::Row;

use super::{
    CodesProgress, Collection, MetadataIndex, MetadataIndexType, Store, StoreError, connection::Connection,
    tables::Tables, wire::Json,
};

pub(super) use build::collections_without;
pub(super) use conditions::{Access, Declared};
pub(super) use maker::{Code, CodeMaker, QueryCode};
pub(super) use rows::CodeRows;
pub(super) use table::tables_of;
pub(super) use undeclared::undeclared_fields;

/// Maximum number of declared fields that have codes: each is in the indexes of all of them.
const MAX_FIELDS: usize = 4;

/// With fewer vectors, searches without codes are as fast.
const MIN_ROWS: i64 = 1_000;

/// Maximum number of characters that a table of codes keeps of a string.
const MAX_CHARACTERS: usize = 64;

/// Up to this number times the square root of the rows, to read so many codes is faster than to follow the vector index. The
/// first takes longer if more rows match, the second if fewer match. Both take equally long at a slightly smaller number, but
/// the vector index takes much longer if the matches are far from the query.
pub(super) const FEW: i32 = 150;

/// Up to this number times the square root of the rows, to read all codes that match is faster than to look into cells.
pub(super) const VERY_FEW: i32 = 3;

/// A look into a cell takes as long as to read so many codes.
pub(super) const LOOK: i32 = 30;

/// How many of the first matches show how near the results are, before the others are read, for so many candidates.
pub(super) fn first_matches(candidates: usize) -> usize {
    const MIN_FIRST: usize = 500;
    // More than candidates: if fewer match, all of them are compared.
    (candidates + candidates / 2).max(MIN_FIRST)
}

/// What the table with a row per vector has in place of a list with more than 1,000 different strings. The table of the list
/// leaves these out, so searches read their documents. `code_string_list` writes it.
const UNLISTED: &str = "{}";

/// A declared field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) kind: MetadataIndexType,
    pub(super) path: Vec<String>,
}

impl Field {
    /// The SQL of its value in the metadata of a document `d`; `path` is its path as SQL.
    fn value(&self, internal: &str, path: &str) -> String {
        format!("{internal}.code_{}(d.metadata, {path})", self.kind.name())
    }

    /// Whether filters ask for ranges of its values.
    fn has_ranges(&self) -> bool {
        matches!(self.kind, MetadataIndexType::Number | MetadataIndexType::Time)
    }

    fn sql_type(&self) -> &'static str {
        match self.kind {
            MetadataIndexType::Number => "numeric",
            MetadataIndexType::String => "text COLLATE \"C\"",
            MetadataIndexType::Time => "bigint",
            MetadataIndexType::Boolean => "boolean",
            MetadataIndexType::StringList => "text[] COLLATE \"C\"",
            // Not the type of a field.
            MetadataIndexType::Gin => "jsonb",
        }
    }
}

/// Whether a declared field can have codes. A path that could lead through a list cannot: `#>` reads its key as a position.
fn has_codes(kind: MetadataIndexType, path: &[String]) -> bool {
    kind != MetadataIndexType::Gin && !path.iter().skip(1).any(|key| key.ends_with(|c: char| c.is_ascii_digit()))
}

/// What a search needs to know of a set of codes to find nearly all of the nearest.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measured {
    /// How many of the best codes to compare exactly, at most.
    candidates: usize,
    /// As in [`Codes::margin`], for a query of length 1.
    margin: f64,
    /// As in [`Codes::slack`], for a query of length 1.
    slack: f64,
    /// As in [`Codes::share`].
    share: f64,
    /// The number of vectors then.
    vectors: f64,
}

impl Measured {
    /// What is known of a set that searches do not use yet.
    const NOTHING: Self = Self { candidates: 0, margin: 0.0, slack: 0.0, share: 1.0, vectors: 0.0 };
}

/// A set of codes.
#[derive(Debug)]
pub(super) struct Codes {
    pub(super) id: i64,
    /// The qualified name of its table.
    pub(super) table: String,
    pub(super) fields: Vec<Field>,
    pub(super) maker: Arc<CodeMaker>,
    measured: Measured,
    /// Every vector has a row.
    pub(super) is_ready: bool,
}

impl Codes {
    /// How many of the best codes to compare exactly for so many rows.
    pub(super) fn candidates(&self, rows: usize) -> usize {
        const MEASURED_FOR: f64 = 10.0;
        // As it was on SIFT, on Gaussian noise and on clusters.
        let times = (rows as f64 / MEASURED_FOR).max(1.0).powf(0.65);
        ((self.measured.candidates as f64 * times) as usize).min(MAX_RERANK_CANDIDATES as usize).max(rows)
    }

    /// How much worse than that of the last result an estimate is that is compared exactly, in the unit of the estimates for
    /// this query. `None`: any may be as near.
    pub(super) fn margin(&self, query: &QueryCode) -> Option<f64> {
        (self.measured.margin < f64::MAX).then(|| self.measured.margin * self.maker.unit(query))
    }

    /// How much farther than the last result among the first matches a centroid is whose cell is read, in the unit of the
    /// estimates for this query. Who asks for more candidates than were measured looks farther, too.
    pub(super) fn slack(&self, query: &QueryCode, rows: usize, candidates: usize) -> f64 {
        let times = candidates as f64 / self.candidates(rows).max(1) as f64;
        self.measured.slack * self.maker.unit(query) * times.max(1.0)
    }

    /// Whether the vectors lie in several cells.
    pub(super) fn has_cells(&self) -> bool {
        self.maker.cells().count() > 1
    }

    /// Whether an index finds the rows of a cell, whatever their values are.
    pub(super) fn finds_cells(&self) -> bool {
        self.has_cells() && self.fields.iter().any(Field::has_ranges)
    }

    /// The part of the codes that match which a search reads, if it may leave out cells.
    pub(super) fn share(&self) -> f64 {
        self.measured.share
    }

    /// Whether a search that may leave out cells reads few codes, whatever matches. The share is that of filters that half of
    /// the vectors match, and if more match, some are near.
    pub(super) fn always_reads_few(&self) -> bool {
        let Measured { share, vectors, .. } = self.measured;
        vectors > 0.0 && share * vectors / 2.0 <= f64::from(FEW) * vectors.sqrt()
    }

    /// The qualified name of the table with the strings of the list that is the field of this number.
    pub(super) fn list_table(&self, number: usize) -> String {
        format!("{}_list{number}", self.table)
    }

    /// The numbers of the fields that are lists, or of all others.
    fn numbers(&self, lists: bool) -> impl Iterator<Item = usize> {
        let is_list = |field: &Field| field.kind == MetadataIndexType::StringList;
        (1..).zip(&self.fields).filter(move |(_, field)| is_list(field) == lists).map(|(number, _)| number)
    }

    /// The names of its columns for the fields, each with a comma before it.
    fn columns(&self) -> String {
        (1..=self.fields.len()).map(|number| format!(", f{number}")).collect()
    }

    /// The values of the fields in the metadata of a document `d`, each with a comma before it. Their paths are parameters.
    fn values(&self, internal: &str, first_path: usize) -> String {
        let value = |(number, field): (usize, &Field)| format!(", {}", field.value(internal, &format!("${number}")));
        (first_path..).zip(&self.fields).map(value).collect()
    }

    /// What an upsert sets.
    fn replaced(&self) -> String {
        let fields = (1..=self.fields.len()).map(|number| format!(", f{number} = excluded.f{number}"));
        "code = excluded.code, norm = excluded.norm, cell = excluded.cell".to_owned() + &fields.collect::<String>()
    }
}

/// Maximum number of codes to compare exactly.
pub(crate) const MAX_RERANK_CANDIDATES: i32 = 10_000;

/// SQL: the sets of codes of the embedding space `s`, as [`Store::read_codes`] and [`progress`] read them.
pub(super) fn select_codes(internal: &str) -> String {
    // The indexes come after the codes.
    format!(
        "ARRAY(SELECT jsonb_build_array(k.id, k.state, k.fields, coalesce(k.candidates, 0), k.margin, k.slack, k.share, k.vectors,
                                        CASE WHEN k.state = 'ready' THEN 1.0
                                             ELSE least(k.document_key::float8 / greatest(k.last_key, 1), 1) * 0.9 END)
                      FROM {internal}.codes k
                      WHERE k.space_id = s.id AND k.state <> 'failed' ORDER BY k.id) AS codes"
    )
}

/// A set of codes as the registry lists it.
type Listed = (i64, String, Vec<(String, Vec<String>)>, usize, f64, f64, f64, f64, f64);

/// How far the newest set of codes is made, in a row with the column of [`select_codes`].
pub(super) fn progress(row: &Row) -> Result<Option<CodesProgress>, StoreError> {
    let sets = row.get::<_, Vec<Json<&str>>>("codes");
    let Some(Json(newest)) = sets.last() else { return Ok(None) };
    let (_, _, listed, .., progress): Listed = serde_json::from_str(newest).map_err(|_| unknown())?;
    let fields = read_fields(listed)?;
    let fields = fields.into_iter().map(|Field { kind, path }| MetadataIndex { kind, path }).collect();
    Ok(Some(CodesProgress { fields, progress }))
}

fn read_fields(listed: Vec<(String, Vec<String>)>) -> Result<Vec<Field>, StoreError> {
    let field =
        |(kind, path): (String, _)| Ok(Field { kind: MetadataIndexType::from_name(&kind).ok_or_else(unknown)?, path });
    listed.into_iter().map(field).collect()
}

fn unknown() -> StoreError {
    StoreError::Internal("the registry holds an unknown set of codes".into())
}

impl Store {
    /// The sets of codes that a row with the column of [`select_codes`] lists. The parts that never change come from
    /// `known`.
    pub(super) async fn read_codes(
        &self,
        connection: &Connection,
        row: &Row,
        collection: &Collection,
        known: &[Arc<Codes>],
    ) -> Result<Vec<Arc<Codes>>, StoreError> {
        let internal = &self.inner.names.internal;
        let mut found = Vec::new();
        for Json(json) in row.get::<_, Vec<Json<&str>>>("codes") {
            let (id, state, fields, candidates, margin, slack, share, vectors, _): Listed =
                serde_json::from_str(json).map_err(|_| unknown())?;
            let measured = Measured { candidates, margin, slack, share, vectors };
            let is_ready = state == "ready";
            let is_same = |codes: &Codes| (codes.id, codes.is_ready, codes.measured) == (id, is_ready, measured);
            if let Some(same) = known.iter().find(|codes| is_same(codes)) {
                found.push(Arc::clone(same));
                continue;
            }
            let fields = read_fields(fields)?;
            let sql = format!("-- read_codes\n SELECT centre, seed, centroids FROM {internal}.codes WHERE id = $1");
            let statement = connection.prepare_cached(&sql).await?;
            // The collection has changed meanwhile. The revision shows it, and the server reads it again.
            let Some(row) = connection.query_opt(&statement, &[&id]).await? else { continue };
            let maker = Arc::new(CodeMaker::new(collection.definition.distance, row.get(0), row.get(1), row.get(2)));
            found.push(Arc::new(Codes {
                id,
                table: Tables::codes(internal, collection.id, id),
                fields,
                maker,
                measured,
                is_ready,
            }));
        }
        Ok(found)
    }
}

#[cfg(test)]
impl Codes {
    /// Those of the fields `genre`, a string, `year`, a number, and `tags`, a list, for vectors of two dimensions.
    pub(super) fn for_tests() -> Self {
        let field = |kind, key: &str| Field { kind, path: vec![key.into()] };
        Self {
            id: 3,
            table: "pgfox_internal.codes_7_3".into(),
            fields: vec![
                field(MetadataIndexType::String, "genre"),
                field(MetadataIndexType::Number, "year"),
                field(MetadataIndexType::StringList, "tags"),
            ],
            maker: Arc::new(CodeMaker::new(super::Distance::Cosine, vec![0.0; 2], 1, vec![-1.0, 0.0, 1.0, 0.0])),
            measured: Measured { candidates: 200, margin: 0.125, slack: 0.5, share: 0.25, vectors: 1e6 },
            is_ready: true,
        }
    }
}
