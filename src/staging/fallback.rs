//! Taking rows by SQL, where the direct way would not be the same: another storage, an index or a trigger on staging, row-level
//! security, a serializable transaction.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;

use super::batch::{Batch, NO_LEAF};
use super::flush::{MISSING_HOURS, Move};
use super::route::Route;
use crate::error::Error;
use crate::pg::handover::returned_tuples;
use crate::sql::{Argument, argument, read, write};

/// Rows that one statement takes: they are all in memory, twice.
const MOST_ROWS: usize = 20_000;

/// What the statements below know about times: the bounds that partitions cover, and the window that is accepted.
const TIMES: &str = "times AS (
    SELECT coalesce((SELECT range_agg(tstzrange(b.start, b.stop))
                     FROM unnest($1, $2) AS b (start, stop)), '{}'::tstzmultirange) AS covered,
           tstzrange($3, $4) AS accepted)";

pub fn claim(work: &Move, batch: &mut Batch) -> Result<(), Error> {
    loop {
        let most = batch.room().min(MOST_ROWS);
        if most == 0 || claim_some(work, batch, most)? < most {
            break;
        }
    }
    note_waiting(work, batch)
}

/// Claims by row lock and skips what others hold: several flushers share the work, and none waits for another.
fn claim_some(work: &Move, batch: &mut Batch, most: usize) -> Result<usize, Error> {
    let staging = work.installed.qualified(work.door);
    let text = format!(
        "WITH {TIMES}
         DELETE FROM {staging} WHERE ctid = ANY (ARRAY(
             SELECT s.ctid FROM {staging} AS s, times AS t
             WHERE s.ingested_at IS NULL OR s.ingested_at <@ t.covered OR NOT s.ingested_at <@ t.accepted
             LIMIT $5 FOR UPDATE OF s SKIP LOCKED))
         RETURNING tenant_id, entity_id, ingested_at, observed_at, value_num, value_int, attribute_id, value_text"
    );
    let mut arguments = times(work, batch)?;
    arguments.push(argument(most as i64));
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

/// Rows inside the accepted window for which there is no partition.
fn note_waiting(work: &Move, batch: &mut Batch) -> Result<(), Error> {
    let mut arguments = times(work, batch)?;
    arguments.push(argument(MISSING_HOURS as i64));
    let text = format!(
        "WITH {TIMES}
         SELECT min(s.ingested_at), count(*)
         FROM {} AS s, times AS t
         WHERE s.ingested_at <@ t.accepted AND NOT s.ingested_at <@ t.covered
         GROUP BY date_bin('1 hour', s.ingested_at, '2000-01-01 00:00:00+00')
         ORDER BY 1 LIMIT $5",
        work.installed.qualified(work.door)
    );
    read(&text, arguments, |rows| {
        for row in rows {
            if let (Some(time), Some(count)) = (row.get::<TimestampWithTimeZone>(1)?, row.get::<i64>(2)?) {
                batch.waiting.add_hour(pg_sys::TimestampTz::from(time), count);
            }
        }
        Ok(())
    })
}

fn times(work: &Move, batch: &Batch) -> Result<Vec<Argument>, Error> {
    let timestamp = |time: i64| TimestampWithTimeZone::try_from(time).map_err(|_| Error::NoPeriod(time));
    let from = work.partitions.iter().map(|partition| timestamp(partition.from));
    let until = work.partitions.iter().map(|partition| timestamp(partition.until));
    let accepted = batch.router.accepted();
    Ok(vec![
        argument(from.collect::<Result<Vec<_>, _>>()?),
        argument(until.collect::<Result<Vec<_>, _>>()?),
        argument(timestamp(accepted.from)?),
        argument(timestamp(accepted.until)?),
    ])
}
