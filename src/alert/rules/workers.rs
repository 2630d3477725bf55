//! The background workers.

use super::{HOUR, Probe, RULE, Rule, Where};

pub const RULES: &[Rule] = &[
    Rule {
        name: "worker_missing",
        title: "a background worker is not running",
        why: "What it does is not done: without a flusher readings wait in staging, without a keeper no partition is made and no \
              alert is looked at.",
        unit: "workers",
        critical: Some(1.0),
        clear: 1.0,
        lasts: 10,
        keep: 10,
        place: Where::Workers,
        remedy: "The launcher starts it again by itself. If it does not, read the hint here and the server log; a server without \
                 a free background worker slot needs a higher max_worker_processes.",
        run: "SELECT worker, task, state, last_error, detail, hint FROM @extschema@.worker_status;",
        probe: Probe::Monitor(
            "SELECT worker, 1::double precision, concat_ws(': ', detail, hint), NULL
             FROM @extschema@.worker_status WHERE task IS NULL AND state = 'missing'",
        ),
        ..RULE
    },
    Rule {
        name: "task_late",
        title: "a task of a worker has not ended well for too long",
        why: "The worker is there, and does not get anywhere: it hangs, is stopped, waits for a lock or fails.",
        unit: "times the interval",
        warn: Some(3.0),
        critical: Some(10.0),
        clear: 2.0,
        lasts: 0,
        keep: 20,
        place: Where::Workers,
        causes: &["worker_missing", "flush_failing", "task_failing"],
        remedy: "See what the process waits for. A worker that hangs may be ended: the launcher starts a new one at once.",
        run: "SELECT w.worker, w.task, w.state, w.last_success_at, w.last_error, a.wait_event_type, a.wait_event FROM \
              @extschema@.worker_status w LEFT JOIN pg_catalog.pg_stat_activity a USING (pid);",
        // Of less than 20 seconds nobody can tell whether it is late.
        probe: Probe::Monitor(
            "WITH w AS (SELECT *, max(pid) OVER (PARTITION BY worker) AS process, max(started_at) OVER (PARTITION BY worker) AS born
                        FROM @extschema@.worker_status)
             SELECT w.worker || ', ' || w.task,
                    extract(epoch FROM clock_timestamp() - greatest(w.last_success_at, w.born))::double precision
                        / greatest(extract(epoch FROM w.expected_every)::double precision, 20),
                    format('expected every %s, last success %s%s', w.expected_every,
                           coalesce(date_trunc('second', w.last_success_at)::text, 'not since the server started'),
                           ': ' || coalesce(w.last_error, w.detail)),
                    format('SELECT pg_terminate_backend(%s);', w.process)
             FROM w
             WHERE w.task IS NOT NULL AND w.expected_every IS NOT NULL AND w.process IS NOT NULL
               AND w.state NOT IN ('standby', 'not preloaded', 'stopped', 'missing')
             ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "task_failing",
        title: "a task of a worker fails again and again",
        why: "What it does is not done, and it is tried ever more seldom.",
        unit: "failures in a row",
        warn: Some(3.0),
        critical: Some(10.0),
        clear: 1.0,
        lasts: 0,
        keep: 0,
        place: Where::Workers,
        causes: &["disk_full"],
        remedy: "Put right what the error says; the task goes on by itself.",
        run: "SELECT worker, task, consecutive_errors, last_sqlstate, last_error, backoff_until FROM @extschema@.worker_status WHERE \
              consecutive_errors > 0;",
        probe: Probe::Monitor(
            "SELECT worker || ', ' || task, consecutive_errors::double precision, format('%s: %s', last_sqlstate, last_error), NULL
             FROM @extschema@.worker_status
             WHERE task IS NOT NULL AND worker NOT LIKE 'flusher%' AND consecutive_errors > 0 ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "extension_outdated",
        title: "the SQL objects are older than the library",
        why: "All works as it did, and what is new in the library is missing.",
        unit: "1 while it is so",
        warn: Some(1.0),
        clear: 1.0,
        lasts: 3600,
        keep: 0,
        remedy: "Update the extension in this database.",
        run: "ALTER EXTENSION pg_telemetry UPDATE;",
        // A library that is the older one looks at nothing: health() says so.
        probe: Probe::Monitor(
            "SELECT '', 1::double precision, format('SQL objects %s, library %s', sql_version, library_version), NULL
             FROM @extschema@.worker_status WHERE worker = 'launcher' AND sql_version <> library_version",
        ),
        ..RULE
    },
    Rule {
        name: "flush_failing",
        title: "flushing fails again and again",
        why: "Readings are accepted and do not reach facts; what waits in the fast door is lost in a crash.",
        unit: "failures in a row",
        warn: Some(3.0),
        critical: Some(10.0),
        clear: 1.0,
        lasts: 0,
        keep: 0,
        place: Where::Workers,
        causes: &["disk_full"],
        remedy: "Put right what the error says; flushing goes on by itself. stage_flush() in a session shows the error with all its context.",
        run: "SELECT worker, consecutive_errors, last_sqlstate, last_error, backoff_until FROM @extschema@.worker_status WHERE task = 'flush';",
        probe: Probe::Monitor(
            "SELECT worker, consecutive_errors::double precision, format('%s: %s', last_sqlstate, last_error), NULL
             FROM @extschema@.worker_status WHERE task = 'flush' AND consecutive_errors > 0 ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "flush_held_back",
        title: "readings cannot be flushed for now",
        why: "They are kept in staging until what is in their way is gone; meanwhile nobody sees them in facts.",
        unit: "flushers that say so",
        warn: Some(1.0),
        clear: 1.0,
        lasts: 60,
        keep: 10,
        place: Where::Workers,
        causes: &["worker_missing", "flush_failing", "disk_full", "blocking"],
        remedy: "The detail says what they wait for: a lock that somebody holds, a partition that cannot be made, a restore.",
        run: "SELECT worker, detail, last_error FROM @extschema@.worker_status WHERE task = 'flush';",
        probe: Probe::Monitor(
            "SELECT worker, 1::double precision, detail, NULL
             FROM @extschema@.worker_status WHERE task = 'flush' AND state = 'waiting'",
        ),
        ..RULE
    },
    Rule {
        name: "flush_paused",
        title: "flushing was paused and not resumed",
        why: "Readings pile up in staging until somebody calls resume().",
        unit: "seconds",
        warn: Some(900.0),
        critical: Some(4.0 * HOUR),
        clear: 1.0,
        lasts: 0,
        keep: 0,
        place: Where::Primary,
        remedy: "Ask who paused it, or resume.",
        run: "SELECT @extschema@.resume();",
        probe: Probe::Monitor(
            "SELECT '', extract(epoch FROM clock_timestamp() - paused_at)::double precision,
                    format('by %s%s', paused_by, ': ' || pause_reason), NULL
             FROM @extschema@.staging_backlog WHERE paused_at IS NOT NULL LIMIT 1",
        ),
        ..RULE
    },
];
