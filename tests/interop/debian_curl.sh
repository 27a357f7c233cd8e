#!/bin/sh
# Unpacks a curl of Debian's own into a folder, with the libraries it wants, and installs nothing:
#
#   sh tests/interop/debian_curl.sh FOLDER
#
# The curls of Debian 12 (7.88) and 13 (8.14) end a session by the GSS-API before its first
# request, whatever the server is; that of Debian 13's backports does not.
set -eu
folder=$1
[ ! -e "$folder/usr/bin/curl" ] || exit 0
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/etc/apt/preferences.d" "$apt/etc/apt/apt.conf.d" "$apt/var/lib/dpkg" \
    "$apt/var/lib/apt/lists/partial" "$apt/var/cache/apt/archives/partial"
: > "$apt/var/lib/dpkg/status"
for suite in trixie trixie-backports; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian $suite main"
done > "$apt/etc/apt/sources.list"
get() {
    apt-get -q -o Dir="$apt" -o Dir::State::status="$apt/var/lib/dpkg/status" \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none \
        -o APT::Install-Recommends=false "$@" >/dev/null
}
get update
get install -y --download-only -t trixie-backports curl
mkdir -p "$folder.new"
for package in "$apt"/var/cache/apt/archives/*.deb; do
    dpkg-deb -x "$package" "$folder.new"
done
mv "$folder.new" "$folder"
