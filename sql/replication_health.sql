-- Who replicates from this node, and how far behind they are. Both views work on any node.

CREATE FUNCTION @extschema@.replication_lag_rows(
        OUT standby text,
        OUT client_addr text,
        OUT state text,
        OUT sync_state text,
        OUT slot_name text,
        OUT sent_lag_bytes bigint,
        OUT write_lag_bytes bigint,
        OUT flush_lag_bytes bigint,
        OUT replay_lag_bytes bigint,
        OUT sent_lag_seconds double precision,
        OUT write_lag_seconds double precision,
        OUT flush_lag_seconds double precision,
        OUT replay_lag_seconds double precision)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 5
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'replication_lag_rows_wrapper';
COMMENT ON FUNCTION @extschema@.replication_lag_rows() IS 'The rows of the view replication_lag';
REVOKE ALL ON FUNCTION @extschema@.replication_lag_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.replication_lag_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.replication_lag AS
    SELECT standby, client_addr, state, sync_state, slot_name, sent_lag_bytes, write_lag_bytes, flush_lag_bytes, replay_lag_bytes, sent_lag_seconds, write_lag_seconds, flush_lag_seconds, replay_lag_seconds
    FROM @extschema@.replication_lag_rows();
COMMENT ON VIEW @extschema@.replication_lag IS
    'Standbys that stream from this node: what they lack at each stage, in bytes and in true seconds, by the heartbeat';
COMMENT ON COLUMN @extschema@.replication_lag.standby IS 'its application_name, by default its cluster_name';
COMMENT ON COLUMN @extschema@.replication_lag.client_addr IS 'where it connects from; NULL: a local socket';
COMMENT ON COLUMN @extschema@.replication_lag.state IS 'streaming, catchup or startup';
COMMENT ON COLUMN @extschema@.replication_lag.sync_state IS 'async, potential, sync or quorum';
COMMENT ON COLUMN @extschema@.replication_lag.slot_name IS 'the slot that it uses; NULL: none';
COMMENT ON COLUMN @extschema@.replication_lag.sent_lag_bytes IS 'WAL of this node that is not yet sent to it; NULL: it has not said';
COMMENT ON COLUMN @extschema@.replication_lag.write_lag_bytes IS 'WAL of this node that is not yet written by it; NULL: it has not said';
COMMENT ON COLUMN @extschema@.replication_lag.flush_lag_bytes IS 'WAL of this node that is not yet flushed by it to disk; NULL: it has not said';
COMMENT ON COLUMN @extschema@.replication_lag.replay_lag_bytes IS 'WAL of this node that is not yet replayed by it; NULL: it has not said';
COMMENT ON COLUMN @extschema@.replication_lag.sent_lag_seconds IS 'everything older than this is sent to it; NULL: the heartbeat does not reach back that far';
COMMENT ON COLUMN @extschema@.replication_lag.write_lag_seconds IS 'everything older than this is written by it; NULL: the heartbeat does not reach back that far';
COMMENT ON COLUMN @extschema@.replication_lag.flush_lag_seconds IS 'everything older than this is flushed by it to disk; NULL: the heartbeat does not reach back that far';
COMMENT ON COLUMN @extschema@.replication_lag.replay_lag_seconds IS 'everything older than this is replayed by it; NULL: the heartbeat does not reach back that far';
GRANT SELECT ON @extschema@.replication_lag TO telemetry_admin, pg_monitor;

