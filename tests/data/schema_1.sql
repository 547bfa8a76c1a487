-- What version 1 of the schema left behind: the collection "foxes" of callers' own vectors with three documents and an index,
-- and an empty one. The migration that created the registry runs before this.
INSERT INTO pgfox_internal.collections (name) VALUES ('foxes'), ('empty');
INSERT INTO pgfox_internal.embedding_spaces (collection_id, model, dimensions, ask_dimensions, distance, vector_type,
    query_prefix, document_prefix, active)
VALUES (1, '', 3, false, 'cosine', 'vector', '', '', true), (2, '', 3, false, 'l2', 'vector', '', '', true);

CREATE TABLE pgfox_internal.documents_1 (
    key          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text NOT NULL UNIQUE,
    text         text NOT NULL,
    metadata     jsonb NOT NULL CHECK (jsonb_typeof(metadata) = 'object'),
    content_hash bytea NOT NULL,
    version      bigint NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 90);
CREATE TABLE pgfox_internal.embeddings_1_1 (
    document_key bigint NOT NULL,
    chunk        int NOT NULL DEFAULT 0,
    embedding    vector(3) NOT NULL,
    PRIMARY KEY (document_key, chunk)
) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.05);
CREATE VIEW pgfox.foxes AS
    SELECT d.id, coalesce(e.chunk, 0) AS chunk, d.text AS content, d.metadata, e.embedding
    FROM pgfox_internal.documents_1 d LEFT JOIN pgfox_internal.embeddings_1_1 e ON e.document_key = d.key;

CREATE TABLE pgfox_internal.documents_2 (LIKE pgfox_internal.documents_1 INCLUDING ALL);
CREATE TABLE pgfox_internal.embeddings_2_2 (LIKE pgfox_internal.embeddings_1_1 INCLUDING ALL);
CREATE VIEW pgfox.empty AS
    SELECT d.id, coalesce(e.chunk, 0) AS chunk, d.text AS content, d.metadata, e.embedding
    FROM pgfox_internal.documents_2 d LEFT JOIN pgfox_internal.embeddings_2_2 e ON e.document_key = d.key;

-- The hashes are SHA-256 of lengths and bytes of model, prefix and text, then of the vector.
INSERT INTO pgfox_internal.documents_1 (id, text, metadata, content_hash) VALUES
    ('sounds', 'Foxes can make over 40 different sounds.', '{"legs": 4}',
     '\xe266e451843b50d7d34808c30052c3dd6c801c689e8dd53d05b32b775730389b'),
    ('naïve', 'A naïve fox. A naïve fox. A naïve fox. ', '{"legs": 3}',
     '\xdb4d6185e8d4f6487ee882827e935d1ff3405fae5693340a9eb09bf53f87f160'),
    ('silent', '', '{}', '\xacdbb71b9e178d7d1d4dfc1d69eed2079b330350e6c5e8563f5d5cc70aac63b0');
INSERT INTO pgfox_internal.embeddings_1_1 (document_key, embedding)
    SELECT key, CASE id WHEN 'sounds' THEN '[1,0,0]' WHEN 'silent' THEN '[0,0,1]' ELSE '[0,1,0]' END::vector
    FROM pgfox_internal.documents_1;
INSERT INTO pgfox_internal.indexes (space_id, method, m, ef_construction, state) VALUES (1, 'hnsw', 16, 64, 'ready');
CREATE INDEX embeddings_1_1_hnsw_1 ON pgfox_internal.embeddings_1_1 USING hnsw (embedding vector_cosine_ops);
