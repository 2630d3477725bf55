//! The extension as it is installed in this database: its schema and its tables, found by name each time, so that neither
//! DROP and CREATE nor a rename of the schema leaves a stale idea behind.

use std::time::Duration;

use pgrx::pg_sys;
use pgrx::spi::{quote_identifier, quote_qualified_identifier};

use crate::error::Error;
use crate::pg::{catalog, lock, signals};
use crate::version;

/// The data tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Attributes,
    Entities,
    Ingest,
    IngestDurable,
    Facts,
    Rejected,
    Projection,
    Pending,
    Heartbeat,
    Retention,
    ReadClasses,
    FlushState,
    FlushPause,
    Sentinel,
    FlushHistory,
    CrashHistory,
    RejectedRemoved,
    Requests,
    RequestsVolatile,
    PartitionState,
    IndexRebuilds,
    Search,
    AttributeBuilds,
    AttributeUse,
    WorkerRuns,
    AlertRules,
    AlertState,
    AlertNotes,
    AlertEvaluations,
}

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Table::Attributes => "attributes",
            Table::Entities => "entities",
            Table::Ingest => "entity_values_ingest",
            Table::IngestDurable => "entity_values_ingest_durable",
            Table::Facts => "entity_values_ts",
            Table::Rejected => "entity_values_rejected",
            Table::Projection => "entity_jsonb",
            Table::Pending => "projection_pending",
            Table::Heartbeat => "replication_heartbeat",
            Table::Retention => "retention_policies",
            Table::ReadClasses => "read_classes",
            Table::FlushState => "flush_state",
            Table::FlushPause => "flush_pause",
            Table::Sentinel => "flush_sentinel",
            Table::FlushHistory => "flush_history",
            Table::CrashHistory => "crash_history",
            Table::RejectedRemoved => "rejected_removed",
            Table::Requests => "ingest_requests",
            Table::RequestsVolatile => "ingest_requests_volatile",
            Table::PartitionState => "partition_state",
            Table::IndexRebuilds => "fact_index_rebuilds",
            Table::Search => "entity_search",
            Table::AttributeBuilds => "attribute_builds",
            Table::AttributeUse => "attribute_use",
            Table::WorkerRuns => "worker_runs",
            Table::AlertRules => "alert_rules",
            Table::AlertState => "alert_state",
            Table::AlertNotes => "alert_notes",
            Table::AlertEvaluations => "alert_evaluations",
        }
    }
}

/// The two staging tables: what a writer chooses between.
pub const DOORS: [Table; 2] = [Table::Ingest, Table::IngestDurable];

/// How often and in what steps a lock on a table is waited for that only has to be read.
const LOCK_LOOKS: usize = 20;
const LOCK_LOOK: Duration = Duration::from_millis(5);

/// Whether a table can be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    Yes,
    Missing,
    Locked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    pub extension: pg_sys::Oid,
    pub schema: String,
    pub version: String,
}

impl Installed {
    /// None when the extension is not there. Needs a transaction.
    pub fn find() -> Result<Option<Installed>, Error> {
        Ok(catalog::extension(c"pg_telemetry").map(|found| Installed {
            extension: found.oid,
            schema: found.schema,
            version: found.version,
        }))
    }

    /// For functions that users call: there, and of a version that this library knows.
    pub fn require() -> Result<Installed, Error> {
        let installed = Self::find()?.ok_or(Error::NotInstalled)?;
        version::check(&installed.version)?;
        Ok(installed)
    }

    /// The table's name for use in SQL, quoted and qualified.
    pub fn qualified(&self, table: Table) -> String {
        self.qualify(table.name())
    }

    pub fn qualify(&self, name: &str) -> String {
        quote_qualified_identifier(self.schema.as_str(), name)
    }

    pub fn quoted_schema(&self) -> String {
        quote_identifier(&self.schema)
    }

    /// None when it is not there.
    pub fn table_oid(&self, table: Table) -> Result<Option<pg_sys::Oid>, Error> {
        Ok(catalog::relation(&self.schema, table.name()))
    }

    /// For what has to answer whatever others do to the table. If it can be read, it can until the end of the transaction. A lock
    /// that goes at once, as that of a vacuum, is waited for.
    pub fn readable(&self, table: Table) -> Result<Readable, Error> {
        for _ in 0..LOCK_LOOKS {
            let Some(oid) = self.table_oid(table)? else {
                return Ok(Readable::Missing);
            };
            // Under the lock it is looked up again: it may have been dropped a moment ago.
            if lock::try_read(oid) && self.table_oid(table)? == Some(oid) {
                return Ok(Readable::Yes);
            }
            signals::pause(LOCK_LOOK);
        }
        Ok(Readable::Locked)
    }

    pub fn require_table(&self, table: Table) -> Result<pg_sys::Oid, Error> {
        self.table_oid(table)?
            .ok_or_else(|| Error::TableMissing(self.qualified(table)))
    }
}
