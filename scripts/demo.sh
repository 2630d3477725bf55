#!/usr/bin/env bash
# demo.sh start|stop: a private cluster with a simulated robot fleet. Works with the private tree and run folder that
# PG_TELEMETRY_BINDIR and PG_TELEMETRY_RUN_DIR name, as `make demo` sets them; DEMO_SECONDS is how long the fleet drives.
. "$(dirname "$0")/common.sh"

bin=${PG_TELEMETRY_BINDIR:?is set by make demo}
home=${PG_TELEMETRY_RUN_DIR:?is set by make demo}/demo
data=$home/data
log=$home/server.log
seconds=${DEMO_SECONDS:-20}
unset PGPORT PGOPTIONS PGSERVICE # of whoever calls: they mean another server

# The server's process, if it runs. Its working folder tells it from a stranger that was given the same number.
server_pid() {
    local pid
    pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) || return 1
    [ "$(readlink "/proc/$pid/cwd")" = "$data" ] && echo "$pid"
}

stop() {
    local pid
    pid=$(server_pid) || return 0
    kill -INT "$pid" # a fast shutdown
    for _ in {1..100}; do
        server_pid >/dev/null || return 0
        sleep 0.1
    done
    die "the demo server, process $pid, does not stop; its log is $log"
}

psql() { "$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$home" -U postgres "$@"; }

# Reached through its socket only, and that only by its owner: so it needs no passwords.
make_cluster() {
    rm -rf "$home"
    as_server_user mkdir -m 700 "$home"
    as_server_user "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
    as_server_user tee -a "$data/postgresql.conf" >/dev/null <<END
listen_addresses = ''
unix_socket_directories = '$home'
unix_socket_permissions = 0700
shared_preload_libraries = 'pg_telemetry'
END
}

start_server() {
    as_server_user "$bin/pg_ctl" -D "$data" -l "$log" -w -s start || {
        tail -n 20 "$log" >&2
        die "the demo server does not start; its log is $log"
    }
}

abandon() {
    say "the demo failed; the last lines of $log:"
    tail -n 20 "$log" >&2 || true
    stop
}

case ${1:-} in
start)
    stop
    make_cluster
    start_server
    trap abandon ERR
    trap 'stop; exit 130' INT TERM
    psql -d postgres -c 'CREATE DATABASE demo'
    psql -d demo -f "$project/demo/setup.sql"
    (cd "$project" && cargo run -p demo --release --locked --quiet -- "$home" "$seconds")
    psql -d demo -f "$project/demo/tour.sql"
    printf '%s\n' "Look around:  $bin/psql -h $home -U postgres demo" "Server log:   $log" "Stop it:      make demo-stop"
    ;;
stop)
    stop
    ;;
*)
    die "usage: demo.sh start|stop"
    ;;
esac
