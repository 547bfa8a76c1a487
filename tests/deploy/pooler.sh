#!/usr/bin/env bash
# pgfox through PgBouncer in transaction mode, with many callers and few connections: no call fails, and index builds, which
# go past it, leave no lock behind.
source "$(dirname "$0")/support.sh"
needs psql python3
PATH=$PATH:/usr/sbin
# Before 1.21 it knows no prepared statements in this mode.
version=$(pgbouncer --version 2>/dev/null | sed -n 's/^PgBouncer //p') || true
[ "$(printf '%s\n' 1.21 "${version:-0}" | sort -V | head -n 1)" = 1.21 ] ||
    skip "install PgBouncer 1.21 or later; here is ${version:-none}"

start_database
direct=$(new_database pooled)
[[ $direct =~ ^postgresql://([^:@]+):([^@]+)@([^:/]+):([0-9]+)/ ]] || fail "the URL of the database has another form"
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$scratch/pgbouncer.ini" <<EOF
[databases]
pooled = host=${BASH_REMATCH[3]} port=${BASH_REMATCH[4]} user=${BASH_REMATCH[1]} password=${BASH_REMATCH[2]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_prepared_statements = 200
EOF
as_user=()
[ "$(id -u)" != 0 ] || as_user=(-u nobody)
pgbouncer ${as_user[@]+"${as_user[@]}"} "$scratch/pgbouncer.ini" 2>"$scratch/pgbouncer.log" &
servers+=($!)
pooled="postgresql://pgfox@127.0.0.1:$port/pooled"
eventually 10 "PgBouncer does not start: $(tail -n 3 "$scratch/pgbouncer.log")" psql "$pooled" -c 'SELECT 1'

start_server "$scratch/server.log" DATABASE_URL="$pooled" PGFOX_DIRECT_DATABASE_URL="$direct" "$bin/pgfox-server"
fox=("$bin/pgfox" --quiet --server "$address")
for number in $(seq 1 500); do
    echo "{\"id\": \"$number\", \"text\": \"Note $number about $((number % 17)) foxes\", \"metadata\": {\"n\": $number}}"
done | "${fox[@]}" ingest notes - --format jsonl --create
"${fox[@]}" build-index notes >/dev/null

caller() {
    local round
    for round in $(seq 1 10); do
        "${fox[@]}" search notes "foxes $round" --limit 3
        "${fox[@]}" search notes "foxes $round" --mode hybrid --where "n < $((round * 50))" --limit 3
        "${fox[@]}" get notes "$round"
        echo "{\"id\": \"$round\", \"text\": \"Changed by $1 in round $round\"}" | "${fox[@]}" ingest notes - --format jsonl
    done
}
callers=()
for number in $(seq 1 8); do
    caller "$number" >/dev/null 2>"$scratch/caller.$number" &
    callers+=($!)
done
for pid in "${callers[@]}"; do
    wait "$pid" || fail "a call failed: $(cat "$scratch"/caller.* | grep -v approximate | head -n 3)"
done
ok "320 calls of 8 callers over 4 connections of PgBouncer $version"

"${fox[@]}" build-index notes >/dev/null
locks=$(psql -At "$direct" -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
[ "$locks" = 0 ] || fail "$locks advisory locks are left"
said=$(grep -E ' (WARN|ERROR) ' "$scratch/server.log" || true)
[ -z "$said" ] || fail "the server complains: $said"
ok "index builds: past the pooler, no lock is left"
