//! Standbys, slots and the archive.

use super::{HOUR, MINUTE, Probe, RULE, Rule, Where};
use crate::alert::machine::Worse;

pub const RULES: &[Rule] = &[
    Rule {
        name: "replica_cut",
        title: "a standby has left its replication slot",
        why: "The standby gets older by the second, and WAL is kept for it until the disk is full or the slot is lost.",
        unit: "seconds",
        warn: Some(MINUTE),
        critical: Some(HOUR),
        clear: 30.0,
        lasts: 30,
        keep: 0,
        remedy: "See on the standby why it does not connect: network, password, primary_conninfo. If it is gone for good, drop its slot.",
        run: "SELECT slot_name, active, inactive_since, retained_bytes, wal_status, remedy FROM @extschema@.replication_slots_health;",
        // Since when is not always known; that it is so is.
        probe: Probe::Monitor(
            "SELECT slot_name, coalesce(extract(epoch FROM clock_timestamp() - inactive_since)::double precision, 60),
                    format('%s of WAL are kept for it', pg_size_pretty(retained_bytes)), format('SELECT pg_drop_replication_slot(%L);', slot_name)
             FROM @extschema@.replication_slots_health
             WHERE kind = 'physical' AND NOT active AND synced IS NOT TRUE AND retained_bytes IS NOT NULL AND verdict <> 'lost'
             ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "slot_behind",
        title: "the consumer of a logical slot is far behind or away",
        why: "WAL and old catalog rows are kept for it; a limit on WAL makes it lose its place, no limit fills the disk.",
        unit: "seconds",
        warn: Some(10.0 * MINUTE),
        critical: Some(HOUR),
        clear: 5.0 * MINUTE,
        lasts: 30,
        keep: 30,
        remedy: "Start its consumer, or see why it does not confirm what it reads. Drop the slot if nobody needs it any more.",
        run: "SELECT slot_name, active, lag_seconds, retained_bytes, verdict, remedy FROM @extschema@.replication_slots_health;",
        probe: Probe::Monitor(
            "SELECT slot_name,
                    greatest(lag_seconds, extract(epoch FROM clock_timestamp() - inactive_since)::double precision, 0),
                    format('%s of WAL are kept for it; it is %s', pg_size_pretty(retained_bytes),
                           CASE WHEN active THEN 'being read' ELSE 'not being read' END),
                    CASE WHEN NOT active THEN format('SELECT pg_drop_replication_slot(%L);', slot_name) END
             FROM @extschema@.replication_slots_health
             WHERE kind = 'logical' AND synced IS NOT TRUE AND verdict <> 'lost' ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "slot_room",
        title: "a slot will soon be lost, or fill the disk",
        why: "At the rate at which WAL is written, its limit or the disk is reached soon.",
        unit: "seconds left",
        worse: Worse::Lower,
        warn: Some(HOUR),
        critical: Some(10.0 * MINUTE),
        clear: 2.0 * HOUR,
        lasts: 0,
        keep: 30,
        remedy: "Start its consumer now; or raise max_slot_wal_keep_size, add disk, or drop the slot.",
        run: "SELECT slot_name, active, seconds_left, retained_bytes, wal_status, remedy FROM @extschema@.replication_slots_health;",
        probe: Probe::Monitor(
            "SELECT slot_name, seconds_left, remedy, NULL FROM @extschema@.replication_slots_health
             WHERE seconds_left < 86400 AND verdict <> 'lost' ORDER BY 2 LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "slot_lost",
        title: "a slot has lost WAL that its consumer needs",
        why: "The consumer cannot go on from where it was; it needs a new copy of the data.",
        unit: "slots",
        critical: Some(1.0),
        clear: 1.0,
        lasts: 0,
        keep: 0,
        remedy: "Drop the slot and set its consumer up anew.",
        run: "SELECT slot_name, wal_status, invalidation_reason, remedy FROM @extschema@.replication_slots_health WHERE verdict = 'lost';",
        probe: Probe::Monitor(
            "SELECT slot_name, 1::double precision, coalesce(invalidation_reason, wal_status), format('SELECT pg_drop_replication_slot(%L);', slot_name)
             FROM @extschema@.replication_slots_health WHERE verdict = 'lost' AND synced IS NOT TRUE LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "replica_behind",
        title: "a standby replays far behind",
        why: "Reads there are old, and a failover to it would take long or lose what it has not received.",
        unit: "seconds",
        warn: Some(30.0),
        critical: Some(5.0 * MINUTE),
        clear: 15.0,
        lasts: 30,
        keep: 30,
        place: Where::Anywhere,
        remedy: "See at which stage it lags: sent is the network, write and flush are its disk, replay is a query in the way or a slow CPU.",
        run: "SELECT standby, state, sent_lag_bytes, flush_lag_bytes, replay_lag_bytes, replay_lag_seconds FROM @extschema@.replication_lag;",
        probe: Probe::Monitor(
            "SELECT concat_ws(' ', standby, client_addr), replay_lag_seconds, format('%s of WAL not replayed', pg_size_pretty(replay_lag_bytes)), NULL
             FROM @extschema@.replication_lag WHERE replay_lag_seconds IS NOT NULL ORDER BY 2 DESC LIMIT 20",
        ),
        ..RULE
    },
    Rule {
        name: "sync_standby_missing",
        title: "commits wait for a synchronous standby that is not there",
        why: "Every commit hangs until it comes back: of clients, and of the workers.",
        unit: "1 while it is so",
        critical: Some(1.0),
        clear: 1.0,
        lasts: 10,
        keep: 0,
        place: Where::Primary,
        remedy: "Bring the standby back, or name another one in synchronous_standby_names; empty, nobody is waited for.",
        run: "SELECT application_name, state, sync_state FROM pg_catalog.pg_stat_replication;",
        probe: Probe::Monitor(
            "SELECT '', 1::double precision, 'synchronous_standby_names is ' || current_setting('synchronous_standby_names'),
                    'ALTER SYSTEM SET synchronous_standby_names = ''''; SELECT pg_reload_conf();'
             WHERE current_setting('synchronous_standby_names') <> ''
               AND NOT EXISTS (SELECT FROM pg_stat_replication r WHERE r.sync_state IN ('sync', 'quorum') AND r.state = 'streaming')",
        ),
        ..RULE
    },
    Rule {
        name: "replica_disconnected",
        title: "this standby does not hear its upstream server",
        why: "What is read here gets older by the second, and what the primary commits is not safe here.",
        unit: "1 while it is so",
        critical: Some(1.0),
        clear: 1.0,
        lasts: 10,
        keep: 0,
        place: Where::Standby,
        remedy: "See in the log of this standby why it does not connect.",
        run: "SELECT verdict, detail, receiver_state, last_message_seconds FROM @extschema@.freshness();",
        probe: Probe::Monitor(
            "SELECT '', 1::double precision, detail, NULL FROM @extschema@.freshness() WHERE verdict = 'disconnected'",
        ),
        ..RULE
    },
    Rule {
        name: "replica_stale",
        title: "the data of this standby are old",
        why: "Whoever reads here gets what was true some time ago; can_serve() refuses.",
        unit: "seconds",
        warn: Some(30.0),
        critical: Some(5.0 * MINUTE),
        clear: 15.0,
        lasts: 0,
        keep: 0,
        place: Where::Standby,
        causes: &["replica_disconnected", "replay_paused"],
        remedy: "See whether it receives and replays. Without a heartbeat of the primary the age cannot be known: pg_telemetry.heartbeat.",
        run: "SELECT * FROM @extschema@.freshness();",
        probe: Probe::Monitor("SELECT '', lag_seconds, concat_ws(': ', verdict, detail), NULL FROM @extschema@.freshness()"),
        ..RULE
    },
    Rule {
        name: "replay_paused",
        title: "replay is paused on this standby",
        why: "It receives WAL and shows none of it, and WAL piles up on its disk.",
        unit: "1 while it is so",
        warn: Some(1.0),
        clear: 1.0,
        lasts: 60,
        keep: 0,
        place: Where::Standby,
        remedy: "Resume it, unless somebody needs it to stand still.",
        run: "SELECT pg_catalog.pg_wal_replay_resume();",
        probe: Probe::Monitor("SELECT '', 1::double precision, detail, NULL FROM @extschema@.freshness() WHERE replay_paused"),
        ..RULE
    },
    Rule {
        name: "archiver_failing",
        title: "WAL does not reach the archive",
        why: "Point-in-time recovery ends where the archive does, and WAL that is not archived fills the disk.",
        unit: "seconds without success",
        warn: Some(1.0),
        critical: Some(HOUR),
        clear: 1.0,
        lasts: 60,
        keep: 0,
        causes: &["disk_full"],
        remedy: "The server log has what archive_command or archive_library said.",
        run: "SELECT last_archived_at, last_failed_wal, last_failed_at, waiting_segments, remedy FROM @extschema@.archiver_health;",
        probe: Probe::Monitor(
            "SELECT '', CASE WHEN verdict = 'failing'
                             THEN greatest(coalesce(exposed_seconds, extract(epoch FROM clock_timestamp() - last_failed_at)::double precision), 1)
                             WHEN verdict <> 'unknown' THEN 0 END,
                    format('%s failed last, %s segments wait', last_failed_wal, waiting_segments), NULL
             FROM @extschema@.archiver_health WHERE verdict <> 'off'",
        ),
        ..RULE
    },
    Rule {
        name: "archiver_behind",
        title: "archiving is slower than WAL is written",
        why: "The more waits, the more is lost with this server, and the more disk it takes.",
        unit: "segments",
        warn: Some(64.0),
        critical: Some(1024.0),
        clear: 16.0,
        lasts: 60,
        keep: 60,
        causes: &["archiver_failing"],
        remedy: "Look at the network and the disk of the archive; a library that archives several at once helps.",
        run: "SELECT waiting_segments, waiting_bytes, exposed_seconds FROM @extschema@.archiver_health;",
        probe: Probe::Monitor(
            "SELECT '', waiting_segments::double precision, format('%s wait', pg_size_pretty(waiting_bytes::bigint)), NULL
             FROM @extschema@.archiver_health WHERE verdict <> 'off' AND waiting_segments > 0",
        ),
        ..RULE
    },
];
