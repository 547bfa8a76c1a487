-- search
WITH rest AS MATERIALIZED (
    SELECT document_key, chunk, $6 - m.norm * ($7 / (m.norm + (m.words @@ $8::tsquery)::int) + $9 / (m.norm + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $10::tsquery)::float8)) - 0.5) + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $11::tsquery)::float8)) - 0.5))) AS score
    FROM (SELECT w.document_key, w.chunk, w.words, $4 + $5 * coalesce(nullif(w.word_count, 0), length(w.words)) AS norm
          FROM pgfox_internal.chunks_7 w JOIN pgfox_internal.documents_7 d ON d.key = w.document_key WHERE w.words @@ $12::tsquery AND NOT w.words @@ ANY($3::tsquery[]) AND (d.metadata @> $1) LIMIT 30000) m),
matches AS MATERIALIZED (
    SELECT document_key, chunk, score FROM (SELECT * FROM rest) scored
    ORDER BY score DESC, document_key, chunk LIMIT $2),
found AS (
    SELECT document_key, chunk, NULL::float8 AS distance, score, NULL::bigint AS vector_rank,
           NULL::bigint AS full_text_rank
    FROM matches)
SELECT d.id, d.text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, c.ordinal, c.start_char, c.end_char, coalesce(c.text, d.text), NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared, s.left_out_texts, s.by_codes, s.uncoded
FROM (SELECT revision, 0::bigint AS nearest, 0::bigint AS far, (SELECT count(*) FROM matches) AS matches, false AS compared,
             (SELECT count(*) = 30000 FROM rest) AS left_out_texts, false AS by_codes, 0::bigint AS uncoded
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM found ORDER BY score DESC, document_key, chunk LIMIT $13) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
LEFT JOIN pgfox_internal.chunks_7 c ON c.document_key = f.document_key AND c.chunk = f.chunk
ORDER BY f.score DESC, f.document_key, f.chunk
