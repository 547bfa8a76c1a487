//! What the writer writes, in golden files. A test that differs leaves what was written beside the golden file, with `.new`
//! behind its name: look at it, and if it is right, let it take the place of the other.

use std::{collections::BTreeSet, path::Path, time::SystemTime};

use super::*;
use crate::store::{
    ChunkMethod, ChunkUnit, Chunking, Collection, Distance, FieldPath, Filter, IndexKind, Literal, MetadataIndex,
    MetadataIndexType, NewCollection, Test, VectorType, schema::Extension,
};

const VECTOR: [f32; 2] = [1.0, 0.0];

/// A collection with an HNSW index and one over all metadata.
fn entry(chunking: Option<Chunking>) -> Entry {
    let definition = NewCollection {
        name: "films".into(),
        model: None,
        dimensions: VECTOR.len(),
        distance: Distance::Cosine,
        vector_type: VectorType::Vector,
        query_prefix: String::new(),
        document_prefix: String::new(),
        chunking,
        text_search_language: "english".into(),
        metadata_indexes: vec![MetadataIndex { kind: MetadataIndexType::Gin, path: Vec::new() }],
        aliases: Vec::new(),
    };
    let index = Some(IndexKind::Hnsw { m: 16, ef_construction: 64 });
    let collection = Collection {
        id: 7,
        space_id: 8,
        revision: 9,
        created_at: SystemTime::UNIX_EPOCH,
        index,
        outdated_times: Vec::new(),
        definition,
    };
    Entry::new("pgfox_internal", &Extension::for_tests(), collection)
}

fn chunking() -> Option<Chunking> {
    Some(Chunking {
        method: ChunkMethod::Text,
        unit: ChunkUnit::Characters,
        max_size: 1_000,
        overlap: 0,
        embed_headings: false,
    })
}

fn settings() -> SearchSettings {
    SearchSettings::of(10)
}

fn field(test: Test) -> Option<Filter> {
    Some(Filter::Field { path: FieldPath { lists: Vec::new(), keys: vec!["genre".into()] }, test })
}

/// A filter that the index serves.
fn served() -> Option<Filter> {
    field(Test::Equals(Literal { json: "\"drama\"".into(), is_scalar: true }))
}

fn fusion() -> Fusion {
    Fusion { vector_weight: 1.5, full_text_weight: 1.0, rank_constant: 10, candidates: 100 }
}

const BY_INDEX: Reach = Reach { by_index: true, rows: Some(10) };

fn check(name: &str, entry: &Entry, query: &Query, settings: &SearchSettings, reach: Reach) {
    let (sql, parameters) = write(entry, query, settings, reach);
    let count = parameters.typed().len();
    let numbers = sql.split('$').skip(1).map(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse::<usize>().expect("a number")
    });
    let used: BTreeSet<usize> = numbers.collect();
    assert!(used.into_iter().eq(1..=count), "{name} uses each parameter and no other");
    // A clause that is left out leaves a space.
    let lines: Vec<&str> = sql.lines().map(str::trim_end).collect();
    let written = lines.join("\n") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/store/search/writer/golden/{name}.sql"));
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if written != golden {
        let new = path.with_added_extension("new");
        std::fs::write(&new, &written).expect("the new file is written");
        panic!("{} differs from what is written now: see {}", path.display(), new.display());
    }
}

#[test]
fn nearest_with_a_filter_that_an_index_serves() {
    let settings = SearchSettings { filter: served(), ..settings() };
    check("nearest_gated", &entry(None), &Query::Nearest(VECTOR.into()), &settings, BY_INDEX);
}

#[test]
fn nearest_with_a_filter_that_no_index_serves() {
    let settings = SearchSettings { filter: field(Test::Exists), exclude: vec![1, 2], ..settings() };
    check("nearest_filtered", &entry(None), &Query::Nearest(VECTOR.into()), &settings, BY_INDEX);
}

#[test]
fn nearest_by_document_within_a_distance() {
    let settings = SearchSettings { max_distance: Some(0.5), group_by_document: true, ..settings() };
    check("nearest_grouped", &entry(chunking()), &Query::Nearest(VECTOR.into()), &settings, BY_INDEX);
}

#[test]
fn exact_with_vectors_and_without_texts() {
    let settings =
        SearchSettings { filter: served(), with_text: false, with_metadata: false, include_vector: true, ..settings() };
    let all = Reach { by_index: false, rows: Some(10) };
    check("exact", &entry(None), &Query::Nearest(VECTOR.into()), &settings, all);
}

#[test]
fn words_with_a_filter() {
    let settings = SearchSettings { filter: served(), include_full_text: true, ..settings() };
    let all = Reach { by_index: false, rows: Some(10) };
    check("words", &entry(chunking()), &Query::Words(Words::parse("\"red fox\" -dog sound")), &settings, all);
}

#[test]
fn both_fused() {
    let query = Query::Both { vector: VECTOR.into(), words: Words::parse("red fox"), fusion: fusion() };
    check("both", &entry(None), &query, &settings(), Reach { by_index: true, rows: Some(100) });
}
