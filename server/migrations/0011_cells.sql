-- Codes have cells now: searches read those near to the query. Sets without them are made again.
ALTER TABLE {internal}.codes
    ADD centroids real[] NOT NULL DEFAULT '{}',      -- of the cells, without the centre, one after the other
    -- A search compares the candidates whose estimates are at most that of the last result and this: the square of a
    -- distance, or the inner product with a query of length 1.
    ADD margin    float8 NOT NULL DEFAULT 0,
    -- It reads the cells whose centroid is no farther than the last result among the first matches and this.
    ADD slack     float8 NOT NULL DEFAULT 0,
    -- Then it reads this part of the codes that match, if these are far from the query.
    ADD share     float8 NOT NULL DEFAULT 1,
    ADD vectors   float8 NOT NULL DEFAULT 0;         -- of the collection, when that was measured
UPDATE {internal}.collections SET revision = revision + 1
WHERE id IN (SELECT s.collection_id FROM {internal}.codes k JOIN {internal}.embedding_spaces s ON s.id = k.space_id);
DELETE FROM {internal}.codes;
