-- Collections that keep documents of their own in step with the rows of a table.

-- What such a collection follows, and how far.
CREATE TABLE {internal}.follows (
    collection_id  bigint PRIMARY KEY REFERENCES {internal}.collections ON DELETE CASCADE,
    -- The table and its columns, as in collections.source.
    source         jsonb NOT NULL,
    -- The column that says when a row changed; null: triggers note the changes.
    updated_at     text,
    -- By column: the rows that were changed before this time, or that this snapshot saw, are in `pending`.
    seen_until     timestamptz NOT NULL DEFAULT now(),
    seen           pg_snapshot NOT NULL DEFAULT '1:1:',
    paused         boolean NOT NULL DEFAULT false,
    -- After an error nothing is done before this time.
    retry_at       timestamptz NOT NULL DEFAULT now(),
    failures       int NOT NULL DEFAULT 0,
    last_error     text,
    -- What is wrong with the triggers.
    trigger_error  text,
    -- The table and its partitions, when their triggers were last checked.
    relations      text,
    -- The next comparison of all rows, or the one in progress: of the rows with the documents, then of the documents with
    -- the rows. It has done everything up to an id.
    compare_at     timestamptz NOT NULL DEFAULT now(),
    compare_part   text CHECK (compare_part IN ('rows', 'documents')),
    compare_after  text,
    compared       bigint NOT NULL DEFAULT 0,
    -- Everything may have changed since it began.
    compare_again  boolean NOT NULL DEFAULT false,
    -- One server compares at a time, until its lease ends.
    comparer       bigint,
    leased_until   timestamptz,
    -- Rows that were done, each counting less the longer ago that was.
    recent_rows    float8 NOT NULL DEFAULT 0,
    recent_at      timestamptz NOT NULL DEFAULT now()
);

-- Changes as triggers note them: appended only, without an index and without a check, so that writers pay little. A null id
-- says that every row may have changed.
CREATE TABLE {internal}.changes (
    collection_id  bigint NOT NULL,
    id             text,
    changed_at     timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);

-- Rows are deleted even if a publication for all tables has it.
ALTER TABLE {internal}.changes REPLICA IDENTITY FULL;

-- The rows to store, each once.
CREATE TABLE {internal}.pending (
    collection_id  bigint NOT NULL,
    id             text COLLATE "C" NOT NULL,
    changed_at     timestamptz NOT NULL,
    -- When to store it. In the future while a server works on it, which then has the claim; infinity: it failed.
    due_at         timestamptz NOT NULL DEFAULT now(),
    claim          bigint,
    -- It changed again after it was claimed.
    is_changed     boolean NOT NULL DEFAULT false,
    -- Why it failed.
    error          text,
    -- How often its claims ended with an error that can be that of others.
    failures       smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (collection_id, id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX ON {internal}.pending (collection_id, due_at);
