#!/usr/bin/env bash
# Checks the systemd unit: its syntax, how much it keeps from the program, and that its settings are the server's.
source "$(dirname "$0")/support.sh"
needs systemd-analyze
unit=$root/deploy/pgfox-server.service

# The program is not where the unit has it on a machine that only checks.
sed "s|^ExecStart=/usr/local/bin/pgfox-server|ExecStart=$bin/pgfox-server|" "$unit" >"$scratch/pgfox-server.service"
said=$(systemd-analyze verify --man=no "$scratch/pgfox-server.service" 2>&1) || fail "systemd-analyze verify: $said"
[ -z "$said" ] || fail "systemd-analyze verify: $said"
ok "verify: nothing to remark"

# From 0, which keeps everything from it, to 10; below 2 systemd calls it OK.
said=$(systemd-analyze security --no-pager --offline=true --threshold=16 "$scratch/pgfox-server.service" 2>&1) ||
    fail "the exposure is above 1.6: $(grep Overall <<<"$said")"
ok "security: $(grep -o 'exposure level.*: [0-9.]*' <<<"$said")"

known=$("$bin/pgfox-server" --help)
for variable in $(grep -oE '\b(PGFOX|OPENAI)_[A-Z_]+|DATABASE_URL' "$unit" | sort -u); do
    grep -q "\b$variable\b" <<<"$known" || fail "the unit names $variable, which the server does not know"
done
ok "settings: all are the server's"
