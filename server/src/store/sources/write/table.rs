//! The table of a source as writes see it: which columns they can set, and whether they can add rows.

use std::{borrow::Cow, collections::BTreeSet};

use serde_json::{Map, Value};

use super::values::misfit;
use crate::store::{
    Collection, NewCollection, Source, Store, StoreError,
    schema::quote,
    sources::{
        ColumnType,
        changes::{changes, source_changed},
        table::{Privilege, Table},
    },
};

/// The table of a source, for writes.
#[derive(Clone, Debug)]
pub(crate) struct WritableTable {
    pub(in crate::store::sources) source: Source,
    /// The columns of the metadata, in order.
    pub(in crate::store::sources) metadata: Vec<WritableColumn>,
    /// Every row must have a vector.
    pub(crate) needs_vector: bool,
    /// Why Ingest cannot add rows, if it cannot.
    closed: Option<String>,
}

/// A column of the metadata.
#[derive(Clone, Debug)]
pub(in crate::store::sources) struct WritableColumn {
    pub(in crate::store::sources) name: String,
    pub(in crate::store::sources) kind: ColumnType,
    /// The type as SQL writes it, with its length or precision.
    pub(in crate::store::sources) type_name: String,
    is_not_null: bool,
    /// A new row has a value without being given one.
    has_default: bool,
    /// Why no write can set it, if none can.
    fixed: Option<&'static str>,
    /// The statement that grants what the role lacks to set it.
    missing_grant: Option<String>,
}

/// A field of metadata that its column does not accept, and what it would accept.
#[derive(Clone, Debug)]
pub(crate) struct MetadataProblem {
    pub key: String,
    pub rule: String,
}

impl Store {
    /// The table of an attached collection, if its documents can be written and the role has the privilege for it.
    pub(crate) async fn writable_table(&self, collection: &Collection) -> Result<WritableTable, StoreError> {
        let definition = &collection.definition;
        let Some(source) = &definition.source else {
            return Err(StoreError::Internal("a collection without a source has no table of the user".into()));
        };
        let content: Vec<&String> = source.text.iter().map(|column| &column.name).chain([&source.vector]).collect();
        let all = source.id.iter().map(|column| &column.name).chain(content.iter().copied()).collect();
        let needed = [(Privilege::Insert, all), (Privilege::Update, content)];
        let table = self.table_for(definition, source, &needed).await?;
        let refused = |what: Cow<'static, str>| StoreError::Attached {
            collection: definition.name.clone(),
            table: source.relation(),
            what,
        };
        let [text] = &source.text[..] else {
            return Err(refused("its texts are not one column, which Ingest could write; write by SQL".into()));
        };
        if text.kind != ColumnType::Text {
            return Err(refused("the type of its text column is not text or varchar; write by SQL".into()));
        }
        if source.id.iter().any(|column| column.name == text.name) {
            return Err(refused(
                format!("its column {} is the id and the text; write by SQL", quote(&text.name)).into(),
            ));
        }
        let is_generated = |name: &str| table.column(name).is_some_and(|column| column.is_generated);
        if let Some(column) = [&text.name, &source.vector].into_iter().find(|name| is_generated(name)) {
            return Err(refused(format!("its column {} is generated; write by SQL", quote(column)).into()));
        }
        Ok(WritableTable::new(source, &table, &[Privilege::Insert, Privilege::Update]))
    }

    /// The same for changes of metadata alone.
    pub(in crate::store::sources) async fn changeable_table(
        &self,
        definition: &NewCollection,
        source: &Source,
    ) -> Result<WritableTable, StoreError> {
        let table = self.table_for(definition, source, &[(Privilege::Lock, Vec::new())]).await?;
        Ok(WritableTable::new(source, &table, &[Privilege::Update]))
    }

    /// The table of a source, if it is as it was and the role has these privileges.
    pub(in crate::store::sources) async fn table_for(
        &self,
        definition: &NewCollection,
        source: &Source,
        needed: &[(Privilege, Vec<&String>)],
    ) -> Result<Table, StoreError> {
        let found = self.table_of(source).await?;
        let table = match (changes(found.as_ref(), source, definition), found) {
            (None, Some(table)) => table,
            (change, _) => return Err(source_changed(source, definition, change.unwrap_or_default())),
        };
        match table.write_grant(needed) {
            None => Ok(table),
            Some(grant) => Err(not_granted(definition, source, vec![grant])),
        }
    }
}

fn not_granted(definition: &NewCollection, source: &Source, statements: Vec<String>) -> StoreError {
    let why = format!("the role of the server may not write to the table {}", source.relation());
    StoreError::SourceRefused { collection: definition.name.clone(), why, statements }
}

