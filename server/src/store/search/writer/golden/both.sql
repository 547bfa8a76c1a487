-- search
WITH nearest AS MATERIALIZED (
    SELECT e.document_key, e.chunk, e.embedding OPERATOR("public".<=>) $2 AS distance
     FROM pgfox_internal.embeddings_7_8 e
     ORDER BY distance LIMIT $1),
matches AS MATERIALIZED (
    SELECT w.document_key, w.chunk, ts_rank(w.words, (phraseto_tsquery('english'::regconfig, $3) || phraseto_tsquery('english'::regconfig, $4)), 1)::float8 AS score
    FROM pgfox_internal.chunks_7 w WHERE w.words @@ (phraseto_tsquery('english'::regconfig, $3) || phraseto_tsquery('english'::regconfig, $4))
    ORDER BY score DESC, w.document_key, w.chunk LIMIT $1),
found AS (
    SELECT coalesce(v.document_key, w.document_key) AS document_key, coalesce(v.chunk, w.chunk) AS chunk, v.distance,
           coalesce($6 / ($5 + v.rank), 0) + coalesce($7 / ($5 + w.rank), 0) AS score,
           v.rank AS vector_rank, w.rank AS full_text_rank
    FROM (SELECT document_key, chunk, distance,
                 row_number() OVER (ORDER BY distance + 0, document_key, chunk) AS rank FROM nearest ) v
    FULL JOIN (SELECT document_key, chunk,
                      row_number() OVER (ORDER BY score DESC, document_key, chunk) AS rank FROM matches) w
        ON w.document_key = v.document_key AND w.chunk = v.chunk)
SELECT d.id, d.text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, NULL::int, NULL::int, NULL::int, NULL::text, NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared
FROM (SELECT revision, (SELECT count(*) FROM nearest) AS nearest, 0::bigint AS far, (SELECT count(*) FROM matches) AS matches, false AS compared
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM found ORDER BY score DESC, document_key, chunk LIMIT $8) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
ORDER BY f.score DESC, f.document_key, f.chunk
