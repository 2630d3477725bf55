#!/usr/bin/env bash
# private-install.sh PG_CONFIG TREE PACKAGE: a private copy of a PostgreSQL installation with our extension in it, so
# that tests and demo neither need root nor change the system. TREE/bin is the folder of its programs.
#
# A server looks for its share and library folders relative to where its own program lies (after symbolic links, so
# the programs have to be copies). It is enough to repeat how these folders lie to each other; what is in them can
# be links to the stock files.
. "$(dirname "$0")/common.sh"

pg_config=${1:?usage: private-install.sh PG_CONFIG TREE PACKAGE}
tree=${2:?usage: private-install.sh PG_CONFIG TREE PACKAGE}
package=${3:?usage: private-install.sh PG_CONFIG TREE PACKAGE}

bin=$("$pg_config" --bindir)
share=$("$pg_config" --sharedir)
pkglib=$("$pg_config" --pkglibdir)

common=$bin
for other in "$share" "$pkglib"; do
    while [[ $other/ != "$common"/* ]]; do
        common=${common%/*}
    done
done
our_bin=$tree${bin#"$common"}
our_share=$tree${share#"$common"}
our_pkglib=$tree${pkglib#"$common"}

# link_all FROM TO EXCEPT: links to everything in a folder, save what we put there ourselves.
link_all() {
    mkdir -p "$2"
    find "$1" -mindepth 1 -maxdepth 1 ! -name "$3" ! -name 'pg_telemetry*' -exec ln -sfnt "$2" {} +
}

# put FILE FOLDER: replaced in one step and never written into, since a running server may have it mapped.
put() {
    local name
    name=$(basename "$1")
    if ! cmp -s "$1" "$2/$name"; then
        cp "$1" "$2/.$name.new"
        mv -f "$2/.$name.new" "$2/$name"
    fi
}

# Made again when the installation behind it is another one, an update for example.
stamp="$("$pg_config" --version) in $bin, $(stat -c %Y "$bin/postgres")"
if [ "$(cat "$tree/.made-from" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$tree"
    mkdir -p "$our_bin"
    # By name: with some distributions this folder is /usr/bin.
    find "$bin" -maxdepth 1 \( -name postgres -o -name initdb -o -name psql -o -name pgbench -o -name 'pg_*' \
        -o -name createdb -o -name dropdb -o -name createuser -o -name dropuser -o -name vacuumdb -o -name reindexdb \) \
        -exec cp -pLt "$our_bin" {} +
    [ "$our_bin" = "$tree/bin" ] || ln -s "${our_bin#"$tree/"}" "$tree/bin"
    link_all "$share" "$our_share" extension
    echo "$stamp" >"$tree/.made-from"
fi
# Each time: other extensions may have come with a package since.
link_all "$share/extension" "$our_share/extension" ''
link_all "$pkglib" "$our_pkglib" ''

put "$package/lib/pg_telemetry.so" "$our_pkglib"
for file in "$package"/extension/*; do
    put "$file" "$our_share/extension"
done
for file in "$our_share"/extension/pg_telemetry*; do
    [ -e "$package/extension/${file##*/}" ] || rm "$file"
done
