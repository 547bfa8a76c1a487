-- A change of metadata indexes is a job, as a build is: a row in the state 'running' that some server finishes. What a
-- collection has is in metadata_indexes; what is not ready there is a leftover, which is dropped.
CREATE TABLE {internal}.metadata_index_jobs (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id bigint NOT NULL REFERENCES {internal}.collections ON DELETE CASCADE,
    wanted        jsonb NOT NULL,  -- [[type, path], ...]
    state         text NOT NULL CHECK (state IN ('running', 'failed')),
    attempts      int NOT NULL DEFAULT 0,
    error         text,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ON {internal}.metadata_index_jobs (collection_id) WHERE state = 'running';
CREATE INDEX ON {internal}.metadata_index_jobs (collection_id);
