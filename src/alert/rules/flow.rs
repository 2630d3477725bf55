//! Readings on their way into facts.

use super::{Code, HOUR, MINUTE, Probe, RULE, Rule, Where};

pub const RULES: &[Rule] = &[
    Rule {
        name: "staging_old",
        title: "readings wait in staging for too long",
        why: "Whoever reads facts misses them; those in the fast door are lost in a crash.",
        unit: "seconds",
        warn: Some(30.0),
        critical: Some(5.0 * MINUTE),
        clear: 15.0,
        lasts: 10,
        keep: 20,
        place: Where::Primary,
        causes: &["worker_missing", "flush_failing", "flush_paused", "flush_held_back", "task_late"],
        remedy: "See what the flusher says. Without workers, call stage_flush() from pg_cron. A writer who sets ingested_at to the past \
                 makes readings look older than they are.",
        run: "SELECT door, rows_waiting, oldest_age, drains_in, pinned_by FROM @extschema@.staging_backlog;",
        // Up to the interval they wait on purpose.
        probe: Probe::Monitor(
            "SELECT door,
                    CASE WHEN rows_waiting IS NULL THEN NULL WHEN rows_waiting = 0 THEN 0
                         ELSE extract(epoch FROM oldest_age - current_setting('pg_telemetry.flush_interval')::interval)::double precision END,
                    format('%s readings wait, the oldest since %s', rows_waiting, date_trunc('second', oldest_at)),
                    'SELECT @extschema@.stage_flush();'
             FROM @extschema@.staging_backlog",
        ),
        ..RULE
    },
    Rule {
        name: "staging_behind",
        title: "staging fills faster than it empties",
        why: "If it goes on like this, readings wait ever longer, and staging fills the disk.",
        unit: "seconds until it is empty",
        warn: Some(10.0 * MINUTE),
        critical: Some(HOUR),
        clear: 5.0 * MINUTE,
        lasts: 60,
        keep: 60,
        place: Where::Workers,
        causes: &["worker_missing", "flush_failing", "flush_paused", "flush_held_back", "staging_old"],
        remedy: "Raise pg_telemetry.flush_workers, or see in flush_stats what makes flushes slow.",
        run: "SELECT minute, rows_flushed, rows_rejected, p99_ms, fallback_claims, fallback_leaves FROM @extschema@.flush_stats ORDER BY minute \
              DESC LIMIT 10;",
        // A hundred thousand readings are one batch.
        probe: Probe::Monitor(
            "SELECT door,
                    CASE WHEN rows_waiting < 100000 OR rows_in_per_second IS NULL THEN 0
                         WHEN drains_in IS NULL THEN 'Infinity' ELSE extract(epoch FROM drains_in)::double precision END,
                    format('%s readings wait; %s come and %s go in a second', rows_waiting, round(rows_in_per_second), round(rows_out_per_second)),
                    'ALTER SYSTEM SET pg_telemetry.flush_workers = '
                        || least(8, current_setting('pg_telemetry.flush_workers')::integer + 1) || '; SELECT pg_reload_conf();'
             FROM @extschema@.staging_backlog WHERE rows_waiting IS NOT NULL",
        ),
        ..RULE
    },
    Rule {
        name: "volatile_exposed",
        title: "a crash now would lose many readings",
        why: "The fast door is not in the WAL: what waits in it is gone after a crash or a failover.",
        unit: "readings",
        warn: Some(1_000_000.0),
        critical: Some(10_000_000.0),
        clear: 500_000.0,
        lasts: 30,
        keep: 30,
        place: Where::Primary,
        causes: &["staging_old", "flush_paused"],
        remedy: "Flush, and have what must not be lost written to the durable door.",
        run: "SELECT @extschema@.stage_flush();",
        probe: Probe::Monitor(
            "SELECT door, exposed_rows::double precision, format('%s readings are in no file that a crash leaves', exposed_rows), NULL
             FROM @extschema@.staging_backlog WHERE exposed_rows > 0",
        ),
        ..RULE
    },
    Rule {
        name: "reject_storm",
        title: "many readings are rejected",
        why: "They are not lost but in nobody's sight: rejected readings are kept in entity_values_rejected and are no facts.",
        unit: "share of the last five minutes",
        warn: Some(0.001),
        critical: Some(0.01),
        clear: 0.0005,
        lasts: 0,
        keep: 60,
        place: Where::Workers,
        remedy: "See which reason is the most frequent; register what is missing or put the writer right, then retry_rejected().",
        run: "SELECT tenant_id, sqlstate, reason, sum(rows) FROM @extschema@.rejected_summary GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 10;",
        probe: Probe::Code(Code::Rejects),
        ..RULE
    },
    Rule {
        name: "projection_late",
        title: "stored readings have not reached the projection",
        why: "entity_latest() and find_entities_by_attributes() answer with older values than facts have.",
        unit: "seconds",
        warn: Some(MINUTE),
        critical: Some(15.0 * MINUTE),
        clear: 30.0,
        lasts: 30,
        keep: 30,
        place: Where::Primary,
        causes: &["worker_missing", "flush_failing", "flush_paused", "flush_held_back"],
        remedy: "Somebody may hold rows of entity_jsonb locked, or pg_telemetry.projection_min_interval is long. See blocking and worker_status.",
        run: "SELECT * FROM @extschema@.blocking;",
        // Rows come and go by the page, so the first ones are among the oldest.
        probe: Probe::Owner(
            "SELECT '', extract(epoch FROM clock_timestamp() - min(p.ingested_at)
                                - current_setting('pg_telemetry.projection_min_interval')::interval)::double precision,
                    format('%s readings or more, the oldest since %s', count(*), date_trunc('second', min(p.ingested_at))), NULL
             FROM (SELECT ingested_at FROM @extschema@.projection_pending LIMIT 1000) p HAVING count(*) > 0",
        ),
        ..RULE
    },
    Rule {
        name: "crash_lost_readings",
        title: "a crash has emptied the fast door",
        why: "Readings that were written to it and had not been flushed are gone; their writers were told that they were accepted.",
        unit: "readings last seen",
        warn: Some(1.0),
        clear: 1.0,
        lasts: 0,
        keep: 0,
        place: Where::Primary,
        remedy: "Have the readings of the time named here sent again; use the durable door for what must not be lost. Acknowledge it then: it \
                 stays for a day.",
        run: "SELECT noticed_at, kind, exposed_from, exposed_until, rows_last_seen FROM @extschema@.crash_history ORDER BY noticed_at DESC;",
        probe: Probe::Monitor(
            "SELECT kind || ' ' || to_char(noticed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC',
                    coalesce(rows_last_seen, 1)::double precision,
                    format('written from %s to %s', coalesce(exposed_from::text, 'an unknown time'), exposed_until),
                    format('SELECT @extschema@.ack_alert(''crash_lost_readings'', ''%s %s UTC'');', kind,
                           to_char(noticed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
             FROM @extschema@.crash_history
             WHERE noticed_at > clock_timestamp() - interval '1 day' AND coalesce(rows_last_seen, 1) > 0
             ORDER BY noticed_at DESC LIMIT 20",
        ),
        ..RULE
    },
];
