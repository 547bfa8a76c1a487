-- search
WITH coded AS MATERIALIZED (
    SELECT rows * $7 <= 150 * root AS coded, rows, rows <= 3 * root AS few
    FROM (SELECT pgfox_internal.expected_rows($6, $5) AS rows, sqrt(greatest(reltuples, 0)) AS root
          FROM pg_class WHERE oid = 'pgfox_internal.codes_7_3'::regclass) e),
first AS MATERIALIZED (
    SELECT c.document_key, c.chunk, c.norm, n.score, c.norm * (c.norm - $8 * cos((c.code OPERATOR("public".<~>) $9) * 0.006135923151542565::float8)) AS estimate
     FROM unnest($13, $12) n (cell, score) CROSS JOIN LATERAL (
         SELECT c.document_key, c.chunk, c.code, c.norm FROM pgfox_internal.codes_7_3 c WHERE c.cell = n.cell AND c.f1 = ($5)[1]::text AND c.document_key <> ALL($2) OFFSET 0) c
     WHERE (SELECT coded AND NOT few FROM coded)
     UNION ALL
     SELECT c.document_key, c.chunk, c.norm, NULL, c.norm * (c.norm - $8 * cos((c.code OPERATOR("public".<~>) $9) * 0.006135923151542565::float8))
     FROM pgfox_internal.codes_7_3 c WHERE c.f1 = ($5)[1]::text AND c.document_key <> ALL($2) AND (SELECT coded AND few FROM coded) LIMIT 500),
farthest AS MATERIALIZED (
    SELECT more, met, score, estimate, $8 * (cos(angle) + angle * sin(angle)) AS base, $8 * sin(angle) * 0.006135923151542565::float8 AS slope,
           (SELECT few OR rows < (30 + rows / 3)
                   * (SELECT count(*) FROM unnest($12) n (score) WHERE n.score BETWEEN f.met AND f.score)
            FROM coded) AS few
    FROM (SELECT *, acos(greatest(-1, least(1, (norm * norm - estimate) / nullif($8 * norm, 0)))) AS angle FROM (
        SELECT count(*) >= 200 AS more, max(score) AS met,
               CASE WHEN count(*) < 500 THEN max(score) ELSE greatest(max(score), (array_agg(estimate ORDER BY estimate))[$15] + $14) END AS score,
               CASE WHEN count(*) >= 200 THEN (array_agg(estimate ORDER BY estimate))[$10] + $11 END AS estimate, avg(norm) AS norm
        FROM first) f) f),
candidates AS MATERIALIZED (
    SELECT f.document_key, f.chunk, f.estimate FROM first f WHERE f.score < (SELECT met FROM farthest WHERE NOT few)
     UNION ALL
     SELECT c.document_key, c.chunk, c.norm * (c.norm - $8 * cos((c.code OPERATOR("public".<~>) $9) * 0.006135923151542565::float8)) AS estimate
     FROM unnest($13, $12) n (cell, score) CROSS JOIN LATERAL (
         SELECT c.document_key, c.chunk, c.code, c.norm FROM pgfox_internal.codes_7_3 c WHERE c.cell = n.cell AND c.f1 = ($5)[1]::text AND c.document_key <> ALL($2) AND (c.norm * (c.norm + (c.code OPERATOR("public".<~>) $9) * (SELECT slope FROM farthest) - (SELECT base FROM farthest)) <= (SELECT estimate FROM farthest)) IS NOT FALSE OFFSET 0) c
     WHERE (SELECT coded FROM coded) AND n.score BETWEEN (SELECT met FROM farthest WHERE NOT few) AND (SELECT score FROM farthest)
     UNION ALL
     SELECT c.document_key, c.chunk, c.norm * (c.norm - $8 * cos((c.code OPERATOR("public".<~>) $9) * 0.006135923151542565::float8))
     FROM pgfox_internal.codes_7_3 c WHERE c.f1 = ($5)[1]::text AND c.document_key <> ALL($2) AND (SELECT coded AND (SELECT few FROM farthest) FROM coded) AND (c.norm * (c.norm + (c.code OPERATOR("public".<~>) $9) * (SELECT slope FROM farthest) - (SELECT base FROM farthest)) <= (SELECT estimate FROM farthest)) IS NOT FALSE ORDER BY estimate NULLS FIRST LIMIT 200),
nearest AS MATERIALIZED (
    (SELECT e.document_key, e.chunk, (e.embedding OPERATOR("public".<=>) $4) + 0 AS distance
     FROM candidates k JOIN pgfox_internal.embeddings_7_8 e ON e.document_key = k.document_key AND e.chunk = k.chunk
     WHERE (k.estimate <= (SELECT CASE WHEN count(*) = 200 OR (SELECT more FROM farthest) THEN (array_agg(estimate ORDER BY estimate))[$10] + $11 END
                     FROM candidates)) IS NOT FALSE ORDER BY distance LIMIT $3)
    UNION ALL
    (SELECT * FROM (
     SELECT e.document_key, e.chunk, e.embedding OPERATOR("public".<=>) $4 AS distance
     FROM pgfox_internal.embeddings_7_8 e JOIN pgfox_internal.documents_7 d ON d.key = e.document_key
     WHERE NOT (SELECT coded FROM coded) AND (d.metadata @> $1) AND e.document_key <> ALL($2) ORDER BY distance LIMIT $16) taken
     ORDER BY distance + 0 LIMIT $3)),
found AS (
    SELECT document_key, chunk, distance, NULL::float8 AS score, NULL::bigint AS vector_rank,
           NULL::bigint AS full_text_rank
    FROM nearest )
SELECT d.id, d.text, d.metadata, f.distance, f.score, f.vector_rank, f.full_text_rank, NULL::int, NULL::int, NULL::int, NULL::text, NULL::bytea,
       s.revision, s.nearest, s.far, s.matches, s.compared, s.left_out_texts, s.by_codes, s.uncoded
FROM (SELECT revision, (SELECT count(*) FROM nearest) AS nearest, 0::bigint AS far, 0::bigint AS matches, CASE WHEN (SELECT coded FROM coded) THEN NOT (SELECT count(*) = 200 OR (SELECT more FROM farthest) FROM candidates) ELSE false END AS compared,
             false AS left_out_texts, (SELECT coded FROM coded) AS by_codes, (SELECT count(*) FROM candidates WHERE estimate IS NULL) AS uncoded
      FROM pgfox_internal.collections WHERE id = 7) s
LEFT JOIN (SELECT * FROM found ORDER BY distance + 0, document_key, chunk LIMIT $17) f ON true
LEFT JOIN pgfox_internal.documents_7 d ON d.key = f.document_key
ORDER BY f.distance + 0, f.document_key, f.chunk
