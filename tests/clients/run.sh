#!/usr/bin/env bash
# Every language against one server: its client's own tests, its README's example, and the story (tests/clients/README.md).
#
#   tests/clients/run.sh [LANGUAGE...]    all by default: the folders beside this script
#
# A language whose toolchain is not on the machine is left out and named. PGFOX_BIN_DIR: the folder of built programs,
# else they are built. The output of each is in target/clients/<language>.log.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"

languages=("$@")
if [ ${#languages[@]} = 0 ]; then
    # Rust first: when that fails, the server is to blame rather than a client.
    languages=(rust python go typescript browser java grpcurl load)
fi

if [ -z "${PGFOX_BIN_DIR:-}" ]; then
    # With the tests, since their dependencies decide on the features that everything was built with.
    cargo build --quiet --workspace --bins --examples --test it
    PGFOX_BIN_DIR=${CARGO_TARGET_DIR:-$root/target}/debug
fi
export PGFOX_BIN_DIR

logs=${CARGO_TARGET_DIR:-$root/target}/clients
mkdir -p "$logs"
work=$(mktemp -d)
# For the user that Postgres runs as when this is run by root.
chmod 711 "$work"
processes=()
finish() {
    for process in "${processes[@]}"; do
        kill "$process" 2>/dev/null && wait "$process" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT

# start NAME COMMAND... runs a server and sets `address` to where it listens.
start() {
    local log=$work/$1.log
    shift
    : >"$log"
    "$@" >"$log" 2>&1 &
    processes=("$!" "${processes[@]}")
    for _ in $(seq 600); do
        address=$(sed -nE 's#^(.*listening on https?://)?(127\.0\.0\.1:[0-9]+).*#\2#p' "$log" | head -1)
        [ -z "$address" ] || return 0
        kill -0 "$!" 2>/dev/null || break
        sleep 0.2
    done
    echo "no server:" >&2
    cat "$log" >&2
    exit 1
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Nothing of the caller's environment decides what is tested.
export no_proxy=127.0.0.1,localhost NO_PROXY=127.0.0.1,localhost
unset DATABASE_URL OPENAI_API_KEY OPENAI_KEY OPENAI_BASE_URL PGFOX_API_KEY PGFOX_CA PGFOX_SERVER
export PGFOX_DATA_DIR=$work/data
export STORY_WEB_ORIGIN=http://127.0.0.1:$(free_port)
server=$PGFOX_BIN_DIR/pgfox-server

start plain "$server" --listen 127.0.0.1:0 --web-origins "$STORY_WEB_ORIGIN"
plain=$address
timeout 120 bash -c 'until "$0" healthcheck --listen "$1" >/dev/null 2>&1; do sleep 0.2; done' "$server" "$plain"

openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=pgfox-test -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/key.pem" -out "$work/request.pem" 2>/dev/null
openssl x509 -req -in "$work/request.pem" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 2 -out "$work/cert.pem" \
    -extfile <(echo 'subjectAltName=DNS:localhost,IP:127.0.0.1') 2>/dev/null
start tls env DATABASE_URL="$("$server" database-url)" PGFOX_API_KEYS=story-key-of-many-characters "$server" --listen 127.0.0.1:0 \
    --tls-cert "$work/cert.pem" --tls-key "$work/key.pem"
tls=$address
dead=127.0.0.1:$(free_port)

# The table that a story attaches: SQL makes it before the story and reads it after. Its key has two columns.
database=$("$server" database-url)
sql() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$database" --command "$1"
}
make_table() {
    sql "CREATE TABLE $1 (id int, lang text, content text, year int, embedding vector(3), PRIMARY KEY (id, lang));
         INSERT INTO $1 VALUES
             (1, 'en', 'Foxes are omnivores: predators of small animals that also eat fruit', 1990, '[1,0,0]'),
             (2, 'en', 'Foxes can make over 40 different sounds', 2000, '[0,1,0]'),
             (3, 'en', 'Foxes use the magnetic field of the Earth when they hunt', 2010, '[0,0,1]'),
             (4, 'en', 'Baby foxes are called kits', 2020, '[0,1,1]')"
}
# Fails unless the table has its rows after the story, and the one that the story wrote.
check_table() {
    local expected='1 1990,2 2000,3 2010,4 2020,5 2024 Foxes climb trees [1,1,1]' rows
    rows=$(sql "SELECT string_agg(concat_ws(' ', id, year, CASE id WHEN 5 THEN content || ' ' || embedding END), ',' ORDER BY id)
                FROM $1")
    [ "$rows" = "$expected" ] || { echo "FAILED attached: the table has the rows $rows, not $expected"; return 1; }
}

passed=0 failed=0 left_out=()
for language in "${languages[@]}"; do
    start "cut-$language" python3 "$here/cut_proxy.py" "$plain"
    log=$logs/$language.log
    began=$SECONDS
    code=0
    table=story_table_$language
    make_table "$table"
    PGFOX_SERVER=$plain PGFOX_CUT_SERVER=$address PGFOX_DEAD_SERVER=$dead PGFOX_TLS_SERVER=$tls \
        PGFOX_CA=$work/ca.pem PGFOX_API_KEY=story-key-of-many-characters STORY_COLLECTION=story_$language STORY_TABLE=$table \
        timeout 900 "$here/$language/run.sh" >"$log" 2>&1 </dev/null || code=$?
    if [ "$code" = 0 ] && grep -qx 'ok attached' "$log"; then
        check_table "$table" >>"$log" 2>&1 || code=1
    fi
    steps=$(grep -c '^ok ' "$log" || true)
    # A story without steps proves nothing.
    if [ "$code" = 0 ] && [ "$steps" = 0 ]; then code=1; fi
    case $code in
    0)
        passed=$((passed + 1))
        echo "$language: passed, $steps steps, $((SECONDS - began)) s"
        ;;
    77)
        left_out+=("$language")
        echo "$language: left out: $(tail -1 "$log")" | tee -a "${PGFOX_LEFT_OUT:-/dev/null}"
        ;;
    *)
        failed=$((failed + 1))
        echo "$language: FAILED with exit code $code after $steps steps; the end of $log:"
        tail -40 "$log" | sed 's/^/    /'
        ;;
    esac
done
[ ${#left_out[@]} = 0 ] || echo "left out: ${left_out[*]}"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
