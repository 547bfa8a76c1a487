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
maven=(mvn -q -B -ntp -Dstyle.color=never)
"${maven[@]}" verify spotless:check
# Empty, as deployments pass what is not set.
PGFOX_CA= PGFOX_API_KEY= "${maven[@]}" compile exec:exec
"${maven[@]}" compile exec:exec -Dprogram=../../tests/clients/java/Story.java
