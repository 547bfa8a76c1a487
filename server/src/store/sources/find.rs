//! Finds the columns of a source in its table. Reports everything that does not fit.

use tokio_postgres::{Client, types::Type};

use super::{
    Column, ColumnType, FollowSpec, FoundSource, FoundVectors, Source, SourceSpec, TemplatePart,
    identifiers::{read_table, read_template},
    table::{Privilege, Table, TableColumn, find_table},
};
use crate::store::{
    Store, StoreError,
    follow::{relations, trigger_grants},
    schema::quote,
};

/// Maximum number of metadata columns.
pub(crate) const MAX_METADATA_COLUMNS: usize = 200;
/// Number of rows whose vectors are read, if the type of the column has no dimensions.
const SAMPLED: i64 = 10_000;

/// A field of a source that does not fit its table, and what would fit.
#[derive(Clone, Debug)]
pub(crate) struct SourceProblem {
    pub field: &'static str,
    pub rule: String,
}

impl Store {
    /// Finds the columns of a source in its table.
    pub(crate) async fn find_source(&self, spec: &SourceSpec) -> Result<FoundSource, StoreError> {
        let extension = self.extension()?;
        let connection = self.connection().await?;
        let mut problems = Problems::default();
        let found = find(&connection, &extension.schema, spec, &mut problems).await?;
        connection.done();
        match found {
            Some(found) if problems.0.is_empty() => Ok(found),
            _ => Err(StoreError::SourceInvalid(problems.0)),
        }
    }
}

#[derive(Default)]
struct Problems(Vec<SourceProblem>);

impl Problems {
    fn push(&mut self, field: &'static str, rule: impl Into<String>) {
        self.0.push(SourceProblem { field, rule: rule.into() });
    }
}

