-- Times as people write them, and no string on which reading one fails. Indexes are made of these functions, so those that
-- read times until now stay: {internal}.utc and {internal}.time_at serve the indexes made of them until others are built.

-- The time that a string spells, in UTC; null when it spells none, never an error. It is RFC 3339, or less strict:
--   2024-05-01T12:00:00Z   with T, t or a blank; with or without seconds and a fraction of at most nine digits
--   2024-05-01T12:00+0530  with the zone Z, z, UTC, +05:30, +0530 or +05, at most 15:59 from UTC
--   2024-05-01             without a zone, or without a time, in UTC
-- Digits behind the microseconds are cut. The second 60 is the first one of the next minute and has no fraction.
-- The cast sees nothing that settings could read in another way.
CREATE FUNCTION {internal}.utc_2(value text) RETURNS timestamp
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog AS $$
BEGIN
    RETURN CASE WHEN value COLLATE "C" >= '0001' AND value COLLATE "C" ~ (
            -- The days that there are.
            '^(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)'
                           '|02-(?:0[1-9]|1[0-9]|2[0-8]))'
            '|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)'
            '(?:[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9](?:[.,][0-9]{1,9})?|60))?'
            '(?:[Zz]| ?UTC| ?[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)?)?$')
        THEN (replace(CASE WHEN length(value) > 26 AND ltrim(substr(value, 21, 7), '0123456789') = ''
                           THEN left(value, 26) || rtrim(ltrim(substr(value, 27), '0123456789'), 'UTCZz ')
                           ELSE rtrim(value, 'UTCZz ') END, ',', '.')
              || CASE WHEN substr(value, 17) COLLATE "C" ~ '[+-]' THEN '' ELSE '+00' END)::timestamptz
             AT TIME ZONE interval '0'
        END;
END
$$;

CREATE FUNCTION {internal}.time_at_2(metadata jsonb, path text[]) RETURNS timestamp
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN {internal}.utc_2({internal}.string_at(metadata, path));

-- Which of its expressions an index is of: 2 for times read by time_at_2, else 1. An index of an older one serves until one of
-- the newest is built. Older servers say nothing, and mean 1.
ALTER TABLE {internal}.metadata_indexes ADD COLUMN version int NOT NULL DEFAULT 1;

-- Every server has to read anew how it may filter.
UPDATE {internal}.collections SET revision = revision + 1;
