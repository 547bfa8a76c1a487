//! Reads collections from rows of the registry.

use tokio_postgres::Row;

use crate::{
    embed::Model,
    store::{
        ChunkMethod, ChunkUnit, Chunking, Collection, Distance, FullText, IndexKind, MetadataIndex, MetadataIndexType,
        NewCollection, Source, StoreError, VectorType, WordMaker, codes, follow, indexes::outdated::OUTDATED,
        tables::is_valid, wire::Json,
    },
    words::{Language, TextLanguage},
};

/// Selects what [`read_collection`] reads, with the collection as `c` and its embedding space as `s`.
pub(in crate::store) fn select_collections(internal: &str) -> String {
    format!(
        "-- select_collections
         SELECT c.id, c.name, c.revision, c.created_at, s.id AS space_id, s.model, s.dimensions, s.ask_dimensions,
                s.distance, s.vector_type, s.query_prefix, s.document_prefix, i.method, i.m, i.ef_construction, i.lists,
                c.chunk_method, c.chunk_unit, c.chunk_size, c.chunk_overlap, c.chunk_headings, c.text_search_language,
                c.k1, c.b, c.words_version, c.languages,
                (SELECT w.document_key::float8 / greatest(w.last_key, 1) FROM {internal}.word_jobs w
                 WHERE w.collection_id = c.id) AS words_progress,
                ARRAY(SELECT a.alias FROM {internal}.aliases a WHERE a.collection_id = c.id ORDER BY a.alias) AS aliases,
                ARRAY(SELECT jsonb_build_array(m.type, m.path) FROM {internal}.metadata_indexes m
                      WHERE m.collection_id = c.id AND m.ready ORDER BY m.id) AS metadata_indexes,
                ARRAY(SELECT to_jsonb(m.path) FROM {internal}.metadata_indexes m
                      WHERE m.collection_id = c.id AND m.ready AND {OUTDATED}) AS outdated_times,
                c.source,
                {follow} AS follow,
                {codes}
         FROM {internal}.collections c
         JOIN {internal}.embedding_spaces s ON s.collection_id = c.id AND s.active
         LEFT JOIN {internal}.indexes i ON i.space_id = s.id AND i.state = 'ready' AND {valid}",
        valid = is_valid(internal),
        follow = follow::select_follow(internal),
        codes = codes::select_codes(internal)
    )
}

/// Reads a collection of [`select_collections`], without the indexes on the table of its source.
pub(in crate::store) fn read_collection(row: &Row) -> Result<Collection, StoreError> {
    let unknown = |what: &str| StoreError::Internal(format!("the registry holds an unknown {what}"));
    let dimensions: i32 = row.get("dimensions");
    let dimensions = usize::try_from(dimensions).map_err(|_| unknown("number of dimensions"))?;
    let model: String = row.get("model");
    let ask_dimensions = row.get("ask_dimensions");
    let size = |column: &str| usize::try_from(row.get::<_, i32>(column)).map_err(|_| unknown("size of chunks"));
    let method = match row.get("chunk_method") {
        "none" => None,
        "text" => Some(ChunkMethod::Text),
        "markdown" => Some(ChunkMethod::Markdown),
        _ => return Err(unknown("method of chunking")),
    };
    let unit = match row.get("chunk_unit") {
        "characters" => ChunkUnit::Characters,
        "tokens" => ChunkUnit::Tokens,
        _ => return Err(unknown("unit of chunks")),
    };
    let (max_size, overlap) = (size("chunk_size")?, size("chunk_overlap")?);
    let embed_headings = row.get("chunk_headings");
    let mut metadata_indexes = Vec::new();
    for Json(json) in row.get::<_, Vec<Json<&str>>>("metadata_indexes") {
        let (kind, path): (&str, Vec<String>) = serde_json::from_str(json).map_err(|_| unknown("metadata index"))?;
        let kind = MetadataIndexType::from_name(kind).ok_or_else(|| unknown("metadata index"))?;
        metadata_indexes.push(MetadataIndex { kind, path });
    }
    let source = row.get::<_, Option<Json<&str>>>("source");
    let source: Option<Source> = match source {
        Some(Json(json)) => Some(serde_json::from_str(json).map_err(|_| unknown("source"))?),
        None => None,
    };
    let outdated_times = row.get::<_, Vec<Json<&str>>>("outdated_times").into_iter();
    let outdated_times = outdated_times.map(|Json(path)| serde_json::from_str(path)).collect::<Result<_, _>>();
    let full_text = FullText {
        language: row.get("text_search_language"),
        k1: row.get::<_, f32>("k1").into(),
        b: row.get::<_, f32>("b").into(),
    };
    let words = read_word_maker(row, &full_text);
    let languages = match words.language() {
        None => Vec::new(),
        Some(TextLanguage::One(language)) => vec![language],
        // A newer version can know other languages, and makes other words then.
        Some(TextLanguage::Auto) => {
            row.get::<_, Vec<&str>>("languages").into_iter().filter_map(Language::from_name).collect()
        }
    };
    Ok(Collection {
        id: row.get("id"),
        space_id: row.get("space_id"),
        revision: row.get("revision"),
        created_at: row.get("created_at"),
        index: read_index_kind(row)?,
        words,
        languages,
        outdated_times: outdated_times.map_err(|_| unknown("metadata index"))?,
        source_indexes: Vec::new(),
        codes: codes::progress(row)?,
        definition: NewCollection {
            name: row.get("name"),
            model: (!model.is_empty()).then_some(Model { name: model, dimensions, ask_dimensions }),
            dimensions,
            distance: Distance::from_name(row.get("distance")).ok_or_else(|| unknown("distance"))?,
            vector_type: VectorType::from_name(row.get("vector_type")).ok_or_else(|| unknown("vector type"))?,
            query_prefix: row.get("query_prefix"),
            document_prefix: row.get("document_prefix"),
            chunking: method.map(|method| Chunking { method, unit, max_size, overlap, embed_headings }),
            full_text,
            metadata_indexes,
            aliases: row.get("aliases"),
            source,
            follow: follow::read_follow(row.get::<_, Option<Json<&str>>>("follow").map(|Json(json)| json))?,
        },
    })
}

fn read_word_maker(row: &Row, full_text: &FullText) -> WordMaker {
    let is_own = row.get::<_, i16>("words_version") > 0;
    match full_text.text_language() {
        None => WordMaker::Postgres,
        Some(language) if is_own => WordMaker::Own(language),
        // A configuration with this name, from before the name had a meaning.
        Some(TextLanguage::Auto) => WordMaker::Postgres,
        Some(language) => {
            // Without a row nobody has begun.
            let progress = row.get::<_, Option<f64>>("words_progress").unwrap_or_default();
            // Only the version says that all is done.
            WordMaker::Both { language, progress: progress.clamp(0.0, 0.999) as f32 }
        }
    }
}

/// The index of a row with the columns method, m, ef_construction and lists.
pub(in crate::store) fn read_index_kind(row: &Row) -> Result<Option<IndexKind>, StoreError> {
    Ok(match row.get::<_, Option<&str>>("method") {
        None => None,
        Some("hnsw") => Some(IndexKind::Hnsw { m: row.get("m"), ef_construction: row.get("ef_construction") }),
        Some("ivfflat") => Some(IndexKind::IvfFlat { lists: row.get("lists") }),
        Some(_) => return Err(StoreError::Internal("the registry holds an unknown kind of index".into())),
    })
}
