-- Codes of vectors. They make filters by declared fields cheap, and every search among vectors with too many dimensions for an
-- index. The table of one set of codes is codes_<collection>_<id>.
CREATE TABLE {internal}.codes (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    space_id    bigint NOT NULL REFERENCES {internal}.embedding_spaces ON DELETE CASCADE,
    fields      jsonb NOT NULL,   -- [[type, path], ...]: the columns f1, f2, ...
    centre      real[] NOT NULL,  -- taken off every vector
    seed        bigint NOT NULL,  -- of the rotation
    -- How many of the best codes are compared exactly, so that 95 % of the 10 nearest are among them.
    candidates  int,
    -- How many vectors had ever been inserted when that was measured, as Postgres counts.
    measured    bigint NOT NULL DEFAULT 0,
    -- The last vector in the order of keys that the job has come to.
    document_key bigint NOT NULL DEFAULT 0,
    chunk       int NOT NULL DEFAULT -1,
    -- The last document when it began.
    last_key    bigint NOT NULL DEFAULT 0,
    state       text NOT NULL CHECK (state IN ('building', 'ready', 'failed')),
    error       text,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON {internal}.codes (space_id);
CREATE UNIQUE INDEX ON {internal}.codes (space_id) WHERE state = 'building';
CREATE UNIQUE INDEX ON {internal}.codes (space_id) WHERE state = 'ready';

-- What the field of a table of codes is: a bounded value, since an entry of a btree holds at most 2,704 bytes. Numbers of the
-- API have at most 341 digits behind the point and 309 before it, and compare with what is longer as with these.
CREATE FUNCTION {internal}.code_number(metadata jsonb, path text[]) RETURNS numeric
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN abs({internal}.number_at(metadata, path)) > 1e310 THEN sign({internal}.number_at(metadata, path)) * 1e310
                WHEN scale({internal}.number_at(metadata, path)) > 400
                    THEN trunc({internal}.number_at(metadata, path), 400)
                         + sign({internal}.number_at(metadata, path) - trunc({internal}.number_at(metadata, path), 400)) * 1e-401
                ELSE {internal}.number_at(metadata, path) END;

-- Types of declared fields that older versions do not know.
ALTER TABLE {internal}.metadata_indexes DROP CONSTRAINT metadata_indexes_type_check;
ALTER TABLE {internal}.metadata_indexes ADD CHECK (type IN ('gin', 'number', 'string', 'time', 'boolean', 'string_list'));

CREATE FUNCTION {internal}.boolean_at(metadata jsonb, path text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(metadata #> path) = 'boolean' THEN (metadata #> path)::boolean END;

CREATE FUNCTION {internal}.code_boolean(metadata jsonb, path text[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN {internal}.boolean_at(metadata, path);

CREATE FUNCTION {internal}.code_string(metadata jsonb, path text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left({internal}.string_at(metadata, path), 64);

-- The different strings in a list; null if there are none. An empty list stands for more than 1,000: each is a row of the table
-- of the list for each vector of the document.
CREATE FUNCTION {internal}.code_string_list(metadata jsonb, path text[]) RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN jsonb_typeof(metadata #> path) = 'array'
                THEN (SELECT CASE WHEN cardinality(d.strings) > 1000 THEN '{}' ELSE d.strings END
                      FROM (SELECT array_agg(DISTINCT left(e.value #>> '{}', 64) COLLATE "C")
                            FROM jsonb_array_elements(metadata #> path) e WHERE jsonb_typeof(e.value) = 'string') d (strings)) END;

-- Microseconds since 1970.
CREATE FUNCTION {internal}.code_time(metadata jsonb, path text[]) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (extract(epoch FROM {internal}.time_at_2(metadata, path)) * 1000000)::bigint;

-- The body of the triggers that keep codes in step with documents and vectors, whoever writes them: their argument is the
-- statement.
CREATE FUNCTION {internal}.keep_codes() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    EXECUTE TG_ARGV[0];
    RETURN NULL;
END
$$;

-- How many rows the planner expects of a query, whose $1 are the values.
CREATE FUNCTION {internal}.expected_rows(query text, wanted text[]) RETURNS float8
    LANGUAGE plpgsql PARALLEL RESTRICTED AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan USING wanted;
    RETURN plan -> 0 -> 'Plan' ->> 'Plan Rows';
END
$$;
