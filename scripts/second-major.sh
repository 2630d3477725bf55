#!/usr/bin/env bash
# second-major.sh MAJOR OLD_MAJOR MAKE_ARGUMENT…: runs make with PG=MAJOR: on this machine when that major is
# installed, otherwise in a Debian that has it, in a folder of the cache. Skips, visibly, where neither is possible.
. "$(dirname "$0")/common.sh"

major=${1:?usage: second-major.sh MAJOR OLD_MAJOR MAKE_ARGUMENT…}
old_major=${2:?usage: second-major.sh MAJOR OLD_MAJOR MAKE_ARGUMENT…}
shift 2

skip() {
    say "SKIPPED: PostgreSQL $major: $*"
    exit 0
}

if [ -n "$("$project/scripts/pg-config.sh" --complete "$major")" ]; then
    exec make -C "$project" PG="$major" "$@"
fi

can_become_root || skip "not installed, and a Debian folder to test it in needs root or sudo"
command -v debootstrap >/dev/null || (apt_install debootstrap debian-archive-keyring) || skip "not installed, and no debootstrap"
as_root unshare --mount --pid --ipc --fork true 2>/dev/null || skip "not installed, and this machine does not allow mounts (a container?)"

# The Rust of this machine goes in as one folder, which the programs of a distribution are not.
rust=$(cd "$project" && rustc --print sysroot)
[ "$rust" != /usr ] || skip "not installed, and Rust in /usr cannot be taken along into a Debian folder"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/pg_telemetry
folder=$cache/trixie
build=$target/trixie
cargo_home=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$cache" "$build" "$cargo_home"
(cd "$project" && cargo fetch --locked --quiet)

# One at a time makes the folder, any number at once work in it.
exec 9>"$cache/lock"
flock 9
as_root "$project/scripts/debian-folder.sh" "$folder" "$major" "$old_major" 9>&- ||
    skip "no Debian folder to test it in (reason above)"
flock -s 9

settings=()
for name in "${!PG_TELEMETRY_@}" "${!BENCH_@}" "${!CARGO_TERM_@}" "${!RUST_@}"; do
    settings+=("$name=${!name}")
done
as_root "$project/scripts/enter-debian.sh" "$folder" "$(id -un):$(id -u):$(id -g)" "$rust" "$cargo_home" "$build" \
    "${settings[@]}" make PG="$major" "$@"
