-- The registry: collections, how each is embedded, and the indexes over them. The tables that hold documents and vectors
-- are created with their collection. {internal} is the schema of the registry and of those tables.

CREATE TABLE {internal}.collections (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9_]{0,62}$'),
    -- Grows with every change that a server may have cached; a search returns it, so that no cache is ever trusted longer.
    revision    bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- How the vectors of a collection are made and compared. One is active; another can be filled beside it.
CREATE TABLE {internal}.embedding_spaces (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id    bigint NOT NULL REFERENCES {internal}.collections ON DELETE CASCADE,
    model            text NOT NULL,     -- '' when callers send vectors
    dimensions       int NOT NULL CHECK (dimensions BETWEEN 1 AND 16000),
    ask_dimensions   boolean NOT NULL,  -- the provider must be asked for this number
    distance         text NOT NULL CHECK (distance IN ('l2', 'cosine', 'inner_product', 'l1')),
    vector_type      text NOT NULL CHECK (vector_type IN ('vector', 'halfvec')),
    query_prefix     text NOT NULL,
    document_prefix  text NOT NULL,
    active           boolean NOT NULL
);
CREATE INDEX ON {internal}.embedding_spaces (collection_id);
CREATE UNIQUE INDEX ON {internal}.embedding_spaces (collection_id) WHERE active;

-- Vector indexes. A row in the state 'building' is a job that some server finishes, whatever happens to the one that
-- began it. Index names are unique, so what is in the database but not here is a leftover.
CREATE TABLE {internal}.indexes (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id         bigint NOT NULL REFERENCES {internal}.embedding_spaces ON DELETE CASCADE,
    method           text NOT NULL CHECK (method IN ('hnsw', 'ivfflat')),
    m                int,
    ef_construction  int,
    lists            int,
    state            text NOT NULL CHECK (state IN ('building', 'ready', 'failed')),
    attempts         int NOT NULL DEFAULT 0,
    warnings         text[] NOT NULL DEFAULT ARRAY[]::text[],
    error            text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    CHECK (CASE method WHEN 'hnsw' THEN m IS NOT NULL AND ef_construction IS NOT NULL ELSE lists IS NOT NULL END)
);
CREATE UNIQUE INDEX ON {internal}.indexes (space_id) WHERE state = 'building';
CREATE UNIQUE INDEX ON {internal}.indexes (space_id) WHERE state = 'ready';
