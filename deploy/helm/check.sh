#!/usr/bin/env bash
# Checks the chart: lint, golden files, single values, values that must be refused, the schemas of Kubernetes, and that every
# variable and flag it sets is one of the server. UPDATE=1 writes the golden files again: look at `git diff` then.
source "$(dirname "$0")/../../tests/deploy/support.sh"
cd "$root/deploy/helm"
if ! command -v helm >/dev/null; then
    skip "install helm: go install $HELM_MODULE"
fi
# Nothing of the caller's configuration, and no cluster.
export HELM_CONFIG_HOME=$scratch/config HELM_CACHE_HOME=$scratch/cache HELM_DATA_HOME=$scratch/data KUBECONFIG=/dev/null

# render <values> <argument...>
render() {
    helm template pgfox pgfox --namespace search --kube-version 1.30.0 --values "$@"
}
# What `helm install` would tell the user.
notes() {
    helm install pgfox pgfox --namespace search --dry-run=client --values "$@" | sed -n '/^NOTES:$/,$p'
}

cases=0
for values in tests/*.values.yaml; do
    name=${values%.values.yaml}
    helm lint --strict pgfox --values "$values" >"$scratch/lint" 2>&1 || fail "helm lint with $values: $(<"$scratch/lint")"
    render "$values" >"$scratch/objects.yaml" || fail "helm template with $values"
    notes "$values" >"$scratch/notes.txt" || fail "the notes with $values"
    if [ "${UPDATE:-}" = 1 ]; then
        cp "$scratch/objects.yaml" "$name.golden.yaml"
        cp "$scratch/notes.txt" "$name.golden.txt"
    fi
    diff -u "$name.golden.yaml" "$scratch/objects.yaml" || fail "$name.golden.yaml differs; UPDATE=1 writes it again"
    diff -u "$name.golden.txt" "$scratch/notes.txt" || fail "$name.golden.txt differs; UPDATE=1 writes it again"
    cases=$((cases + 1))
done
ok "golden files: $cases sets of values"

# -- Values that the golden files do not have
changed=0
# changes <+ or -> <text> <argument...>: beside the golden file with the least, the arguments add or remove this.
changes() {
    local sign=$1 text=$2 difference
    shift 2
    render tests/minimal.values.yaml "$@" >"$scratch/objects.yaml" || fail "helm template with $*"
    difference=$(diff -u tests/minimal.golden.yaml "$scratch/objects.yaml" | grep "^[$sign]" || true)
    [[ $difference == *"$text"* ]] || fail "with $* there is no \`$sign $text\` in: $difference"
    cat "$scratch/objects.yaml" >>"$scratch/changed.yaml"
    changed=$((changed + 1))
}
parts=(--set database.parts.enabled=true --set-json 'database.parameters={"sslmode": "require", "tcp_user_timeout": 1000000}')
login="user='\$(DATABASE_USER)' password='\$(DATABASE_PASSWORD)' sslmode='require' tcp_user_timeout='1000000'"
changes + "\"host='\$(DATABASE_HOST)' port='5432' dbname='\$(DATABASE_NAME)' $login\"" "${parts[@]}"
changes + 'secretKeyRef: {name: "foxes-app", key: "hostname"}' "${parts[@]}" --set database.parts.hostKey=hostname
changes + "\"host='db' port='\$(DATABASE_PORT)' dbname='foxes' $login\"" "${parts[@]}" \
    --set database.parts.hostKey=,database.parts.host=db,database.parts.portKey=port \
    --set database.parts.databaseKey=,database.parts.database=foxes
changes + 'replicas: 1' --set replicas=1
changes + 'image: "pgfox:0.1.0-with-model"' --set image.tag=0.1.0-with-model
changes + 'name: PGFOX_INSECURE' --set apiKeys.existingSecret.name=,apiKeys.insecure=true
changes - 'name: PGFOX_API_KEYS' --set apiKeys.existingSecret.name=,apiKeys.insecure=true
changes + 'name: PGFOX_MIGRATE' --set migration.mode=atStart
changes - 'kind: Job' --set migration.mode=atStart
changes - 'port: 9464' --set metrics.enabled=false
changes - 'kind: NetworkPolicy' --set networkPolicy.enabled=false
changes - 'kind: PodDisruptionBudget' --set podDisruptionBudget.enabled=false
changes - 'kind: ServiceAccount' --set serviceAccount.create=false
changes + 'serviceAccountName: default' --set serviceAccount.create=false
changes - 'preStop:' --set preStopSeconds=0
changes + 'terminationGracePeriodSeconds: 40' --set preStopSeconds=0
[[ $(notes tests/minimal.values.yaml --set apiKeys.existingSecret.name=,apiKeys.insecure=true) == *'The service has no API keys'* ]] ||
    fail 'the notes do not warn that everyone may call'
ok "single values: $changed change what they are for"

# -- Values that are refused, each with what is said of it
refused=0
refuses() {
    local expected=$1 said
    shift
    said=$(render tests/minimal.values.yaml "$@" 2>&1 >/dev/null) && fail "accepted: $*"
    [[ $said == *"$expected"* ]] || fail "of $* it says: $said"
    refused=$((refused + 1))
}
refuses 'name the Secret that holds the connection string' --set database.existingSecret.name=
refuses 'name the Secret that holds the keys of callers' --set apiKeys.existingSecret.name=
refuses 'either existingSecret or insecure' --set apiKeys.insecure=true
refuses 'say where the database is' --set database.parts.enabled=true,database.parts.hostKey=
refuses 'name the database' --set database.parts.enabled=true,database.parts.databaseKey=
refuses 'needs metrics.enabled' --set metrics.serviceMonitor.enabled=true,metrics.enabled=false
refuses "'nam' not allowed" --set database.existingSecret.nam=foxes
refuses "'replica' not allowed" --set replica=2
refuses "'url' not allowed" --set database.url=postgresql://fox:secret@db/foxes
refuses "'password' not allowed" --set database.parameters.password=secret
refuses "'OPENAI_API_KEY' not allowed" --set settings.OPENAI_API_KEY=secret
refuses "'PGFOX_API_KEYS' not allowed" --set settings.PGFOX_API_KEYS=secret
refuses "'PGFOX_POOLSIZE' not allowed" --set settings.PGFOX_POOLSIZE=3
refuses "'sslkey' not allowed" --set database.parameters.sslkey=/key
refuses '/settings/PGFOX_CALL_TIMEOUT' --set settings.PGFOX_CALL_TIMEOUT=30
refuses '/settings/PGFOX_CALL_TIMEOUT' --set settings.PGFOX_CALL_TIMEOUT=0s
refuses '/settings/PGFOX_POOL_WAIT' --set settings.PGFOX_POOL_WAIT=1d
refuses '/settings/PGFOX_QUERY_CACHE' --set settings.PGFOX_QUERY_CACHE=64MiB
refuses '/settings/PGFOX_POOL_SIZE' --set settings.PGFOX_POOL_SIZE=0
refuses '/settings/PGFOX_POOL_SIZE' --set settings.PGFOX_POOL_SIZE=many
refuses '/settings/PGFOX_LOG_FORMAT' --set settings.PGFOX_LOG_FORMAT=text
refuses '/migration/timeoutSeconds' --set migration.timeoutSeconds=60
refuses 'minReplicas is above maxReplicas' --set autoscaling.enabled=true,autoscaling.minReplicas=7
refuses '/replicas' --set replicas=-1
refuses '/migration/mode' --set migration.mode=later
refuses '/service/port' --set service.port=70000
refuses '/database/parts/host' --set "database.parts.host=it's"
refuses '/database/existingSecret/name' --set database.existingSecret.name=Not_A_Name
refuses '/image/digest' --set image.digest=latest
refuses '/drainSeconds' --set drainSeconds=30s
refuses 'kubeVersion' --kube-version 1.29.0
ok "bad values: $refused are refused"

# -- Variables and flags are the server's
help=$("$bin/pgfox-server" --help)
known=$(grep -oE '\[env: [A-Z_]+\]' <<<"$help" | grep -oE '[A-Z_]{4,}' | sort -u)
secret=$(sed -n '/^Secrets are never flags/,/^$/p' <<<"$help" | grep -oE '\b(PGFOX|OPENAI)_[A-Z_]+')
for variable in $(cat tests/*.golden.yaml "$scratch/changed.yaml" | sed -nE 's/^ *- name: ((PGFOX|OPENAI)_[A-Z_]+|DATABASE_URL)$/\1/p' | sort -u); do
    grep -qx "$variable" <<<"$known"$'\n'"$secret" || fail "the chart sets $variable, which the server does not know"
done
# Each setting is one of the chart's own, one of the embedded default, or one of `settings`.
own='DATABASE_URL OPENAI_BASE_URL PGFOX_API_KEYS_FILE PGFOX_DATABASE_URL_FILE PGFOX_DIRECT_DATABASE_URL PGFOX_DRAIN_TIMEOUT
    PGFOX_INSECURE PGFOX_LISTEN PGFOX_LOCAL_MODELS PGFOX_METRICS_LISTEN PGFOX_MIGRATE PGFOX_OPENAI_API_KEY_FILE PGFOX_TLS_CERT
    PGFOX_TLS_KEY'
embedded=$(sed -n '/^Embedded default/,/^Logging/p' <<<"$help" | grep -oE '\[env: [A-Z_]+' | grep -oE '[A-Z_]{4,}')
rest=$(comm -23 <(echo "$known") <(tr -s ' \n' '\n\n' <<<"$own $embedded" | sort -u))
settings=$(sed -n '/"settings": {/,/"migration": {/p' pgfox/values.schema.json | grep -oE '"PGFOX_[A-Z_]+"' | tr -d '"' | sort -u)
diff <(echo "$rest") <(echo "$settings") ||
    fail "settings in values.schema.json and \`pgfox-server --help\` differ: < is the server, > the schema"
# Times, sizes and counts are written as the server reads them.
kinds() {
    grep -E ' (time|bytes|count)$' | sort
}
diff <(awk '/^ +--/ {kind = tolower($2); gsub(/[<>]/, "", kind)} /\[env: /{gsub(/\]/, ""); print $2, kind}' <<<"$help" | kinds |
    grep -wFf <(echo "$settings")) \
    <(sed -nE 's|.*"(PGFOX_[A-Z_]+)": .*"#/definitions/([a-z]+)".*|\1 \2|p' pgfox/values.schema.json | kinds) ||
    fail "kinds of settings in values.schema.json and \`pgfox-server --help\` differ: < is the server, > the schema"
flags=$("$bin/pgfox-server" healthcheck --help && "$bin/pgfox-server" migrate --help)
for flag in $(cat tests/*.golden.yaml "$scratch/changed.yaml" | grep -oE -- '--[a-z][a-z-]+' | sort -u); do
    grep -q -- "$flag " <<<"$flags" || fail "the chart passes $flag, which neither healthcheck nor migrate knows"
done
for service in $(cat tests/*.golden.yaml "$scratch/changed.yaml" | grep -oE 'pgfox\.process|pgfox\.v1\.[A-Za-z]+' | sort -u); do
    grep -rqE "\"$service\"|^service ${service##*.} " "$root/server/src/health.rs" "$root/proto" ||
        fail "probes ask for $service, which the server does not have"
done
[ "$(sed -n '/--pool-size/,/default/s/.*default: \(.*\)].*/\1/p' <<<"$help")" = 16 ] || fail "NOTES.txt takes 16 for --pool-size"
grep -q "^appVersion: $("$bin/pgfox-server" --version | cut -d ' ' -f 2)$" pgfox/Chart.yaml || fail "appVersion is not that of the server"
ok "settings: all are the server's, and none is missing"

