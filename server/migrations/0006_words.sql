-- Words made by pgfox instead of Postgres's parser, and what BM25 needs of them.

ALTER TABLE {internal}.collections
    -- How much repetitions of a word count, and how much the length of a text.
    ADD COLUMN k1 real NOT NULL DEFAULT 1.2,
    ADD COLUMN b  real NOT NULL DEFAULT 0.75,
    -- By which rules all of its words are made; 0: those of a text search configuration, for some or all of them.
    ADD COLUMN words_version smallint NOT NULL DEFAULT 0,
    -- The languages that words of pgfox are stemmed by, where texts decide about them.
    ADD COLUMN languages text[] NOT NULL DEFAULT '{}';
-- Older servers do not state it, and so are refused.
ALTER TABLE {internal}.collections ALTER COLUMN words_version DROP DEFAULT;

-- Collections whose words pgfox converts, and how far that is: up to and with this chunk of this document. Rows with
-- larger keys than last_key are new enough.
CREATE TABLE {internal}.word_jobs (
    collection_id bigint PRIMARY KEY REFERENCES {internal}.collections ON DELETE CASCADE,
    document_key  bigint NOT NULL DEFAULT -1,
    chunk         int NOT NULL DEFAULT -1,
    last_key      bigint NOT NULL,
    -- Who works on it, and until when nobody else does.
    worker        bigint NOT NULL,
    leased_until  timestamptz NOT NULL
);

-- What full-text search knows of the words of collections of more than a few thousand chunks, as of when it was gathered.
CREATE TABLE {internal}.word_statistics (
    collection_id  bigint PRIMARY KEY REFERENCES {internal}.collections ON DELETE CASCADE,
    chunk_count    bigint NOT NULL,
    average_length double precision NOT NULL,  -- in words
    gathered_at    timestamptz NOT NULL
);

-- The common words: the part of the chunks that have them.
CREATE TABLE {internal}.word_frequencies (
    collection_id bigint NOT NULL REFERENCES {internal}.collections ON DELETE CASCADE,
    lexeme        text COLLATE "C" NOT NULL,
    frequency     real NOT NULL,
    PRIMARY KEY (collection_id, lexeme)
);

DO $migration$
DECLARE
    collection record;
    chunks text;
    options text;
