#!/bin/sh
# deploy/system-files.sh PROGRAM FOLDER
# Copies the files of Debian that the program needs into the folder, for an image without anything else.
set -eu
for library in $(ldd "$1" | grep -o '/[^ ]*'); do
    install -D "$library" "$2$library"
done
# The public CAs, for TLS to databases and providers.
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$2/etc/ssl/certs/ca-certificates.crt"
# Names are looked up in /etc/hosts, which container engines write, before DNS.
echo 'hosts: files dns' >"$2/etc/nsswitch.conf"
