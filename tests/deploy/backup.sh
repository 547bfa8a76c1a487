#!/usr/bin/env bash
# A backup by pg_dump, restored into a new database: a server on that finds the same as before, by the same indexes, and goes
# on from there.
source "$(dirname "$0")/support.sh"
needs psql
start_database

# pg_dump must be as new as the server; the private PostgreSQL has its own beside it.
postgres_bin() {
    local cache=${PGFOX_CACHE_DIR:-$([ "$(id -u)" = 0 ] && echo /var/cache/pgfox || echo ~/.cache/pgfox)} major=$1 dump
    for dump in pg_dump "$cache"/*/*/pginstall*/bin/pg_dump "$cache"/*/*/*/*/bin/pg_dump /usr/lib/postgresql/*/bin/pg_dump; do
        if [[ $("$dump" --version 2>/dev/null) =~ \ ([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge "$major" ]; then
            dirname "$(command -v "$dump")"
            return
        fi
    done
}
major=$(psql -At "$database_url" -c 'SHOW server_version_num')
major=$((major / 10000))
postgres=$(postgres_bin "$major")
[ -n "$postgres" ] || skip "install the client programs of PostgreSQL $major or later"

# What there is to keep: texts with metadata, passages of long texts, an alias, indexes.
original=$(new_database original)
start_server "$scratch/original.log" DATABASE_URL="$original" "$bin/pgfox-server"
fox=("$bin/pgfox" --quiet --server "$address")
for number in $(seq 1 300); do
    echo "{\"id\": \"$number\", \"text\": \"Note $number about $((number % 17)) foxes and $((number % 5)) hens\", \"metadata\": {\"n\": $number}}"
done | "${fox[@]}" ingest notes - --format jsonl --create
"${fox[@]}" ingest guides "$root/README.md" "$root/ARCHITECTURE.md" --create --chunking markdown
"${fox[@]}" build-index notes >/dev/null
"${fox[@]}" build-index guides --ivfflat --allow-few-rows >/dev/null
"${fox[@]}" collections update notes --add-alias live >/dev/null

# ask <address>: what a user would see. Chained, since `set -e` does not hold where a failure is looked at.
ask() {
    local fox=("$bin/pgfox" --quiet --json --server "$1")
    "${fox[@]}" search live 'three hens' --limit 10 &&
        "${fox[@]}" search notes 'seven foxes' --limit 5 --where 'n < 100' &&
        "${fox[@]}" search notes 'hens' --mode hybrid --limit 5 &&
        "${fox[@]}" search guides 'how is an index built' --group-by-document &&
        "${fox[@]}" count notes &&
        "${fox[@]}" get notes 17 250 &&
        "${fox[@]}" indexes list notes &&
        "${fox[@]}" indexes list guides
}
# Without values that differ between any two calls, and without the size of indexes, which are built again.
lasting() {
    sed -E 's/"(timing|usage)":\{[^}]*\}//g; s/"(scan_count|size_bytes)":[0-9]+//g'
}
ask "$address" | lasting >"$scratch/before" || fail "the original server does not answer"
[ "$(grep -c '"distance"' "$scratch/before")" = 4 ] || fail "there is little to compare: $(<"$scratch/before")"

# While the server runs, as a backup is made.
"$postgres/pg_dump" --format custom --file "$scratch/pgfox.dump" "$original"
stop_server "$server"
restored=$(new_database restored)
"$postgres/pg_restore" --exit-on-error --no-owner --jobs 2 --dbname "$restored" "$scratch/pgfox.dump"
psql -q "$restored" -c ANALYZE
ok "dump and restore: $(du -k "$scratch/pgfox.dump" | cut -f 1) kB by $("$postgres/pg_dump" --version)"

start_server "$scratch/restored.log" DATABASE_URL="$restored" "$bin/pgfox-server"
ask "$address" | lasting >"$scratch/after" || fail "the restored server does not answer"
diff -u "$scratch/before" "$scratch/after" || fail "the restored database answers differently"
ok "searches: the same, to the last digit"

# In a database that holds other things too, the two schemas alone, and the extension beforehand.
alone=$(new_database alone)
"$postgres/pg_dump" --schema pgfox --schema pgfox_internal "$restored" >"$scratch/pgfox.sql"
psql -q "$alone" -c 'CREATE EXTENSION vector'
psql -q --set ON_ERROR_STOP=1 --output /dev/null --file "$scratch/pgfox.sql" "$alone"
rows='SELECT count(*), count(DISTINCT embedding) FROM pgfox.notes'
[ "$(psql -At "$alone" -c "$rows")" = "$(psql -At "$restored" -c "$rows")" ] || fail "the schemas alone hold something else"
ok "the schemas alone: as much"

# The counters of ids continue where they were.
fox=("$bin/pgfox" --quiet --server "$address")
echo '{"id": "new", "text": "A badger sleeps"}' | "${fox[@]}" ingest notes - --format jsonl
echo '{"id": "1", "text": "An otter swims"}' | "${fox[@]}" ingest otters - --format jsonl --create
[ "$("${fox[@]}" count notes)" = 301 ] || fail "the new document is not counted"
[[ $("${fox[@]}" search notes 'badger' --limit 1) == *badger* ]] || fail "the new document is not found"
"${fox[@]}" build-index notes >/dev/null
stop_server "$server"
ok "it continues: new documents, a new collection, a new index"
