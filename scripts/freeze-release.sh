#!/usr/bin/env bash
# freeze-release.sh: keeps what the version in Cargo.toml installs, for good: its install script and the script of its data
# tables, which setup() has compiled in. From then on tests compare every upgrade with a fresh installation.
. "$(dirname "$0")/common.sh"

version=$(extension_version)
frozen=$project/sql/install
mkdir -p "$frozen"
[ ! -e "$frozen/pg_telemetry--$version.sql" ] || die "version $version is frozen already"

"$project/scripts/assemble-sql.sh" >"$frozen/pg_telemetry--$version.sql"

# An upgrade to this version includes files that go on changing.
for script in "$project"/sql/pg_telemetry--*--"$version".sql; do
    [ -e "$script" ] || continue
    "$project/scripts/assemble-sql.sh" "$script" >"$script.new"
    mv "$script.new" "$script"
done

# In the order in which setup() runs them; a function that two tables share comes twice there, once here.
grep -o 'sql/setup/[a-z_]*\.sql' "$project/src/setup/tables.rs" | awk '!seen[$0]++' |
    while read -r script; do
        printf -- '-- %s\n' "$script"
        cat "$project/$script"
        printf '\n'
    done >"$frozen/tables--$version.sql"

(cd "$frozen" && sha256sum -- *.sql >SHA256SUMS)
echo "$frozen holds version $version; raise the version in Cargo.toml before the next change of SQL"
