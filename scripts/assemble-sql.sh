#!/usr/bin/env bash
# assemble-sql.sh [UPGRADE_SCRIPT]: prints the install script, the files of sql/manifest in their order; or an upgrade script
# with its lines "-- include FILE" replaced by that file of sql/, so that what a version adds is written once.
. "$(dirname "$0")/common.sh"

sql=$project/sql

piece() {
    [ -f "$sql/$1" ] || die "$2 names sql/$1, which does not exist"
    cat "$sql/$1"
}

if [ $# -gt 0 ]; then
    upgrade=$(basename "$1")
    while IFS= read -r line; do
        case $line in
            '-- include '*) piece "${line#-- include }" "sql/$upgrade" ;;
            *) printf '%s\n' "$line" ;;
        esac
    done <"$1"
    exit
fi

cat <<'END'
\echo Use "CREATE EXTENSION pg_telemetry" to load this file. \quit
END

while read -r file; do
    case $file in '' | '#'*) continue ;; esac
    printf '\n'
    piece "$file" sql/manifest
done <"$sql/manifest"
