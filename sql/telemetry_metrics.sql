-- One contract for every exporter: a name, a type, a help text, labels, a value. What is not known is left out, never zero.

CREATE FUNCTION @extschema@.flush_totals(
        OUT source text, OUT batches_total bigint, OUT rows_flushed_total bigint, OUT rows_rejected_total bigint,
        OUT wal_bytes_total bigint, OUT fallbacks_total bigint, OUT errors_total bigint, OUT partitions_created_total bigint,
        OUT counted_since_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 2
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'flush_totals_wrapper';
COMMENT ON FUNCTION @extschema@.flush_totals() IS
    'What flushes did since the server started, by workers and by SQL, in numbers that only grow; no rows without preload';
REVOKE ALL ON FUNCTION @extschema@.flush_totals() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.flush_totals() TO telemetry_reader, telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.partition_totals(
        OUT open bigint, OUT sealing bigint, OUT sealed bigint, OUT reopened bigint, OUT detach_pending bigint, OUT detached bigint,
        OUT failing bigint, OUT gaps bigint, OUT covered_until timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'partition_totals_wrapper';
COMMENT ON FUNCTION @extschema@.partition_totals() IS
    'The partitions of facts in a few numbers, as partition_state knows them; partition_health has each of them';
REVOKE ALL ON FUNCTION @extschema@.partition_totals() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.partition_totals() TO telemetry_reader, telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.telemetry_metric_sources AS
    WITH alerts AS MATERIALIZED (
        SELECT a.alert, a.severity, a.state, a.is_test FROM @extschema@.telemetry_alerts a),
    partitions AS MATERIALIZED (SELECT * FROM @extschema@.partition_totals()),
    metrics (name, type, help, labels, value) AS (
        SELECT 'pg_telemetry_info', 'gauge', 'Always 1; the versions and the role of this node as labels',
               jsonb_build_object('sql_version', w.sql_version, 'library_version', w.library_version,
                                  'node_role', CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END), 1::double precision
        FROM @extschema@.worker_status w WHERE w.worker = 'launcher'

        UNION ALL
        SELECT 'pg_telemetry_worker_up', 'gauge', 'Whether the background worker is there as it should be; absent on a standby and without preload',
               jsonb_build_object('worker', w.worker), (w.state <> 'missing')::integer
        FROM @extschema@.worker_status w WHERE w.task IS NULL AND w.state NOT IN ('standby', 'not preloaded', 'stopped', 'on demand')
        UNION ALL
        SELECT 'pg_telemetry_task_last_success_timestamp_seconds', 'gauge', 'When the task last ended well, as seconds since 1970',
               jsonb_build_object('worker', w.worker, 'task', w.task), extract(epoch FROM w.last_success_at)
        FROM @extschema@.worker_status w WHERE w.task IS NOT NULL
        UNION ALL
        SELECT 'pg_telemetry_task_consecutive_errors', 'gauge', 'Failures of the task since its last success',
               jsonb_build_object('worker', w.worker, 'task', w.task), w.consecutive_errors
        FROM @extschema@.worker_status w WHERE w.task IS NOT NULL
        UNION ALL
        SELECT 'pg_telemetry_task_errors_total', 'counter', 'Failures of the task since the server started',
               jsonb_build_object('worker', w.worker, 'task', w.task), w.errors_total
        FROM @extschema@.worker_status w WHERE w.task IS NOT NULL

        UNION ALL
        SELECT 'pg_telemetry_staging_rows', 'gauge', 'Readings that wait in the staging table; estimated when there are many',
               jsonb_build_object('door', b.door), b.rows_waiting
        FROM @extschema@.staging_backlog b
        UNION ALL
        SELECT 'pg_telemetry_staging_bytes', 'gauge', 'Size of the staging table on disk',
               jsonb_build_object('door', b.door), b.bytes
        FROM @extschema@.staging_backlog b
        UNION ALL
        SELECT 'pg_telemetry_staging_oldest_timestamp_seconds', 'gauge', 'Ingestion time of the oldest reading that waits; absent when none does',
               jsonb_build_object('door', b.door), extract(epoch FROM b.oldest_at)
        FROM @extschema@.staging_backlog b
        UNION ALL
        SELECT 'pg_telemetry_staging_exposed_rows', 'gauge', 'Readings that a crash at this moment would lose',
               jsonb_build_object('door', b.door), b.exposed_rows
        FROM @extschema@.staging_backlog b
        UNION ALL
        SELECT 'pg_telemetry_staging_pinned_bytes', 'gauge', 'Room of moved readings that a snapshot or slot keeps from being used again',
               jsonb_build_object('door', b.door), b.pinned_bytes
        FROM @extschema@.staging_backlog b
        UNION ALL
        SELECT 'pg_telemetry_staging_paused', 'gauge', 'Whether flushing is paused',
               jsonb_build_object('door', b.door), (b.paused_at IS NOT NULL)::integer
        FROM @extschema@.staging_backlog b

        UNION ALL
        SELECT 'pg_telemetry_flush_batches_total', 'counter', 'Flushes that moved readings or left some waiting',
               jsonb_build_object('source', f.source), f.batches_total
        FROM @extschema@.flush_totals() f
        UNION ALL
        SELECT 'pg_telemetry_flush_rows_total', 'counter', 'Readings that reached facts',
               jsonb_build_object('source', f.source), f.rows_flushed_total
        FROM @extschema@.flush_totals() f
        UNION ALL
        SELECT 'pg_telemetry_flush_rejected_rows_total', 'counter', 'Readings that were rejected',
               jsonb_build_object('source', f.source), f.rows_rejected_total
        FROM @extschema@.flush_totals() f
        UNION ALL
        SELECT 'pg_telemetry_flush_wal_bytes_total', 'counter', 'WAL that flushes wrote',
               jsonb_build_object('source', f.source), f.wal_bytes_total
        FROM @extschema@.flush_totals() f
        UNION ALL
        SELECT 'pg_telemetry_flush_fallbacks_total', 'counter', 'Times that a staging table or a partition went by SQL because the direct way was not open',
               jsonb_build_object('source', f.source), f.fallbacks_total
        FROM @extschema@.flush_totals() f
        UNION ALL
        SELECT 'pg_telemetry_flush_errors_total', 'counter', 'Flushes that were rolled back',
               jsonb_build_object('source', f.source), f.errors_total
        FROM @extschema@.flush_totals() f

        UNION ALL
        SELECT 'pg_telemetry_partitions_known', 'gauge', 'Partitions of facts, by state',
               jsonb_build_object('state', s.state), s.count
        FROM partitions p,
             LATERAL (VALUES ('open', p.open), ('sealing', p.sealing), ('sealed', p.sealed), ('reopened', p.reopened),
                             ('detach pending', p.detach_pending), ('detached', p.detached)) s (state, count)
        UNION ALL
        SELECT 'pg_telemetry_partition_failures', 'gauge', 'Partitions with which something failed that is tried again', '{}', p.failing
        FROM partitions p
        UNION ALL
        SELECT 'pg_telemetry_partition_gaps', 'gauge', 'Stretches of time between partitions of facts that have none', '{}', p.gaps
        FROM partitions p
        UNION ALL
        SELECT 'pg_telemetry_partition_coverage_seconds', 'gauge', 'How far from now on there is a partition of facts for every time; 0: not even for now', '{}',
               CASE WHEN p.gaps IS NOT NULL THEN coalesce(extract(epoch FROM p.covered_until - now()), 0) END
        FROM partitions p

        UNION ALL
        SELECT 'pg_telemetry_freshness_lag_seconds', 'gauge', 'How old the data of this node are at most; absent when that is not known',
               '{}', f.lag_seconds
        FROM @extschema@.freshness() f
        UNION ALL
        SELECT 'pg_telemetry_freshness_state', 'gauge', '1 for the verdict on how fresh this node is, 0 for the others',
               jsonb_build_object('verdict', v.verdict), (v.verdict = f.verdict)::integer
        FROM @extschema@.freshness() f, unnest(ARRAY['fresh', 'stale', 'disconnected', 'paused', 'skewed', 'unknown']) v (verdict)
        UNION ALL
        SELECT 'pg_telemetry_standby_replay_lag_bytes', 'gauge', 'WAL that the standby has not replayed',
               jsonb_build_object('standby', r.standby), sum(r.replay_lag_bytes)
        FROM @extschema@.replication_lag r GROUP BY r.standby
        UNION ALL
        SELECT 'pg_telemetry_standby_replay_lag_seconds', 'gauge', 'Everything older than this is replayed by the standby',
               jsonb_build_object('standby', r.standby), max(r.replay_lag_seconds)
        FROM @extschema@.replication_lag r GROUP BY r.standby
        UNION ALL
        SELECT 'pg_telemetry_slot_retained_bytes', 'gauge', 'WAL that is kept for the replication slot',
               jsonb_build_object('slot', s.slot_name), s.retained_bytes
        FROM @extschema@.replication_slots_health s
        UNION ALL
        SELECT 'pg_telemetry_slot_left_seconds', 'gauge', 'Until the slot is lost or the disk is full, if its consumer does not move; absent when it moves',
               jsonb_build_object('slot', s.slot_name), s.seconds_left
        FROM @extschema@.replication_slots_health s
        UNION ALL
        SELECT 'pg_telemetry_slot_lost', 'gauge', 'Whether the slot has lost WAL that its consumer needs',
               jsonb_build_object('slot', s.slot_name), (s.verdict = 'lost')::integer
        FROM @extschema@.replication_slots_health s

        UNION ALL
        SELECT 'pg_telemetry_connections_used', 'gauge', 'Sessions of clients', '{}', c.used_connections
        FROM @extschema@.connection_saturation c WHERE c.scope = 'server'
        UNION ALL
        SELECT 'pg_telemetry_connections_usable', 'gauge', 'Sessions that clients may have', '{}', c.usable_connections
        FROM @extschema@.connection_saturation c WHERE c.scope = 'server'
        UNION ALL
        SELECT 'pg_telemetry_connections_idle_in_transaction', 'gauge', 'Sessions that wait for their client inside a transaction', '{}',
               c.idle_in_transaction_connections
        FROM @extschema@.connection_saturation c WHERE c.scope = 'server'
        UNION ALL
        SELECT 'pg_telemetry_blocked_sessions', 'gauge', 'Sessions that wait for a lock', '{}', count(DISTINCT b.blocked_pid)
        FROM @extschema@.blocking b
        UNION ALL
        SELECT 'pg_telemetry_blocked_longest_seconds', 'gauge', 'How long the one that has waited longest has waited; absent when none waits',
               '{}', max(b.waited_seconds)
        FROM @extschema@.blocking b
        UNION ALL
        SELECT 'pg_telemetry_horizon_age_xids', 'gauge', 'Transactions begun since the oldest that some holder of this kind may still see',
               jsonb_build_object('kind', x.kind), max(x.xid_age)
        FROM @extschema@.xmin_horizon x GROUP BY x.kind
        UNION ALL
        SELECT 'pg_telemetry_wraparound_used_ratio', 'gauge', 'Share of the transaction ids that the oldest database has used up', '{}',
               max(w.xid_used_ratio)
        FROM @extschema@.wraparound w WHERE w.scope = 'database'
        UNION ALL
        SELECT 'pg_telemetry_wal_bytes_total', 'counter', 'WAL that this server wrote since its statistics were reset', '{}', w.bytes_total
        FROM @extschema@.wal_activity w
        UNION ALL
        SELECT 'pg_telemetry_wal_directory_bytes', 'gauge', 'Size of pg_wal', '{}', w.directory_bytes
        FROM @extschema@.wal_activity w
        UNION ALL
        SELECT 'pg_telemetry_checkpoints_total', 'counter', 'Checkpoints, by what made them come',
               jsonb_build_object('reason', r.reason), CASE r.reason WHEN 'timed' THEN c.timed_total ELSE c.requested_total END
        FROM @extschema@.checkpoint_activity c, unnest(ARRAY['timed', 'requested']) r (reason)
        UNION ALL
        SELECT 'pg_telemetry_archiver_failing', 'gauge', 'Whether the last attempt to archive WAL failed; absent when nothing is to be archived',
               '{}', CASE WHEN a.verdict <> 'off' THEN (a.verdict = 'failing')::integer END
        FROM @extschema@.archiver_health a
        UNION ALL
        SELECT 'pg_telemetry_archiver_waiting_segments', 'gauge', 'Segments of WAL that wait to be archived', '{}',
               CASE WHEN a.verdict <> 'off' THEN a.waiting_segments END
        FROM @extschema@.archiver_health a
        UNION ALL
        SELECT 'pg_telemetry_alerts_count', 'gauge', 'Alerts in each state: one for each object that is not well, and one for each alert that is',
               jsonb_build_object('state', s.state), (SELECT count(*) FROM alerts a WHERE a.state = s.state AND NOT a.is_test)
        FROM unnest(ARRAY['ok', 'pending', 'firing', 'resolved', 'silenced', 'unknown']) s (state)
        UNION ALL
        SELECT 'pg_telemetry_alert_firing', 'gauge', 'How often the alert fires; absent while it does not. Those of test_alert() say so',
               jsonb_build_object('alert', a.alert, 'severity', a.severity, 'test', a.is_test::text), count(*)
        FROM alerts a WHERE a.state = 'firing' GROUP BY a.alert, a.severity, a.is_test

        UNION ALL
        SELECT 'pg_telemetry_settings_pending', 'gauge', 'Settings that wait for a restart', '{}', count(*)
        FROM @extschema@.settings_pending)
    SELECT name, type, help, labels, value FROM metrics WHERE value IS NOT NULL;
COMMENT ON VIEW @extschema@.telemetry_metric_sources IS
    'Where telemetry_metrics takes its rows from; to be asked there, as planning this costs more than running it';
COMMENT ON COLUMN @extschema@.telemetry_metric_sources.name IS 'as in telemetry_metrics';
COMMENT ON COLUMN @extschema@.telemetry_metric_sources.type IS 'as in telemetry_metrics';
COMMENT ON COLUMN @extschema@.telemetry_metric_sources.help IS 'as in telemetry_metrics';
COMMENT ON COLUMN @extschema@.telemetry_metric_sources.labels IS 'as in telemetry_metrics';
COMMENT ON COLUMN @extschema@.telemetry_metric_sources.value IS 'as in telemetry_metrics';
GRANT SELECT ON @extschema@.telemetry_metric_sources TO telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.telemetry_metrics_rows(
        OUT name text, OUT type text, OUT help text, OUT labels jsonb, OUT value double precision)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'telemetry_metrics_rows_wrapper';
COMMENT ON FUNCTION @extschema@.telemetry_metrics_rows() IS 'The rows of the view telemetry_metrics';
REVOKE ALL ON FUNCTION @extschema@.telemetry_metrics_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.telemetry_metrics_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.telemetry_metrics AS
    SELECT name, type, help, labels, value FROM @extschema@.telemetry_metrics_rows();
COMMENT ON VIEW @extschema@.telemetry_metrics IS
    'Every figure for exporters, in one shape: the names and labels are a contract. What is not known is absent. No tenants and no texts of queries';
COMMENT ON COLUMN @extschema@.telemetry_metrics.name IS 'by the conventions of Prometheus: unit at the end, _total when it only grows';
COMMENT ON COLUMN @extschema@.telemetry_metrics.type IS 'gauge or counter';
COMMENT ON COLUMN @extschema@.telemetry_metrics.help IS 'what it says, in a sentence';
COMMENT ON COLUMN @extschema@.telemetry_metrics.labels IS 'names to values; the same names for all rows of one metric';
COMMENT ON COLUMN @extschema@.telemetry_metrics.value IS 'the figure; times are seconds since 1970';
GRANT SELECT ON @extschema@.telemetry_metrics TO telemetry_admin, pg_monitor;
