//! Messages as JSON, with the names of the proto. This is protobuf's JSON mapping with two friendlier choices: 64-bit
//! integers are numbers, and a vector is an array. A document printed by `get --json` can be ingested again.

use pgfox_client::v1;
use serde_json::{Map, Value, json};

/// Integers up to this one are exact as doubles.
pub(crate) const MAX_EXACT_INTEGER: u64 = pgfox_client::metadata::MAX_INTEGER;

pub(crate) fn metadata(metadata: &prost_types::Struct) -> Value {
    Value::Object(pgfox_client::metadata::to_json(metadata))
}

pub(crate) use pgfox_client::metadata::value_to_json as value;

/// A float in the fewest digits that restore it, rather than the digits of the nearest double.
pub(crate) fn float(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |double| json!(double))
}

pub(crate) fn document(document: &v1::Document) -> Value {
    let mut object = Map::new();
    object.insert("id".into(), json!(document.id));
    object.insert("text".into(), json!(document.text));
    if let Some(vector) = &document.vector {
        object.insert("vector".into(), vector.values.iter().map(|value| float(*value)).collect());
    }
    if let Some(fields) = &document.metadata {
        object.insert("metadata".into(), metadata(fields));
    }
    if document.version > 0 {
        object.insert("version".into(), json!(document.version));
    }
    for (name, time) in [("create_time", &document.create_time), ("update_time", &document.update_time)] {
        if let Some(time) = time {
            object.insert(name.into(), json!(time.to_string()));
        }
    }
    Value::Object(object)
}

pub(crate) fn collection(collection: &v1::Collection) -> Value {
    let embedding = collection.embedding.clone().unwrap_or_default();
    let mut object = json!({
        "name": collection.name,
        "embedding": {
            "model": embedding.model,
            "dimensions": embedding.dimensions,
            "query_prefix": embedding.query_prefix,
            "document_prefix": embedding.document_prefix,
        },
        "distance": collection.distance().as_str_name(),
        "vector_type": collection.vector_type().as_str_name(),
        "text_search_language": collection.text_search_language,
        "metadata_indexes": collection.metadata_indexes.iter().map(metadata_index).collect::<Vec<_>>(),
        "aliases": collection.aliases,
        "document_count": collection.document_count,
    });
    if let Some(chunking) = &collection.chunking {
        object["chunking"] = json!({
            "method": chunking.method().as_str_name(),
            "unit": chunking.unit().as_str_name(),
            "max_size": chunking.max_size,
            "overlap": chunking.overlap,
        });
        if let Some(embed_headings) = chunking.embed_headings {
            object["chunking"]["embed_headings"] = embed_headings.into();
        }
    }
    if let Some(source) = &collection.source {
        object["source"] = json!({
            "table": source.table,
            "id_columns": source.id_columns,
            "text_columns": source.text_columns,
            "text_template": source.text_template,
            "vector_column": source.vector_column,
            "metadata_columns": source.metadata_columns,
        });
        if let Some(follow) = &source.follow {
            object["source"]["follow"] =
                json!({ "triggers": follow.triggers, "updated_at_column": follow.updated_at_column });
        }
    }
    if let Some(status) = &collection.source_status {
        object["source_status"] = source_status(status);
    }
    if let Some(full_text) = &collection.full_text {
        object["full_text"] = json!({
            "language": full_text.language,
            "k1": float(full_text.k1()),
            "b": float(full_text.b()),
            "progress": float(full_text.progress),
        });
    }
    if let Some(codes) = &collection.codes {
        object["codes"] = json!({
            "fields": codes.fields.iter().map(metadata_index).collect::<Vec<_>>(),
            "progress": codes.progress,
        });
    }
    if let Some(time) = &collection.create_time {
        object["create_time"] = time.to_string().into();
    }
    object
}

pub(crate) fn source_status(status: &v1::SourceStatus) -> Value {
    let failures = status.failures.iter().map(|failure| json!({ "id": failure.id, "message": failure.message }));
    let mut object = json!({
        "pending_count": status.pending_count,
        "failed_count": status.failed_count,
        "last_error": status.last_error,
        "rows_per_second": status.rows_per_second,
        "paused": status.paused,
        "failures": failures.collect::<Vec<_>>(),
    });
    if let Some(time) = &status.oldest_pending_time {
        object["oldest_pending_time"] = time.to_string().into();
    }
    if let Some(progress) = status.compare_progress {
        object["compare_progress"] = progress.into();
    }
    object
}