# -- The schemas of Kubernetes, of the oldest version that the chart allows
if ! command -v kubectl-validate >/dev/null; then
    skip "the rest is ok; for the schemas of Kubernetes install kubectl-validate: go install $KUBECTL_VALIDATE_MODULE"
fi
crds=()
[ -z "${CRDS:-}" ] || crds=(--local-crds "$CRDS")
for golden in tests/*.golden.yaml "$scratch/changed.yaml"; do
    # That of the ServiceMonitor is the Prometheus operator's: CRDS names a folder with it.
    awk -v all="${CRDS:-}" 'BEGIN {RS = "---\n"; ORS = "---\n"} all != "" || !/\nkind: ServiceMonitor\n/' "$golden" \
        >"$scratch/objects.yaml"
    kubectl-validate --version 1.30 ${crds[@]+"${crds[@]}"} "$scratch/objects.yaml" >"$scratch/validate" 2>&1 ||
        fail "$golden is not valid: $(<"$scratch/validate")"
done
sed 's/^ *replicas: /&-/; s/readinessProbe/readynessProbe/' tests/minimal.golden.yaml >"$scratch/objects.yaml"
kubectl-validate --version 1.30 "$scratch/objects.yaml" >/dev/null 2>&1 && fail 'kubectl-validate accepts a field that does not exist'
ok "Kubernetes: every object is valid"
