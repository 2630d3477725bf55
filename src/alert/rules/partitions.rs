//! Partitions and indexes of facts.

use super::{Code, HOUR, Probe, RULE, Rule, Where};
use crate::alert::machine::Worse;

pub const RULES: &[Rule] = &[
    Rule {
        name: "partition_coverage",
        title: "partitions for the time to come are missing",
        why: "Readings that have no partition wait in staging until one is made for them; a server on which that fails cannot store any.",
        unit: "periods ahead",
        worse: Worse::Lower,
        warn: Some(2.0),
        critical: Some(1.0),
        clear: 2.0,
        lasts: 60,
        keep: 0,
        every: 60,
        place: Where::Primary,
        causes: &["worker_missing"],
        remedy: "Make them now. If that waits for a lock, partition_plan() says for whose.",
        run: "SELECT * FROM @extschema@.rotate_partitions();",
        probe: Probe::Code(Code::Coverage),
    },
    Rule {
        name: "partition_gap",
        title: "there is a gap between partitions",
        why: "Readings of that time have no partition, and wait until one is made for them.",
        unit: "periods without a partition",
        critical: Some(1.0),
        clear: 1.0,
        lasts: 60,
        keep: 0,
        every: 60,
        place: Where::Primary,
        remedy: "Make the missing partition. A table that stands in the way must be attached or renamed.",
        run: "SELECT * FROM @extschema@.rotate_partitions();",
        probe: Probe::Code(Code::Gaps),
        ..RULE
    },
    Rule {
        name: "partition_default",
        title: "readings are in a default partition",
        why: "Queries by time cannot leave it out, retention does not see it, and a partition for its times cannot be made.",
        unit: "readings",
        warn: Some(1.0),
        clear: 1.0,
        lasts: 60,
        keep: 0,
        every: 60,
        remedy: "Detach it, have its readings flushed again by way of staging, and drop it: pg_telemetry makes partitions by itself.",
        run: "SELECT partition, rows_estimate, starts_at, ends_at FROM @extschema@.partition_health WHERE starts_at IS NULL;",
        probe: Probe::Monitor(
            "SELECT format('%I.%I', n.nspname, c.relname),
                    greatest(pg_stat_get_live_tuples(c.oid), c.reltuples::bigint, 0)::double precision,
                    'default partition of ' || t.partrelid::regclass,
                    format('ALTER TABLE %s DETACH PARTITION %I.%I;', t.partrelid::regclass, n.nspname, c.relname)
             FROM pg_partitioned_table t JOIN pg_class c ON c.oid = t.partdefid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE t.partrelid IN (to_regclass('@extschema@.entity_values_ts'), to_regclass('@extschema@.entity_values_rejected'))",
        ),
        ..RULE
    },
    Rule {
        name: "partition_stuck",
        title: "what is to be done with a partition fails again and again",
        why: "Partitions that cannot be sealed, moved or removed keep room that retention was to give back.",
        unit: "tries",
        warn: Some(3.0),
        critical: Some(100.0),
        clear: 1.0,
        lasts: 0,
        keep: 0,
        every: 60,
        place: Where::Primary,
        causes: &["worker_missing", "disk_full"],
        remedy: "The error says what is in the way; it is tried again by itself.",
        run: "SELECT partition, tries, next_try_at, last_error, in_the_way FROM @extschema@.partition_health WHERE tries > 0;",
        probe: Probe::Owner(
            "SELECT 'facts', max(s.tries)::double precision,
                    format('%s partitions, such as %s: %s', count(*), (array_agg(s.partition ORDER BY s.tries DESC))[1],
                           (array_agg(s.last_error ORDER BY s.tries DESC))[1]), NULL
             FROM @extschema@.partition_state s WHERE s.tries > 0 HAVING count(*) > 0",
        ),
        ..RULE
    },
    Rule {
        name: "partition_locks",
        title: "queries over all partitions take too many locks",
        why: "A query that leaves no partition out locks each of them and each of their indexes; when the server has no room for them, it fails.",
        unit: "share of the room for locks",
        warn: Some(0.5),
        critical: Some(0.9),
        clear: 0.45,
        lasts: 0,
        keep: 0,
        every: 60,
        remedy: "Raise max_locks_per_transaction and restart, or make longer partitions.",
        run: "SELECT parent, detail FROM @extschema@.partition_health WHERE partition IS NULL;",
        probe: Probe::Monitor(
            "SELECT p.name, p.locks / p.room, format('%s of %s locks', p.locks, p.room),
                    format('ALTER SYSTEM SET max_locks_per_transaction = %s;', 2 * current_setting('max_locks_per_transaction')::bigint)
             FROM (SELECT w.name,
                          ((SELECT count(*) FROM pg_inherits i WHERE i.inhparent = w.oid)
                              * (1 + (SELECT count(*) FROM pg_index x WHERE x.indrelid = w.oid)))::double precision AS locks,
                          current_setting('max_locks_per_transaction')::double precision
                              * (current_setting('max_connections')::integer + current_setting('max_prepared_transactions')::integer) AS room
                   FROM (VALUES ('facts', to_regclass('@extschema@.entity_values_ts')),
                                ('rejected', to_regclass('@extschema@.entity_values_rejected'))) AS w (name, oid)) p
             WHERE p.locks > p.room * 0.4",
        ),
        ..RULE
    },
    Rule {
        name: "fact_index_incomplete",
        title: "an index is missing on some partitions, or invalid",
        why: "Queries that need it read these partitions from end to end; an invalid one costs each write and helps no query.",
        unit: "partitions without it",
        warn: Some(1.0),
        clear: 1.0,
        lasts: 3600,
        keep: 0,
        every: 60,
        place: Where::Primary,
        causes: &["worker_missing", "horizon_held", "disk_full"],
        remedy: "It is built by the janitor. If nothing moves, waits_for says for whom it waits; fact_index_plan() has the statements.",
        run: "SELECT index_name, partitions, partitions_complete, working_on, done, waits_for FROM @extschema@.fact_indexes WHERE NOT is_complete;",
        probe: Probe::Monitor(
            "WITH facts AS (
                 SELECT c.oid, (SELECT count(*) FROM pg_inherits h WHERE h.inhparent = c.oid AND NOT h.inhdetachpending) AS partitions
                 FROM pg_class c WHERE c.oid = to_regclass('@extschema@.entity_values_ts'))
             SELECT c.relname::text, greatest(f.partitions - p.good, 1)::double precision,
                    format('%s of %s partitions have it', p.good, f.partitions), NULL
             FROM facts f JOIN pg_index x ON x.indrelid = f.oid JOIN pg_class c ON c.oid = x.indexrelid
             CROSS JOIN LATERAL (
                 SELECT count(*) AS good FROM pg_inherits h JOIN pg_index own ON own.indexrelid = h.inhrelid
                 WHERE h.inhparent = x.indexrelid AND own.indisvalid) p
             WHERE NOT x.indisvalid OR p.good < f.partitions
             UNION ALL
             SELECT format('%I.%I', n.nspname, c.relname), 1, 'invalid index of ' || x.indrelid::regclass,
                    format('REINDEX INDEX CONCURRENTLY %I.%I;', n.nspname, c.relname)
             FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE NOT x.indisvalid AND c.relkind = 'i' AND n.nspname = '@schema@'
               AND NOT EXISTS (SELECT FROM pg_inherits h JOIN facts f ON h.inhparent = f.oid WHERE h.inhrelid = x.indrelid)
             ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "autovacuum_behind",
        title: "autovacuum does not keep up with a table of pg_telemetry",
        why: "Dead rows make the table larger and each look at it slower.",
        unit: "times the dead rows that autovacuum allows",
        warn: Some(2.0),
        critical: Some(5.0),
        clear: 1.0,
        lasts: 1800,
        keep: 60,
        every: 60,
        place: Where::Primary,
        causes: &["horizon_held", "slot_behind"],
        remedy: "Usually an old snapshot keeps the dead rows: end it first. Then vacuum by hand, or give autovacuum more workers.",
        run: "SELECT kind, holder, held_seconds, remedy FROM @extschema@.xmin_horizon WHERE is_oldest;",
        probe: Probe::Monitor(
            "SELECT format('%I.%I', schema_name, table_name), dead_ratio,
                    format('%s dead rows, %s allowed%s%s', dead_rows, dead_rows_allowed, '; being vacuumed by process ' || running_pid,
                           CASE WHEN NOT is_enabled THEN '; autovacuum is off for it' END),
                    format('VACUUM (VERBOSE) %I.%I;', schema_name, table_name)
             FROM @extschema@.autovacuum_lag
             WHERE dead_rows >= 10000 AND schema_name = '@schema@' AND dead_ratio > 1
               -- The view looks at every table; this is less.
               AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = to_regnamespace('@extschema@') AND c.relkind = 'r'
                                                    AND pg_stat_get_dead_tuples(c.oid) >= 10000)
             ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "sequence_near_end",
        title: "a sequence is nearly used up",
        why: "When it has ended, whatever takes a value from it fails: nothing new can be registered or inserted.",
        unit: "share used up",
        warn: Some(0.75),
        critical: Some(0.9),
        clear: 0.75,
        lasts: 0,
        keep: 0,
        every: 60,
        place: Where::Primary,
        remedy: "Give it more values: the statement here says how.",
        run: "SELECT schema_name, sequence_name, used_by_table, used_ratio, remedy FROM @extschema@.sequences_health ORDER BY used_ratio DESC NULLS LAST;",
        probe: Probe::Owner(
            "SELECT format('%I.%I', schema_name, sequence_name), used_ratio,
                    format('at %s of %s%s', last_value, end_value, ', for ' || used_by_table || '.' || used_by_column), remedy
             FROM @extschema@.sequences_health WHERE NOT cycles AND used_ratio > 0 ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "horizon_held",
        title: "an old snapshot keeps vacuum from removing dead rows",
        why: "Every table of the database that is written grows as long as it is held, staging and the projection first of all.",
        unit: "seconds",
        warn: Some(HOUR),
        critical: Some(6.0 * HOUR),
        clear: HOUR,
        lasts: 0,
        keep: 0,
        remedy: "See who it is and what it would lose; then end it.",
        run: "SELECT kind, holder, pid, held_seconds, xid_age, remedy FROM @extschema@.xmin_horizon ORDER BY held_seconds DESC NULLS LAST;",
        probe: Probe::Monitor(
            "SELECT concat_ws(' ', kind, coalesce(pid::text, holder)), held_seconds,
                    format('%s, %s transactions back', holder, xid_age), remedy
             FROM @extschema@.xmin_horizon
             WHERE held_seconds IS NOT NULL AND xid_age IS NOT NULL AND kind <> 'autovacuum' ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
];
