#!/usr/bin/env bash
# enter-debian.sh FOLDER USER:UID:GID RUST CARGO_HOME BUILD [NAME=VALUE…] COMMAND…: runs COMMAND in a Debian folder, as
# that user, with the sources in /src, a build folder and the Rust of this machine. Run as root.
#
# Mounts and processes live in namespaces of their own: they are gone when the command is, however it ends, and two
# runs in the same folder do not see each other.
. "$(dirname "$0")/common.sh"

if [ "${1:-}" != --in-namespace ]; then
    exec unshare --mount --pid --ipc --propagation private --fork --kill-child "$0" --in-namespace "$@"
fi
shift

folder=$1
IFS=: read -r user uid gid <<<"$2"
rust=$3
cargo_home=$4
build=$5
shift 5

bind() {
    mkdir -p "$folder$2"
    mount --bind "$1" "$folder$2"
}
bind "$project" /src
bind "$rust" /opt/rust
bind "$cargo_home" /opt/cargo
bind "$build" /build
# In there are the proxies of rustup, which cargo would prefer to its own fmt and clippy.
[ ! -d "$cargo_home/bin" ] || mount -t tmpfs tmpfs "$folder/opt/cargo/bin"
mount -t proc proc "$folder/proc"
mount -t tmpfs -o mode=1777 tmpfs "$folder/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$folder/tmp"

# A server wants to know the name of the user that it runs as.
if ! chroot "$folder" getent passwd "$uid" >/dev/null; then
    echo "$user:x:$uid:$gid::/tmp:/bin/bash" >>"$folder/etc/passwd"
fi

chroot --userspec="$uid:$gid" "$folder" env -i --chdir=/src \
    HOME=/tmp LANG=C.UTF-8 PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    CARGO_HOME=/opt/cargo CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=/build "$@"