impl WritableTable {
    /// `needed`: the privileges that set a column of the metadata.
    fn new(source: &Source, table: &Table, needed: &[Privilege]) -> Self {
        let columns = &table.columns;
        let is_key = |name: &String| source.id.iter().any(|column| column.name == *name);
        let is_text = |name: &String| source.text.iter().any(|column| column.name == *name);
        let is_metadata = |name: &String| source.metadata.iter().any(|column| column.name == *name);
        let is_mapped = |name: &String| is_key(name) || is_text(name) || is_metadata(name) || *name == source.vector;
        let metadata = source.metadata.iter().filter_map(|column| {
            let found = table.column(&column.name)?;
            let fixed = match &column.name {
                _ if found.is_generated => Some("is a generated column, which Postgres computes"),
                _ if found.is_identity => Some("is GENERATED ALWAYS AS IDENTITY, so Postgres numbers it"),
                name if is_key(name) => Some("is a column of the id"),
                name if is_text(name) => Some("is the column of the text"),
                _ => None,
            };
            Some(WritableColumn {
                name: column.name.clone(),
                kind: column.kind,
                type_name: found.type_name.clone(),
                is_not_null: found.is_not_null,
                has_default: found.has_default,
                fixed,
                missing_grant: {
                    let needed: Vec<_> = needed.iter().map(|privilege| (*privilege, vec![&column.name])).collect();
                    table.write_grant(&needed)
                },
            })
        });
        let identity = columns.iter().find(|column| column.is_identity && is_key(&column.name));
        let missing = columns.iter().find(|column| column.is_required() && !is_mapped(&column.name));
        let closed = match (identity, missing) {
            (Some(column), _) => Some(format!(
                "Postgres makes its ids: the column {} is GENERATED ALWAYS AS IDENTITY",
                quote(&column.name)
            )),
            (None, Some(column)) => Some(format!(
                "its column {} is NOT NULL without a default, and does not belong to the collection",
                quote(&column.name)
            )),
            (None, None) => None,
        };
        Self {
            metadata: metadata.collect(),
            needs_vector: table.column(&source.vector).is_some_and(|column| column.is_not_null),
            closed,
            source: source.clone(),
        }
    }

    /// The qualified and quoted name of the table.
    pub(crate) fn relation(&self) -> String {
        self.source.relation()
    }

    /// An id as the database writes it. `None` if no row can have it.
    pub(crate) fn canonical_id(&self, id: &str) -> Option<String> {
        self.source.canonical_id(id)
    }

    /// What an id must be, in words.
    pub(crate) fn id_rule(&self) -> String {
        let types: Vec<&str> = self.source.id.iter().map(|column| column.kind.key_words()).collect();
        match &types[..] {
            [one] => format!("must be {one}, as the id column of the table is"),
            types => format!("must be a JSON list of the values of the id columns: {}", types.join(", ")),
        }
    }

    /// Fails if Ingest cannot add rows.
    pub(crate) fn check_open(&self, collection: &Collection) -> Result<(), StoreError> {
        let Some(why) = &self.closed else { return Ok(()) };
        Err(StoreError::Attached {
            collection: collection.definition.name.clone(),
            table: self.relation(),
            what: format!("rows are added only by SQL, because {why}; Ingest can change rows that the table has")
                .into(),
        })
    }

    /// Fails if the role lacks a privilege on a column that one of these metadata sets.
    pub(crate) fn check_granted<'m>(
        &self,
        definition: &NewCollection,
        metadata: impl IntoIterator<Item = &'m str>,
    ) -> Result<(), StoreError> {
        if self.metadata.iter().all(|column| column.missing_grant.is_none()) {
            return Ok(());
        }
        let columns = metadata.into_iter().flat_map(|metadata| self.columns_of(metadata));
        let grants: BTreeSet<String> = columns.filter_map(|column| column.missing_grant.clone()).collect();
        if grants.is_empty() {
            Ok(())
        } else {
            Err(not_granted(definition, &self.source, grants.into_iter().collect()))
        }
    }

    /// The fields of metadata, which is a JSON object, that the columns do not accept.
    pub(crate) fn problems(&self, metadata: &str) -> Vec<MetadataProblem> {
        if self.source.is_spread() {
            let fixed = self.metadata.iter().filter_map(|column| Some((column, column.fixed?)));
            return fixed.map(|(column, why)| MetadataProblem { key: column.name.clone(), rule: why.into() }).collect();
        }
        let fields: Map<String, Value> = serde_json::from_str(metadata).unwrap_or_default();
        let problem = |(key, value): (&String, &Value)| {
            let rule = self.misfit(key, value)?;
            Some(MetadataProblem { key: key.clone(), rule })
        };
        fields.iter().filter_map(problem).collect()
    }

    fn misfit(&self, key: &str, value: &Value) -> Option<String> {
        let Some(column) = self.metadata.iter().find(|column| column.name == key) else {
            let names: Vec<String> = self.metadata.iter().map(|column| quote(&column.name)).collect();
            let known =
                if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
            return Some(format!("is not a metadata column of the table {}; {known}", self.relation()));
        };
        if let Some(why) = column.fixed {
            return Some(format!("cannot be set: the column {why}"));
        }
        if value.is_null() {
            return column.is_not_null.then(|| "must not be null: its column is NOT NULL".to_owned());
        }
        misfit(column.kind, value)
            .map(|rule| format!("must be {rule}, as its column has the type {}", column.type_name))
    }

    /// The columns that a new row must have a value for, and that metadata does not have.
    pub(crate) fn missing_columns(&self, metadata: &str) -> Vec<&str> {
        if self.source.is_spread() {
            return Vec::new();
        }
        let keys = keys(metadata);
        let is_missing = |column: &&WritableColumn| {
            column.is_not_null && !column.has_default && column.fixed.is_none() && !keys.contains(&column.name)
        };
        self.metadata.iter().filter(is_missing).map(|column| column.name.as_str()).collect()
    }

    /// The columns that metadata sets.
    pub(in crate::store::sources) fn columns_of(&self, metadata: &str) -> Vec<&WritableColumn> {
        if self.source.is_spread() {
            return self.metadata.iter().collect();
        }
        let keys = keys(metadata);
        self.metadata.iter().filter(|column| keys.contains(&column.name)).collect()
    }
}

/// The keys of a JSON object.
fn keys(metadata: &str) -> BTreeSet<String> {
    let fields: Map<String, Value> = serde_json::from_str(metadata).unwrap_or_default();
    fields.into_iter().map(|(key, _)| key).collect()
}
