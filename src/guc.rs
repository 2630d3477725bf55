//! Settings. Each default says why it is what it is; README.md lists them all.

use pgrx::PostgresGucEnum;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::ffi::CString;
use std::time::Duration;

use crate::partition::step::Step;

/// When the keeper writes the heartbeat.
#[derive(PostgresGucEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heartbeat {
    /// While there is a standby or a replication slot.
    #[name = c"replicated"]
    Replicated,
    #[name = c"always"]
    Always,
    #[name = c"off"]
    Off,
}

static HEARTBEAT: GucSetting<Heartbeat> = GucSetting::<Heartbeat>::new(Heartbeat::Replicated);
static HEARTBEAT_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1000);
static ALERT_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static MAX_CLOCK_SKEW: GucSetting<i32> = GucSetting::<i32>::new(500);
static BACKGROUND_WORKERS: GucSetting<bool> = GucSetting::<bool>::new(true);
static FLUSH_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(100);
static FLUSH_BATCH_ROWS: GucSetting<i32> = GucSetting::<i32>::new(100_000);
static FLUSH_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(64);
static FLUSH_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(1);
static SHUTDOWN_FLUSH: GucSetting<i32> = GucSetting::<i32>::new(1000);
static PARTITION_INTERVAL: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c"day"));
static PREMAKE: GucSetting<i32> = GucSetting::<i32>::new(4);
static ACCEPT_PAST: GucSetting<i32> = GucSetting::<i32>::new(7 * 24 * 3600);
static ACCEPT_FUTURE: GucSetting<i32> = GucSetting::<i32>::new(3600);
static RETENTION_KEEPS_TABLES: GucSetting<bool> = GucSetting::<bool>::new(false);
static RETENTION_PUBLISHES_DELETES: GucSetting<bool> = GucSetting::<bool>::new(false);
static REWRITE_THRESHOLD: GucSetting<i32> = GucSetting::<i32>::new(20);
static RECLAIM_GRACE: GucSetting<i32> = GucSetting::<i32>::new(30_000);
static ACCEPT_OBSERVED_PAST: GucSetting<i32> = GucSetting::<i32>::new(3650 * 24 * 3600);
static ACCEPT_OBSERVED_FUTURE: GucSetting<i32> = GucSetting::<i32>::new(24 * 3600);
static REJECTED_MAX_SIZE: GucSetting<i32> = GucSetting::<i32>::new(1024);
static REJECTED_KEEP: GucSetting<i32> = GucSetting::<i32>::new(30 * 24 * 3600);
static LOCK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(1000);
static TASK_TIMEOUT: GucSetting<i32> = GucSetting::<i32>::new(60_000);
static AUTO_REGISTER: GucSetting<bool> = GucSetting::<bool>::new(false);
static REQUEST_WINDOW: GucSetting<i32> = GucSetting::<i32>::new(24 * 3600);
static MAX_VALUE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(64 * 1024);
static PROJECTION_MIN_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(1000);
/// Sixteen leaves: each stays small enough to vacuum quickly up to some hundred million entities. Read by the script that
/// makes the table.
static HOT_LEAVES: GucSetting<i32> = GucSetting::<i32>::new(16);

static FIND_MAX_READINGS: GucSetting<i32> = GucSetting::<i32>::new(1_000_000);

/// A million: read in about a second. Whoever searches by such an attribute often promotes it.
pub fn find_max_readings() -> i64 {
    i64::from(FIND_MAX_READINGS.get())
}

/// The most flushers that can run side by side in one database.
pub const MAX_FLUSH_WORKERS: usize = 8;

/// On by default: whoever preloads the library wants them; off stops them all without a restart.
pub fn background_workers() -> bool {
    BACKGROUND_WORKERS.get()
}

/// 100 ms: readers see a reading soon enough for a live view, and the fixed cost of a flush (well below 1 ms) stays
/// under one percent of a core.
pub fn flush_interval() -> Duration {
    millis(FLUSH_INTERVAL.get())
}

/// 100,000 rows: cost per row hardly falls beyond it, while the memory of a batch and the work lost to a cancel grow.
pub fn flush_batch_rows() -> i64 {
    i64::from(FLUSH_BATCH_ROWS.get())
}

/// 64 MB: a batch of 100,000 plain readings fits in with room to spare; large texts make smaller batches.
pub fn flush_memory() -> usize {
    usize::try_from(FLUSH_MEMORY.get()).unwrap_or(1) << 20
}

/// One: keeps up with 100,000 readings a second; each further one costs a worker slot.
pub fn flush_workers() -> usize {
    usize::try_from(FLUSH_WORKERS.get()).unwrap_or(1)
}

