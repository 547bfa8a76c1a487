//! The schemas of pgfox in the database: their names, their migrations, and the vector extension they need.

use std::time::Duration;

use tokio_postgres::{Client, GenericClient, Row, error::SqlState};

use super::{
    StoreError, VectorType,
    connection::sqlstate::{Kind, classify},
    transaction::Transaction,
    wire::VectorTypes,
};

/// Schema changes in order; the position is the version. Append only: an applied migration is never edited.
const MIGRATIONS: [&str; 11] = [
    include_str!("../../migrations/0001_registry.sql"),
    include_str!("../../migrations/0002_chunks_and_metadata.sql"),
    include_str!("../../migrations/0003_metadata_index_jobs.sql"),
    include_str!("../../migrations/0004_times.sql"),
    include_str!("../../migrations/0005_embed_headings.sql"),
    include_str!("../../migrations/0006_words.sql"),
    include_str!("../../migrations/0007_sources.sql"),
    include_str!("../../migrations/0008_codes.sql"),
    include_str!("../../migrations/0009_alias_views.sql"),
    include_str!("../../migrations/0010_follow.sql"),
    include_str!("../../migrations/0011_cells.sql"),
];

/// The schema version that this server works with.
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

/// First version of pgvector with halfvec.
const MIN_VECTOR_VERSION: (u32, u32, u32) = (0, 7, 0);
/// First version with iterative index scans.
const ITERATIVE_VECTOR_VERSION: (u32, u32, u32) = (0, 8, 0);
/// 0.8.2 to 0.8.4 fix memory errors in parallel builds and index corruption by vacuum.
const SAFE_VECTOR_VERSION: (u32, u32, u32) = (0, 8, 4);

/// The quoted names of the two schemas.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Holds one view per collection, for people and SQL.
    pub(super) views: String,
    /// Holds the registry and the tables.
    pub(super) internal: String,
    /// First key of every advisory lock, so that several pgfox share a database.
    pub(super) lock_class: i32,
}

impl Names {
    /// `schema` is what the operator chose with `--schema`.
    pub(super) fn new(schema: &str) -> Self {
        let internal = format!("{schema}_internal");
        // FNV-1a, since the number must be the same in every server and every version.
        let hash =
            internal.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self { views: quote(schema), internal: quote(&internal), lock_class: hash.cast_signed() }
    }
}

/// An identifier in double quotes.
pub(super) fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The vector extension as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    /// Changes if the extension, and so its types, were dropped and created again.
    oid: u32,
    /// The table of the registry. Changes if the schema was dropped and set up again. 0: not determined.
    registry_oid: u32,
    /// Quoted name of the schema that holds its types and operators.
    pub(super) schema: String,
    vector: VectorTypes,
    halfvec: VectorTypes,
    /// Whether this version has iterative index scans.
    pub(super) iterative_scan: bool,
    /// The version in pg_extension, such as 0.8.5.
    pub version: String,
}

/// How to treat a schema of an older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrate {
    /// Set up an empty database, refuse an older schema.
    IfEmpty,
    /// Bring any older schema up to date.
    Always,
}

/// Makes the database ready: its extension and schemas. Servers that start together take turns. Each answer must come
/// within `patience`, except for statements that set something up.
pub(super) async fn prepare(
    client: &Client,
    names: &Names,
    migrate: Migrate,
    patience: Duration,
) -> Result<Extension, StoreError> {
    let transaction = Transaction::new(client);
    within(patience, transaction.begin()).await?;
    lock(client, names, patience).await?;
    let found = within(patience, check(client, names, migrate)).await?;
    // The extension comes first. Without it nothing of pgfox can be left in the database.
    if within(patience, find_extension(client)).await?.is_none() {
        create_extension(client).await?;
    }
    if found < SCHEMA_VERSION {
        apply(client, names, found).await?;
    }
    transaction.commit().await?;
    within(patience, probe(client, names)).await
}

/// Gives up waiting for an answer. The connection may be dead, and the next one may work.
async fn within<T>(patience: Duration, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(patience, answer).await.unwrap_or_else(|_| Err(StoreError::unavailable("it does not answer")))
}