async fn find(
    client: &Client,
    extension: &str,
    spec: &SourceSpec,
    problems: &mut Problems,
) -> Result<Option<FoundSource>, StoreError> {
    let Some((schema, name)) = read_table(&spec.table) else {
        problems.push("table", "must be the name of a table as in SQL, such as documents or public.\"My Documents\"");
        return Ok(None);
    };
    let Some(table) = find_table(client, schema.as_deref(), &name).await? else {
        let rule = match &schema {
            Some(schema) => format!("is not there: the schema {} has no table {}", quote(schema), quote(&name)),
            None => format!("is not there: no schema of the search path has a table {}; name its schema", quote(&name)),
        };
        problems.push("table", rule);
        return Ok(None);
    };
    let refusal = match table.kind.as_str() {
        "r" | "p" => None,
        "v" => Some("is a view, which has no key; name the table beneath it"),
        "m" => Some("is a materialized view, which has no key; name a table"),
        "f" => Some("is a foreign table, whose vectors pgvector cannot index; attach it where it is"),
        _ => Some("is not a table"),
    };
    if let Some(refusal) = refusal {
        problems.push("table", refusal);
        return Ok(None);
    }
    let columns = &table.columns;
    let id = find_key(client, &table, spec, problems).await?;
    let text = named(columns, "text_columns", &spec.text_columns, problems, ColumnType::is_text);
    let text_template = find_template(columns, spec, problems);
    // A collection that follows the table makes the vectors, unless a column is named.
    let makes_vectors = spec.follow.is_some() && spec.vector_column.is_empty();
    let vector = if makes_vectors { None } else { find_vector(columns, spec, problems) };
    if makes_vectors && text.is_empty() && text_template.is_empty() {
        problems.push("text_columns", "is required, or text_template or vector_column: there is nothing to search");
    }
    if let Some(FollowSpec::UpdatedAt(name)) = &spec.follow {
        let fits = |kind| kind == ColumnType::Timestamptz;
        named_one(columns, "follow.updated_at_column", name, problems, fits);
    }
    let metadata = find_metadata(columns, spec, &id, vector, problems);
    if vector.is_none() && !makes_vectors {
        return Ok(None);
    }
    let source = Source {
        schema: table.schema.clone(),
        table: table.name.clone(),
        stem: format!("pgfox_{:012x}", rand::random::<u64>() & 0xffff_ffff_ffff),
        id,
        text,
        text_template,
        vector: vector.map(|vector| vector.name.clone()).unwrap_or_default(),
        fixed_dimensions: vector.is_some_and(|vector| vector.dimensions.is_some()),
        metadata,
        partitioned: table.kind == "p",
    };
    let mut grants = table.read_grants(&source);
    let mut followed = Vec::new();
    if matches!(spec.follow, Some(FollowSpec::Triggers)) {
        followed = relations(client, &source).await?;
        grants.extend(trigger_grants(client, &followed).await?);
    }
    let follow = spec.follow.clone();
    let Some((vector, vector_type)) = vector.and_then(|vector| Some((vector, vector.vector_type?))) else {
        return Ok(Some(FoundSource { source, vectors: None, follow, followed, grants, write_grant: None }));
    };
    let dimensions = match (vector.dimensions, spec.dimensions) {
        (Some(dimensions), Some(wanted)) if dimensions != wanted => {
            let rule = format!("is {wanted}, and the column {} has {dimensions} dimensions", quote(&vector.name));
            problems.push("embedding.dimensions", rule);
            dimensions
        }
        (Some(dimensions), _) | (None, Some(dimensions)) => dimensions,
        (None, None) if grants.is_empty() => sample_dimensions(client, extension, &source, problems).await?,
        (None, None) => 0,
    };
    // A followed table is written by SQL alone.
    let all: Vec<&String> = source.columns().map(|column| &column.name).chain([&source.vector]).collect();
    let is_key = |name: &&String| source.id.iter().any(|column| column.name == **name);
    let changeable = all.iter().copied().filter(|name| !is_key(name)).collect();
    let needed = [(Privilege::Insert, all), (Privilege::Update, changeable), (Privilege::Delete, Vec::new())];
    let write_grant = spec.follow.is_none().then(|| table.write_grant(&needed)).flatten();
    let vectors = Some(FoundVectors { dimensions, vector_type });
    Ok(Some(FoundSource { source, vectors, follow, followed, grants, write_grant }))
}

