//! What the writer writes, in golden files. A test that differs leaves what was written beside the golden file, with `.new`
//! behind its name: look at it, and if it is right, let it take the place of the other.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::SystemTime};

use super::*;
use crate::store::search::{
    Fusion, FusionMethod, Words,
    statement::Coded,
    words::{self, Freshness, Measure, RankedTerm, Rung},
};
use crate::store::{
    ChunkMethod, ChunkUnit, Chunking, Collection, Distance, FieldPath, Filter, FullText, IndexKind, Literal,
    MetadataIndex, MetadataIndexType, NewCollection, Test, VectorType, WordMaker, codes::Codes, schema::Extension,
};

const VECTOR: [f32; 2] = [1.0, 0.0];

/// A collection with an HNSW index and one over all metadata.
fn entry(chunking: Option<Chunking>) -> Entry {
    entry_with(chunking, Vec::new())
}

fn entry_with(chunking: Option<Chunking>, codes: Vec<Arc<Codes>>) -> Entry {
    let definition = NewCollection {
        name: "films".into(),
        model: None,
        dimensions: VECTOR.len(),
        distance: Distance::Cosine,
        vector_type: VectorType::Vector,
        query_prefix: String::new(),
        document_prefix: String::new(),
        chunking,
        full_text: FullText { language: "english".into(), k1: 1.2, b: 0.75 },
        metadata_indexes: vec![MetadataIndex { kind: MetadataIndexType::Gin, path: Vec::new() }],
        aliases: Vec::new(),
        source: None,
        follow: None,
    };
    let index = Some(IndexKind::Hnsw { m: 16, ef_construction: 64 });
    let collection = Collection {
        id: 7,
        space_id: 8,
        revision: 9,
        created_at: SystemTime::UNIX_EPOCH,
        index,
        words: WordMaker::Postgres,
        languages: Vec::new(),
        outdated_times: Vec::new(),
        source_indexes: Vec::new(),
        codes: None,
        definition,
    };
    Entry::new("pgfox_internal", &Extension::for_tests(), collection, codes)
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

fn fusion(method: FusionMethod) -> Fusion {
    Fusion { method, vector_weight: 1.5, full_text_weight: 1.0, candidates: 100 }
}

/// Two words, one of them common, and a phrase, in so many texts.
fn ranking(texts: f64) -> Ranking {
    let rung = |bound, query: &str, share| Rung { bound, query: query.into(), share };
    let term = |weight, measure| RankedTerm { weight, measure };
    Ranking {
        terms: vec![
            term(8.0, Measure::Phrase("('red'<1>'fox')".into())),
            term(2.0, Measure::Lexemes(vec!["'sound'".into(), "'sounds'".into()])),
        ],
        excluded: vec![words::Excluded { text: "dog".into(), queries: vec!["'dog'".into()] }],
        norm_base: 0.3,
        norm_per_word: 0.09,
        ladder: vec![
            rung(5.0, "('red'<1>'fox')&('sound'|'sounds')", 0.01),
            rung(2.0, "('red'<1>'fox')", 0.1),
            rung(0.0, "(('red'<1>'fox')|('sound'|'sounds'))", 0.5),
        ],
        texts,
        has_no_terms: false,
        freshness: Freshness::Fresh,
    }
}

fn words() -> Words {
    Words::default()
}

const BY_INDEX: Reach<'_> = Reach { by_index: true, rows: Some(10), codes: None };

fn check(name: &str, entry: &Entry, query: &Query, settings: &SearchSettings, reach: Reach<'_>) {
    check_ranked(name, entry, query, None, settings, reach);
}

/// Checks a search by the index, or by codes.
fn check_coded(name: &str, settings: &SearchSettings) {
    let entry = entry_with(None, vec![Arc::new(Codes::for_tests())]);
    let coded = Coded::new(&entry, settings.filter.as_ref(), &VECTOR).expect("codes for the filter");
    let reach = Reach { codes: Some((UseOfCodes::IfFew, &coded)), ..BY_INDEX };
    check(name, &entry, &Query::Nearest(VECTOR.into()), settings, reach);
}

fn check_ranked(
    name: &str,
    entry: &Entry,
    query: &Query,
    ranking: Option<&Ranking>,
    settings: &SearchSettings,
    reach: Reach<'_>,
) {
    let (sql, parameters) = write(entry, query, ranking, settings, reach);
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
    let settings = SearchSettings {
        filter: field(Test::Exists),
        exclude: Excluded { keys: vec![1, 2], ids: Vec::new() },
        ..settings()
    };
    check("nearest_filtered", &entry(None), &Query::Nearest(VECTOR.into()), &settings, BY_INDEX);
}

#[test]
fn nearest_by_codes_of_a_declared_field() {
    let settings =
        SearchSettings { filter: served(), exclude: Excluded { keys: vec![1], ids: Vec::new() }, ..settings() };
    check_coded("nearest_by_codes", &settings);
}

#[test]
fn nearest_by_codes_with_another_condition() {
    let filter = Filter::All(vec![served().expect("a filter"), Filter::Ids(vec!["a".into()])]);
    let settings = SearchSettings { filter: Some(filter), ..settings() };
    check_coded("nearest_by_codes_and_more", &settings);
}

#[test]
fn nearest_by_codes_of_a_list() {
    let wanted = ["\"a\"", "\"b\""].map(|json| Literal { json: json.into(), is_scalar: true });
    let path = FieldPath { lists: Vec::new(), keys: vec!["tags".into()] };
    let any = Filter::Field { path, test: Test::ContainsAny(wanted.into()) };
    let filter = Some(Filter::All(vec![served().expect("a filter"), any]));
    let settings = SearchSettings { filter, ..settings() };
    check_coded("nearest_by_codes_of_list", &settings);
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
    let all = Reach { by_index: false, ..BY_INDEX };
    check("exact", &entry(None), &Query::Nearest(VECTOR.into()), &settings, all);
}

#[test]
fn words_with_a_filter() {
    let settings = SearchSettings { filter: served(), include_full_text: true, ..settings() };
    let all = Reach { by_index: false, ..BY_INDEX };
    let query = Query::Words(words());
    check_ranked("words", &entry(chunking()), &query, Some(&ranking(100.0)), &settings, all);
}

#[test]
fn words_of_many_texts() {
    let all = Reach { by_index: false, ..BY_INDEX };
    let query = Query::Words(words());
    check_ranked("words_of_many", &entry(None), &query, Some(&ranking(100_000.0)), &settings(), all);
}

#[test]
fn both_fused() {
    let ranking = ranking(100.0);
    for (name, method) in
        [("both", FusionMethod::RelativeScore), ("both_by_rank", FusionMethod::ReciprocalRank { constant: 10 })]
    {
        let query = Query::Both { vector: VECTOR.into(), words: words(), fusion: fusion(method) };
        check_ranked(name, &entry(None), &query, Some(&ranking), &settings(), BY_INDEX);
    }
}