/// Waits until no other server sets up the schema or migrates it.
async fn lock(client: &Client, names: &Names, patience: Duration) -> Result<(), StoreError> {
    const ASK_EVERY: Duration = Duration::from_millis(500);
    const SAY_EVERY: u32 = 60;
    let mut round = 0_u32;
    loop {
        let locked = async {
            let sql = "SELECT pg_try_advisory_xact_lock($1, 0)";
            Ok(client.query_one(sql, &[&names.lock_class]).await?.get(0))
        };
        if within(patience, locked).await? {
            return Ok(());
        }
        if round.is_multiple_of(SAY_EVERY) {
            let holders = within(patience, holders(client, names)).await?;
            tracing::warn!(
                "waiting for the migration lock of the schema {}, which another server or program holds: {holders}",
                names.internal
            );
        }
        round = round.wrapping_add(1);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The sessions that hold the migration lock.
async fn holders(client: &Client, names: &Names) -> Result<String, StoreError> {
    let sql = "-- holders
        SELECT coalesce(string_agg('process ' || pid, ', '), 'it has just ended') FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND classid = $1::int::oid AND objid = 0 AND objsubid = 2
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    Ok(client.query_one(sql, &[&names.lock_class]).await?.get(0))
}

/// The version of the schema, if this server can work with it.
async fn check(client: &Client, names: &Names, migrate: Migrate) -> Result<i32, StoreError> {
    let encoding: String = client.query_one("SELECT current_setting('server_encoding')", &[]).await?.get(0);
    if encoding != "UTF8" {
        return Err(StoreError::WrongDatabase(format!(
            "the database has the encoding {encoding} and cannot hold every text; create one with: \
             CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )));
    }
    let found = applied_version(client, names).await?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::WrongDatabase(format!(
            "the schema {} has version {found}, made by a newer pgfox; this one works with version {SCHEMA_VERSION}: \
             run the newer pgfox, or choose another --schema",
            names.internal
        )));
    }
    if found > 0 && found < SCHEMA_VERSION && migrate == Migrate::IfEmpty {
        return Err(StoreError::WrongDatabase(format!(
            "the schema {} has version {found} and this pgfox works with version {SCHEMA_VERSION}: \
             run `pgfox-server migrate`, or start with --migrate",
            names.internal
        )));
    }
    Ok(found)
}

async fn applied_version(client: &Client, names: &Names) -> Result<i32, StoreError> {
    let registry = format!("{}.schema_migrations", names.internal);
    let exists: bool = client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&registry]).await?.get(0);
    if !exists {
        return Ok(0);
    }
    let row = client.query_one(&format!("SELECT coalesce(max(version), 0) FROM {registry}"), &[]).await?;
    Ok(row.get(0))
}

async fn apply(client: &Client, names: &Names, found: i32) -> Result<(), StoreError> {
    let Names { views, internal, .. } = names;
    for schema in [views, internal] {
        // IF NOT EXISTS would need the privilege to create schemas even if an administrator made this schema for the
        // role.
        let exists: bool = client.query_one("SELECT to_regnamespace($1) IS NOT NULL", &[schema]).await?.get(0);
        if !exists {
            client.batch_execute(&format!("CREATE SCHEMA {schema}")).await?;
        }
    }
    client
        .batch_execute(&format!(
            "CREATE TABLE IF NOT EXISTS {internal}.schema_migrations (
                 version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());"
        ))
        .await?;
    for (migration, version) in MIGRATIONS.iter().zip(1..).skip_while(|(_, version)| *version <= found) {
        tracing::info!(version, "migrating the schema {internal}");
        let migration = migration.replace("{internal}", internal).replace("{views}", views);
        client.batch_execute(&migration).await?;
        let record = format!("INSERT INTO {internal}.schema_migrations (version) VALUES ($1)");
        client.execute(&record, &[&version]).await?;
    }
    Ok(())
}

/// Creates the extension if the role may, and checks its version.
async fn create_extension(client: &Client) -> Result<(), StoreError> {
    // The savepoint keeps the transaction usable after a refusal.
    // The extension goes into the default schema of the role or the database, as if a person created it, or into
    // `public` if that schema does not exist.
    client.batch_execute("SAVEPOINT extension; SET LOCAL search_path TO DEFAULT").await?;
    let mut created = client.batch_execute("CREATE EXTENSION vector").await;
    if created.as_ref().is_err_and(|error| error.code() == Some(&SqlState::INVALID_SCHEMA_NAME)) {
        client.batch_execute("ROLLBACK TO SAVEPOINT extension").await?;
        created = client.batch_execute("CREATE EXTENSION vector SCHEMA public").await;
    }
    if created.is_ok() {
        created = client.batch_execute("SET LOCAL search_path = pg_catalog").await;
    }
    if let Err(error) = created {
        client.batch_execute("ROLLBACK TO SAVEPOINT extension").await?;
        return Err(match classify(&error) {
            Kind::ConnectionLost | Kind::OutOfConnections => error.into(),
            Kind::Privilege => StoreError::ExtensionMissing(
                "the database has no vector extension and this role may not create it; \
                 have a privileged role run: CREATE EXTENSION vector"
                    .into(),
            ),
            _ => StoreError::ExtensionMissing(
                "the vector extension is not installed on the database server; \
                 install pgvector 0.8.4 or later there, then run: CREATE EXTENSION vector"
                    .into(),
            ),
        });
    }
    find_extension(client).await?;
    Ok(())
}

