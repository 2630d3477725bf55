//! Noticing that a crash or failover has emptied the fast door. `flush_sentinel` is UNLOGGED as well and shares its fate; the
//! epoch that it holds is also in `flush_state`, which is logged.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::state;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{lock, process, server};
use crate::shmem;
use crate::sql::{argument, read, value, write};

/// Rows of crash_history that are kept.
const KEPT: i64 = 1000;

/// Where an epoch was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    database: u32,
    sentinel: u32,
    system: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    epoch: String,
    /// None where the row is incomplete.
    place: Option<Place>,
}

#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// All is as it was.
    Same,
    /// The same contents in another place: a copy by CREATE DATABASE … TEMPLATE, pg_upgrade.
    Moved,
    /// Nothing is known, or what is known comes from elsewhere: a dump without the rows of UNLOGGED tables.
    New,
    Emptied,
}

fn judge(sentinel: Option<&str>, known: Option<&Known>, here: &Place) -> Finding {
    let Some(known) = known else {
        return Finding::New;
    };
    let in_place = known.place.as_ref() == Some(here);
    match sentinel {
        Some(epoch) if epoch == known.epoch && in_place => Finding::Same,
        Some(epoch) if epoch == known.epoch => Finding::Moved,
        Some(_) => Finding::New,
        None if in_place => Finding::Emptied,
        None => Finding::New,
    }
}

/// Looks once; false if it is to look again. Must be able to write. Waits for nobody: whoever does the same just now does it
/// for all.
pub fn notice(installed: &Installed) -> Result<bool, Error> {
    let relation = installed.require_table(Table::Sentinel)?;
    let here = Place {
        database: process::my_database(),
        sentinel: relation.to_u32(),
        system: server::system_identifier(),
    };
    let (sentinel, known) = look(installed)?;
    let finding = judge(sentinel.as_deref(), known.as_ref(), &here);
    if finding == Finding::Same {
        return Ok(true);
    }
    // A prepared transaction may hold the row for days; what it has to say is in it, and is said when it has ended.
    if !lock::try_alone(relation) || (known.is_some() && !state::is_free(installed)?) {
        return Ok(false);
    }
    let before = known.map(|known| known.epoch);
    match finding {
        Finding::Same => {}
        Finding::Moved => move_to(installed, &here)?,
        Finding::New => begin(installed, &here, before)?,
        Finding::Emptied => {
            if record(installed, before.clone())? {
                begin(installed, &here, before)?;
                prune(installed)?;
            }
        }
    }
    Ok(false)
}

fn look(installed: &Installed) -> Result<(Option<String>, Option<Known>), Error> {
    let text = format!(
        "SELECT (SELECT min(epoch::text) FROM {}), s.epoch::text, s.database_oid::bigint, s.sentinel_oid::bigint,
                s.system_identifier
         FROM (SELECT) AS one LEFT JOIN {} AS s ON true",
        installed.qualified(Table::Sentinel),
        installed.qualified(Table::FlushState)
    );
    read(&text, vec![], |rows| {
        let row = rows.first();
        let oid = |column: usize| -> Result<Option<u32>, Error> {
            Ok(row
                .get::<i64>(column)?
                .and_then(|number| u32::try_from(number).ok()))
        };
        let place = match (oid(3)?, oid(4)?, row.get::<String>(5)?) {
            (Some(database), Some(sentinel), Some(system)) => Some(Place {
                database,
                sentinel,
                system,
            }),
            _ => None,
        };
        let known = row.get::<String>(2)?.map(|epoch| Known { epoch, place });
        Ok((row.get::<String>(1)?, known))
    })
}

fn move_to(installed: &Installed, here: &Place) -> Result<(), Error> {
    let text = format!(
        "UPDATE {} SET database_oid = $1::bigint::oid, sentinel_oid = $2::bigint::oid, system_identifier = $3",
        installed.qualified(Table::FlushState)
    );
    write(&text, place_arguments(here), |_| Ok(()))
}

fn place_arguments(here: &Place) -> Vec<crate::sql::Argument> {
    vec![
        argument(i64::from(here.database)),
        argument(i64::from(here.sentinel)),
        argument(here.system.clone()),
    ]
}

