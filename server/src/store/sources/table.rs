//! A table of the user in the catalog of the database: its columns, and what the role may do with it.

use tokio_postgres::{Client, Row, types::Type};

use super::{ColumnType, Source};
use crate::store::{Store, StoreError, VectorType, schema::quote};

/// A table as the catalog has it.
pub(super) struct Table {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// `pg_class.relkind`.
    pub(super) kind: String,
    /// The role of the server.
    role: String,
    has_usage: bool,
    has_select: bool,
    /// The privileges to write, on the whole table.
    writes: Vec<Privilege>,
    /// In order.
    pub(super) columns: Vec<TableColumn>,
}

/// A privilege to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privilege {
    Insert,
    Update,
    Delete,
    /// Of FOR UPDATE: UPDATE on any column.
    Lock,
}

impl Privilege {
    /// Those that a role can have on a whole table.
    pub(super) const ALL: [Self; 3] = [Self::Insert, Self::Update, Self::Delete];

    fn sql(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Update | Self::Lock => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A column as the catalog has it.
pub(super) struct TableColumn {
    pub(super) name: String,
    pub(super) is_not_null: bool,
    pub(super) type_name: String,
    /// `None` for a type without a mapping.
    pub(super) kind: Option<ColumnType>,
    /// The type of vectors, if the column has them.
    pub(super) vector_type: Option<VectorType>,
    /// The dimensions of vectors, if the type has them.
    pub(super) dimensions: Option<usize>,
    pub(super) can_select: bool,
    can_insert: bool,
    can_update: bool,
    /// A new row has a value without being given one.
    pub(super) has_default: bool,
    /// Postgres computes it.
    pub(super) is_generated: bool,
    /// GENERATED ALWAYS AS IDENTITY.
    pub(super) is_identity: bool,
}

impl TableColumn {
    /// Whether a new row must be given a value.
    pub(super) fn is_required(&self) -> bool {
        self.is_not_null && !self.has_default
    }

    fn allows(&self, privilege: Privilege) -> bool {
        match privilege {
            Privilege::Insert => self.can_insert,
            Privilege::Update | Privilege::Lock => self.can_update,
            Privilege::Delete => false,
        }
    }
}

impl Table {
    /// The statement that grants what the role lacks to write. Each privilege must be on all of its columns, or on the whole
    /// table.
    pub(super) fn write_grant(&self, needed: &[(Privilege, Vec<&String>)]) -> Option<String> {
        let allows = |name: &&String, privilege| self.column(name).is_some_and(|column| column.allows(privilege));
        let lacks = |(privilege, names): &&(Privilege, Vec<&String>)| {
            let by_columns = match privilege {
                Privilege::Lock => self.columns.iter().any(|column| column.allows(*privilege)),
                _ => !names.is_empty() && names.iter().all(|name| allows(name, *privilege)),
            };
            !self.writes.contains(privilege) && !by_columns
        };
        let mut missing: Vec<&str> = needed.iter().filter(lacks).map(|(privilege, _)| privilege.sql()).collect();
        missing.dedup();
        let grant = || format!("GRANT {} ON TABLE {} TO {}", missing.join(", "), self.relation(), quote(&self.role));
        (!missing.is_empty()).then(grant)
    }

    /// The statements that grant what the role lacks to read a source.
    pub(super) fn read_grants(&self, source: &Source) -> Vec<String> {
        let role = quote(&self.role);
        let mut grants = Vec::new();
        if !self.has_usage {
            grants.push(format!("GRANT USAGE ON SCHEMA {} TO {role}", quote(&self.schema)));
        }
        let mut needed = source.columns().map(|column| &column.name).chain(source.vector_column());
        let can_select = |name: &String| self.column(name).is_some_and(|column| column.can_select);
        if !self.has_select && !needed.all(can_select) {
            grants.push(format!("GRANT SELECT ON TABLE {} TO {role}", self.relation()));
        }
        grants
    }

    pub(super) fn column(&self, name: &str) -> Option<&TableColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The qualified and quoted name.
    fn relation(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

impl Store {
    /// The table of a source, if it is there.
    pub(super) async fn table_of(&self, source: &Source) -> Result<Option<Table>, StoreError> {
        let connection = self.connection().await?;
        let table = find_table(&connection, Some(&source.schema), &source.table).await?;
        connection.done();
        Ok(table)
    }
}

/// Looks a table up by name, in the search path if no schema is given.
pub(super) async fn find_table(client: &Client, schema: Option<&str>, name: &str) -> Result<Option<Table>, StoreError> {
    // A domain counts as its base type.
    let sql = "-- find_table
        SELECT a.attname::text, a.attnotnull, format_type(a.atttypid, a.atttypmod),
               t.typname::text, t.typtype::text, CASE WHEN t.typcategory = 'A' THEN e.typname::text END,
               coalesce(nullif(a.atttypmod, -1), nullif(d.typtypmod, -1), -1),
               has_column_privilege(c.oid, a.attnum, 'SELECT'),
               EXISTS (SELECT FROM pg_depend p JOIN pg_extension x ON x.oid = p.refobjid
                       WHERE p.classid = 'pg_type'::regclass AND p.objid = t.oid AND p.deptype = 'e'
                         AND p.refclassid = 'pg_extension'::regclass AND x.extname = 'vector'),
               has_column_privilege(c.oid, a.attnum, 'INSERT'), has_column_privilege(c.oid, a.attnum, 'UPDATE'),
               a.atthasdef OR a.attidentity <> '' OR d.typdefault IS NOT NULL, a.attgenerated <> '', a.attidentity = 'a',
               c.oid, n.nspname::text, c.relname::text, c.relkind::text, current_user::text,
               has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT'),
               has_table_privilege(c.oid, 'INSERT'), has_table_privilege(c.oid, 'UPDATE'),
               has_table_privilege(c.oid, 'DELETE')
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_type d ON d.oid = a.atttypid
        LEFT JOIN pg_type t ON t.oid = CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.oid END
        LEFT JOIN pg_type e ON e.oid = t.typelem
        WHERE c.relname = $2 AND (n.nspname = $1 OR $1 IS NULL AND pg_table_is_visible(c.oid))
          AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        ORDER BY a.attnum";
    let rows = client.query_typed(sql, &[(&schema, Type::TEXT), (&name, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let writes = Privilege::ALL.into_iter().zip(21..).filter(|(_, column)| row.get(*column));
    Ok(Some(Table {
        oid: row.get(14),
        schema: row.get(15),
        name: row.get(16),
        kind: row.get(17),
        role: row.get(18),
        has_usage: row.get(19),
        has_select: row.get(20),
        writes: writes.map(|(held, _)| held).collect(),
        // A table without columns has one row without a name.
        columns: rows.iter().filter(|row| row.get::<_, Option<&str>>(0).is_some()).map(read_column).collect(),
    }))
}

fn read_column(row: &Row) -> TableColumn {
    let (name, kind, element): (&str, &str, Option<&str>) = (row.get(3), row.get(4), row.get(5));
    let vector_type = if row.get(8) { VectorType::from_name(name) } else { None };
    let modifier: i32 = row.get(6);
    TableColumn {
        name: row.get(0),
        is_not_null: row.get(1),
        type_name: row.get(2),
        kind: if kind == "e" { Some(ColumnType::Textual) } else { column_type(name, element) },
        vector_type,
        dimensions: usize::try_from(modifier).ok().filter(|_| vector_type.is_some()),
        can_select: row.get(7),
        can_insert: row.get(9),
        can_update: row.get(10),
        has_default: row.get(11),
        is_generated: row.get(12),
        is_identity: row.get(13),
    }
}

/// The mapping of a type of Postgres, or of a list with this type of elements.
fn column_type(name: &str, element: Option<&str>) -> Option<ColumnType> {
    if let Some(element) = element {
        return match column_type(element, None)? {
            ColumnType::Text => Some(ColumnType::TextArray),
            ColumnType::Int2
            | ColumnType::Int4
            | ColumnType::Int8
            | ColumnType::Float4
            | ColumnType::Float8
            | ColumnType::Numeric
            | ColumnType::Bool
            | ColumnType::Uuid => Some(ColumnType::Array),
            _ => None,
        };
    }
    Some(match name {
        "int2" => ColumnType::Int2,
        "int4" => ColumnType::Int4,
        "int8" => ColumnType::Int8,
        "float4" => ColumnType::Float4,
        "float8" => ColumnType::Float8,
        "numeric" => ColumnType::Numeric,
        "bool" => ColumnType::Bool,
        "text" | "varchar" => ColumnType::Text,
        "uuid" => ColumnType::Uuid,
        "bpchar" | "citext" | "name" | "inet" | "cidr" | "macaddr" | "macaddr8" => ColumnType::Textual,
        "date" => ColumnType::Date,
        "timestamp" => ColumnType::Timestamp,
        "timestamptz" => ColumnType::Timestamptz,
        "json" => ColumnType::Json,
        "jsonb" => ColumnType::Jsonb,
        _ => return None,
    })
}
