#!/usr/bin/env bash
# pgfox through PgBouncer in transaction mode, with many callers and few connections: no call fails, and index builds, which
# go past it, leave no lock behind. A PgBouncer that keeps prepared statements is run with them and without; one that does
# not makes the server say which setting it needs.
source "$(dirname "$0")/support.sh"
needs psql python3
PATH=$PATH:/usr/sbin
version=$(pgbouncer --version 2>/dev/null | sed -n 's/^PgBouncer //p') || true
[ -n "$version" ] || skip "install PgBouncer"
keeps_statements() {
    [ "$(printf '%s\n' 1.21 "$version" | sort -V | head -n 1)" = 1.21 ]
}

start_database
direct=$(new_database pooled)
[[ $direct =~ ^postgresql://([^:@]+):([^@]+)@([^:/]+):([0-9]+)/ ]] || fail "the URL of the database has another form"
backend="host=${BASH_REMATCH[3]} port=${BASH_REMATCH[4]} user=${BASH_REMATCH[1]} password=${BASH_REMATCH[2]}"

# start_pooler SETTING...: sets $pooled.
start_pooler() {
    local port
    port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    printf '%s\n' "[databases]" "pooled = $backend" "[pgbouncer]" "listen_addr = 127.0.0.1" "listen_port = $port" \
        "unix_socket_dir =" "auth_type = any" "pool_mode = transaction" "default_pool_size = 4" "$@" \
        >"$scratch/pgbouncer.$port.ini"
    local as_user=()
    [ "$(id -u)" != 0 ] || as_user=(-u nobody)
    pgbouncer ${as_user[@]+"${as_user[@]}"} "$scratch/pgbouncer.$port.ini" 2>"$scratch/pgbouncer.log" &
    servers+=($!)
    pooled="postgresql://pgfox@127.0.0.1:$port/pooled"
    eventually 10 "PgBouncer does not start: $(tail -n 3 "$scratch/pgbouncer.log")" psql "$pooled" -c 'SELECT 1'
}

caller() {
    local round
    for round in $(seq 1 10); do
        "${fox[@]}" search "$2" "foxes $round" --limit 3
        "${fox[@]}" search "$2" "foxes $round" --mode hybrid --where "n < $((round * 50))" --limit 3
        "${fox[@]}" get "$2" "$round"
        echo "{\"id\": \"$round\", \"text\": \"Changed by $1 in round $round\"}" | "${fox[@]}" ingest "$2" - --format jsonl
    done
}

# run COLLECTION WHAT VARIABLE...: a server with these variables, and its callers.
run() {
    local collection=$1 what=$2 number pid said locks callers=()
    start_server "$scratch/$collection.log" DATABASE_URL="$pooled" PGFOX_DIRECT_DATABASE_URL="$direct" "${@:3}" \
        "$bin/pgfox-server"
    fox=("$bin/pgfox" --quiet --server "$address")
    for number in $(seq 1 500); do
        echo "{\"id\": \"$number\", \"text\": \"Note $number about $((number % 17)) foxes\", \"metadata\": {\"n\": $number}}"
    done | "${fox[@]}" ingest "$collection" - --format jsonl --create
    "${fox[@]}" build-index "$collection" >/dev/null
    for number in $(seq 1 8); do
        caller "$number" "$collection" >/dev/null 2>"$scratch/caller.$number" &
        callers+=($!)
    done
    for pid in "${callers[@]}"; do
        wait "$pid" || fail "a call failed: $(cat "$scratch"/caller.* | grep -v approximate | head -n 3)"
    done
    "${fox[@]}" build-index "$collection" >/dev/null
    locks=$(psql -At "$direct" -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    [ "$locks" = 0 ] || fail "$locks advisory locks are left"
    said=$(grep -E ' (WARN|ERROR) ' "$scratch/$collection.log" || true)
    [ -z "$said" ] || fail "the server complains: $said"
    ok "320 calls of 8 callers over 4 connections of PgBouncer $version, $what; index builds past it leave no lock"
}

without=()
if keeps_statements; then
    start_pooler "max_prepared_statements = 200"
    run prepared "with prepared statements"
    without=("max_prepared_statements = 0")
fi
start_pooler ${without[@]+"${without[@]}"}
if DATABASE_URL="$pooled" PGFOX_DIRECT_DATABASE_URL="$direct" PGFOX_LISTEN=127.0.0.1:0 timeout 60 "$bin/pgfox-server" \
    >"$scratch/refused.log" 2>&1; then
    fail "a server starts that would lose its prepared statements"
fi
grep -q PGFOX_UNNAMED_STATEMENTS "$scratch/refused.log" || fail "the setting is not named: $(tail -n 3 "$scratch/refused.log")"
ok "a server that would lose its prepared statements names the setting for that"
run unnamed "without prepared statements" PGFOX_UNNAMED_STATEMENTS=true
