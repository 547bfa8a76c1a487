//! Counts documents by the values of a field.

use tokio_postgres::types::Type;

use super::collect_bounded;
use crate::store::{
    FieldPath, Filter, Store, StoreError,
    filter::values,
    wire::{Json, Parameters},
};

/// The documents and the field to count.
#[derive(Clone, Debug)]
pub(crate) struct Facets<'a> {
    pub filter: Option<&'a Filter>,
    pub path: &'a FieldPath,
    /// Maximum number of values.
    pub limit: usize,
    /// The width of the buckets of numbers. `None`: each value is counted.
    pub width: Option<f64>,
    /// Maximum size of the values in bytes.
    pub max_bytes: usize,
}

/// The most frequent values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facet {
    /// The values as JSON, each with its number of documents.
    pub values: Vec<(String, i64)>,
    /// The number of different values.
    pub value_count: i64,
    /// The number of documents without a value.
    pub without_count: i64,
}

impl Store {
    /// Counts the documents for each value of a field. Reads the matching documents once.
    pub(crate) async fn facet_documents(&self, collection: &str, facets: &Facets<'_>) -> Result<Facet, StoreError> {
        self.with_collection(collection, |entry| async move {
            let mut parameters = Parameters::default();
            let condition = match facets.filter {
                Some(filter) => filter.sql(entry.functions(), &mut parameters),
                None => "true".to_owned(),
            };
            let values = values(facets.path, entry.functions(), &mut parameters);
            let (types, value) = match facets.width {
                Some(width) => {
                    // As text, since a cast from float8 keeps only 15 digits. Numerics have no rounding that could put
                    // a number into a neighbouring bucket.
                    let width = format!("${}::numeric", parameters.push(width.to_string(), Type::TEXT));
                    let number = "(l.value)::numeric";
                    let bucket = format!("{number} - mod(mod({number}, {width}) + {width}, {width})");
                    ("('number')", format!("CASE jsonb_typeof(l.value) WHEN 'number' THEN to_jsonb({bucket}) END"))
                }
                None => ("('string', 'number', 'boolean')", "l.value".to_owned()),
            };
            let order = "jsonb_typeof(value), CASE jsonb_typeof(value) WHEN 'number' THEN value::numeric END, \
                         (value #>> '{}') COLLATE \"C\"";
            let shown = if facets.width.is_some() { order.to_owned() } else { format!("documents DESC, {order}") };
            let limit = parameters.push(facets.limit as i64, Type::INT8);
            // Each element of a list counts. The elements are in one row per document, so that each value counts once.
            let sql = format!(
                "-- facet_documents
                 WITH matching AS MATERIALIZED (
                     SELECT ARRAY(
                         SELECT DISTINCT {value} FROM ({values} OFFSET 0) v, LATERAL jsonb_array_elements(
                             CASE jsonb_typeof(v.value) WHEN 'array' THEN v.value ELSE jsonb_build_array(v.value) END) l
                         WHERE jsonb_typeof(l.value) IN {types}) AS found
                     FROM {documents} d WHERE {condition}),
                 counted AS MATERIALIZED (
                     SELECT value, count(*) AS documents FROM matching m, unnest(m.found) value GROUP BY value),
                 most AS (SELECT value, documents FROM counted ORDER BY documents DESC, {order} LIMIT ${limit})
                 SELECT m.value, m.documents, s.value_count, s.without_count
                 FROM (SELECT (SELECT count(*) FROM counted) AS value_count,
                              (SELECT count(*) FROM matching WHERE found = '{{}}') AS without_count) s
                 LEFT JOIN most m ON true
                 ORDER BY {shown}",
                documents = entry.tables.documents,
            );
            let connection = self.connection_to(&entry).await?;
            let rows = connection.query_typed_raw(&sql, parameters.typed()).await?;
            let rows = collect_bounded(rows, facets.max_bytes, |row| {
                let value = row.try_get::<_, Option<Json<&str>>>(0)?.map(|Json(json)| json.to_owned());
                Ok((value, row.get::<_, Option<i64>>(1), row.get::<_, i64>(2), row.get::<_, i64>(3)))
            })
            .await?;
            connection.done();
            let mut facet = Facet::default();
            for (value, documents, values, without) in rows {
                (facet.value_count, facet.without_count) = (values, without);
                facet.values.extend(value.zip(documents));
            }
            Ok(facet)
        })
        .await
    }
}
