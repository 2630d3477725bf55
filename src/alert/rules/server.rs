//! The server around the readings.

use super::{Code, MINUTE, Probe, RULE, Rule, Where};
use crate::alert::machine::Worse;

pub const RULES: &[Rule] = &[
    Rule {
        name: "blocking",
        title: "sessions wait long for a lock",
        why: "Whoever needs that lock hangs, and so does everybody who comes behind them.",
        unit: "seconds",
        warn: Some(30.0),
        critical: Some(5.0 * MINUTE),
        clear: 1.0,
        lasts: 0,
        keep: 10,
        remedy: "The one named here waits for nobody itself. See what it does and what it would lose; then end it.",
        run: "SELECT blocked_pid, root_pid, waited_seconds, relation, root_state, root_transaction_seconds, remedy FROM @extschema@.blocking;",
        probe: Probe::Monitor(
            "SELECT coalesce('process ' || root_pid, 'prepared transaction'), max(waited_seconds),
                    format('%s sessions wait for it%s; it is %s', count(DISTINCT blocked_pid),
                           ', for ' || string_agg(DISTINCT relation, ', '), coalesce(max(root_state), 'at work')), max(remedy)
             FROM @extschema@.blocking GROUP BY root_pid HAVING max(waited_seconds) IS NOT NULL ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "idle_in_transaction",
        title: "a session is idle inside a transaction",
        why: "Its locks and its snapshot stay: others wait, and dead rows cannot be removed.",
        unit: "seconds",
        warn: Some(5.0 * MINUTE),
        critical: Some(15.0 * MINUTE),
        clear: 5.0 * MINUTE,
        lasts: 0,
        keep: 0,
        remedy: "Have the application commit; end the session if it was forgotten. idle_in_transaction_session_timeout does so by itself.",
        run: "SELECT pid, application_name, xact_start, state FROM pg_catalog.pg_stat_activity WHERE state LIKE 'idle in transaction%';",
        probe: Probe::Monitor(
            "SELECT 'process ' || a.pid, extract(epoch FROM clock_timestamp() - a.state_change)::double precision,
                    format('%s as %s, transaction began %s', coalesce(nullif(a.application_name, ''), 'a client'), a.usename,
                           date_trunc('second', a.xact_start)),
                    format('SELECT pg_terminate_backend(%s);', a.pid)
             FROM pg_stat_activity a
             WHERE a.datname = current_database() AND a.state LIKE 'idle in transaction%' ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "connections_used",
        title: "connections are nearly used up",
        why: "When they are, clients are refused, and so is whoever wants to see why.",
        unit: "share in use",
        warn: Some(0.75),
        critical: Some(0.9),
        clear: 0.7,
        lasts: 30,
        keep: 30,
        remedy: "See who has them; a pooler such as PgBouncer in front makes do with a few.",
        run: "SELECT scope, name, used_connections, usable_connections, active_connections, idle_connections FROM @extschema@.connection_saturation;",
        probe: Probe::Monitor(
            "SELECT concat_ws(' ', scope, name), used_ratio, format('%s of %s', used_connections, usable_connections), NULL
             FROM @extschema@.connection_saturation WHERE used_ratio IS NOT NULL AND used_connections > 2 ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "wraparound_near",
        title: "transaction ids are running out",
        why: "At the end the server refuses every write until it has been vacuumed.",
        unit: "share used up",
        warn: Some(0.5),
        critical: Some(0.75),
        clear: 0.5,
        lasts: 0,
        keep: 0,
        every: 60,
        remedy: "Find what keeps vacuum from freezing (horizon_held, horizon_old), then VACUUM (FREEZE) the oldest tables of that database.",
        run: "SELECT scope, name, xid_used_ratio, multixact_used_ratio, remedy FROM @extschema@.wraparound ORDER BY 3 DESC;",
        probe: Probe::Monitor(
            "SELECT name, greatest(xid_used_ratio, multixact_used_ratio), format('%s transactions, %s multixacts', xid_age, multixact_age), NULL
             FROM @extschema@.wraparound WHERE scope = 'database' ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "freeze_overdue",
        title: "a database is older than autovacuum should let it become",
        why: "Autovacuum freezes at that age whatever else it has to do; when it does not get there, something keeps it from it.",
        unit: "times the age at which autovacuum must freeze",
        warn: Some(1.1),
        critical: Some(1.25),
        clear: 1.1,
        lasts: 0,
        keep: 0,
        every: 60,
        causes: &["wraparound_near", "horizon_old"],
        remedy: "End what xmin_horizon names in that database; autovacuum then comes by itself, or run VACUUM (FREEZE) there.",
        run: "SELECT scope, name, xid_freeze_ratio, multixact_freeze_ratio, remedy FROM @extschema@.wraparound ORDER BY 3 DESC;",
        probe: Probe::Monitor(
            "SELECT name, greatest(xid_freeze_ratio, multixact_freeze_ratio), format('%s transactions, %s multixacts', xid_age, multixact_age), NULL
             FROM @extschema@.wraparound WHERE scope = 'database' ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "horizon_old",
        title: "an old transaction is many transactions behind",
        why: "No row that died since can be removed, and no older transaction id be frozen.",
        unit: "transactions",
        warn: Some(10_000_000.0),
        critical: Some(100_000_000.0),
        clear: 10_000_000.0,
        lasts: 0,
        keep: 0,
        remedy: "See who it is and what it would lose; then end it.",
        run: "SELECT kind, holder, pid, xid_age, held_seconds, remedy FROM @extschema@.xmin_horizon ORDER BY xid_age DESC NULLS LAST;",
        probe: Probe::Monitor(
            "SELECT concat_ws(' ', kind, coalesce(pid::text, holder)), greatest(xid_age, catalog_xid_age)::double precision, holder, remedy
             FROM @extschema@.xmin_horizon WHERE greatest(xid_age, catalog_xid_age) > 0 ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "disk_full",
        title: "a disk is nearly full",
        why: "A full disk stops flushing; one that holds the WAL stops the server.",
        unit: "share free",
        worse: Worse::Lower,
        warn: Some(0.2),
        critical: Some(0.1),
        clear: 0.22,
        lasts: 0,
        keep: 30,
        remedy: "Remove what retention allows, move old partitions to another tablespace, find what keeps WAL (slots, the archiver), or add disk.",
        run: "SELECT partition, bytes, leaves_as FROM @extschema@.partition_health ORDER BY bytes DESC NULLS LAST LIMIT 10;",
        probe: Probe::Code(Code::Disks),
        ..RULE
    },
    Rule {
        name: "settings_pending",
        title: "changed settings wait for a restart",
        why: "What the files say is not what the server does, and the next restart, perhaps at night, will change it.",
        unit: "seconds",
        warn: Some(3600.0),
        clear: 1.0,
        lasts: 0,
        keep: 0,
        every: 60,
        remedy: "Plan a restart, or take the change back and reload.",
        run: "SELECT name, value_now, source_file, source_line, remedy FROM @extschema@.settings_pending;",
        probe: Probe::Monitor(
            "SELECT '', max(noticed_seconds), string_agg(name, ', ' ORDER BY name), NULL FROM @extschema@.settings_pending HAVING count(*) > 0",
        ),
        ..RULE
    },
    Rule {
        name: "clock_jumped",
        title: "the clock of this server was changed by more than a little",
        why: "Readings are stored by time: those of now may seem to come from the past or the future, and be refused.",
        unit: "seconds",
        warn: Some(5.0),
        critical: Some(60.0),
        clear: 1.0,
        lasts: 0,
        keep: 600,
        place: Where::Primary,
        remedy: "See what sets the clock: chrony or ntpd should slew it, not step it. Readings with odd times are in entity_values_rejected.",
        run: "SELECT clock_timestamp(), max(written_at) AS newest_heartbeat FROM @extschema@.replication_heartbeat;",
        probe: Probe::Code(Code::Clock),
        ..RULE
    },
];
