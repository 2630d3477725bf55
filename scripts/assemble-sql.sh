#!/usr/bin/env bash
# assemble-sql.sh: prints the install script, the files of sql/manifest in their order.
. "$(dirname "$0")/common.sh"

sql=$project/sql
cat <<'END'
\echo Use "CREATE EXTENSION pg_telemetry" to load this file. \quit
END

while read -r file; do
    case $file in '' | '#'*) continue ;; esac
    [ -f "$sql/$file" ] || die "sql/manifest names sql/$file, which does not exist"
    printf '\n'
    cat "$sql/$file"
done <"$sql/manifest"