/// Begins an epoch in place of `before`, unless somebody else has done so meanwhile. After a crash nothing is left of what was
/// staged before it.
fn begin(installed: &Installed, here: &Place, before: Option<String>) -> Result<(), Error> {
    let state = installed.qualified(Table::FlushState);
    let sentinel = installed.qualified(Table::Sentinel);
    let crashes = installed.qualified(Table::CrashHistory);
    let text = format!(
        "INSERT INTO {state} AS s (epoch, database_oid, sentinel_oid, system_identifier, timeline, flushed_until)
         VALUES (gen_random_uuid(), $1::bigint::oid, $2::bigint::oid, $3, $4,
                 (SELECT exposed_until FROM {crashes} WHERE epoch = $5::uuid))
         ON CONFLICT (only_row) DO UPDATE
             SET epoch = excluded.epoch, database_oid = excluded.database_oid, sentinel_oid = excluded.sentinel_oid,
                 system_identifier = excluded.system_identifier, timeline = excluded.timeline,
                 flushed_until = excluded.flushed_until, seen_at = NULL, rows_waiting = NULL, bytes_waiting = NULL, rows_are_estimated = NULL
             WHERE s.epoch IS NOT DISTINCT FROM $5::uuid
         RETURNING epoch::text"
    );
    let mut arguments = place_arguments(here);
    arguments.push(argument(server::timeline()));
    arguments.push(argument(before));
    let epoch: Option<String> = write(&text, arguments, value)?;
    if let Some(epoch) = epoch {
        write(&format!("DELETE FROM {sentinel}"), vec![], |_| Ok(()))?;
        write(
            &format!("INSERT INTO {sentinel} (epoch) VALUES ($1::uuid)"),
            vec![argument(epoch)],
            |_| Ok(()),
        )?;
    }
    Ok(())
}

/// Writes down what is known about the epoch that ended; false if somebody else did.
fn record(installed: &Installed, epoch: Option<String>) -> Result<bool, Error> {
    let text = format!(
        "WITH clock AS (SELECT clock_timestamp() AS now)
         INSERT INTO {} (epoch, noticed_at, kind, exposed_from, exposed_until, last_seen_at, rows_last_seen,
                         bytes_last_seen, rows_are_estimated, timeline_before, timeline_after)
         SELECT s.epoch, clock.now, CASE WHEN s.timeline = $2 THEN 'crash' ELSE 'promotion' END, s.flushed_until,
                coalesce((SELECT min(started) FROM unnest(ARRAY[$3, $4]) AS started
                          WHERE started > greatest(s.seen_at, s.flushed_until) AND s.timeline = $2), clock.now),
                s.seen_at, s.rows_waiting, s.bytes_waiting, s.rows_are_estimated, s.timeline, $2
         FROM {} AS s, clock WHERE s.epoch = $1::uuid
         ON CONFLICT DO NOTHING
         RETURNING format('the fast door was emptied by a %s: readings committed from %s to %s were exposed, %s rows were last '
                          'seen waiting; see crash_history',
                          kind, coalesce(exposed_from::text, 'an unknown time'), exposed_until,
                          coalesce(rows_last_seen::text, 'an unknown number of'))",
        installed.qualified(Table::CrashHistory),
        installed.qualified(Table::FlushState)
    );
    let timestamp = |at: i64| TimestampWithTimeZone::try_from(at).ok();
    let born = shmem::look_at_ledger(|ledger| ledger.born).and_then(timestamp);
    let arguments = vec![
        argument(epoch),
        argument(server::timeline()),
        argument(born),
        argument(timestamp(server::started_at())),
    ];
    let said: Option<String> = write(&text, arguments, value)?;
    if let Some(said) = &said {
        log!("pg_telemetry: {said}");
    }
    Ok(said.is_some())
}

fn prune(installed: &Installed) -> Result<(), Error> {
    let history = installed.qualified(Table::CrashHistory);
    let text = format!(
        "DELETE FROM {history} WHERE epoch IN (SELECT epoch FROM {history} ORDER BY noticed_at DESC OFFSET $1)"
    );
    write(&text, vec![argument(KEPT)], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(database: u32) -> Place {
        Place {
            database,
            sentinel: 7,
            system: "1".into(),
        }
    }

    fn known(epoch: &str, database: u32) -> Known {
        Known {
            epoch: epoch.into(),
            place: Some(place(database)),
        }
    }

    #[test]
    fn only_an_empty_sentinel_in_its_own_place_is_a_crash() {
        let here = place(5);
        let ours = known("a", 5);
        assert_eq!(judge(Some("a"), Some(&ours), &here), Finding::Same);
        assert_eq!(judge(None, Some(&ours), &here), Finding::Emptied);
        // A dump without UNLOGGED rows was restored, here or elsewhere.
        assert_eq!(judge(None, Some(&known("a", 4)), &here), Finding::New);
        let incomplete = Known {
            place: None,
            ..ours.clone()
        };
        assert_eq!(judge(None, Some(&incomplete), &here), Finding::New);
        // A copy of the database.
        assert_eq!(judge(Some("a"), Some(&known("a", 4)), &here), Finding::Moved);
        // Never begun, or one of both is from elsewhere.
        assert_eq!(judge(None, None, &here), Finding::New);
        assert_eq!(judge(Some("a"), None, &here), Finding::New);
        assert_eq!(judge(Some("b"), Some(&ours), &here), Finding::New);
    }
}
