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

/// What watches over a table: a trigger, or a trigger function that several tables share.
pub enum Guard {
    Function {
        name: &'static str,
        script: &'static str,
    },
    Trigger {
        name: &'static str,
        script: &'static str,
    },
}

impl Guard {
    pub fn script(&self) -> &'static str {
        match self {
            Guard::Function { script, .. } | Guard::Trigger { script, .. } => script,
        }
    }

    pub fn exists(&self, installed: &Installed, table: Table) -> Result<bool, Error> {
        let found: Option<bool> = match self {
            Guard::Function { name, .. } => read(
                "SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                                WHERE n.nspname = $1 AND p.proname = $2)",
                vec![argument(installed.schema.clone()), argument(*name)],
                value,
            )?,
            Guard::Trigger { name, .. } => read(
                "SELECT EXISTS (SELECT FROM pg_trigger t
                                    JOIN pg_class c ON c.oid = t.tgrelid
                                    JOIN pg_namespace n ON n.oid = c.relnamespace
                                WHERE n.nspname = $1 AND c.relname = $2 AND t.tgname = $3)",
                vec![
                    argument(installed.schema.clone()),
                    argument(table.name()),
                    argument(*name),
                ],
                value,
            )?,
        };
        Ok(found.unwrap_or(false))
    }
}

const STAGING_FUNCTION: Guard = Guard::Function {
    name: "staging_refuses_change",
    script: include_str!("../../sql/setup/staging_guard_function.sql"),
};

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

pub const DATA_TABLES: &[DataTable] = &[
    DataTable {
        table: Table::Attributes,
        create: include_str!("../../sql/setup/attributes.sql"),
        guards: &[
            Guard::Function {
                name: "attribute_keeps_identity",
                script: include_str!("../../sql/setup/attributes_guard_function.sql"),
            },
            Guard::Trigger {
                name: "attribute_keeps_identity",
                script: include_str!("../../sql/setup/attributes_guard.sql"),
            },
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
            Guard::Trigger {
                name: "staging_refuses_change",
                script: include_str!("../../sql/setup/entity_values_ingest_guard.sql"),
            },
        ],
        columns: READING,
    },
    DataTable {
        table: Table::IngestDurable,
        create: include_str!("../../sql/setup/entity_values_ingest_durable.sql"),
        guards: &[
            STAGING_FUNCTION,
            Guard::Trigger {
                name: "staging_refuses_change",
                script: include_str!("../../sql/setup/entity_values_ingest_durable_guard.sql"),
            },
        ],
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
        table: Table::Heartbeat,
        create: include_str!("../../sql/setup/replication_heartbeat.sql"),
        guards: &[],
        columns: &[
            ("slot", "smallint"),
            ("written_at", "timestamp with time zone"),
            ("wal_position", "pg_lsn"),
        ],
    },
    DataTable {
        table: Table::Retention,
        create: include_str!("../../sql/setup/retention_policies.sql"),
        guards: &[],
        columns: &[
            ("tenant_id", "bigint"),
            ("keep", "interval"),
            ("legal_hold", "boolean"),
        ],
    },
];
