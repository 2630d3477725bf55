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

/// What watches over a table: a trigger function, or a trigger.
pub struct Guard {
    /// The function, where the script makes one; None for a script that is only run with its table.
    function: Option<&'static str>,
    pub script: &'static str,
}

impl Guard {
    /// A function of an earlier installation stays as it is.
    pub fn exists(&self, installed: &Installed) -> Result<bool, Error> {
        let Some(name) = self.function else {
            return Ok(false);
        };
        let found: Option<bool> = read(
            "SELECT EXISTS (SELECT FROM pg_proc p
                 JOIN pg_namespace n ON n.oid = p.pronamespace
                 WHERE n.nspname = $1 AND p.proname = $2)",
            vec![argument(installed.schema.clone()), argument(name)],
            value,
        )?;
        Ok(found.unwrap_or(false))
    }
}

const STAGING_GUARD: Guard = Guard {
    function: Some("staging_refuses_change"),
    script: include_str!("../../sql/setup/staging_guard.sql"),
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
        guards: &[Guard {
            function: None,
            script: include_str!("../../sql/setup/attributes_guard.sql"),
        }],
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
            STAGING_GUARD,
            Guard {
                function: None,
                script: include_str!("../../sql/setup/entity_values_ingest_guard.sql"),
            },
        ],
        columns: READING,
    },
    DataTable {
        table: Table::IngestDurable,
        create: include_str!("../../sql/setup/entity_values_ingest_durable.sql"),
        guards: &[
            STAGING_GUARD,
            Guard {
                function: None,
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
