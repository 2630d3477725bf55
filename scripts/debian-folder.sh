#!/usr/bin/env bash
# debian-folder.sh FOLDER MAJOR OLD_MAJOR: a small Debian trixie in FOLDER with PostgreSQL MAJOR and what it takes to
# build for it; also with OLD_MAJOR from Debian bookworm, to upgrade from. Made once and kept; made again when this
# script changes. Run as root. On failure the last line of its output is the reason.
. "$(dirname "$0")/common.sh"

folder=${1:?usage: debian-folder.sh FOLDER MAJOR OLD_MAJOR}
major=${2:?usage: debian-folder.sh FOLDER MAJOR OLD_MAJOR}
old_major=${3:?usage: debian-folder.sh FOLDER MAJOR OLD_MAJOR}

stamp="$major $old_major $(cksum <"$0")"
if [ "$(cat "$folder/.made-from" 2>/dev/null)" = "$stamp" ]; then
    exit
fi

new=$folder.new
log=$folder.log
rm -rf --one-file-system "$new"
trap 'rm -rf --one-file-system "$new"' EXIT

# run MESSAGE COMMAND…: a step of which only the failure is shown.
run() {
    local what=$1
    shift
    if ! "$@" </dev/null >>"$log" 2>&1; then
        local reason
        reason=$(grep '^E: ' "$log" | tail -n 1 | cut -c 4-)
        say "$what failed: ${reason:-see $log}"
        exit 1
    fi
}

inside() { chroot "$new" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
install_inside() { inside apt-get install -y -q --no-install-recommends "$@"; }

# The mirror and the proxy that this machine's apt uses; where it has none, debootstrap's own choice.
# shellcheck disable=SC2016 # $(…) is apt's notation
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' 2>/dev/null |
    grep -v security | head -n 1 || true)
eval "$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null || true)"
export http_proxy=${proxy:-${http_proxy:-}}

: >"$log"
say "making a Debian trixie with PostgreSQL $major in $folder (once, some minutes)"
run debootstrap debootstrap --variant=minbase --include=ca-certificates trixie "$new" ${mirror:+"$mirror"}
mirror=${mirror:-$(awk '$1 == "deb" { print $2; exit }' "$new/etc/apt/sources.list")}

[ -z "$http_proxy" ] || echo "Acquire::http::Proxy \"$http_proxy\";" >"$new/etc/apt/apt.conf.d/proxy"
echo "deb $mirror bookworm main" >"$new/etc/apt/sources.list.d/bookworm.list"
printf 'Package: *\nPin: release n=bookworm\nPin-Priority: 100\n' >"$new/etc/apt/preferences.d/bookworm"

# Nothing is to be started in there, and no cluster made.
printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
chmod 755 "$new/usr/sbin/policy-rc.d"
mkdir -p "$new/etc/postgresql-common"
echo 'create_main_cluster = false' >"$new/etc/postgresql-common/createcluster.conf"

inside apt-get update -q </dev/null >>"$log" 2>&1 || true
run "installing PostgreSQL $major" install_inside \
    make gcc libc6-dev libclang-dev "postgresql-$major" "postgresql-server-dev-$major"
install_inside "postgresql-$old_major" "postgresql-server-dev-$old_major" </dev/null >>"$log" 2>&1 ||
    say "no PostgreSQL $old_major to upgrade from in there, see $log"
# What only some tests need; they say so where it is missing.
for package in "postgresql-$major-wal2json" "postgresql-$major-cron" pgbouncer; do
    install_inside "$package" </dev/null >>"$log" 2>&1 || say "no $package in there, see $log"
done
inside apt-get clean
rm -rf "$new"/var/lib/apt/lists/*

echo "$stamp" >"$new/.made-from"
rm -rf --one-file-system "$folder"
mv "$new" "$folder"
