#!/usr/bin/env bash
# prerequisites.sh MAJOR PG_CONFIG [CARGO_COMMAND…]: installs what the build and its servers need and is not there.
# Says nothing when nothing is missing; says in one line what is missing when it cannot be installed.
. "$(dirname "$0")/common.sh"

major=${1:?usage: prerequisites.sh MAJOR PG_CONFIG [CARGO_COMMAND…]}
pg_config=${2:?usage: prerequisites.sh MAJOR PG_CONFIG [CARGO_COMMAND…]}
shift 2

has_compiler() { command -v cc >/dev/null && [ -f /usr/include/stdio.h ]; }
has_libclang() {
    local place
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    for place in /usr/lib/llvm*/lib /usr/lib/*-linux-gnu /usr/lib /usr/lib64 /usr/local/lib; do
        compgen -G "$place/libclang.so*" >/dev/null && return 0
        compgen -G "$place/libclang-[0-9]*.so*" >/dev/null && return 0
    done
    return 1
}

command -v cargo >/dev/null || die "missing: Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$project/Cargo.toml") or newer (cargo is not in PATH)"
for component in "$@"; do
    if ! (cd "$project" && cargo "$component" --version) >/dev/null 2>&1; then
        name=${component/#fmt/rustfmt}
        command -v rustup >/dev/null || die "missing: cargo $component (part of a full Rust installation)"
        say "installing $name"
        (cd "$project" && rustup component add "$name") >/dev/null 2>&1 || die "missing: $name (rustup component add $name failed)"
    fi
done

packages=()
has_compiler || packages+=(gcc libc6-dev)
has_libclang || packages+=(libclang-dev)
if [ "$pg_config" = "/usr/lib/postgresql/$major/bin/pg_config" ]; then # where packages would put it
    has_server "$pg_config" || packages+=("postgresql-$major")
    has_server_headers "$pg_config" || packages+=("postgresql-server-dev-$major")
fi
[ ${#packages[@]} -eq 0 ] || apt_install "${packages[@]}"

if ! has_server "$pg_config" || ! has_server_headers "$pg_config"; then
    die "missing: PostgreSQL $major with server headers ($pg_config)"
fi
is_major "$pg_config" "$major" ||
    die "$pg_config belongs to $("$pg_config" --version), not to major $major"
id -u "$(server_user)" >/dev/null 2>&1 || die "missing: user $(server_user), as whom servers run because they refuse to run as root"
