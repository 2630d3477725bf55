#!/usr/bin/env bash
# pg-config.sh MAJOR: the pg_config of an installed PostgreSQL, or the place where Debian's packages would put it.
# pg-config.sh --complete MAJOR: only if server and headers are installed, otherwise nothing.
. "$(dirname "$0")/common.sh"

complete=
[ "${1:-}" != --complete ] || { complete=yes; shift; }
major=${1:?usage: pg-config.sh [--complete] MAJOR}

# Debian's pg_config in PATH may belong to whichever libpq is newest, so a match there counts only as second choice.
found=/usr/lib/postgresql/$major/bin/pg_config
if [ ! -x "$found" ] && in_path=$(command -v pg_config) && is_major "$in_path" "$major"; then
    found=$in_path
fi

if [ -z "$complete" ] || { has_server "$found" && has_server_headers "$found"; }; then
    echo "$found"
fi
