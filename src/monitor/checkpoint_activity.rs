//! The row of `checkpoint_activity`: one query for each place in which the server has kept these figures.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::installed::Installed;
use crate::sql::read;

#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const COUNTERS: &str = "SELECT checkpoints_timed, checkpoints_req, checkpoint_write_time, checkpoint_sync_time, buffers_checkpoint,
                               stats_reset FROM pg_stat_bgwriter";

#[cfg(any(feature = "pg17", feature = "pg18"))]
pub const COUNTERS: &str = "SELECT num_timed, num_requested, write_time, sync_time, buffers_written, stats_reset FROM pg_stat_checkpointer";

#[allow(clippy::type_complexity)]
#[pg_extern]
fn checkpoint_activity_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(timed_total, Option<i64>),
            name!(requested_total, Option<i64>),
            name!(write_ms_total, Option<f64>),
            name!(sync_ms_total, Option<f64>),
            name!(buffers_written_total, Option<i64>),
            name!(counted_since_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    Installed::require()?;
    let found = read(COUNTERS, vec![], |rows| {
        let mut found = Vec::new();
        for row in rows {
            found.push((
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
            ));
        }
        Ok(found)
    })?;
    Ok(TableIterator::new(found))
}
