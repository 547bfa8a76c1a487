-- Aliases are views too, beside those of collections.
ALTER TABLE {internal}.aliases ADD COLUMN has_view boolean NOT NULL DEFAULT false;

DO $migration$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT a.alias, c.id, s.id AS space_id
        FROM {internal}.aliases a
        JOIN {internal}.collections c ON c.id = a.collection_id
        JOIN {internal}.embedding_spaces s ON s.collection_id = c.id AND s.active
        WHERE c.source IS NULL
    LOOP
        IF to_regclass(format('{views}.%I', found.alias)) IS NOT NULL THEN
            RAISE WARNING 'the alias % gets no view, because there is another relation with its name', found.alias;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format(
                'CREATE VIEW {views}.%I AS
                     SELECT d.id, coalesce(c.ordinal, 0) AS chunk, coalesce(c.text, d.text) AS content, d.metadata,
                            e.embedding, c.words
                     FROM {internal}.%I d
                     LEFT JOIN {internal}.%I c ON c.document_key = d.key
                     LEFT JOIN {internal}.%I e ON e.document_key = d.key AND e.chunk = coalesce(c.chunk, 0)',
                found.alias, format('documents_%s', found.id), format('chunks_%s', found.id),
                format('embeddings_%s_%s', found.id, found.space_id));
            UPDATE {internal}.aliases SET has_view = true WHERE alias = found.alias;
        -- A type has the name, somebody has dropped or changed a table, or only others may create views there.
        EXCEPTION WHEN duplicate_table OR duplicate_object OR undefined_table OR undefined_column OR insufficient_privilege
        THEN
            RAISE WARNING 'the alias % gets no view: %', found.alias, SQLERRM;
        END;
    END LOOP;
END
$migration$;
