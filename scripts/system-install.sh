#!/usr/bin/env bash
# system-install.sh PG_CONFIG PACKAGE: copies the package into the PostgreSQL of this machine, with sudo where needed.
. "$(dirname "$0")/common.sh"

pg_config=${1:?usage: system-install.sh PG_CONFIG PACKAGE}
package=${2:?usage: system-install.sh PG_CONFIG PACKAGE}
lib=${DESTDIR:-}$("$pg_config" --pkglibdir)
extension=${DESTDIR:-}$("$pg_config" --sharedir)/extension

as_owner() { as_root "$@"; }
if mkdir -p "$lib" "$extension" 2>/dev/null && [ -w "$lib" ] && [ -w "$extension" ]; then
    as_owner() { "$@"; }
else
    can_become_root || die "cannot write in $lib and $extension, and cannot become root"
fi

# install removes a file before it writes the new one, so a running server keeps the library that it has mapped.
as_owner install -d "$lib" "$extension"
as_owner install -m 755 "$package"/lib/* "$lib/"
as_owner install -m 644 "$package"/extension/* "$extension/"
say "installed in $lib and $extension"