BEGIN
    FOR collection IN
        SELECT c.id, c.name, s.id AS space_id
        FROM {internal}.collections c JOIN {internal}.embedding_spaces s ON s.collection_id = c.id AND s.active
    LOOP
        chunks := format('{internal}.%I', format('chunks_%s', collection.id));
        -- Somebody has dropped it.
        CONTINUE WHEN to_regclass(chunks) IS NULL;
        -- Without a default again, older servers are refused instead of writing words that nobody finds.
        EXECUTE format('ALTER TABLE %s ADD COLUMN words_version smallint NOT NULL DEFAULT 0,
                                       ADD COLUMN word_count int NOT NULL DEFAULT 0', chunks);
        EXECUTE format('ALTER TABLE %s ALTER COLUMN words_version DROP DEFAULT, ALTER COLUMN word_count DROP DEFAULT',
                       chunks);
        -- Ranking needs to know how many chunks have a common word. The other columns need no statistics.
        EXECUTE format('ALTER TABLE %s ALTER COLUMN words SET STATISTICS 1000, ALTER COLUMN text SET STATISTICS 0,
                                       ALTER COLUMN hash SET STATISTICS 0, SET (autovacuum_analyze_scale_factor = 0.2)',
                       chunks);
        CONTINUE WHEN to_regclass(format('{views}.%I', collection.name)) IS NULL;
        BEGIN
            -- What an operator has set, such as security_invoker; replacing a view takes it away.
            SELECT array_to_string(v.reloptions, ', ') INTO options
                FROM pg_class v WHERE v.oid = to_regclass(format('{views}.%I', collection.name));
            EXECUTE format(
                'CREATE OR REPLACE VIEW {views}.%I AS
                     SELECT d.id, coalesce(c.ordinal, 0) AS chunk, coalesce(c.text, d.text) AS content, d.metadata,
                            e.embedding, c.words
                     FROM {internal}.%I d
                     LEFT JOIN %s c ON c.document_key = d.key
                     LEFT JOIN {internal}.%I e ON e.document_key = d.key AND e.chunk = coalesce(c.chunk, 0)',
                collection.name, format('documents_%s', collection.id), chunks,
                format('embeddings_%s_%s', collection.id, collection.space_id));
            IF options <> '' THEN
                EXECUTE format('ALTER VIEW {views}.%I SET (%s)', collection.name, options);
            END IF;
        EXCEPTION WHEN invalid_table_definition OR wrong_object_type OR insufficient_privilege OR undefined_table THEN
            RAISE WARNING 'the view % is not as pgfox has made it, and stays without the column words', collection.name;
        END;
        UPDATE {internal}.collections SET revision = revision + 1 WHERE id = collection.id;
    END LOOP;
END
$migration$;

-- `pgfox.tsquery` runs with the rights of the owner, so these name `pg_temp` last: unnamed it would be searched first, and a
-- caller could put something of their own there.

-- A word in small letters without accents, as pgfox folds it, but for the letters that have a place of their own in the
-- alphabet of the language.
CREATE FUNCTION {internal}.without_accents(word text, language text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own CONSTANT text := CASE language
        WHEN 'swedish' THEN 'åäö' WHEN 'finnish' THEN 'åäö' WHEN 'danish' THEN 'åæøäö' WHEN 'norwegian' THEN 'åæøäö'
        WHEN 'estonian' THEN 'õäöüšž' WHEN 'hungarian' THEN 'áéíóöőúüű' WHEN 'lithuanian' THEN 'ąčęėįšųūž'
        WHEN 'serbian' THEN 'čćšžđ' WHEN 'spanish' THEN 'ñ' WHEN 'basque' THEN 'ñ' WHEN 'turkish' THEN 'çğöşü' ELSE '' END;
    -- Private characters stand for them meanwhile.
    held CONSTANT text := left(E'\uE000\uE001\uE002\uE003\uE004\uE005\uE006\uE007\uE008', length(own));
    folded text := normalize(translate(word, own, held), NFD);
BEGIN
    folded := normalize(regexp_replace(folded, '([a-z\u0370-\u03ff])[\u0300-\u036f]+', '\1', 'g'), NFC);
    folded := replace(replace(replace(translate(folded, 'øłđðħŧıё', 'olddhtiе'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');
    RETURN translate(folded, held, own);
END
$$;

-- The lexeme of a word in small letters, as pgfox makes it; null for a stop word. Where Postgres lacks the stemmer of the
-- language, the word as it is.
CREATE FUNCTION {internal}.lexeme(word text, language text) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Latin words among those of another script are English.
    rules CONSTANT text := CASE
        WHEN language IN ('arabic', 'armenian', 'greek', 'hindi', 'nepali', 'russian', 'tamil', 'yiddish')
             AND word ~ '^[a-z0-9]+$' THEN 'english'
        ELSE language END;
    dictionary CONSTANT regdictionary := (
        SELECT d.oid FROM pg_catalog.pg_ts_dict d WHERE d.dictname = rules || '_stem' AND d.dictnamespace = 'pg_catalog'::regnamespace);
    plain text;
BEGIN
    IF dictionary IS NULL THEN
        RETURN {internal}.without_accents(word, rules);
    END IF;
    IF ts_lexize(dictionary, word) = '{}' THEN
        RETURN NULL;
    END IF;
    -- Numbers and codes have no stem, and some stemmers know no accents.
    plain := CASE WHEN rules IN ('english', 'greek', 'indonesian') THEN {internal}.without_accents(word, rules) ELSE word END;
    RETURN {internal}.without_accents(CASE WHEN plain ~ '\d' THEN plain
                                           ELSE coalesce((ts_lexize(dictionary, plain))[1], plain) END, rules);
END
$$;

-- What finds the chunks of a collection that have any of the first 256 words of a text:
--     SELECT id FROM {views}.films WHERE words @@ {views}.tsquery('films', 'heists in Los Angeles')
-- It finds what a search by words finds, but for words of scripts without spaces, compounds such as `AT&T` and `C++`, some
-- emoji, and where the stemmers of this version of Postgres differ from those of pgfox.
CREATE FUNCTION {views}.tsquery(collection text, query text) RETURNS tsquery
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER COST 10000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- What is between words.
    gap CONSTANT text := '[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf'
                         '\u00d7\u00f7\u02b0-\u02ff\u2000-\u2bff\u3000-\u3004\u3008-\u3020]+';
    target record;
    rules text;
    folded text;
    lexemes text[] := '{}';
BEGIN
    SELECT c.text_search_language AS language, c.words_version, c.languages,
           EXISTS (SELECT FROM {internal}.word_jobs w WHERE w.collection_id = c.id) AS is_both
        INTO target
        FROM {internal}.collections c
        WHERE c.name = collection
           OR c.id = (SELECT a.collection_id FROM {internal}.aliases a WHERE a.alias = collection);
    IF NOT FOUND THEN
        RAISE undefined_object USING MESSAGE = format('there is no collection "%s"', collection);
    END IF;
    IF target.words_version = 0 THEN
        -- Postgres has made words, by a configuration of that name.
        SELECT tsvector_to_array(to_tsvector(t.oid::regconfig, query)) INTO lexemes
            FROM pg_catalog.pg_ts_config t WHERE t.cfgname = target.language
            ORDER BY t.cfgnamespace = 'pg_catalog'::regnamespace DESC LIMIT 1;
        IF NOT target.is_both THEN
            target.languages := '{}';
        END IF;
    END IF;
    IF target.language <> 'auto' AND (target.words_version > 0 OR target.is_both) THEN
        target.languages := ARRAY[target.language];
    END IF;
    FOREACH rules IN ARRAY target.languages LOOP
        -- Without characters that nobody sees. Small letters do not depend on the locale.
        folded := regexp_replace(query, '[\u00ad\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]', '', 'g');
        folded := normalize(regexp_replace(folded, gap, ' ', 'g'), NFKC);
        folded := CASE rules WHEN 'turkish' THEN translate(folded, 'Iİ', 'ıi') ELSE translate(folded, 'İ', 'i') END;
        folded := translate(
            lower(folded COLLATE "C"),
            'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮĴĶĹĻĽŁŃŅŇŊŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸ'
                     'ŹŻŽȘȚΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯҐ',
            'àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįĵķĺļľłńņňŋōŏőœŕŗřśŝşšţťŧũūŭůűųŵŷÿ'
                     'źżžșțάέήίόύώαβγδεζηθικλμνξοπρστυφχψωϊϋѐёђѓєѕіїјљњћќѝўџабвгдежзийклмнопрстуфхцчшщъыьэюяґ');
        folded := replace(replace(translate(folded, 'ς', 'σ'), 'ß', 'ss'), 'ẞ', 'ss');
        lexemes := lexemes || ARRAY(
            SELECT {internal}.lexeme(s.word, rules)
            FROM regexp_split_to_table(folded, gap) AS s (word)
            WHERE s.word <> '' AND octet_length(s.word) <= 2046 LIMIT 256);
    END LOOP;
    RETURN coalesce((
        SELECT string_agg(DISTINCT '''' || replace(replace(l.lexeme, '\', '\\'), '''', '''''') || '''', ' | ')
        FROM unnest(lexemes) AS l (lexeme) WHERE l.lexeme <> ''), '')::tsquery;
END
$$;
