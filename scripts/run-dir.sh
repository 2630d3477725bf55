#!/usr/bin/env bash
# run-dir.sh: makes and prints the folder in which everything lives that a server process touches: private
# installation trees, clusters, sockets. Inside the build folder when the server user can get there.
. "$(dirname "$0")/common.sh"

longest=60 # a Unix socket path ends after 107 bytes, and clusters below this folder need their share

server_user_reaches() { as_server_user test -x "$1" -a -w "$1" 2>/dev/null; }

# Not one that somebody else made in a folder open to all: programs are run from it.
is_ours() {
    [ ! -L "$1" ] && [ -d "$1" ] && case $(stat -c %U "$1") in "$(id -un)" | "$(server_user)") true ;; *) false ;; esac
}

prepare() {
    mkdir -p "$1"
    is_ours "$1" || die "$1 belongs to somebody else; remove it"
    is_root && chown "$(server_user)" "$1"
    chmod 755 "$1"
}

near=$target/run
if [ ${#near} -le $longest ] && prepare "$near" && server_user_reaches "$near"; then
    echo "$near"
    exit
fi

rmdir "$near" 2>/dev/null || true
far=/var/tmp/pg_telemetry-$(id -u)-$(printf %s "$target" | cksum | cut -d ' ' -f 1)
prepare "$far"
server_user_reaches "$far" || die "user $(server_user) can write neither in $near nor in $far"
echo "$far"
