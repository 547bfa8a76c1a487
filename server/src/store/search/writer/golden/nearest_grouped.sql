-- search
WITH nearest AS MATERIALIZED (
    SELECT e.document_key, e.chunk, e.embedding OPERATOR("public".<=>) $3 AS distance
     FROM pgfox_internal.embeddings_7_8 e
     ORDER BY distance LIMIT $1),
found AS (
    SELECT document_key, chunk, distance, NULL::float8 AS score, NULL::bigint AS vector_rank,
           NULL::bigint AS full_text_rank
    FROM nearest WHERE distance <= $2),
best AS (SELECT DISTINCT ON (document_key) * FROM found ORDER BY document_key, distance + 0, chunk)
SELECT d.id, NULL::text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, c.ordinal, c.start_char, c.end_char, coalesce(c.text, d.text), NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared, s.left_out_texts, s.by_codes, s.uncoded
FROM (SELECT revision, (SELECT count(*) FROM nearest) AS nearest, (SELECT count(*) FROM nearest WHERE NOT distance <= $2) AS far, 0::bigint AS matches, false AS compared,
             false AS left_out_texts, false AS by_codes, 0::bigint AS uncoded
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM best ORDER BY distance + 0, document_key, chunk LIMIT $4) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
LEFT JOIN pgfox_internal.chunks_7 c ON c.document_key = f.document_key AND c.chunk = f.chunk
ORDER BY f.distance + 0, f.document_key, f.chunk