fn metadata_index(index: &v1::MetadataIndex) -> Value {
    json!({ "field": index.field, "type": index.r#type().as_str_name() })
}

pub(crate) fn index(index: &v1::Index) -> Value {
    let spec = index.spec.unwrap_or_default();
    let spec = match spec.kind {
        Some(v1::index_spec::Kind::Hnsw(hnsw)) => {
            json!({ "hnsw": { "m": hnsw.m, "ef_construction": hnsw.ef_construction } })
        }
        Some(v1::index_spec::Kind::IvfFlat(ivf_flat)) => json!({ "ivf_flat": { "lists": ivf_flat.lists } }),
        None => json!({}),
    };
    let mut object = json!({
        "name": index.name,
        "spec": spec,
        "state": index.state().as_str_name(),
        "size_bytes": index.size_bytes,
        "scan_count": index.scan_count,
    });
    if index.made_by_sql {
        object["made_by_sql"] = true.into();
    }
    if let Some(time) = &index.create_time {
        object["create_time"] = time.to_string().into();
    }
    object
}

/// An answer that found nothing, with the notes that explain it.
pub(crate) fn with_notes(mut answer: Value, notes: &[String]) -> Value {
    if !notes.is_empty() {
        answer["notes"] = notes.into();
    }
    answer
}

pub(crate) fn search(response: &v1::SearchResponse) -> Value {
    let results: Vec<Value> = response.results.iter().map(result).collect();
    let timing = response.timing.unwrap_or_default();
    let duration = |part: Option<prost_types::Duration>| part.unwrap_or_default().to_string();
    let usage = response.usage.unwrap_or_default();
    let mut object = json!({
        "results": results,
        "completeness": response.completeness().as_str_name(),
        "short_reason": response.short_reason().as_str_name(),
        "usage": { "tokens": usage.tokens, "cached_count": usage.cached_count },
        "timing": {
            "embed": duration(timing.embed),
            "wait": duration(timing.wait),
            "database": duration(timing.database),
        },
    });
    if let Some(explanation) = &response.explanation {
        object["explanation"] = json!({
            "plan_node": explanation.plan_node,
            "index": explanation.index,
            "no_index_reason": explanation.no_index_reason,
            "rows_scanned": explanation.rows_scanned,
            "rows_filtered": explanation.rows_filtered,
            "notes": explanation.notes,
            // JSON within JSON, unless it does not parse.
            "plan": serde_json::from_str(&explanation.plan_json).unwrap_or(Value::Null),
        });
    }
    if !response.excluded_words.is_empty() {
        object["excluded_words"] = json!(response.excluded_words);
    }
    with_notes(object, &response.notes)
}

fn result(result: &v1::SearchResult) -> Value {
    let mut object = Map::new();
    object.insert("document".into(), document(&result.document.clone().unwrap_or_default()));
    if let Some(distance) = result.distance {
        object.insert("distance".into(), float(distance));
    }
    object.insert("score".into(), float(result.score));
    if let Some(chunk) = &result.chunk {
        let chunk = json!({ "ordinal": chunk.ordinal, "text": chunk.text, "start": chunk.start, "end": chunk.end });
        object.insert("chunk".into(), chunk);
    }
    for (name, rank) in [("vector_rank", result.vector_rank), ("full_text_rank", result.full_text_rank)] {
        if let Some(rank) = rank {
            object.insert(name.into(), json!(rank));
        }
    }
    if !result.highlights.is_empty() {
        object.insert("highlights".into(), result.highlights.iter().map(highlight).collect());
    }
    Value::Object(object)
}

fn highlight(highlight: &v1::Highlight) -> Value {
    let v1::Highlight { start, end, text, words } = highlight;
    let words: Vec<Value> = words.iter().map(|v1::Span { start, end }| json!({ "start": start, "end": end })).collect();
    json!({ "start": start, "end": end, "text": text, "words": words })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_people_wrote_them() {
        let double = |number: f64| value(&number.into());
        assert_eq!(double(1999.0).to_string(), "1999");
        assert_eq!(double(-0.5).to_string(), "-0.5");
        assert_eq!(double(1e300).to_string(), "1e+300");
        assert_eq!(float(0.1).to_string(), "0.1");
        assert_eq!(float(f32::NAN), Value::Null);
    }
}
