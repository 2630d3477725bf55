//! The counters as they were at the last sample. They lie in an UNLOGGED table: a crash empties it and the counters of the server
//! alike, and a standby that is promoted finds it empty, as it counts for itself. A clean restart keeps both.

use pgrx::datum::TimestampWithTimeZone;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{handover, process, replication};
use crate::sql::{argument, time, value, write};

/// Whether the samples are ours to take until the end of the transaction; false when somebody else is taking some. Counters that
/// were brought here, by a dump or a copy of the database, are forgotten. All statements here see what was committed up to now.
pub fn claim(installed: &Installed) -> Result<bool, Error> {
    let base = installed.qualified(Table::SampleBaseline);
    let here = || -> Result<Vec<_>, Error> {
        let oid = installed.require_table(Table::SampleBaseline)?;
        Ok(vec![
            argument(i64::from_ne_bytes(replication::system_identifier().to_ne_bytes())),
            argument(i64::from(process::my_database())),
            argument(vec![f64::from(oid.to_u32())]),
        ])
    };
    let ours: Option<bool> = write(
        &format!(
            "SELECT a = $1 AND b = $2 AND counters = $3 FROM {base} WHERE source = 'epoch' FOR UPDATE SKIP LOCKED"
        ),
        here()?,
        value,
    )?;
    match ours {
        Some(true) => return Ok(true),
        Some(false) => write(&format!("DELETE FROM {base}"), vec![], |_| Ok(()))?,
        None => {
            let known: Option<bool> = write(
                &format!("SELECT EXISTS (SELECT FROM {base} WHERE source = 'epoch')"),
                vec![],
                value,
            )?;
            if known == Some(true) {
                return Ok(false);
            }
        }
    }
    write(
        &format!(
            "INSERT INTO {base} (source, a, b, counters) VALUES ('epoch', $1, $2, $3) ON CONFLICT DO NOTHING"
        ),
        here()?,
        |_| Ok(handover::processed() == 1),
    )
}

/// Notes that a source is sampled now. When it was the last time, unless that is too long ago for a difference to be about now.
pub fn begin(
    installed: &Installed,
    source: &str,
    now: i64,
    longest: i64,
) -> Result<Option<TimestampWithTimeZone>, Error> {
    let base = installed.qualified(Table::SampleBaseline);
    let before: Option<TimestampWithTimeZone> = write(
        &format!("SELECT taken_at FROM {base} WHERE source = $1 AND a = 0 AND b = 0"),
        vec![argument(source.to_owned())],
        value,
    )?;
    write(
        &format!(
            "INSERT INTO {base} AS o (source, a, b, taken_at, counters) VALUES ($1, 0, 0, $2, '{{}}')
             ON CONFLICT (source, a, b) DO UPDATE SET taken_at = excluded.taken_at"
        ),
        vec![argument(source.to_owned()), time(now)],
        |_| Ok(()),
    )?;
    Ok(before.filter(|before| {
        let age = now - pgrx::pg_sys::TimestampTz::from(*before);
        age > 0 && age <= longest
    }))
}

/// The beginning of a statement that subtracts what `now` reads (columns a, b, counters and others) from what is kept of it ($1 is the
/// source), and keeps it; `changed` has the columns of `now` and, as `delta`, the differences. Counters that went back began anew:
/// then they are the difference themselves, as they are for what was not there the last time. Sums of fractions may go back by a
/// rounding error.
pub fn changes(installed: &Installed, now: &str) -> String {
    let base = installed.qualified(Table::SampleBaseline);
    format!(
        "WITH now AS MATERIALIZED ({now}),
         changed AS MATERIALIZED (
             SELECT n.*,
                    CASE WHEN o.counters IS NULL
                              OR EXISTS (SELECT FROM unnest(n.counters, o.counters) AS u (now, before)
                                         WHERE u.now < u.before * (1 - 1e-9))
                         THEN n.counters
                         ELSE ARRAY(SELECT greatest(0, u.now - u.before)
                                    FROM unnest(n.counters, o.counters) WITH ORDINALITY AS u (now, before, place)
                                    ORDER BY u.place) END AS delta
             FROM now n LEFT JOIN {base} o ON o.source = $1 AND o.a = n.a AND o.b = n.b
             WHERE CASE WHEN o.counters IS NULL THEN 0 <> ANY (n.counters) ELSE o.counters <> n.counters END),
         kept AS (
             INSERT INTO {base} (source, a, b, counters) SELECT $1, a, b, counters FROM changed
             ON CONFLICT (source, a, b) DO UPDATE SET counters = excluded.counters),
         gone AS (
             DELETE FROM {base} o
             WHERE o.source = $1 AND o.a <> 0 AND NOT EXISTS (SELECT FROM now n WHERE n.a = o.a AND n.b = o.b))"
    )
}
