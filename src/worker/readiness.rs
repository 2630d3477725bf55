//! Whether the data tables are all there and filled. While a dump is being restored they are not: a worker that moved rows
//! or made partitions then would collide with the restore.

use crate::error::Error;
use crate::installed::Installed;
use crate::sql::{argument, read, value};

/// None when workers may work; otherwise what they wait for.
///
/// A dump brings keys and triggers last, after all rows of their table; so as long as one of them is missing, the data of
/// that table may still be on its way. pg_restore with several jobs may even truncate a table that it is about to fill:
/// so nothing is touched while one is connected.
pub fn waits_for(installed: &Installed) -> Result<Option<String>, Error> {
    read(
        "WITH wanted (relation, part, kind) AS (VALUES
             ('attributes', 'attributes_pkey', 'constraint'),
             ('attributes', 'attribute_keeps_identity', 'trigger'),
             ('entities', 'entities_pkey', 'constraint'),
             ('entity_values_ingest', 'staging_refuses_change', 'trigger'),
             ('entity_values_ingest_durable', 'staging_refuses_change', 'trigger'),
             ('entity_jsonb', 'entity_jsonb_pkey', 'constraint'),
             ('replication_heartbeat', 'replication_heartbeat_pkey', 'constraint'),
             ('retention_policies', 'retention_policies_pkey', 'constraint'),
             ('flush_state', 'flush_state_pkey', 'key'),
             ('flush_pause', 'flush_pause_pkey', 'key'),
             ('flush_sentinel', 'flush_sentinel_pkey', 'key'),
             ('flush_history', 'flush_history_pkey', 'key'),
             ('crash_history', 'crash_history_pkey', 'key'),
             ('fact_index_rebuilds', 'fact_index_rebuilds_pkey', 'key'),
             ('entity_search', 'entity_search_pkey', 'key'),
             ('attribute_builds', 'attribute_builds_pkey', 'key'),
             ('attribute_use', 'attribute_use_pkey', 'key'),
             ('worker_runs', 'worker_runs_pkey', 'key'),
             ('alert_rules', 'alert_rules_pkey', 'key'),
             ('alert_state', 'alert_state_pkey', 'key'),
             ('alert_notes', 'alert_notes_pkey', 'key'),
             ('alert_evaluations', 'alert_evaluations_pkey', 'key'),
             ('ingest_requests', 'ingest_requests_pkey', 'key'),
             ('ingest_requests_volatile', 'ingest_requests_volatile_pkey', 'key'),
             ('partition_state', 'partition_state_pkey', 'key'),
             ('entity_values_ts', '', 'table'),
             ('entity_values_rejected', '', 'table')),
         present AS (
             SELECT c.oid, c.relname
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')),
         missing AS (
             SELECT w.kind || ' ' || coalesce(nullif(w.part, '') || ' on ', '') || w.relation AS what
             FROM wanted w LEFT JOIN present p ON p.relname = w.relation
             WHERE NOT CASE w.kind
                 WHEN 'constraint' THEN
                     EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = p.oid AND c.conname = w.part)
                 -- Of a table that older versions do not have.
                 WHEN 'key' THEN
                     p.oid IS NULL OR EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = p.oid AND c.conname = w.part)
                 WHEN 'trigger' THEN
                     EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = p.oid AND t.tgname = w.part)
                 ELSE p.oid IS NOT NULL END)
         SELECT coalesce(
             (SELECT what || ' (a restore is running, the tables were released, or it was dropped: call setup(), or add the key again)' FROM missing LIMIT 1),
             (SELECT 'pg_restore, process ' || pid FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'pg_restore' LIMIT 1))",
        vec![argument(installed.schema.clone())],
        value,
    )
}
