-- search
WITH coded AS MATERIALIZED (
    SELECT rows * $7 <= 150 * root AS coded
    FROM (SELECT pgfox_internal.expected_rows($6, $5) AS rows, sqrt(greatest(reltuples, 0)) AS root
          FROM pg_class WHERE oid = 'pgfox_internal.codes_7_3'::regclass) e),
candidates AS MATERIALIZED (
    SELECT r.document_key, r.chunk, r.estimate FROM (
     SELECT c.document_key, c.chunk, c.norm * (c.norm - $8 * cos((c.code OPERATOR("public".<~>) $9) * 0.006135923151542565::float8)) AS estimate
     FROM pgfox_internal.codes_7_3 c WHERE (SELECT coded FROM coded) AND c.f1 = ($5)[1]::text ORDER BY estimate NULLS FIRST) r
     JOIN pgfox_internal.documents_7 d ON d.key = r.document_key
     WHERE ((d.metadata @> $1) AND (d.id = ANY($2))) ORDER BY r.estimate NULLS FIRST LIMIT 200),
matching AS MATERIALIZED (SELECT d.key FROM pgfox_internal.documents_7 d WHERE NOT (SELECT coded FROM coded) AND ((d.metadata @> $1) AND (d.id = ANY($2))) LIMIT 2501),
few AS MATERIALIZED (SELECT NOT (SELECT coded FROM coded) AND count(*) <= 2500 AS few FROM matching),
nearest AS MATERIALIZED (
    (SELECT e.document_key, e.chunk, (e.embedding OPERATOR("public".<=>) $4) + 0 AS distance
     FROM candidates k JOIN pgfox_internal.embeddings_7_8 e ON e.document_key = k.document_key AND e.chunk = k.chunk
     WHERE (k.estimate <= (SELECT CASE WHEN count(*) = 200 THEN (array_agg(estimate ORDER BY estimate))[$10] + $11 END
                     FROM candidates)) IS NOT FALSE ORDER BY distance LIMIT $3)
    UNION ALL
    (SELECT e.document_key, e.chunk, (e.embedding OPERATOR("public".<=>) $4) + 0 AS distance
     FROM pgfox_internal.embeddings_7_8 e
     WHERE (SELECT few FROM few) AND e.document_key = ANY(ARRAY(SELECT key FROM matching)) ORDER BY distance LIMIT $3)
    UNION ALL
    (SELECT * FROM (
     SELECT e.document_key, e.chunk, e.embedding OPERATOR("public".<=>) $4 AS distance
     FROM pgfox_internal.embeddings_7_8 e JOIN pgfox_internal.documents_7 d ON d.key = e.document_key
     WHERE NOT (SELECT coded FROM coded) AND NOT (SELECT few FROM few) AND ((d.metadata @> $1) AND (d.id = ANY($2))) ORDER BY distance LIMIT $12) taken
     ORDER BY distance + 0 LIMIT $3)),
found AS (
    SELECT document_key, chunk, distance, NULL::float8 AS score, NULL::bigint AS vector_rank,
           NULL::bigint AS full_text_rank
    FROM nearest )
SELECT d.id, d.text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, NULL::int, NULL::int, NULL::int, NULL::text, NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared, s.left_out_texts, s.by_codes, s.uncoded
FROM (SELECT revision, (SELECT count(*) FROM nearest) AS nearest, 0::bigint AS far, 0::bigint AS matches, CASE WHEN (SELECT coded FROM coded) THEN NOT (SELECT count(*) = 200 FROM candidates) ELSE (SELECT few FROM few) END AS compared,
             false AS left_out_texts, (SELECT coded FROM coded) AS by_codes, (SELECT count(*) FROM candidates WHERE estimate IS NULL) AS uncoded
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM found ORDER BY distance + 0, document_key, chunk LIMIT $13) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
ORDER BY f.distance + 0, f.document_key, f.chunk
