# Shared by the scripts beside it; sourced, not run.
# shellcheck shell=bash

set -euo pipefail
umask 022 # the server user reads what is made here
PATH=$PATH:/usr/sbin:/sbin

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# Used by the scripts that source this file.
# shellcheck disable=SC2034
target=${CARGO_TARGET_DIR:-$project/target}
case $target in /*) ;; *) target=$project/$target ;; esac

say() { printf '%s\n' "$*" >&2; }
die() { say "pg_telemetry: $*"; exit 1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

# Without a terminal a password prompt would hang for ever, so sudo has to work without one there.
as_root() {
    if is_root; then
        "$@"
    elif [ -t 0 ]; then
        sudo -- "$@"
    else
        sudo -n -- "$@"
    fi
}

can_become_root() {
    is_root || { command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }
}

# PostgreSQL refuses to run as root: then its servers run as the user of Debian's packages.
server_user() { if is_root; then echo postgres; else id -un; fi; }

as_server_user() {
    if is_root; then
        (cd / && runuser -u "$(server_user)" -- "$@")
    else
        "$@"
    fi
}

# What an installation of PostgreSQL, named by its pg_config, has.
is_major() { [[ $("$1" --version) =~ ^PostgreSQL\ $2([^0-9]|$) ]]; }
has_server() { [ -x "$1" ] && [ -x "$("$1" --bindir)/postgres" ]; }
has_server_headers() { [ -x "$1" ] && [ -f "$("$1" --includedir-server)/postgres.h" ]; }

extension_version() {
    awk -F'"' '/^\[/ { in_package = $0 == "[package]" } in_package && /^version *=/ { print $2; exit }' "$project/Cargo.toml"
}

# apt_install PACKAGE…: quiet unless it fails, then the reason in one line.
apt_install() {
    local log
    command -v apt-get >/dev/null || die "missing: $* (no apt-get on this machine, install them by hand)"
    can_become_root || die "missing: $* (neither root nor sudo to install them: apt-get install $*)"
    say "installing $*"
    log=$(mktemp)
    # A package source that is out of reach need not matter: what matters is whether the packages come.
    as_root apt-get update -q </dev/null >"$log" 2>&1 || true
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" \
        </dev/null >>"$log" 2>&1; then
        local reason
        reason=$(grep '^E: ' "$log" | tail -n 1 | cut -c 4-)
        rm -f "$log"
        die "missing: $* (apt-get: ${reason:-failed})"
    fi
    rm -f "$log"
}
