//! The data tables: the script that makes each, and what an earlier one must have to be adopted.

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::sql::{argument, read, value};

pub struct DataTable {
    pub table: Table,
    pub create: &'static str,
    pub guards: &'static [Guard],
    pub columns: &'static [(&'static str, &'static str)],
}

/// What watches over a table.
pub struct Guard {
    pub kind: GuardKind,
    pub name: &'static str,
    pub script: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardKind {
    /// The function of a trigger. It outlives its table, and one of an earlier installation stays as it is.
    Function,
    Trigger,
    /// One that came with a later version.
    Column,
}

impl Guard {
    const fn function(name: &'static str, script: &'static str) -> Self {
        Guard {
            kind: GuardKind::Function,
            name,
            script,
        }
    }

    const fn trigger(name: &'static str, script: &'static str) -> Self {
        Guard {
            kind: GuardKind::Trigger,
            name,
            script,
        }
    }

    const fn column(name: &'static str, script: &'static str) -> Self {
        Guard {
            kind: GuardKind::Column,
            name,
            script,
        }
    }

    pub fn exists(&self, installed: &Installed, table: Table) -> Result<bool, Error> {
        let mut arguments = vec![argument(installed.schema.clone()), argument(self.name)];
        let query = match self.kind {
            GuardKind::Function => {
                "SELECT EXISTS (SELECT FROM pg_proc p
                     JOIN pg_namespace n ON n.oid = p.pronamespace
                     WHERE n.nspname = $1 AND p.proname = $2)"
            }
            GuardKind::Trigger => {
                arguments.push(argument(table.name()));
                "SELECT EXISTS (SELECT FROM pg_trigger t
                     JOIN pg_class c ON c.oid = t.tgrelid
                     JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = $1 AND t.tgname = $2 AND c.relname = $3)"
            }
            GuardKind::Column => {
                arguments.push(argument(table.name()));
                "SELECT EXISTS (SELECT FROM pg_attribute a
                     JOIN pg_class c ON c.oid = a.attrelid
                     JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = $1 AND a.attname = $2 AND NOT a.attisdropped AND c.relname = $3)"
            }
        };
        let found: Option<bool> = read(query, arguments, value)?;
        Ok(found.unwrap_or(false))
    }
}

const STAGING_FUNCTION: Guard = Guard::function(
    "staging_refuses_change",
    include_str!("../../sql/setup/staging_refuses_change.sql"),
);

const READING: &[(&str, &str)] = &[
    ("tenant_id", "bigint"),
    ("entity_id", "bigint"),
    ("ingested_at", "timestamp with time zone"),
    ("observed_at", "timestamp with time zone"),
    ("value_num", "double precision"),
    ("value_int", "bigint"),
    ("attribute_id", "integer"),
    ("value_text", "text"),
];

const REQUEST: &[(&str, &str)] = &[
    ("tenant_id", "bigint"),
    ("request_id", "uuid"),
    ("requested_at", "timestamp with time zone"),
    ("fingerprint", "bigint"),
    ("readings", "integer"),
];

