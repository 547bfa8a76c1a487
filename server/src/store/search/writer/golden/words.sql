-- search
WITH matches AS MATERIALIZED (
    SELECT w.document_key, w.chunk, ts_rank(w.words, (phraseto_tsquery('english'::regconfig, $3) || phraseto_tsquery('english'::regconfig, $4)), 1)::float8 AS score
    FROM pgfox_internal.chunks_7 w JOIN pgfox_internal.documents_7 d ON d.key = w.document_key WHERE w.words @@ ((phraseto_tsquery('english'::regconfig, $3) || phraseto_tsquery('english'::regconfig, $4)) && !!(phraseto_tsquery('english'::regconfig, $5))) AND numnode((phraseto_tsquery('english'::regconfig, $3) || phraseto_tsquery('english'::regconfig, $4))) > 0 AND (d.metadata @> $1)
    ORDER BY score DESC, w.document_key, w.chunk LIMIT $2),
found AS (
    SELECT document_key, chunk, NULL::float8 AS distance, score, NULL::bigint AS vector_rank,
           NULL::bigint AS full_text_rank
    FROM matches)
SELECT d.id, d.text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, c.ordinal, c.start_char, c.end_char, coalesce(c.text, d.text), NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared
FROM (SELECT revision, 0::bigint AS nearest, 0::bigint AS far, (SELECT count(*) FROM matches) AS matches, false AS compared
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM found ORDER BY score DESC, document_key, chunk LIMIT $6) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
LEFT JOIN pgfox_internal.chunks_7 c ON c.document_key = f.document_key AND c.chunk = f.chunk
ORDER BY f.score DESC, f.document_key, f.chunk
