//! WAL, checkpoints and the totals of this database. What was written of WAL is told by its positions, which no reset and no crash
//! sets back. Each figure begins anew by itself: their statistics are reset one without the other.

use super::baseline::{begin, changes};
use super::task::longest_gap;
use super::turn::{Outcome, Turn};
use crate::error::Error;
use crate::installed::Table;
use crate::monitor::checkpoint_activity::COUNTERS;
use crate::pg::handover;
use crate::sql::{argument, time, write};

/// One row for each figure, by its place.
fn now() -> String {
    format!(
        "SELECT u.place AS a, 0::bigint AS b, ARRAY[u.figure] AS counters
         FROM (SELECT ARRAY[pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), w.wal_records, w.wal_fpi,
                            k.timed, k.requested, k.write_ms, k.sync_ms, k.buffers,
                            d.xact_commit, d.xact_rollback, d.blks_hit, d.blks_read, d.tup_inserted, d.tup_updated, d.tup_deleted,
                            d.temp_bytes, d.deadlocks]::double precision[] AS figures
               FROM pg_stat_wal w, ({COUNTERS}) AS k (timed, requested, write_ms, sync_ms, buffers, reset_at), pg_stat_database d
               WHERE d.datname = current_database()) AS f, unnest(f.figures) WITH ORDINALITY AS u (figure, place)"
    )
}

pub fn sample(turn: &Turn) -> Result<Outcome, Error> {
    let installed = turn.installed;
    let covers_from = begin(installed, "server", turn.now, longest_gap())?;
    let text = format!(
        "{}
         INSERT INTO {} (sampled_at, wal_bytes, wal_records, wal_full_page_images, checkpoints_timed, checkpoints_requested,
                         checkpoint_write_ms, checkpoint_sync_ms, buffers_written, commits, rollbacks, blocks_hit, blocks_read,
                         rows_inserted, rows_updated, rows_deleted, temp_bytes, deadlocks)
         SELECT $2, f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9], f[10], f[11], f[12], f[13], f[14], f[15], f[16], f[17]
         FROM (SELECT array_agg(coalesce(d.delta[1], 0) ORDER BY n.a) AS f FROM now n LEFT JOIN changed d ON d.a = n.a) AS s
         WHERE $3",
        changes(installed, &now()),
        installed.qualified(Table::ServerSamples)
    );
    let arguments = vec![
        argument("server".to_owned()),
        time(turn.now),
        argument(covers_from.is_some()),
    ];
    let samples = write(&text, arguments, |_| Ok(handover::processed()))?;
    Ok(Outcome::sampled(covers_from, samples))
}