/// 1 s: empties a backlog of some hundred thousand rows and still lets a fast shutdown end within three.
pub fn shutdown_flush() -> Duration {
    millis(SHUTDOWN_FLUSH.get())
}

/// A day: some dozens of partitions for the usual retention, each small enough to be vacuumed and dropped in one go.
pub fn partition_step() -> Step {
    let text = PARTITION_INTERVAL.get();
    let step = text.and_then(|text| Step::parse(&text.to_string_lossy()));
    // Nothing else gets past the check.
    step.unwrap_or(Step::DAY)
}

/// Four ahead: a worker that is down over a long weekend is noticed before readings have nowhere to go.
pub fn premake() -> usize {
    usize::try_from(PREMAKE.get()).unwrap_or(1)
}

/// A week: devices that were offline come back within it; older data is a migration and deserves a decision.
pub fn accept_past_seconds() -> i64 {
    i64::from(ACCEPT_PAST.get())
}

/// An hour: more than any clock that is synchronised at all is ahead.
pub fn accept_future_seconds() -> i64 {
    i64::from(ACCEPT_FUTURE.get())
}

/// Off: whoever sets a time after which readings may go wants their space back.
pub fn retention_keeps_tables() -> bool {
    RETENTION_KEEPS_TABLES.get()
}

/// Off: whoever subscribes wants what happened in the fleet, and its history for as long as they keep it themselves.
pub fn retention_publishes_deletes() -> bool {
    RETENTION_PUBLISHES_DELETES.get()
}

/// 20 in a hundred: a rewrite writes all that is left, so each byte that it gives back costs four that are written. None:
/// never.
pub fn rewrite_threshold() -> Option<i64> {
    bound(REWRITE_THRESHOLD.get())
}

/// 30 s: a session that means to read staging locks it within some milliseconds after its snapshot, pg_dump of many tables
/// within seconds. More would only keep more moved rows while somebody's snapshot is young. None: every snapshot counts,
/// however old.
pub fn reclaim_grace() -> Option<Duration> {
    u64::try_from(RECLAIM_GRACE.get()).ok().map(Duration::from_millis)
}

/// Ten years: whatever a device had in its buffer comes back, and a clock that was never set (1970, 1980, 2000) or that went
/// back by the 19.6 years of a GPS week counter is caught before its readings stretch the times of a partition. None: no bound.
pub fn accept_observed_past_seconds() -> Option<i64> {
    bound(ACCEPT_OBSERVED_PAST.get())
}

/// A day: local time sent as UTC is at most 14 hours ahead and is let pass; a clock that is years ahead is not. None: no
/// bound.
pub fn accept_observed_future_seconds() -> Option<i64> {
    bound(ACCEPT_OBSERVED_FUTURE.get())
}

/// 1 GB: some five million rejected readings, enough to see what went wrong, and too little to fill a disk. None: no bound.
pub fn rejected_max_bytes() -> Option<i64> {
    bound(REJECTED_MAX_SIZE.get()).map(|megabytes| megabytes << 20)
}

/// 30 days: time enough to find the cause and put the readings back. None: they are kept for ever.
pub fn rejected_keep_seconds() -> Option<i64> {
    bound(REJECTED_KEEP.get())
}

/// -1 stands for no bound.
fn bound(value: i32) -> Option<i64> {
    (value >= 0).then_some(i64::from(value))
}

/// 1 s: a worker's DDL gives up rather than let others queue behind it, and tries again later.
pub fn lock_timeout() -> Duration {
    millis(LOCK_TIMEOUT.get())
}

/// A minute: a run of a task that takes longer is stuck; it is cancelled, recorded and tried again.
pub fn task_timeout() -> Duration {
    millis(TASK_TIMEOUT.get())
}

/// While somebody replicates: an idle server without a standby stays idle.
pub fn heartbeat() -> Heartbeat {
    HEARTBEAT.get()
}

/// 1 s: a lag is known to the second, for some 1.5 MB of WAL in an hour.
pub fn heartbeat_interval() -> Duration {
    millis(HEARTBEAT_INTERVAL.get())
}

/// 10 s: soon enough to act on, for some ten milliseconds of a core each time.
pub fn alert_interval() -> Duration {
    millis(ALERT_INTERVAL.get())
}

/// 500 ms: well above what synchronised clocks differ by, and well below the smallest lag that anybody budgets.
pub fn max_clock_skew() -> Duration {
    millis(MAX_CLOCK_SKEW.get())
}

/// Off: an attribute is there for good, with its type, and a name that was mistyped should be an error and not a new
/// attribute. Only a superuser may set it, or who was granted it, since `ingest()` works with the rights of telemetry_owner;
/// for a role or a database ALTER … SET will do.
pub fn auto_register() -> bool {
    AUTO_REGISTER.get()
}

