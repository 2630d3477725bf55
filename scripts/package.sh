#!/usr/bin/env bash
# package.sh LIBRARY FOLDER: FOLDER/lib and FOLDER/extension with everything that an installation copies.
. "$(dirname "$0")/common.sh"

library=${1:?usage: package.sh LIBRARY FOLDER}
folder=${2:?usage: package.sh LIBRARY FOLDER}
version=$(extension_version)

mkdir -p "$(dirname "$folder")"
new=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$new"' EXIT
chmod 755 "$new"
mkdir "$new/lib" "$new/extension"

install -m 755 "$library" "$new/lib/pg_telemetry.so"
sed "s/@VERSION@/$version/" "$project/pg_telemetry.control" >"$new/extension/pg_telemetry.control"
"$project/scripts/assemble-sql.sh" >"$new/extension/pg_telemetry--$version.sql"

# Upgrade scripts, and the install scripts of released versions: with both, any older version can be created and upgraded.
shopt -s nullglob
for script in "$project"/sql/pg_telemetry--*--*.sql; do
    "$project/scripts/assemble-sql.sh" "$script" >"$new/extension/${script##*/}"
done
for frozen in "$project"/sql/install/pg_telemetry--*.sql; do
    name=$(basename "$frozen")
    if [ -e "$new/extension/$name" ] && ! cmp -s "$frozen" "$new/extension/$name"; then
        die "version $version is released (sql/install/$name) and its script has changed since: raise the version"
    fi
    install -m 644 "$frozen" "$new/extension/"
done
install -m 644 "$project/LICENSE" "$project/README.md" "$project/CHANGELOG.md" "$new/"

rm -rf "$folder"
mv "$new" "$folder"
