//! Every fault that the extension itself reports, with SQLSTATE, detail and hint in one place.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::SpiError;
use thiserror::Error;

use crate::find;
use crate::ingest::Fault;
use crate::pg::sqlstate;
use crate::pg::xact::Failure;
use crate::rejected::filter;
use crate::staging::judge;

#[derive(Debug, Error)]
pub enum Error {
    #[error("extension pg_telemetry is not installed in this database")]
    NotInstalled,
    #[error("the pg_telemetry library {library} is older than the extension's SQL version {sql}")]
    LibraryTooOld { library: &'static str, sql: String },
    #[error("table {0} is missing")]
    TableMissing(String),
    #[error("{relation} cannot be adopted: {fault}")]
    CannotAdopt { relation: String, fault: String },
    #[error("only a superuser or a member of telemetry_owner may set up pg_telemetry")]
    MayNotSetUp,
    #[error("only a superuser or a member of telemetry_owner may release the tables of pg_telemetry")]
    MayNotRelease,
    #[error("{0} holds rows that were not flushed")]
    RowsStaged(String),
    #[error("{0} needs a transaction in READ COMMITTED")]
    NotReadCommitted(&'static str),
    #[error("role \"{0}\" does not exist")]
    RoleMissing(&'static str),
    #[error("role \"{0}\" does not exist")]
    NoSuchRole(String),
    #[error("role \"telemetry_owner\" is a superuser")]
    OwnerIsSuperuser,
    #[error("{argument} must not be NULL")]
    NullArgument { argument: &'static str },
    #[error("{argument} is out of range: {value}")]
    OutOfRange {
        argument: &'static str,
        value: i64,
        allowed: &'static str,
    },
    #[error("invalid {argument}: {fault}")]
    InvalidText { argument: &'static str, fault: String },
    #[error("invalid filter: {0}")]
    InvalidFilter(String),
    #[error("\"{0}\" is not a value type")]
    UnknownValueType(String),
    #[error("attribute \"{name}\" of tenant {tenant_id} is registered as {registered}, not {wanted}")]
    TypeClash {
        name: String,
        tenant_id: i64,
        registered: String,
        wanted: String,
    },
    #[error("\"{0}\" was not registered: a trigger or rule on the table suppressed it")]
    NotRegistered(String),
    #[error("there is no read class \"{0}\"")]
    UnknownReadClass(String),
    #[error("there is no alert \"{0}\"")]
    UnknownAlert(String),
    #[error("table {0} is locked")]
    TableLocked(String),
    #[error("the token belongs to another cluster")]
    TokenOfAnotherCluster,
    #[error("the token belongs to timeline {timeline}, which this node's timeline {own} has left behind")]
    TokenAbandoned { timeline: u32, own: u32 },
    #[error("the token belongs to timeline {timeline}, and this primary is on timeline {own}")]
    TokenOfNewerTimeline { timeline: u32, own: u32 },
    #[error("the transaction of the token was rolled back")]
    TokenRolledBack,
    #[error("the token is too old: what became of its transaction is recorded no more")]
    TokenTooOld,
    #[error("{0} cannot run inside a transaction block or a function")]
    NotAtTopLevel(&'static str),
    #[error("canceling statement due to user request")]
    Cancelled,
    #[error("task {task} of the {worker} failed: {message}")]
    TaskFailed {
        worker: String,
        task: &'static str,
        sqlstate: String,
        message: String,
    },
    #[error("flushing is {0}")]
    Paused(String),
    #[error("cannot write during recovery")]
    InRecovery,
    #[error("cannot run in a read-only transaction")]
    ReadOnly,
    #[error("time {0} cannot be put into a partition")]
    NoPeriod(i64),
    #[error("publication {name} exists with other content")]
    PublicationDiffers { name: String, faults: String },
    #[error("{relation} cannot be taken: {holder} has held a lock on it or its parent for seconds")]
    InTheWay { relation: String, holder: String },
    #[error("{0} was changed while it was rewritten")]
    ChangedMeanwhile(String),
    #[error("index {0} cannot be copied")]
    InvalidIndex(String),
    #[error("{relation} cannot be sealed: {holder} is at it")]
    BeingWritten { relation: String, holder: String },
    #[error("{0} was not vacuumed: somebody held a lock on it, or telemetry_owner may not")]
    NotVacuumed(String),
    #[error("cannot {what}: {holder} stands in the way")]
    NotLocked { what: &'static str, holder: String },
    #[error("{0} cannot run inside a transaction block")]
    InTransactionBlock(&'static str),
    #[error("facts have no column \"{column}\"")]
    UnknownColumn { column: String, columns: String },
    #[error("there is no index method \"{method}\"")]
    UnknownMethod { method: String, methods: String },
    #[error("{argument} cannot be used in an index: {fault}")]
    NotAClause {
        argument: &'static str,
        text: String,
        fault: String,
    },
    #[error("facts have no unique indexes")]
    UniqueIndex,
    #[error("index \"{name}\" of facts is the same")]
    SameIndex { name: String, is_complete: bool },
    #[error("the name \"{name}\" is taken by {what}")]
    NameTaken { name: String, what: String },
    #[error("facts have no index \"{name}\"")]
    UnknownIndex { name: String, names: String },
    #[error("an index of facts must not depend on {what}")]
    UntrustedIndex { what: String },
    #[error("the index of {partition} waits for {holder}")]
    IndexWaits { partition: String, holder: String },
    #[error("a row of {0} cannot be read")]
    UnreadableRow(String),
    #[error("the document of entity {entity_id} of tenant {tenant_id} in {table} cannot be read: {fault}")]
    CorruptDocument {
        table: String,
        tenant_id: i64,
        entity_id: i64,
        fault: &'static str,
    },
    #[error("the document of entity {entity_id} of tenant {tenant_id} in {table} would be too large")]
    DocumentTooLarge {
        table: String,
        tenant_id: i64,
        entity_id: i64,
    },
    #[error("entity {entity_id} of tenant {tenant_id} is deleted")]
    EntityDeleted { tenant_id: i64, entity_id: i64 },
    #[error("the reading cannot be stored: {}", .0.reason())]
    CannotStore(judge::Fault),
    #[error("a deferred check of this transaction fails: {0}")]
    PendingCheckFails(String),
    #[error("{0} cannot be written, and rows that belong there wait in staging")]
    RejectedIsClosed(String),
    #[error("snapshot too old to look at {0}")]
    SnapshotTooOld(String),
    #[error(transparent)]
    Ingest(#[from] Fault),
    #[error(transparent)]
    Find(#[from] find::Fault),
    #[error("internal query failed: {0}")]
    Spi(#[from] SpiError),
    /// Something that the server raised, caught and to be raised again.
    #[error("{}", .0.message)]
    Raised(Box<Failure>),
}

impl Error {
    pub fn sqlstate(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Error::NotInstalled | Error::TableMissing(_) | Error::NotRegistered(_) | Error::Paused(_) => {
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Error::LibraryTooOld { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Error::CannotAdopt { .. } => ERRCODE_DUPLICATE_TABLE,
            Error::PublicationDiffers { .. } => ERRCODE_DUPLICATE_OBJECT,
            Error::MayNotSetUp | Error::MayNotRelease => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Error::RoleMissing(_) | Error::NoSuchRole(_) => ERRCODE_UNDEFINED_OBJECT,
            Error::RowsStaged(_) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Error::NotReadCommitted(_) => ERRCODE_INVALID_TRANSACTION_STATE,
            Error::OwnerIsSuperuser => ERRCODE_INVALID_ROLE_SPECIFICATION,
            Error::NullArgument { .. } => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Error::OutOfRange { .. } => ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            Error::UnknownReadClass(_) | Error::UnknownAlert(_) => ERRCODE_UNDEFINED_OBJECT,
            Error::TokenOfAnotherCluster => ERRCODE_INVALID_PARAMETER_VALUE,
            Error::TokenAbandoned { .. } | Error::TokenOfNewerTimeline { .. } | Error::TokenTooOld => {
                ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Error::TokenRolledBack => ERRCODE_TRANSACTION_ROLLBACK,
            Error::NotAtTopLevel(_) => ERRCODE_ACTIVE_SQL_TRANSACTION,
            Error::Cancelled => ERRCODE_QUERY_CANCELED,
            Error::TaskFailed { sqlstate, .. } => sqlstate::pack(sqlstate),
            Error::InvalidText { .. } | Error::UnknownValueType(_) | Error::InvalidFilter(_) => {
                ERRCODE_INVALID_PARAMETER_VALUE
            }
            Error::TypeClash { .. } => ERRCODE_DATATYPE_MISMATCH,
            Error::InRecovery | Error::ReadOnly => ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Error::NoPeriod(_) => ERRCODE_DATETIME_FIELD_OVERFLOW,
            Error::InTheWay { .. }
            | Error::TableLocked(_)
            | Error::NotLocked { .. }
            | Error::IndexWaits { .. }
            | Error::BeingWritten { .. }
            | Error::NotVacuumed(_)
            | Error::RejectedIsClosed(_) => ERRCODE_LOCK_NOT_AVAILABLE,
            Error::InTransactionBlock(_) => ERRCODE_ACTIVE_SQL_TRANSACTION,
            Error::UnknownColumn { .. } => ERRCODE_UNDEFINED_COLUMN,
            Error::UnknownMethod { .. } | Error::UnknownIndex { .. } => ERRCODE_UNDEFINED_OBJECT,
            Error::NotAClause { .. } => ERRCODE_SYNTAX_ERROR,
            Error::UniqueIndex => ERRCODE_FEATURE_NOT_SUPPORTED,
            Error::SameIndex { .. } => ERRCODE_DUPLICATE_OBJECT,
            Error::NameTaken { .. } => ERRCODE_DUPLICATE_TABLE,
            Error::UntrustedIndex { .. } => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Error::ChangedMeanwhile(_) | Error::PendingCheckFails(_) => ERRCODE_OBJECT_IN_USE,
            Error::InvalidIndex(_) => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Error::UnreadableRow(_) | Error::CorruptDocument { .. } => ERRCODE_DATA_CORRUPTED,
            Error::DocumentTooLarge { .. } => ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Error::SnapshotTooOld(_) => ERRCODE_SNAPSHOT_TOO_OLD,
            Error::EntityDeleted { .. } => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            // Of a value that has the right type, only the time can be wrong.
            Error::CannotStore(_) => ERRCODE_DATETIME_FIELD_OVERFLOW,
            Error::Ingest(fault) => fault.sqlstate(),
            Error::Find(fault) => fault.sqlstate(),
            Error::Spi(_) => ERRCODE_INTERNAL_ERROR,
            Error::Raised(failure) => failure.code,
        }
    }

    pub fn detail(&self) -> Option<String> {
        match self {
            Error::OutOfRange { allowed, .. } => Some(format!("Allowed: {allowed}.")),
            Error::UnknownValueType(_) => {
                Some("Types are: number, integer, boolean, timestamp, text, json.".into())
            }
            Error::InvalidFilter(_) => Some(format!("Allowed keys: {}.", filter::KEYS)),
            Error::TypeClash { .. } => Some("The type of an attribute cannot change.".into()),
            Error::TokenAbandoned { .. } => Some(
                "A failover came in between: what the token stands for may be lost, or cannot be told from what is.".into(),
            ),
            Error::TokenOfNewerTimeline { .. } => {
                Some("Another server was promoted after this one; the write is there.".into())
            }
            Error::SnapshotTooOld(_) => Some(
                "Rows that were moved after the snapshot was taken may be cleared away from staging already."
                    .into(),
            ),
            Error::Ingest(fault) => fault.detail(),
            Error::Find(fault) => fault.detail(),
            Error::CannotAdopt { .. } => {
                Some("setup() adopts tables of an earlier installation, and only those.".into())
            }
            Error::PublicationDiffers { faults, .. } => Some(format!("{faults}.")),
            Error::InTransactionBlock(_) => {
                Some("Its lock on facts would hold writers up until the end of the transaction.".into())
            }
            Error::UnknownColumn { columns, .. } => Some(format!("Columns are: {columns}.")),
            Error::UnknownMethod { methods, .. } => Some(format!("Methods are: {methods}.")),
            Error::NotAClause { text, .. } => Some(format!("It says: {text}.")),
            Error::UniqueIndex => Some(
                "They would have to contain ingested_at, so that they would not keep anything else unique; and each reading would wait for a look at the index.".into(),
            ),
            Error::SameIndex { is_complete: true, .. } => Some("Every partition has it.".into()),
            Error::SameIndex { .. } => Some("It is being built; see fact_indexes.".into()),
            Error::UnknownIndex { names, .. } => Some(format!("Indexes are: {names}.")),
            Error::UntrustedIndex { .. } => {
                Some("It would run as telemetry_owner whenever readings are stored, and whoever owns it can change it.".into())
            }
            Error::Raised(failure) => failure.detail.clone(),
            _ => None,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Error::NotInstalled => Some("CREATE EXTENSION pg_telemetry;".into()),
            Error::LibraryTooOld { sql, .. } => Some(format!(
                "Install the library of version {sql} or newer and restart the server, if it is preloaded."
            )),
            Error::PendingCheckFails(_) => {
                Some("Call stage_flush() in a transaction of its own.".into())
            }
            Error::RejectedIsClosed(_) => {
                Some("last_flush() and worker_status say what is in the way.".into())
            }
            Error::TableMissing(_) => {
                Some("Call setup(); in the middle of a restore, wait for it to end.".into())
            }
            Error::CannotAdopt { .. } => Some(
                "ALTER TABLE … OWNER TO telemetry_owner if it is one of ours, or rename it; then call setup() again."
                    .into(),
            ),
            Error::InvalidFilter(_) => Some(
                "For example {\"tenant_id\": 1, \"sqlstate\": \"42704\", \"rejected_since\": \"2026-11-21 08:00+00\"}.".into(),
            ),
            Error::RoleMissing(role) => Some(format!("CREATE ROLE {role} NOLOGIN;")),
            Error::OwnerIsSuperuser => Some("ALTER ROLE telemetry_owner NOSUPERUSER;".into()),
            Error::TypeClash { .. } => {
                Some("Register the attribute under another name for the new type.".into())
            }
            Error::UnknownReadClass(_) => {
                Some("Classes are strong, eventual, analytics and the rows of read_classes.".into())
            }
            Error::UnknownAlert(_) => Some("SELECT alert FROM telemetry_alerts; has their names.".into()),
            Error::TableLocked(_) => Some("See in pg_locks who holds it, or try again.".into()),
            Error::TokenAbandoned { .. } | Error::TokenTooOld => {
                Some("Look on the primary whether the write is there, and write it again if not.".into())
            }
            Error::TokenOfNewerTimeline { .. } => Some("Fence this server and use the new primary.".into()),
            Error::TokenOfAnotherCluster => Some("Tokens are good for a primary and its physical standbys.".into()),
            Error::TokenRolledBack => Some("Nothing was written; write it again.".into()),
            Error::NotAtTopLevel(_) => Some("CALL it on its own, before BEGIN.".into()),
            Error::InvalidText { argument: "token", .. } => Some("Pass what commit_token() returned, unchanged.".into()),
            Error::Paused(_) => Some("SELECT resume();".into()),
            Error::TaskFailed { .. } => Some("SELECT * FROM worker_status says more; the next call tries again.".into()),
            Error::Ingest(fault) => Some(fault.hint()),
            Error::Find(fault) => Some(fault.hint()),
            Error::InRecovery => Some("Call it on the primary.".into()),
            Error::ReadOnly => Some("SET TRANSACTION READ WRITE.".into()),
            Error::BeingWritten { .. } | Error::NotVacuumed(_) => Some("It is tried again by itself.".into()),
            Error::InTheWay { .. } => Some("It is tried again each minute; end that transaction if it was forgotten.".into()),
            Error::ChangedMeanwhile(_) => Some("It is tried again each minute.".into()),
            Error::InvalidIndex(_) => Some("It is not valid: REINDEX INDEX CONCURRENTLY, or drop it.".into()),
            Error::NotLocked { .. } => Some("Call it again, or end the transaction of that process first if it was forgotten.".into()),
            Error::IndexWaits { .. } => Some("It is tried again; end that transaction if it was forgotten.".into()),
            Error::MayNotRelease => Some("GRANT telemetry_owner TO …, or call it as a superuser.".into()),
            Error::RowsStaged(_) => Some(
                "Stop those who write, and call drain(); or say release_tables(even_if_staged => true): the rows stay where they are.".into(),
            ),
            Error::NotReadCommitted(_) => Some("BEGIN ISOLATION LEVEL READ COMMITTED.".into()),
            Error::NoSuchRole(_) => Some("CREATE ROLE, or leave new_owner out: the tables stay with telemetry_owner.".into()),
            Error::InTransactionBlock(_) => Some("Call it on its own, without BEGIN.".into()),
            Error::UnknownColumn { .. } => Some("Names are folded to lower case unless they are quoted; an expression needs parentheses of its own.".into()),
            Error::NotAClause { argument: "columns", .. } => Some(
                "Each element is one key, such as 'entity_id', 'value_num DESC NULLS LAST', 'value_text text_pattern_ops' or '(lower(value_text))'.".into(),
            ),
            Error::NotAClause { .. } => Some("For example 'value_num > 100 AND attribute_id = 7'.".into()),
            Error::UniqueIndex => Some("Send a request_id with ingest(), which stages nothing twice.".into()),
            Error::SameIndex { .. } => Some("Use that one, or drop it first: drop_fact_index().".into()),
            Error::NameTaken { .. } => Some("Choose another index_name, or leave it out.".into()),
            Error::UnknownIndex { .. } => Some("Name the index of entity_values_ts, not one of a partition.".into()),
            Error::UntrustedIndex { .. } => Some("Let a superuser own it, or call add_fact_index() as a member of telemetry_owner.".into()),
            Error::CorruptDocument {
                tenant_id, entity_id, ..
            } => Some(format!("SELECT rebuild_hot({tenant_id}, {entity_id});")),
            Error::EntityDeleted {
                tenant_id, entity_id, ..
            } => Some(format!("SELECT undelete_entity({tenant_id}, {entity_id});")),
            Error::CannotStore(_) => Some(
                "How far off a time may be is set by pg_telemetry.accept_past, accept_future, accept_observed_past and accept_observed_future."
                    .into(),
            ),
            Error::DocumentTooLarge { .. } => {
                Some("Demote attributes with large values: documents have at most 255 MB.".into())
            }
            Error::SnapshotTooOld(_) => Some(
                "Begin a new transaction, use READ COMMITTED, or raise pg_telemetry.reclaim_grace.".into(),
            ),
            Error::NoPeriod(_) => Some("Bounds are computed for the years 1 to 9998.".into()),
            Error::PublicationDiffers { .. } => Some(
                "Call it with another prefix, or change that publication (ALTER PUBLICATION) or drop it; a consumer may be using it.".into(),
            ),
            Error::Raised(failure) => failure.hint.clone(),
            _ => None,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Raised(Box::new(failure))
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        let mut report = ErrorReport::new(error.sqlstate(), error.to_string(), "pg_telemetry");
        if let Some(detail) = error.detail() {
            report = report.set_detail(detail);
        }
        if let Some(hint) = error.hint() {
            report = report.set_hint(hint);
        }
        report
    }
}
