-- Collections over tables that are there already.

ALTER TABLE {internal}.collections
    -- The table and its columns; null for a collection with tables of its own. Names, since a restore changes oids.
    ADD COLUMN source jsonb;

ALTER TABLE {internal}.indexes
    -- The name of an index on the table of a source, without its schema, which is the table's. Null: it follows from the ids.
    ADD COLUMN name text,
    -- Somebody made it by SQL.
    ADD COLUMN made_by_sql boolean NOT NULL DEFAULT false;

-- A time of a column as RFC 3339, whatever the settings of the session; null for the infinite ones.
CREATE FUNCTION {internal}.rfc_3339(utc timestamp) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN isfinite(utc) THEN (to_json(utc) #>> '{}') || 'Z' END;
