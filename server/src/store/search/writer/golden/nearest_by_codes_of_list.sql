-- search
WITH coded AS MATERIALIZED (
    SELECT rows * $7 <= 150 * root AS coded
    FROM (SELECT pgfox_internal.expected_rows($6, $5) AS rows, sqrt(greatest(reltuples, 0)) AS root
          FROM pg_class WHERE oid = 'pgfox_internal.codes_7_3'::regclass) e),
candidates AS MATERIALIZED (
    SELECT DISTINCT c.document_key, c.chunk, c.norm * (c.norm - $8 * cos((c.code OPERATOR("public".<~>) $9) * 0.006135923151542565::float8)) AS estimate
     FROM pgfox_internal.codes_7_3_list3 c WHERE (SELECT coded FROM coded) AND c.f3 = ANY(($5)[1:2]::text[]) AND c.f1 = ($5)[3]::text
     UNION ALL
     SELECT c.document_key, c.chunk, c.norm * (c.norm - $8 * cos((c.code OPERATOR("public".<~>) $9) * 0.006135923151542565::float8))
     FROM pgfox_internal.codes_7_3 c JOIN pgfox_internal.documents_7 d ON d.key = c.document_key WHERE (SELECT coded FROM coded) AND c.f3 = '{}' AND ((d.metadata @> $1) AND (d.metadata @> ANY($2))) ORDER BY estimate NULLS FIRST LIMIT 200),
nearest AS MATERIALIZED (
    (SELECT e.document_key, e.chunk, (e.embedding OPERATOR("public".<=>) $4) + 0 AS distance
     FROM candidates k JOIN pgfox_internal.embeddings_7_8 e ON e.document_key = k.document_key AND e.chunk = k.chunk
     WHERE (k.estimate <= (SELECT CASE WHEN count(*) = 200 THEN (array_agg(estimate ORDER BY estimate))[$10] + $11 END
                     FROM candidates)) IS NOT FALSE ORDER BY distance LIMIT $3)
    UNION ALL
    (SELECT * FROM (
     SELECT e.document_key, e.chunk, e.embedding OPERATOR("public".<=>) $4 AS distance
     FROM pgfox_internal.embeddings_7_8 e JOIN pgfox_internal.documents_7 d ON d.key = e.document_key
     WHERE NOT (SELECT coded FROM coded) AND ((d.metadata @> $1) AND (d.metadata @> ANY($2))) ORDER BY distance LIMIT $12) taken
     ORDER BY distance + 0 LIMIT $3)),
found AS (
    SELECT document_key, chunk, distance, NULL::float8 AS score, NULL::bigint AS vector_rank,
           NULL::bigint AS full_text_rank
    FROM nearest )
SELECT d.id, d.text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, NULL::int, NULL::int, NULL::int, NULL::text, NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared, s.left_out_texts, s.by_codes, s.uncoded
FROM (SELECT revision, (SELECT count(*) FROM nearest) AS nearest, 0::bigint AS far, 0::bigint AS matches, CASE WHEN (SELECT coded FROM coded) THEN NOT (SELECT count(*) = 200 FROM candidates) ELSE false END AS compared,
             false AS left_out_texts, (SELECT coded FROM coded) AS by_codes, (SELECT count(*) FROM candidates WHERE estimate IS NULL) AS uncoded
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM found ORDER BY distance + 0, document_key, chunk LIMIT $13) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
ORDER BY f.distance + 0, f.document_key, f.chunk
