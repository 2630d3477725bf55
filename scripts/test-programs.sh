#!/usr/bin/env bash
# test-programs.sh MAJOR PG_CONFIG: installs what only some tests need, where that can be done without asking: pg_cron and
# PgBouncer. What cannot be had is not missed: those tests say that they are skipped. Tried once for each build folder.
. "$(dirname "$0")/common.sh"

major=${1:?usage: test-programs.sh MAJOR PG_CONFIG}
pg_config=${2:?usage: test-programs.sh MAJOR PG_CONFIG}

tried=$target/test-programs-$major
[ ! -e "$tried" ] || exit 0
mkdir -p "$target"
touch "$tried"
packages=()
[ -e "$("$pg_config" --sharedir)/extension/pg_cron.control" ] || packages+=("postgresql-$major-cron")
command -v pgbouncer >/dev/null || packages+=(pgbouncer)
for package in "${packages[@]}"; do
    (apt_install "$package") || say "the tests that need it are skipped"
done
