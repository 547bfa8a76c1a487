-- Whether the headings above a chunk are embedded with it. Not in collections that exist, whose vectors are made without.
ALTER TABLE {internal}.collections ADD COLUMN chunk_headings boolean NOT NULL DEFAULT false;