/// The columns of the key: the named ones, or those of the primary key or of the only unique index.
async fn find_key(
    client: &Client,
    table: &Table,
    spec: &SourceSpec,
    problems: &mut Problems,
) -> Result<Vec<Column>, StoreError> {
    let columns = &table.columns;
    let sql = "-- find_keys
        SELECT x.indisprimary,
               ARRAY(SELECT a.attname::text FROM unnest(x.indkey[0:x.indnkeyatts - 1]) WITH ORDINALITY k(attnum, place)
                     JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum ORDER BY k.place)
        FROM pg_index x
        WHERE x.indrelid = $1::oid AND x.indisunique AND x.indisvalid AND x.indimmediate
          AND x.indpred IS NULL AND x.indexprs IS NULL
        ORDER BY x.indisprimary DESC, x.indnkeyatts, x.indexrelid";
    let rows = client.query_typed(sql, &[(&table.oid, Type::OID)]).await?;
    let is_not_null = |name: &String| columns.iter().any(|column| column.name == *name && column.is_not_null);
    let keys: Vec<(bool, Vec<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let keys: Vec<(bool, Vec<String>)> =
        keys.into_iter().filter(|(_, names)| !names.is_empty() && names.iter().all(is_not_null)).collect();
    let candidates = || {
        let names = keys.iter().map(|(_, names)| list(names));
        names.collect::<Vec<_>>().join(" or ")
    };
    let wanted = if !spec.id_columns.is_empty() {
        let is_same = |names: &Vec<String>| {
            names.len() == spec.id_columns.len() && names.iter().all(|name| spec.id_columns.contains(name))
        };
        let missing = spec.id_columns.iter().any(|name| !columns.iter().any(|column| column.name == *name));
        if !missing && !keys.iter().any(|(_, names)| is_same(names)) {
            let hint = if keys.is_empty() {
                "the table has no key: give it a primary key by SQL".to_owned()
            } else {
                format!("the table has {}", candidates())
            };
            let rule = format!("must be the primary key, or the columns of a unique index that are NOT NULL; {hint}");
            problems.push("id_columns", rule);
            return Ok(Vec::new());
        }
        spec.id_columns.clone()
    } else {
        match &keys[..] {
            [(true, names), ..] | [(false, names)] => names.clone(),
            [] => {
                let rule = "has no primary key and no unique index over columns that are NOT NULL, so that its rows have \
                            no ids; give it one, such as ALTER TABLE ... ADD COLUMN id bigint GENERATED ALWAYS AS \
                            IDENTITY PRIMARY KEY";
                problems.push("table", rule);
                return Ok(Vec::new());
            }
            _ => {
                problems.push("id_columns", format!("is required: the table has several keys, {}", candidates()));
                return Ok(Vec::new());
            }
        }
    };
    Ok(named(columns, "id_columns", &wanted, problems, ColumnType::is_key))
}

/// The columns with these names, if the table has them and their types fit.
fn named(
    columns: &[TableColumn],
    field: &'static str,
    names: &[String],
    problems: &mut Problems,
    fits: impl Fn(ColumnType) -> bool,
) -> Vec<Column> {
    let mut found: Vec<Column> = Vec::with_capacity(names.len());
    for name in names {
        if found.iter().any(|column| column.name == *name) {
            problems.push(field, format!("names the column {} twice", quote(name)));
        } else if let Some(column) = named_one(columns, field, name, problems, &fits) {
            found.push(column);
        }
    }
    found
}

fn named_one(
    columns: &[TableColumn],
    field: &'static str,
    name: &str,
    problems: &mut Problems,
    fits: impl Fn(ColumnType) -> bool,
) -> Option<Column> {
    let Some(column) = columns.iter().find(|column| column.name == name) else {
        problems
            .push(field, format!("names the column {}, which the table has not{}", quote(name), hint(columns, name)));
        return None;
    };
    let kind = column.kind.filter(|kind| fits(*kind));
    if kind.is_none() {
        let types = match field {
            "id_columns" => "smallint, integer, bigint, uuid, text, varchar or date",
            "metadata_columns" => "a number, a text, a boolean, a time, JSON, or a list of these",
            "follow.updated_at_column" => "timestamptz",
            _ => "a text, a number or a time",
        };
        let rule = format!("names the column {} of the type {}; it must be {types}", quote(name), column.type_name);
        problems.push(field, rule);
    }
    kind.map(|kind| Column { name: name.to_owned(), kind })
}

/// Names a column that differs only in case.
fn hint(columns: &[TableColumn], name: &str) -> String {
    let meant = columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    meant.map_or_else(String::new, |column| format!("; it has {}", quote(&column.name)))
}

fn find_template(columns: &[TableColumn], spec: &SourceSpec, problems: &mut Problems) -> Vec<TemplatePart> {
    const FIELD: &str = "text_template";
    if spec.text_template.is_empty() {
        return Vec::new();
    }
    if !spec.text_columns.is_empty() {
        problems.push(FIELD, "cannot be used together with text_columns");
    }
    let parts = match read_template(&spec.text_template) {
        Ok(parts) => parts,
        Err(rule) => {
            problems.push(FIELD, rule);
            return Vec::new();
        }
    };
    let part = |part: TemplatePart| match part {
        TemplatePart::Column(Column { name, .. }) => {
            named_one(columns, FIELD, &name, problems, ColumnType::is_text).map(TemplatePart::Column)
        }
        literal @ TemplatePart::Literal(_) => Some(literal),
    };
    parts.into_iter().filter_map(part).collect()
}

fn find_vector<'f>(columns: &'f [TableColumn], spec: &SourceSpec, problems: &mut Problems) -> Option<&'f TableColumn> {
    const FIELD: &str = "vector_column";
    if spec.vector_column.is_empty() {
        let vectors: Vec<&TableColumn> = columns.iter().filter(|column| column.vector_type.is_some()).collect();
        if let [column] = vectors[..] {
            return Some(column);
        }
        let names: Vec<String> = vectors.iter().map(|column| column.name.clone()).collect();
        problems.push(
            FIELD,
            match names[..] {
                [] => "is missing: the table has no column of the type vector or halfvec".to_owned(),
                _ => format!("is required: the table has several columns of vectors, {}", list(&names)),
            },
        );
        return None;
    }
    let name = &spec.vector_column;
    match columns.iter().find(|column| column.name == *name) {
        Some(column) if column.vector_type.is_some() => Some(column),
        Some(column) => {
            let rule = format!(
                "names the column {} of the type {}; it must be vector or halfvec",
                quote(name),
                column.type_name
            );
            problems.push(FIELD, rule);
            None
        }
        None => {
            problems.push(
                FIELD,
                format!("names the column {}, which the table has not{}", quote(name), hint(columns, name)),
            );
            None
        }
    }
}

