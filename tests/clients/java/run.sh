#!/usr/bin/env bash
# The Java client: its own tests, its README's example, then the story.
set -euo pipefail
for tool in java mvn; do
    if ! command -v "$tool" >/dev/null; then
        echo "$tool is not installed (Debian, Ubuntu: apt-get install openjdk-17-jdk-headless maven)"
        exit 77
    fi
done
cd "$(dirname "$0")/../../../clients/java"
# Maven ends its colours even where it has none, and so before the first step.
maven() {
    mvn -q -B -ntp -Dstyle.color=never "$@" 2>&1 | sed $'s/\e\\[0m//g'
}
maven verify spotless:check
# Empty, as deployments pass what is not set.
PGFOX_CA='' PGFOX_API_KEY='' maven compile exec:exec
maven compile exec:exec -Dprogram=../../tests/clients/java/Story.java
../../tests/clients/java/archive.sh