/// A day: whoever repeats a call does it within minutes, and a gateway that was offline over night is still recognised.
pub fn request_window_seconds() -> i64 {
    i64::from(REQUEST_WINDOW.get())
}

/// 64 MB: no more than one batch of the flush holds, so that a single value cannot more than double it.
pub fn max_value_size() -> usize {
    usize::try_from(MAX_VALUE_SIZE.get()).unwrap_or(0) * 1024
}

/// 1 s: while a snapshot is held, some dozens of dead versions of a document in the time of a long report are no burden, and the
/// latest values are at most a second late. 0: documents are written at every flush whatever is held.
pub fn projection_min_interval_micros() -> i64 {
    i64::from(PROJECTION_MIN_INTERVAL.get()) * 1000
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

pub fn register() {
    GucRegistry::define_bool_guc(
        c"pg_telemetry.background_workers",
        c"Runs the background workers.",
        c"Off stops every worker of pg_telemetry; SQL functions go on working.",
        &BACKGROUND_WORKERS,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_telemetry.retention_keeps_tables",
        c"Only detaches partitions whose time is over, and does not drop them.",
        c"They stay as tables of their own.",
        &RETENTION_KEEPS_TABLES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_telemetry.retention_publishes_deletes",
        c"Deletes readings whose time is over also where a publication passes deletions on.",
        c"Off leaves them, and partition_plan() says for which publication.",
        &RETENTION_PUBLISHES_DELETES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_telemetry.auto_register",
        c"Registers attributes that are new to ingest() and its sisters.",
        c"Off makes an unknown name an error.",
        &AUTO_REGISTER,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_telemetry.find_max_readings",
        c"Most readings that one search may read of attributes that are not kept hot.",
        c"A search that would read more is refused.",
        &FIND_MAX_READINGS,
        1000,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    let whole_numbers = [
        (
            c"pg_telemetry.request_window",
            c"How long a request_id is remembered.",
            c"A repeat within it stages nothing.",
            &REQUEST_WINDOW,
            (60, 30 * 24 * 3600),
            GucFlags::UNIT_S,
        ),
        (
            c"pg_telemetry.max_value_size",
            c"Largest text or JSON value of one reading.",
            c"Larger ones go to entity_values_rejected, or are an error of ingest().",
            &MAX_VALUE_SIZE,
            (1, 255 * 1024),
            GucFlags::UNIT_KB,
        ),
        (
            c"pg_telemetry.flush_interval",
            c"Time between two flushes.",
            c"Less the time that a flush took, half of it at most. A flusher that found more than one batch waiting flushes again at once.",
            &FLUSH_INTERVAL,
            (10, 60_000),
            GucFlags::UNIT_MS,
        ),
        (
            c"pg_telemetry.flush_batch_rows",
            c"Most rows that one flush moves from one staging table.",
            c"Bounds the memory and the length of a transaction.",
            &FLUSH_BATCH_ROWS,
            (1000, 10_000_000),
            GucFlags::default(),
        ),
        (
            c"pg_telemetry.flush_memory",
            c"Memory that one batch of a flush may take.",
            c"The batch ends with the row by which it is reached, however large that is.",
            &FLUSH_MEMORY,
            (1, 4096),
            GucFlags::UNIT_MB,
        ),
        (
            c"pg_telemetry.flush_workers",
            c"Flushers per database.",
            c"Each takes one of max_worker_processes.",
            &FLUSH_WORKERS,
            (1, MAX_FLUSH_WORKERS as i32),
            GucFlags::default(),
        ),
        (
            c"pg_telemetry.shutdown_flush",
            c"Longest time that the last flush of a server that is stopped may take.",
            c"0 turns the last flush off; rows of the fast door then survive a clean restart, but no switchover.",
            &SHUTDOWN_FLUSH,
            (0, 60_000),
            GucFlags::UNIT_MS,
        ),
        (
            c"pg_telemetry.premake",
            c"Partitions that are kept ready ahead of the current one.",
            c"",
            &PREMAKE,
            (1, 100),
            GucFlags::default(),
        ),
        (
            c"pg_telemetry.accept_past",
            c"How old ingested_at may be for a reading to be stored.",
            c"Older readings go to entity_values_rejected.",
            &ACCEPT_PAST,
            (60, i32::MAX),
            GucFlags::UNIT_S,
        ),
        (
            c"pg_telemetry.accept_future",
            c"How far ahead ingested_at may be for a reading to be stored.",
            c"Readings beyond it go to entity_values_rejected.",
            &ACCEPT_FUTURE,
            (0, 366 * 24 * 3600),
            GucFlags::UNIT_S,
        ),
        (
            c"pg_telemetry.reclaim_grace",
            c"How long moved rows stay in staging for snapshots that have not looked at it yet.",
            c"Older snapshots hold moved rows back only while their session has a lock on the staging table; -1: every snapshot does.",
            &RECLAIM_GRACE,
            (-1, 3_600_000),
            GucFlags::UNIT_MS,
        ),
        (
            c"pg_telemetry.accept_observed_past",
            c"How far observed_at may lie before ingested_at for a reading to be stored; -1: no bound.",
            c"Readings beyond it go to entity_values_rejected.",
            &ACCEPT_OBSERVED_PAST,
            (-1, i32::MAX),
            GucFlags::UNIT_S,
        ),
        (
            c"pg_telemetry.accept_observed_future",
            c"How far observed_at may lie after ingested_at for a reading to be stored; -1: no bound.",
            c"Readings beyond it go to entity_values_rejected.",
            &ACCEPT_OBSERVED_FUTURE,
            (-1, i32::MAX),
            GucFlags::UNIT_S,
        ),
        (
            c"pg_telemetry.rejected_max_size",
            c"Size of entity_values_rejected beyond which its oldest rows are removed; -1: no bound.",
            c"",
            &REJECTED_MAX_SIZE,
            (-1, i32::MAX),
            GucFlags::UNIT_MB,
        ),
        (
            c"pg_telemetry.rejected_keep",
            c"How long rejected readings are kept; -1: for ever.",
            c"Whole partitions are dropped, so they are kept for up to a day longer.",
            &REJECTED_KEEP,
            (-1, i32::MAX),
            GucFlags::UNIT_S,
        ),
        (
            c"pg_telemetry.rewrite_threshold",
            c"How many of a hundred readings of a partition must have been deleted for it to be rewritten; -1: it never is.",
            c"A rewrite gives their room back.",
            &REWRITE_THRESHOLD,
            (-1, 100),
            GucFlags::default(),
        ),
        (
            c"pg_telemetry.lock_timeout",
            c"Longest time that a worker waits for a lock.",
            c"",
            &LOCK_TIMEOUT,
            (1, 60_000),
            GucFlags::UNIT_MS,
        ),
        (
            c"pg_telemetry.task_timeout",
            c"Longest time that one run of a worker's task may take.",
            c"",
            &TASK_TIMEOUT,
            (1000, 3_600_000),
            GucFlags::UNIT_MS,
        ),
        (
            c"pg_telemetry.heartbeat_interval",
            c"Time between two heartbeats.",
            c"Standbys judge their lag by it, so it should be the same on all nodes.",
            &HEARTBEAT_INTERVAL,
            (100, 60_000),
            GucFlags::UNIT_MS,
        ),
        (
            c"pg_telemetry.alert_interval",
            c"Time between two looks at alerts.",
            c"What is costly is looked at each sixth time.",
            &ALERT_INTERVAL,
            (1000, 300_000),
            GucFlags::UNIT_MS,
        ),
        (
            c"pg_telemetry.max_clock_skew",
            c"By how much the clocks of two nodes may differ before no lag is believed.",
            c"",
            &MAX_CLOCK_SKEW,
            (10, 3_600_000),
            GucFlags::UNIT_MS,
        ),
        (
            c"pg_telemetry.projection_min_interval",
            c"Least time between two writes of one document while a snapshot of more than 10 s is held; 0: none.",
            c"It grows with the age of the snapshot. What comes in between waits in projection_pending.",
            &PROJECTION_MIN_INTERVAL,
            (0, 60_000),
            GucFlags::UNIT_MS,
        ),
        (
            c"pg_telemetry.hot_leaves",
            c"Hash partitions of entity_jsonb, looked at when setup() creates it.",
            c"",
            &HOT_LEAVES,
            (1, 1024),
            GucFlags::default(),
        ),
    ];
    for (name, short, long, setting, (least, greatest), flags) in whole_numbers {
        GucRegistry::define_int_guc(
            name,
            short,
            long,
            setting,
            least,
            greatest,
            GucContext::Sighup,
            flags,
        );
    }
    crate::pg::settings::define_partition_interval(
        c"pg_telemetry.partition_interval",
        c"Time that one partition of facts covers, in UTC.",
        c"hour, day, week, month, or a number of minutes, hours or months that divides a day or a year. A change counts from the next free bound on.",
        &PARTITION_INTERVAL,
    );
    GucRegistry::define_enum_guc(
        c"pg_telemetry.heartbeat",
        c"When the heartbeat is written that tells standbys how old their data are.",
        c"replicated: while there is a standby or a replication slot.",
        &HEARTBEAT,
        GucContext::Sighup,
        GucFlags::default(),
    );
    #[cfg(feature = "fault-points")]
    crate::pg::fault::register();
    crate::pg::settings::reserve_prefix(c"pg_telemetry");
}