fn find_metadata(
    columns: &[TableColumn],
    spec: &SourceSpec,
    id: &[Column],
    vector: Option<&TableColumn>,
    problems: &mut Problems,
) -> Vec<Column> {
    const FIELD: &str = "metadata_columns";
    if !spec.metadata_columns.is_empty() {
        return named(columns, FIELD, &spec.metadata_columns, problems, |_| true);
    }
    let is_used = |column: &TableColumn| {
        id.iter().any(|id| id.name == column.name)
            || spec.text_columns.contains(&column.name)
            || vector.is_some_and(|vector| vector.name == column.name)
    };
    let all = columns.iter().filter(|column| column.can_select && !is_used(column));
    let all: Vec<Column> =
        all.filter_map(|column| Some(Column { name: column.name.clone(), kind: column.kind? })).collect();
    if all.len() > MAX_METADATA_COLUMNS {
        let rule = format!(
            "is required: the table has {} columns, and metadata can have at most {MAX_METADATA_COLUMNS}",
            all.len()
        );
        problems.push(FIELD, rule);
    }
    all
}

/// The number of dimensions that the first vectors of a column have.
async fn sample_dimensions(
    client: &Client,
    extension: &str,
    source: &Source,
    problems: &mut Problems,
) -> Result<usize, StoreError> {
    let column = quote(&source.vector);
    let sql = sample_sql(extension, source);
    let rows = client.query_typed(&sql, &[]).await?;
    let found: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    match found[..] {
        [dimensions] => return Ok(usize::try_from(dimensions).unwrap_or_default()),
        [] => problems.push(
            "embedding.dimensions",
            format!("is required: neither the type of the column {column} nor a row says how many its vectors have"),
        ),
        _ => problems.push(
            "embedding.dimensions",
            format!(
                "is required: the vectors of the column {column} have {} dimensions; rows of other dimensions are \
                 left out",
                found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
            ),
        ),
    }
    Ok(0)
}

/// The statement that reads the dimensions of the first vectors of a column whose type has none.
pub(super) fn sample_sql(extension: &str, source: &Source) -> String {
    let column = quote(&source.vector);
    format!(
        "SELECT DISTINCT {extension}.vector_dims(t.{column}) FROM (SELECT {column} FROM {} WHERE {column} IS NOT NULL \
         LIMIT {SAMPLED}) t ORDER BY 1 LIMIT 10",
        source.relation()
    )
}

/// Names in quotes.
fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
    if let [name] = &names[..] { name.clone() } else { format!("({})", names.join(", ")) }
}
