-- search
WITH nearest AS MATERIALIZED (
    SELECT * FROM (
     SELECT e.document_key, e.chunk, e.embedding OPERATOR("public".<=>) $4 AS distance
     FROM pgfox_internal.embeddings_7_8 e JOIN pgfox_internal.documents_7 d ON d.key = e.document_key
     WHERE (jsonb_typeof(d.metadata #> $1) <> 'null') AND e.document_key <> ALL($2) ORDER BY distance LIMIT $5) taken
     ORDER BY distance + 0 LIMIT $3),
found AS (
    SELECT document_key, chunk, distance, NULL::float8 AS score, NULL::bigint AS vector_rank,
           NULL::bigint AS full_text_rank
    FROM nearest )
SELECT d.id, d.text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, NULL::int, NULL::int, NULL::int, NULL::text, NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared, s.left_out_texts, s.by_codes, s.uncoded
FROM (SELECT revision, (SELECT count(*) FROM nearest) AS nearest, 0::bigint AS far, 0::bigint AS matches, false AS compared,
             false AS left_out_texts, false AS by_codes, 0::bigint AS uncoded
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM found ORDER BY distance + 0, document_key, chunk LIMIT $6) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
ORDER BY f.distance + 0, f.document_key, f.chunk