pub const DATA_TABLES: &[DataTable] = &[
    DataTable {
        table: Table::Attributes,
        create: include_str!("../../sql/setup/attributes.sql"),
        guards: &[
            Guard::function(
                "attribute_keeps_identity",
                include_str!("../../sql/setup/attribute_keeps_identity.sql"),
            ),
            Guard::trigger(
                "attribute_keeps_identity",
                include_str!("../../sql/setup/attributes_guard.sql"),
            ),
            Guard::function(
                "attribute_flags_changed",
                include_str!("../../sql/setup/attribute_flags_changed.sql"),
            ),
            Guard::trigger(
                "attribute_flags_changed",
                include_str!("../../sql/setup/attributes_flags.sql"),
            ),
        ],
        columns: &[
            ("attribute_id", "integer"),
            ("tenant_id", "bigint"),
            ("name", "text"),
            ("value_type", "text"),
            ("unit", "text"),
            ("is_hot", "boolean"),
            ("is_searchable", "boolean"),
        ],
    },
    DataTable {
        table: Table::Entities,
        create: include_str!("../../sql/setup/entities.sql"),
        guards: &[],
        columns: &[
            ("tenant_id", "bigint"),
            ("entity_id", "bigint"),
            ("external_id", "text"),
        ],
    },
    DataTable {
        table: Table::Ingest,
        create: include_str!("../../sql/setup/entity_values_ingest.sql"),
        guards: &[
            STAGING_FUNCTION,
            Guard::trigger(
                "staging_refuses_change",
                include_str!("../../sql/setup/entity_values_ingest_guard.sql"),
            ),
        ],
        columns: READING,
    },
    DataTable {
        table: Table::IngestDurable,
        create: include_str!("../../sql/setup/entity_values_ingest_durable.sql"),
        guards: &[
            STAGING_FUNCTION,
            Guard::trigger(
                "staging_refuses_change",
                include_str!("../../sql/setup/entity_values_ingest_durable_guard.sql"),
            ),
        ],
        columns: READING,
    },
    DataTable {
        table: Table::Pending,
        create: include_str!("../../sql/setup/projection_pending.sql"),
        guards: &[],
        columns: READING,
    },
    DataTable {
        table: Table::Facts,
        create: include_str!("../../sql/setup/entity_values_ts.sql"),
        guards: &[],
        columns: READING,
    },
    DataTable {
        table: Table::Rejected,
        create: include_str!("../../sql/setup/entity_values_rejected.sql"),
        guards: &[],
        columns: &[
            ("rejected_at", "timestamp with time zone"),
            ("durable", "boolean"),
            ("sqlstate", "text"),
            ("reason", "text"),
        ],
    },
    DataTable {
        table: Table::Projection,
        create: include_str!("../../sql/setup/entity_jsonb.sql"),
        guards: &[],
        columns: &[
            ("tenant_id", "bigint"),
            ("entity_id", "bigint"),
            ("as_of", "timestamp with time zone"),
            ("deleted_at", "timestamp with time zone"),
            ("hot_attrs", "jsonb"),
            ("hot_times", "bytea"),
        ],
    },
    DataTable {
        table: Table::Search,
        create: include_str!("../../sql/setup/entity_search.sql"),
        guards: &[],
        columns: &[
            ("tenant_id", "bigint"),
            ("entity_id", "bigint"),
            ("value_num", "double precision"),
            ("value_int", "bigint"),
            ("attribute_id", "integer"),
            ("value_text", "text"),
        ],
    },
    DataTable {
        table: Table::AttributeBuilds,
        create: include_str!("../../sql/setup/attribute_builds.sql"),
        guards: &[],
        columns: &[
            ("attribute_id", "integer"),
            ("tenant_id", "bigint"),
            ("hot_ready", "boolean"),
            ("search_ready", "boolean"),
            ("phase", "text"),
        ],
    },
    DataTable {
        table: Table::AttributeUse,
        create: include_str!("../../sql/setup/attribute_use.sql"),
        guards: &[],
        columns: &[
            ("tenant_id", "bigint"),
            ("attribute_id", "integer"),
            ("asked", "bigint"),
            ("filtered", "bigint"),
            ("written", "bigint"),
        ],
    },
    DataTable {
        table: Table::WorkerRuns,
        create: include_str!("../../sql/setup/worker_runs.sql"),
        guards: &[],
        columns: &[
            ("worker", "text"),
            ("task", "text"),
            ("runs", "bigint"),
            ("errors", "bigint"),
            ("consecutive_errors", "integer"),
            ("seen_at", "timestamp with time zone"),
        ],
    },
    DataTable {
        table: Table::Heartbeat,
        create: include_str!("../../sql/setup/replication_heartbeat.sql"),
        guards: &[],
        columns: &[
            ("slot", "smallint"),
            ("written_at", "timestamp with time zone"),
            ("wal_position", "pg_lsn"),
            ("timeline", "integer"),
            ("writer", "text"),
        ],
    },
    DataTable {
        table: Table::Requests,
        create: include_str!("../../sql/setup/ingest_requests.sql"),
        guards: &[],
        columns: REQUEST,
    },
    DataTable {
        table: Table::RequestsVolatile,
        create: include_str!("../../sql/setup/ingest_requests_volatile.sql"),
        guards: &[],
        columns: REQUEST,
    },
    DataTable {
        table: Table::Retention,
        create: include_str!("../../sql/setup/retention_policies.sql"),
        guards: &[Guard::column(
            "archive_tablespace",
            include_str!("../../sql/setup/retention_policies_leaving.sql"),
        )],
        columns: &[
            ("tenant_id", "bigint"),
            ("keep", "interval"),
            ("legal_hold", "boolean"),
        ],
    },
    DataTable {
        table: Table::ReadClasses,
        create: include_str!("../../sql/setup/read_classes.sql"),
        guards: &[],
        columns: &[("class", "text"), ("max_lag", "interval")],
    },
    DataTable {
        table: Table::FlushState,
        create: include_str!("../../sql/setup/flush_state.sql"),
        guards: &[],
        columns: &[
            ("only_row", "boolean"),
            ("epoch", "uuid"),
            ("seen_at", "timestamp with time zone"),
            ("rows_waiting", "bigint"),
        ],
    },
    DataTable {
        table: Table::FlushPause,
        create: include_str!("../../sql/setup/flush_pause.sql"),
        guards: &[],
        columns: &[
            ("only_row", "boolean"),
            ("paused_at", "timestamp with time zone"),
            ("paused_by", "text"),
            ("pause_reason", "text"),
        ],
    },
    DataTable {
        table: Table::Sentinel,
        create: include_str!("../../sql/setup/flush_sentinel.sql"),
        guards: &[
            Guard::function(
                "sentinel_refuses_truncate",
                include_str!("../../sql/setup/sentinel_refuses_truncate.sql"),
            ),
            Guard::trigger(
                "sentinel_refuses_truncate",
                include_str!("../../sql/setup/flush_sentinel_guard.sql"),
            ),
        ],
        columns: &[("epoch", "uuid")],
    },
    DataTable {
        table: Table::FlushHistory,
        create: include_str!("../../sql/setup/flush_history.sql"),
        guards: &[],
        columns: &[
            ("minute", "timestamp with time zone"),
            ("source", "text"),
            ("since", "timestamp with time zone"),
            ("batches", "bigint"),
            ("durations", "integer[]"),
        ],
    },
    DataTable {
        table: Table::CrashHistory,
        create: include_str!("../../sql/setup/crash_history.sql"),
        guards: &[],
        columns: &[
            ("epoch", "uuid"),
            ("noticed_at", "timestamp with time zone"),
            ("kind", "text"),
        ],
    },
    DataTable {
        table: Table::IndexRebuilds,
        create: include_str!("../../sql/setup/fact_index_rebuilds.sql"),
        guards: &[],
        columns: &[("index_oid", "oid"), ("index_name", "name")],
    },
    DataTable {
        table: Table::RejectedRemoved,
        create: include_str!("../../sql/setup/rejected_removed.sql"),
        guards: &[],
        columns: &[
            ("day", "date"),
            ("cause", "text"),
            ("rows", "bigint"),
            ("bytes", "bigint"),
            ("partitions", "bigint"),
            ("last_at", "timestamp with time zone"),
        ],
    },
    DataTable {
        table: Table::PartitionState,
        create: include_str!("../../sql/setup/partition_state.sql"),
        guards: &[],
        columns: &[
            ("partition", "text"),
            ("relation_oid", "oid"),
            ("starts_at", "timestamp with time zone"),
            ("ends_at", "timestamp with time zone"),
            ("seal", "text"),
            ("leaves_as", "text"),
        ],
    },
    DataTable {
        table: Table::AlertRules,
        create: include_str!("../../sql/setup/alert_rules.sql"),
        guards: &[],
        columns: &[
            ("alert", "text"),
            ("enabled", "boolean"),
            ("warn", "double precision"),
            ("critical", "double precision"),
            ("clear", "double precision"),
            ("for_duration", "interval"),
            ("keep_for", "interval"),
        ],
    },
    DataTable {
        table: Table::AlertState,
        create: include_str!("../../sql/setup/alert_state.sql"),
        guards: &[],
        columns: &[
            ("alert", "text"),
            ("object", "text"),
            ("phase", "text"),
            ("severity", "text"),
            ("since", "timestamp with time zone"),
        ],
    },
    DataTable {
        table: Table::AlertNotes,
        create: include_str!("../../sql/setup/alert_notes.sql"),
        guards: &[],
        columns: &[
            ("kind", "text"),
            ("alert", "text"),
            ("object", "text"),
            ("ends_at", "timestamp with time zone"),
            ("about", "timestamp with time zone"),
        ],
    },
    DataTable {
        table: Table::AlertEvaluations,
        create: include_str!("../../sql/setup/alert_evaluations.sql"),
        guards: &[],
        columns: &[
            ("only_row", "boolean"),
            ("evaluated_at", "timestamp with time zone"),
        ],
    },
    DataTable {
        table: Table::SampleRuns,
        create: include_str!("../../sql/setup/sample_runs.sql"),
        guards: &[],
        columns: &[
            ("sampled_at", "timestamp with time zone"),
            ("source", "text"),
            ("covers_from", "timestamp with time zone"),
            ("state", "text"),
            ("evictions", "bigint"),
        ],
    },
    DataTable {
        table: Table::RelationSamples,
        create: include_str!("../../sql/setup/relation_samples.sql"),
        guards: &[],
        columns: &[
            ("sampled_at", "timestamp with time zone"),
            ("scans", "bigint"),
            ("relation", "text"),
            ("root", "text"),
            ("table_name", "text"),
        ],
    },
    DataTable {
        table: Table::StatementSamples,
        create: include_str!("../../sql/setup/statement_samples.sql"),
        guards: &[],
        columns: &[
            ("sampled_at", "timestamp with time zone"),
            ("queryid", "bigint"),
            ("exec_ms", "double precision"),
            ("calls", "bigint"),
        ],
    },
    DataTable {
        table: Table::StatementTexts,
        create: include_str!("../../sql/setup/statement_texts.sql"),
        guards: &[],
        columns: &[
            ("queryid", "bigint"),
            ("last_seen_at", "timestamp with time zone"),
            ("query", "text"),
        ],
    },
    DataTable {
        table: Table::ServerSamples,
        create: include_str!("../../sql/setup/server_samples.sql"),
        guards: &[],
        columns: &[
            ("sampled_at", "timestamp with time zone"),
            ("wal_bytes", "bigint"),
        ],
    },
    DataTable {
        table: Table::SizeSamples,
        create: include_str!("../../sql/setup/size_samples.sql"),
        guards: &[],
        columns: &[
            ("sampled_at", "timestamp with time zone"),
            ("bytes", "bigint"),
            ("relation", "text"),
        ],
    },
    DataTable {
        table: Table::TenantSamples,
        create: include_str!("../../sql/setup/tenant_samples.sql"),
        guards: &[],
        columns: &[
            ("sampled_at", "timestamp with time zone"),
            ("tenant_id", "bigint"),
            ("place", "text"),
            ("relation_oid", "oid"),
        ],
    },
    DataTable {
        table: Table::IndexUse,
        create: include_str!("../../sql/setup/index_use.sql"),
        guards: &[],
        columns: &[
            ("index_name", "text"),
            ("definition", "text"),
            ("idle_seconds", "double precision"),
        ],
    },
    DataTable {
        table: Table::SampleBaseline,
        create: include_str!("../../sql/setup/sample_baseline.sql"),
        guards: &[],
        columns: &[
            ("source", "text"),
            ("a", "bigint"),
            ("b", "bigint"),
            ("counters", "double precision[]"),
        ],
    },
];
