//! Taking rows by SQL, where the direct way would not be the same: another storage, an index or a trigger on staging, row-level
//! security, a serializable transaction.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use super::batch::{Batch, NO_LEAF};
use super::flush::{MISSING_HOURS, Move};
use super::route::Route;
use crate::error::Error;
use crate::pg::handover::returned_tuples;
use crate::pg::partitions::Partition;
use crate::sql::{Argument, argument, read, write};

/// Rows that one statement takes: they are all in memory, twice.
const MOST_ROWS: usize = 20_000;

/// Bytes of text that one statement takes, one row more.
const MOST_BYTES: usize = 16 << 20;

/// What the statements below know about times: what open partitions cover, what those cover that are left alone, and the
/// window that is accepted.
const TIMES: &str = "times AS (
    SELECT coalesce((SELECT range_agg(tstzrange(b.start, b.stop))
                     FROM unnest($1, $2) AS b (start, stop)), '{}'::tstzmultirange) AS covered,
           coalesce((SELECT range_agg(tstzrange(b.start, b.stop))
                     FROM unnest($3, $4) AS b (start, stop)), '{}'::tstzmultirange) AS closed,
           tstzrange($5, $6) AS accepted)";

pub fn claim(work: &Move, batch: &mut Batch) -> Result<(), Error> {
    loop {
        let most = batch.room().min(MOST_ROWS);
        // It stops short at the bytes as well as at the end, so that only nothing means that there is no more.
        if most == 0 || claim_some(work, batch, most)? == 0 {
            break;
        }
    }
    note_waiting(work, batch)
}

/// Claims by row lock and skips what others hold: several flushers share the work, and none waits for another.
fn claim_some(work: &Move, batch: &mut Batch, most: usize) -> Result<usize, Error> {
    let staging = work.installed.qualified(work.door);
    let text = format!(
        "WITH {TIMES},
         found AS (
             SELECT s.ctid AS place, coalesce(octet_length(s.value_text), 0) AS bytes FROM {staging} AS s, times AS t
             WHERE s.ingested_at IS NULL OR s.ingested_at <@ t.covered
                OR NOT (s.ingested_at <@ t.accepted OR s.ingested_at <@ t.closed)
             LIMIT $7 FOR UPDATE OF s SKIP LOCKED)
         DELETE FROM {staging} WHERE ctid = ANY (ARRAY(
             SELECT b.place
             FROM (SELECT f.place, f.bytes, sum(f.bytes) OVER (ROWS UNBOUNDED PRECEDING) AS total FROM found AS f) AS b
             WHERE b.total - b.bytes <= $8))
         RETURNING tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text"
    );
    let mut arguments = times(work, batch)?;
    arguments.push(argument(most as i64));
    arguments.push(argument(batch.room_in_bytes().min(MOST_BYTES) as i64));
    write(&text, arguments, |_| {
        let before = batch.rows.len();
        let mut unreadable = false;
        returned_tuples(|tuple| match batch.route(tuple) {
            Some((Route::Leaf(leaf), ingested_at)) => batch.add(tuple, ingested_at, leaf),
            Some((Route::Refused | Route::Waits, ingested_at)) => batch.add(tuple, ingested_at, NO_LEAF),
            None => unreadable = true,
        });
        if unreadable {
            return Err(Error::UnreadableRow(staging.clone()));
        }
        Ok(batch.rows.len() - before)
    })
}

/// Rows inside the accepted window for which there is no partition, or one that is left alone.
fn note_waiting(work: &Move, batch: &mut Batch) -> Result<(), Error> {
    let mut arguments = times(work, batch)?;
    arguments.push(argument(MISSING_HOURS as i64));
    let text = format!(
        "WITH {TIMES}
         SELECT min(s.ingested_at), count(*)
         FROM {} AS s, times AS t
         WHERE (s.ingested_at <@ t.accepted OR s.ingested_at <@ t.closed) AND NOT s.ingested_at <@ t.covered
         GROUP BY date_bin('1 hour', s.ingested_at, '2000-01-01 00:00:00+00'), s.ingested_at <@ t.closed
         ORDER BY 1 LIMIT $7",
        work.installed.qualified(work.door)
    );
    read(&text, arguments, |rows| {
        for row in rows {
            if let (Some(time), Some(count)) = (row.get::<TimestampWithTimeZone>(1)?, row.get::<i64>(2)?) {
                batch.leave(pg_sys::TimestampTz::from(time), count);
            }
        }
        Ok(())
    })
}

fn times(work: &Move, batch: &Batch) -> Result<Vec<Argument>, Error> {
    let timestamp = |time: i64| TimestampWithTimeZone::try_from(time).map_err(|_| Error::NoPeriod(time));
    let bounds = |open: bool, bound: fn(&Partition) -> i64| {
        let chosen = work.partitions.iter().enumerate();
        let chosen = chosen.filter(move |(place, _)| batch.router.is_open(*place) == open);
        let times = chosen.map(|(_, partition)| timestamp(bound(partition)));
        Ok::<_, Error>(argument(times.collect::<Result<Vec<_>, _>>()?))
    };
    let accepted = batch.router.accepted();
    Ok(vec![
        bounds(true, |open| open.from)?,
        bounds(true, |open| open.until)?,
        bounds(false, |closed| closed.from)?,
        bounds(false, |closed| closed.until)?,
        argument(timestamp(accepted.from)?),
        argument(timestamp(accepted.until)?),
    ])
}