/// The extension of this database, if it exists.
async fn find_extension(client: &impl GenericClient) -> Result<Option<Extension>, StoreError> {
    let sql = "-- find_extension
        SELECT n.nspname, e.extversion, e.oid, 0::oid, v.oid, v.typarray, h.oid, h.typarray
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        LEFT JOIN pg_type v ON v.typnamespace = n.oid AND v.typname = 'vector'
        LEFT JOIN pg_type h ON h.typnamespace = n.oid AND h.typname = 'halfvec'
        WHERE e.extname = 'vector'";
    client.query_opt(sql, &[]).await?.map(|row| read_extension(&row)).transpose()
}

/// Asks whether the database has what calls need: the extension, and the registry, from which it reads a row. Leaves no
/// prepared statement behind.
pub(super) async fn probe(client: &impl GenericClient, names: &Names) -> Result<Extension, StoreError> {
    let Names { views, internal, .. } = names;
    let sql = format!(
        "-- probe
         SELECT n.nspname, e.extversion, e.oid, '{internal}.collections'::regclass::oid,
                v.oid, v.typarray, h.oid, h.typarray,
                to_regnamespace('{views}') IS NOT NULL, (SELECT c.id FROM {internal}.collections c LIMIT 1)
         FROM (VALUES (1)) one
         LEFT JOIN (pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace) ON e.extname = 'vector'
         LEFT JOIN pg_type v ON v.typnamespace = n.oid AND v.typname = 'vector'
         LEFT JOIN pg_type h ON h.typnamespace = n.oid AND h.typname = 'halfvec'"
    );
    let row = match client.query_typed_one(&sql, &[]).await {
        Err(error) if classify(&error) == Kind::Undefined => return Err(StoreError::SchemaMissing(internal.clone())),
        row => row?,
    };
    if !row.get::<_, bool>(8) {
        return Err(StoreError::SchemaMissing(views.clone()));
    }
    if row.get::<_, Option<u32>>(2).is_none() {
        let missing = "the vector extension was dropped; run: CREATE EXTENSION vector";
        return Err(StoreError::ExtensionMissing(missing.into()));
    }
    read_extension(&row)
}

fn read_extension(row: &Row) -> Result<Extension, StoreError> {
    let version: String = row.get(1);
    let parsed = parse_version(&version);
    if parsed < MIN_VECTOR_VERSION {
        return Err(StoreError::ExtensionMissing(format!(
            "the vector extension has version {version} and pgfox needs 0.7.0 or later; \
             install pgvector 0.8.4 or later, then run: ALTER EXTENSION vector UPDATE"
        )));
    }
    let types = |name: &str, column: usize| {
        let ids = (row.get::<_, Option<u32>>(column), row.get::<_, Option<u32>>(column + 1));
        let (Some(oid), Some(list_oid)) = ids else {
            return Err(StoreError::ExtensionMissing(format!("the vector extension lacks its type {name}")));
        };
        Ok(VectorTypes::new(name, row.get(0), oid, list_oid))
    };
    Ok(Extension {
        oid: row.get(2),
        registry_oid: row.get(3),
        schema: quote(row.get(0)),
        vector: types("vector", 4)?,
        halfvec: types("halfvec", 6)?,
        iterative_scan: parsed >= ITERATIVE_VECTOR_VERSION,
        version,
    })
}

impl Extension {
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self {
            oid: 1,
            registry_oid: 2,
            schema: quote("public"),
            vector: VectorTypes::new("vector", "public", 3, 4),
            halfvec: VectorTypes::new("halfvec", "public", 5, 6),
            iterative_scan: true,
            version: "0.8.5".into(),
        }
    }

    /// The types of vectors in statements.
    pub(super) fn types_of(&self, vector_type: VectorType) -> &VectorTypes {
        match vector_type {
            VectorType::Vector => &self.vector,
            VectorType::HalfVec => &self.halfvec,
        }
    }

    /// A warning for the operator about this version.
    pub(crate) fn warning(&self) -> Option<String> {
        (parse_version(&self.version) < SAFE_VECTOR_VERSION).then(|| {
            format!(
                "pgvector {} has known defects that can corrupt HNSW indexes; update to 0.8.4 or later and run: \
                 ALTER EXTENSION vector UPDATE",
                self.version
            )
        })
    }
}

fn parse_version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(parse_version("0.8.5"), (0, 8, 5));
        assert_eq!(parse_version("0.10"), (0, 10, 0));
        assert!(parse_version("0.10.0") > SAFE_VECTOR_VERSION);
        assert!(parse_version("0.6.2") < MIN_VECTOR_VERSION);
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quote(r#"a"b"#), r#""a""b""#);
    }

    #[test]
    fn schemas_have_locks_of_their_own() {
        assert_ne!(Names::new("pgfox").lock_class, Names::new("other").lock_class);
    }
}
