//! Who keeps moved rows of a staging table from being cleared away: for those who wonder why it is large.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;
use pgrx::pg_sys::TransactionId;

use super::horizon::{Held, Stake, held, slots};
use super::process;
use crate::error::Error;
use crate::guc;
use crate::sql::read;

/// What holds, and by which name it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A session, by process id, that looks at the table with its snapshot.
    Reader(i32),
    /// A session, by process id, whose snapshot is so young that it may look yet; in the strict mode any that has one.
    Snapshot(i32),
    /// A standby with hot_standby_feedback and no slot, by the process id of its WAL sender.
    Standby(i32),
    /// A replication slot.
    Slot(String),
    /// A prepared transaction, by its global id. Only in the strict mode.
    Prepared(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub kind: Kind,
    /// Transactions that were begun since its snapshot.
    pub age: i64,
    /// When its transaction began, in the server's microseconds; None where nobody knows.
    pub since: Option<i64>,
}

/// The oldest first.
pub fn holders(staging: pg_sys::Oid) -> Result<Vec<Holder>, Error> {
    // SAFETY: a catalog lookup; and the counter of transactions.
    let (persistence, next) = unsafe {
        (
            pg_sys::get_rel_persistence(staging),
            pg_sys::ReadNextFullTransactionId().value as u32,
        )
    };
    let logged = persistence == pg_sys::RELPERSISTENCE_PERMANENT as std::ffi::c_char;
    let age = |xmin: TransactionId| i64::from(next.wrapping_sub(xmin.into_inner()));
    let grace = guc::reclaim_grace();
    let newest = process::now().saturating_sub(grace.map_or(i64::MAX, |grace| grace.as_micros() as i64));

    let sessions = held(staging, logged, None).into_iter().filter_map(|held| {
        let Held {
            pid,
            xmin,
            remote,
            stake,
            since,
        } = held;
        let kind = match stake {
            _ if remote => Kind::Standby(pid),
            Stake::Reads => Kind::Reader(pid),
            // What began before the grace never looked, or it would be a reader.
            _ if grace.is_some() && since.is_some_and(|since| since < newest) => return None,
            _ => Kind::Snapshot(pid),
        };
        (pid != process::my_pid()).then_some(Holder {
            kind,
            age: age(xmin),
            since,
        })
    });
    let slots = slots(logged, None).into_iter().map(|slot| Holder {
        kind: Kind::Slot(slot.name),
        age: age(slot.xmin),
        since: None,
    });
    let mut found: Vec<Holder> = sessions.chain(slots).collect();
    if grace.is_none() {
        found.extend(prepared(next)?);
    }
    found.sort_by_key(|holder| std::cmp::Reverse(holder.age));
    Ok(found)
}

fn prepared(next: u32) -> Result<Vec<Holder>, Error> {
    let text = "SELECT gid, transaction::text::bigint, prepared FROM pg_prepared_xacts WHERE database = current_database()";
    read(text, vec![], |rows| {
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let (Some(gid), Some(xid)) = (row.get::<String>(1)?, row.get::<i64>(2)?) else {
                continue;
            };
            found.push(Holder {
                kind: Kind::Prepared(gid),
                age: i64::from(next.wrapping_sub(xid as u32)),
                since: row
                    .get::<TimestampWithTimeZone>(3)?
                    .map(pg_sys::TimestampTz::from),
            });
        }
        Ok(found)
    })
}
