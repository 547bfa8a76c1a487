#!/usr/bin/env bash
# Installs the archive of the client into a repository of its own, and compiles and runs a program with it. The
# repository begins as a copy of this machine's, so that little is fetched.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
client=$here/../../../clients/java
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

maven() {
    mvn -q -B -ntp -Dstyle.color=never -Dmaven.repo.local="$work/repository" "$@" 2>&1 | sed $'s/\e\\[0m//g'
}
repository=${MAVEN_REPOSITORY:-$HOME/.m2/repository}
# Links cost no space, where they can be made.
cp -al "$repository" "$work/repository" 2>/dev/null || { rm -rf "$work/repository" && cp -a "$repository" "$work/repository"; }
rm -rf "$work/repository/dev/pgfox"
cp -r "$here/catalogue" "$work/project"
(cd "$client" && maven install -DskipTests)
cd "$work/project"
maven compile exec:exec
