-- search
WITH nearest AS MATERIALIZED (
    SELECT e.document_key, e.chunk, e.embedding OPERATOR("public".<=>) $3 AS distance
     FROM pgfox_internal.embeddings_7_8 e
     WHERE NOT EXISTS (SELECT FROM pgfox_internal.chunks_7 x WHERE x.document_key = e.document_key AND x.chunk = e.chunk AND x.words @@ ANY($2::tsquery[])) ORDER BY distance LIMIT $1),
rest AS MATERIALIZED (
    SELECT document_key, chunk, $6 - m.norm * ($7 / (m.norm + (m.words @@ $8::tsquery)::int) + $9 / (m.norm + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $10::tsquery)::float8)) - 0.5) + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $11::tsquery)::float8)) - 0.5))) AS score
    FROM (SELECT w.document_key, w.chunk, w.words, $4 + $5 * coalesce(nullif(w.word_count, 0), length(w.words)) AS norm
          FROM pgfox_internal.chunks_7 w WHERE w.words @@ $12::tsquery AND NOT w.words @@ ANY($2::tsquery[]) LIMIT 30000) m),
matches AS MATERIALIZED (
    SELECT document_key, chunk, score FROM (SELECT * FROM rest) scored
    ORDER BY score DESC, document_key, chunk LIMIT $1),
found AS (
    SELECT coalesce(v.document_key, w.document_key) AS document_key, coalesce(v.chunk, w.chunk) AS chunk, v.distance,
           coalesce(v.part, 0) + coalesce(w.part, 0) AS score, v.rank AS vector_rank, w.rank AS full_text_rank
    FROM (SELECT document_key, chunk, distance, rank, $13 / ($13 + $14) * coalesce((max(distance) OVER () - distance) / nullif(max(distance) OVER () - min(distance) OVER (), 0), 1) AS part
          FROM (SELECT document_key, chunk, distance + 0 AS distance,
                       row_number() OVER (ORDER BY distance + 0, document_key, chunk) AS rank FROM nearest ) v) v
    FULL JOIN (SELECT document_key, chunk, score, rank, $14 / ($13 + $14) * coalesce(score / nullif(max(score) OVER (), 0), 1) AS part
          FROM (SELECT document_key, chunk, score,
                       row_number() OVER (ORDER BY score DESC, document_key, chunk) AS rank FROM matches) w) w
        ON w.document_key = v.document_key AND w.chunk = v.chunk)
SELECT d.id, d.text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, NULL::int, NULL::int, NULL::int, NULL::text, NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared, s.left_out_texts, s.by_codes, s.uncoded
FROM (SELECT revision, (SELECT count(*) FROM nearest) AS nearest, 0::bigint AS far, (SELECT count(*) FROM matches) AS matches, false AS compared,
             (SELECT count(*) = 30000 FROM rest) AS left_out_texts, false AS by_codes, 0::bigint AS uncoded
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM found ORDER BY score DESC, document_key, chunk LIMIT $15) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
ORDER BY f.score DESC, f.document_key, f.chunk
