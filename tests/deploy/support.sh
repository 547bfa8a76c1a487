# For the scripts beside it: where the programs are, servers on free ports, and an end that leaves nothing behind.
# Each script exits with 0 when all is well, 1 when something is not, and 77 when it cannot run here.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/.ci/versions"
# Release builds, unless the caller has others.
bin=$(realpath "${PGFOX_BIN_DIR:-$root/target/release}")
scratch=$(mktemp -d)
# Another user must be able to enter it.
chmod 755 "$scratch"
servers=()

cleanup() {
    local pid
    for pid in ${servers[@]+"${servers[@]}"}; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in ${servers[@]+"${servers[@]}"}; do
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap cleanup EXIT

ok() {
    echo "ok $*"
}

fail() {
    echo "FAILED $*" >&2
    exit 1
}

# A check that cannot run here is not a failure, but it is never silent.
skip() {
    echo "SKIPPED $(basename "$0"): $*" >&2
    exit 77
}

needs() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "install $program"
    done
}

for program in pgfox-server pgfox; do
    [ -x "$bin/$program" ] || skip "there is no $bin/$program: run \`cargo build --release\`, or set PGFOX_BIN_DIR"
done

# Waits until a command succeeds. eventually <seconds> <what> <command...>
eventually() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "$what"
        sleep 0.2
    done
}

# What a log says of an address: address_in <log> <scheme>
address_in() {
    sed -n "s|.*listening on $2://||p" "$1" | head -n 1
}

# Starts a server and waits until it is ready; its address is in $address and its process in $server.
# start_server <log> <variable=value or command...>
start_server() {
    local log=$1
    shift
    env PGFOX_LISTEN=127.0.0.1:0 "$@" 2>"$log" &
    server=$!
    servers+=("$server")
    local end=$((SECONDS + 120))
    address=''
    until [ -n "$address" ]; do
        kill -0 "$server" 2>/dev/null || fail "the server ended: $(tail -n 5 "$log")"
        [ "$SECONDS" -lt "$end" ] || fail "the server does not listen: $(tail -n 5 "$log")"
        sleep 0.1
        address=$(address_in "$log" http)
    done
    eventually 120 "the server is not healthy: $(tail -n 5 "$log")" "$bin/pgfox-server" healthcheck --listen "$address"
}

# Ends a server and expects that it says so by its exit code.
stop_server() {
    kill -"${2:-TERM}" "$1"
    local code=0
    wait "$1" || code=$?
    [ "$code" = 0 ] || fail "the server ended with exit code $code"
}

# A server with a PostgreSQL of its own, for its database: $database_url. It embeds nothing.
start_database() {
    start_server "$scratch/database.log" "$bin/pgfox-server" --data-dir "$scratch/data" --default-model none
    database=$server
    database_url=$("$bin/pgfox-server" database-url --data-dir "$scratch/data")
}

# A new database beside that: new_database <name> prints its URL.
new_database() {
    psql -q "$database_url" -c "CREATE DATABASE $1" >&2
    # The name is between the last slash and the parameters.
    sed -E "s|/[^/?]*(\\?.*)?\$|/$1\\1|" <<<"$database_url"
}