CREATE FUNCTION @extschema@.replication_slots_health_rows(
        OUT slot_name text,
        OUT kind text,
        OUT plugin text,
        OUT database text,
        OUT consumer text,
        OUT active boolean,
        OUT inactive_since timestamptz,
        OUT failover boolean,
        OUT synced boolean,
        OUT wal_status text,
        OUT invalidation_reason text,
        OUT retained_bytes bigint,
        OUT lag_bytes bigint,
        OUT lag_seconds double precision,
        OUT catalog_xmin_age bigint,
        OUT wal_bytes_per_second double precision,
        OUT seconds_left double precision,
        OUT verdict text,
        OUT remedy text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 5
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'replication_slots_health_rows_wrapper';
COMMENT ON FUNCTION @extschema@.replication_slots_health_rows() IS 'The rows of the view replication_slots_health';
REVOKE ALL ON FUNCTION @extschema@.replication_slots_health_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @extschema@.replication_slots_health_rows() TO telemetry_admin, pg_monitor;

CREATE VIEW @extschema@.replication_slots_health AS
    SELECT slot_name, kind, plugin, database, consumer, active, inactive_since, failover, synced, wal_status, invalidation_reason, retained_bytes, lag_bytes, lag_seconds, catalog_xmin_age, wal_bytes_per_second, seconds_left, verdict, remedy
    FROM @extschema@.replication_slots_health_rows();
COMMENT ON VIEW @extschema@.replication_slots_health IS
    'Replication slots of this server: what they hold back, for how long, and what to do';
COMMENT ON COLUMN @extschema@.replication_slots_health.slot_name IS 'name of the slot';
COMMENT ON COLUMN @extschema@.replication_slots_health.kind IS 'physical or logical';
COMMENT ON COLUMN @extschema@.replication_slots_health.plugin IS 'output plugin of a logical slot';
COMMENT ON COLUMN @extschema@.replication_slots_health.database IS 'database of a logical slot';
COMMENT ON COLUMN @extschema@.replication_slots_health.consumer IS 'application_name and address of who reads it now; NULL: nobody';
COMMENT ON COLUMN @extschema@.replication_slots_health.active IS 'whether somebody reads it now';
COMMENT ON COLUMN @extschema@.replication_slots_health.inactive_since IS 'since when nobody does, or since when it was not synchronised; before PostgreSQL 17 estimated from its position';
COMMENT ON COLUMN @extschema@.replication_slots_health.failover IS 'whether standbys may synchronise it; NULL before PostgreSQL 17';
COMMENT ON COLUMN @extschema@.replication_slots_health.synced IS 'whether it was synchronised from the primary; NULL before PostgreSQL 17';
COMMENT ON COLUMN @extschema@.replication_slots_health.wal_status IS 'reserved, extended, unreserved or lost, as in pg_replication_slots';
COMMENT ON COLUMN @extschema@.replication_slots_health.invalidation_reason IS 'why the server has given it up, before PostgreSQL 17 only that a standby had to; NULL: it has not, or wal_status tells';
COMMENT ON COLUMN @extschema@.replication_slots_health.retained_bytes IS 'WAL that is kept for it';
COMMENT ON COLUMN @extschema@.replication_slots_health.lag_bytes IS 'WAL that its consumer has not confirmed';
COMMENT ON COLUMN @extschema@.replication_slots_health.lag_seconds IS 'everything older than this is confirmed; at least this much where the heartbeat does not reach back that far, NULL: there is none';
COMMENT ON COLUMN @extschema@.replication_slots_health.catalog_xmin_age IS 'transactions since the oldest that it keeps the catalogs for';
COMMENT ON COLUMN @extschema@.replication_slots_health.wal_bytes_per_second IS 'WAL that this server writes, over five minutes or as long as is known; NULL: not known for a minute yet';
COMMENT ON COLUMN @extschema@.replication_slots_health.seconds_left IS 'until it is lost or, without max_slot_wal_keep_size, until the disk is full, if its consumer does not move; NULL: it moves, or not known';
COMMENT ON COLUMN @extschema@.replication_slots_health.verdict IS 'ok, warning, critical or lost';
COMMENT ON COLUMN @extschema@.replication_slots_health.remedy IS 'what to do';
GRANT SELECT ON @extschema@.replication_slots_health TO telemetry_admin, pg_monitor;
