-- search
WITH seed AS MATERIALIZED (
    SELECT document_key, chunk, $5 - m.norm * ($6 / (m.norm + (m.words @@ $7::tsquery)::int) + $8 / (m.norm + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $9::tsquery)::float8)) - 0.5) + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $10::tsquery)::float8)) - 0.5))) AS score
    FROM (SELECT w.document_key, w.chunk, w.words, $3 + $4 * coalesce(nullif(w.word_count, 0), length(w.words)) AS norm
          FROM pgfox_internal.chunks_7 w WHERE w.words @@ $11::tsquery AND NOT w.words @@ ANY($2::tsquery[]) LIMIT 30000) m),
second_seed AS MATERIALIZED (
    SELECT document_key, chunk, $5 - m.norm * ($6 / (m.norm + (m.words @@ $7::tsquery)::int) + $8 / (m.norm + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $9::tsquery)::float8)) - 0.5) + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $10::tsquery)::float8)) - 0.5))) AS score
    FROM (SELECT w.document_key, w.chunk, w.words, $3 + $4 * coalesce(nullif(w.word_count, 0), length(w.words)) AS norm
          FROM pgfox_internal.chunks_7 w WHERE w.words @@ ($12::tsquery && !!$11::tsquery) AND (SELECT count(*) < 10 FROM seed) AND NOT w.words @@ ANY($2::tsquery[]) LIMIT 30000) m),
reached AS MATERIALIZED (SELECT score FROM (SELECT score FROM seed UNION ALL SELECT score FROM second_seed) s ORDER BY score DESC OFFSET 9 LIMIT 1),
chosen AS MATERIALIZED (SELECT query FROM (VALUES ($13::float8, NULL::tsquery), ($14::float8, $15::tsquery), ($16::float8, $17::tsquery)) r(bound, query)
               WHERE bound <= coalesce((SELECT score FROM reached), 0) ORDER BY bound DESC LIMIT 1),
rest AS MATERIALIZED (
    SELECT document_key, chunk, $5 - m.norm * ($6 / (m.norm + (m.words @@ $7::tsquery)::int) + $8 / (m.norm + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $9::tsquery)::float8)) - 0.5) + round(1 / (1.64493406685 * (1 - ts_rank('{1,1,1,1}', m.words, $10::tsquery)::float8)) - 0.5))) AS score
    FROM (SELECT w.document_key, w.chunk, w.words, $3 + $4 * coalesce(nullif(w.word_count, 0), length(w.words)) AS norm
          FROM pgfox_internal.chunks_7 w WHERE w.words @@ ((SELECT query FROM chosen) && !!(SELECT CASE WHEN count(*) < 10 THEN $12::tsquery ELSE $11::tsquery END FROM seed)) AND NOT ((SELECT count(*) = 30000 FROM seed) OR (SELECT count(*) = 30000 FROM second_seed)) AND NOT w.words @@ ANY($2::tsquery[]) LIMIT 30000) m),
matches AS MATERIALIZED (
    SELECT document_key, chunk, score FROM (SELECT * FROM seed UNION ALL SELECT * FROM second_seed UNION ALL SELECT * FROM rest) scored
    ORDER BY score DESC, document_key, chunk LIMIT $1),
found AS (
    SELECT document_key, chunk, NULL::float8 AS distance, score, NULL::bigint AS vector_rank,
           NULL::bigint AS full_text_rank
    FROM matches)
SELECT d.id, d.text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, NULL::int, NULL::int, NULL::int, NULL::text, NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared, s.left_out_texts, s.by_codes, s.uncoded
FROM (SELECT revision, 0::bigint AS nearest, 0::bigint AS far, (SELECT count(*) FROM matches) AS matches, false AS compared,
             (SELECT count(*) = 30000 FROM seed) OR (SELECT count(*) = 30000 FROM second_seed) OR (SELECT count(*) = 30000 FROM rest) AS left_out_texts, false AS by_codes, 0::bigint AS uncoded
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM found ORDER BY score DESC, document_key, chunk LIMIT $18) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
ORDER BY f.score DESC, f.document_key, f.chunk
