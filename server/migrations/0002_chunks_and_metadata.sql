-- Chunks, full text, metadata indexes and aliases. Collections that exist get what new ones are created with.

ALTER TABLE {internal}.collections
    ADD COLUMN chunk_method  text NOT NULL DEFAULT 'none' CHECK (chunk_method IN ('none', 'text', 'markdown')),
    ADD COLUMN chunk_unit    text NOT NULL DEFAULT 'characters' CHECK (chunk_unit IN ('characters', 'tokens')),
    ADD COLUMN chunk_size    int NOT NULL DEFAULT 0,
    ADD COLUMN chunk_overlap int NOT NULL DEFAULT 0,
    -- A text search configuration, for to_tsvector.
    ADD COLUMN text_search_language text NOT NULL DEFAULT 'english';

-- Other names of collections; no name of a collection is among them.
CREATE TABLE {internal}.aliases (
    alias         text PRIMARY KEY CHECK (alias ~ '^[a-z][a-z0-9_]{0,62}$'),
    collection_id bigint NOT NULL REFERENCES {internal}.collections ON DELETE CASCADE
);
CREATE INDEX ON {internal}.aliases (collection_id);

-- Indexes over metadata, named documents_<collection>_metadata_<id>. What is not ready is a leftover.
CREATE TABLE {internal}.metadata_indexes (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id bigint NOT NULL REFERENCES {internal}.collections ON DELETE CASCADE,
    type          text NOT NULL CHECK (type IN ('gin', 'number', 'string', 'time')),
    path          text[] NOT NULL,  -- the keys that lead to the field; none for gin
    ready         boolean NOT NULL
);
CREATE INDEX ON {internal}.metadata_indexes (collection_id);

-- The value of a field as a number, a string or a time; null when it is something else. Both filters and indexes use these,
-- so that the planner sees that they are the same.
CREATE FUNCTION {internal}.number_at(metadata jsonb, path text[]) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(metadata #> path) = 'number' THEN (metadata #> path)::numeric END;

CREATE FUNCTION {internal}.string_at(metadata jsonb, path text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(metadata #> path) = 'string' THEN metadata #>> path END;

-- An RFC 3339 time in UTC. Not a cast, which depends on settings and fails on what is no time. 30 February counts as
-- 1 or 2 March.
CREATE FUNCTION {internal}.utc(value text) RETURNS timestamp
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN value ~ ('^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)'
                              '(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$')
        THEN (make_date(substr(value, 1, 4)::int, substr(value, 6, 2)::int, 1) + (substr(value, 9, 2)::int - 1))::timestamp
             + make_interval(hours => substr(value, 12, 2)::int, mins => substr(value, 15, 2)::int,
                             secs => substring(value from '^.{17}([\d.]+)')::float8)
             - CASE WHEN right(value, 1) IN ('Z', 'z') THEN interval '0'
                    ELSE make_interval(hours => substr(right(value, 6), 1, 3)::int,
                                       mins => (substr(right(value, 6), 1, 1) || substr(right(value, 6), 5, 2))::int) END
        END;

CREATE FUNCTION {internal}.time_at(metadata jsonb, path text[]) RETURNS timestamp
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN {internal}.utc({internal}.string_at(metadata, path));

-- JSON merge patch, RFC 7396. Calls itself only for objects: each call costs a plan.
CREATE FUNCTION {internal}.merge_patch(target jsonb, patch jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN jsonb_typeof(patch) <> 'object' THEN patch ELSE coalesce((
        SELECT jsonb_object_agg(coalesce(t.key, p.key),
                                CASE WHEN p.key IS NULL THEN t.value
                                     WHEN jsonb_typeof(p.value) <> 'object' THEN p.value
                                     ELSE {internal}.merge_patch(t.value, p.value) END)
        FROM jsonb_each(CASE WHEN jsonb_typeof(target) = 'object' THEN target ELSE '{}' END) t
        FULL JOIN jsonb_each(patch) p ON p.key = t.key
        WHERE p.value IS NULL OR p.value <> 'null'), '{}') END
    $$;

DO $migration$
DECLARE
    collection record;
    documents text;
    chunks text;
    metadata_index bigint;
BEGIN
    FOR collection IN
        SELECT c.id, c.name, s.id AS space_id
        FROM {internal}.collections c JOIN {internal}.embedding_spaces s ON s.collection_id = c.id AND s.active
    LOOP
        documents := format('documents_%s', collection.id);
        chunks := format('chunks_%s', collection.id);
        EXECUTE format('DROP VIEW IF EXISTS {views}.%I', collection.name);
        -- Ids are compared by bytes, as the server sorts them.
        EXECUTE format('ALTER TABLE {internal}.%I ALTER COLUMN id TYPE text COLLATE "C"', documents);
        EXECUTE format(
            'CREATE TABLE {internal}.%I (
                 document_key bigint NOT NULL,
                 chunk        int NOT NULL,
                 ordinal      int NOT NULL,
                 start_char   int NOT NULL,
                 end_char     int NOT NULL,
                 hash         bytea,
                 text         text,
                 words        tsvector NOT NULL,
                 PRIMARY KEY (document_key, chunk)
             ) WITH (fillfactor = 90)', chunks);
        EXECUTE format(
            'INSERT INTO {internal}.%I (document_key, chunk, ordinal, start_char, end_char, words)
             SELECT key, 0, 0, 0, char_length(text), to_tsvector(''english'', left(text, 50000))
             FROM {internal}.%I WHERE text <> ''''', chunks, documents);
        EXECUTE format('CREATE INDEX ON {internal}.%I USING gin (words) WITH (gin_pending_list_limit = 64)', chunks);
        INSERT INTO {internal}.metadata_indexes (collection_id, type, path, ready)
            VALUES (collection.id, 'gin', ARRAY[]::text[], true) RETURNING id INTO metadata_index;
        EXECUTE format('CREATE INDEX %I ON {internal}.%I USING gin (metadata jsonb_path_ops)
                            WITH (gin_pending_list_limit = 64)',
                       format('%s_metadata_%s', documents, metadata_index), documents);
        EXECUTE format(
            'CREATE VIEW {views}.%I AS
                 SELECT d.id, coalesce(c.ordinal, 0) AS chunk, coalesce(c.text, d.text) AS content, d.metadata, e.embedding
                 FROM {internal}.%I d
                 LEFT JOIN {internal}.%I c ON c.document_key = d.key
                 LEFT JOIN {internal}.%I e ON e.document_key = d.key AND e.chunk = coalesce(c.chunk, 0)',
            collection.name, documents, chunks, format('embeddings_%s_%s', collection.id, collection.space_id));
        -- Whoever has cached the collection reads it anew.
        UPDATE {internal}.collections SET revision = revision + 1 WHERE id = collection.id;
    END LOOP;
END
$migration$;
