//! From when on nobody looks for a moved row of one staging table any more. The server knows one answer for all tables: it
//! waits for every snapshot, so that a report on facts that runs for an hour would make staging grow for an hour. Why less is
//! enough, and what is not safe: "Clearing staging under held snapshots" in README.md of this folder.

use std::collections::HashMap;
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::TransactionId;

use super::compat;
use super::past::{self, Past};
use super::relation;
use crate::error::Error;
use crate::guc;

/// It takes its snapshot first and its locks then, however long it has to wait for one of them.
const DUMP: &CStr = c"pg_dump";

/// Up to which transaction the server can clear away what was written to a table, and which transaction is the next; with
/// their epochs.
pub fn removal(table: pg_sys::Oid) -> (u64, u64) {
    let relation = relation::Relation::open_to_read(table);
    // SAFETY: open; looks into shared memory.
    unsafe {
        let horizon = pg_sys::GetOldestNonRemovableTransactionId(relation.as_ptr());
        let next = pg_sys::ReadNextFullTransactionId().value;
        // It is never further back than half of all numbers.
        let back = (next as u32).wrapping_sub(horizon.into_inner());
        (next.saturating_sub(u64::from(back)), next)
    }
}

/// What a snapshot of somebody else means for the moved rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stake {
    /// It looks at the table: rows wait for it as long as it lasts.
    Reads,
    /// It may look yet: rows wait for it for the grace.
    May,
    /// It is older than the grace and never looked.
    TooOld,
}

/// A snapshot that is held somewhere.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub pid: i32,
    pub xmin: TransactionId,
    /// Of a standby, by way of the process that sends WAL to it.
    pub remote: bool,
    pub stake: Stake,
    /// When its transaction began, where that is known.
    pub since: Option<i64>,
}

/// The processes that hold a snapshot with which somebody could look at the table. Those of lazy VACUUM are left out, as the
/// server leaves them out; prepared transactions hold none.
pub fn held(table: pg_sys::Oid, logged: bool, past: Option<&Past>) -> Vec<Held> {
    // SAFETY: constants of this process, and the array of processes, whose entries never go away. Its numbers are read
    // without a lock: a snapshot that misses a transaction was there before that transaction ended, and so before our own.
    let (me, database, processes) = unsafe {
        let all = pg_sys::ProcGlobal;
        let count = (*all).allProcCount as usize;
        (
            pg_sys::MyProc,
            pg_sys::MyDatabaseId,
            (0..count).map(move |index| (*all).allProcs.add(index)),
        )
    };
    let mut found = Vec::new();
    let mut locks = None;
    let mut known = None;
    for process in processes {
        // SAFETY: as above.
        let (xmin, flags, home, pid) = unsafe {
            (
                (&raw const (*process).xmin).read_volatile(),
                u32::from((&raw const (*process).statusFlags).read_volatile()),
                (&raw const (*process).databaseId).read_volatile(),
                (&raw const (*process).pid).read_volatile(),
            )
        };
        let remote = flags & pg_sys::PROC_AFFECTS_ALL_HORIZONS != 0;
        if xmin == TransactionId::INVALID
            || flags & pg_sys::PROC_IN_VACUUM != 0
            || (home != database && !remote)
        {
            continue;
        }
        if remote {
            // Nobody can read an unlogged table there.
            if logged {
                found.push(Held {
                    pid,
                    xmin,
                    remote,
                    stake: Stake::Reads,
                    since: None,
                });
            }
            continue;
        }
        let known: &HashMap<i32, Session> = known.get_or_insert_with(sessions);
        let session = known.get(&pid);
        let reads = if process == me {
            i_read(table)
        } else {
            let locks: &Locks = locks.get_or_insert_with(|| Locks::of(table));
            // SAFETY: as above.
            let vxid = unsafe { compat::virtual_id(process) };
            let dumps = session.is_none_or(|session| session.dumps);
            let young = |past: &Past| {
                session.is_some_and(|session| session.since >= past.at) && !past.is_younger_than(xmin)
            };
            dumps || (locks.any.contains(&vxid) && !(locks.write.contains(&vxid) && past.is_some_and(young)))
        };
        let stake = match past {
            _ if reads => Stake::Reads,
            Some(past) if past.is_younger_than(xmin) => Stake::TooOld,
            _ => Stake::May,
        };
        let since = session.map(|session| session.since);
        found.push(Held {
            pid,
            xmin,
            remote,
            stake,
            since,
        });
    }
    found
}

/// This session looked at the table in this transaction. The lock of the flush itself does not count: it hands out what it
/// sees at once.
fn i_read(table: pg_sys::Oid) -> bool {
    [pg_sys::AccessShareLock, pg_sys::RowShareLock]
        .into_iter()
        // SAFETY: looks into the locks of this process.
        .any(|mode| unsafe { pg_sys::CheckRelationOidLockedByMe(table, mode as i32, false) })
}

/// Transactions that hold a lock on the table, by their virtual ids.
struct Locks {
    any: Vec<(i32, u32)>,
    /// Also one that goes with writing.
    write: Vec<(i32, u32)>,
}

impl Locks {
    fn of(table: pg_sys::Oid) -> Locks {
        // SAFETY: the tag of a table of this database. The answer ends with an invalid id and has as many as it says.
        let holders = |mode: u32| unsafe {
            let tag = pg_sys::LOCKTAG {
                locktag_field1: pg_sys::MyDatabaseId.to_u32(),
                locktag_field2: table.to_u32(),
                locktag_field3: 0,
                locktag_field4: 0,
                locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
                locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
            };
            let mut count = 0;
            let list = pg_sys::GetLockConflicts(&tag, mode as i32, &mut count);
            let ids = (0..usize::try_from(count).unwrap_or(0))
                .map(|index| compat::virtual_id_in(&*list.add(index)))
                .collect();
            pg_sys::pfree(list.cast());
            ids
        };
        Locks {
            any: holders(pg_sys::AccessExclusiveLock),
            write: holders(pg_sys::ShareLock),
        }
    }
}

/// What the activity of a process says about it.
struct Session {
    since: i64,
    dumps: bool,
}

fn sessions() -> HashMap<i32, Session> {
    // SAFETY: a copy that this process keeps to the end of the transaction; counted from 1. What is older than it should be
    // makes snapshots look older than they are, and a process that is not in it counts as one that reads.
    unsafe {
        (1..=pg_sys::pgstat_fetch_stat_numbackends())
            .filter_map(|index| compat::activity(index).as_ref())
            .map(|entry| {
                let since = match entry.st_xact_start_timestamp {
                    0 => i64::MIN,
                    since => since,
                };
                let dumps = !entry.st_appname.is_null() && CStr::from_ptr(entry.st_appname) == DUMP;
                (entry.st_procpid, Session { since, dumps })
            })
            .collect()
    }
}

/// A replication slot that holds rows of the table back.
pub struct Slot {
    pub name: String,
    pub xmin: TransactionId,
    stake: Stake,
}

pub fn slots(logged: bool, past: Option<&Past>) -> Vec<Slot> {
    let mut found = Vec::new();
    // SAFETY: an array in shared memory that never changes its size; each number is read in one piece, and a name that is
    // being written ends where its field ends.
    unsafe {
        if pg_sys::ReplicationSlotCtl.is_null() {
            return found;
        }
        let first =
            (&raw const (*pg_sys::ReplicationSlotCtl).replication_slots).cast::<pg_sys::ReplicationSlot>();
        for index in 0..usize::try_from(pg_sys::max_replication_slots).unwrap_or(0) {
            let slot = first.add(index);
            let xmin = (&raw const (*slot).effective_xmin).read_volatile();
            if !(&raw const (*slot).in_use).read_volatile() || xmin == TransactionId::INVALID {
                continue;
            }
            let home = (&raw const (*slot).data.database).read_volatile();
            let stake = if home == pg_sys::InvalidOid {
                Stake::Reads
            } else if past.is_some_and(|past| past.is_younger_than(xmin)) {
                Stake::TooOld
            } else {
                // The snapshot that came with the slot, for somebody to take over.
                Stake::May
            };
            if (home == pg_sys::InvalidOid && logged) || home == pg_sys::MyDatabaseId {
                let bytes = (&raw const (*slot).data.name.data)
                    .read_volatile()
                    .map(|byte| byte as u8);
                let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                found.push(Slot {
                    name: String::from_utf8_lossy(name).into_owned(),
                    xmin,
                    stake,
                });
            }
        }
    }
    found
}

/// Which moved rows of one table nobody looks for any more.
pub struct Horizon {
    readers: Option<TransactionId>,
    others: Option<TransactionId>,
    past: Option<Past>,
}

impl Horizon {
    /// None where every snapshot counts. The caller's own snapshot must be older than this look.
    pub fn of(table: pg_sys::Oid, logged: bool) -> Option<Horizon> {
        let past = past::before(guc::reclaim_grace()?);
        let mut horizon = Horizon {
            readers: None,
            others: None,
            past: None,
        };
        let sessions = held(table, logged, past.as_ref()).into_iter();
        let all = sessions.map(|held| (held.xmin, held.stake));
        let slots = slots(logged, past.as_ref()).into_iter();
        for (xmin, stake) in all.chain(slots.map(|slot| (slot.xmin, slot.stake))) {
            match stake {
                Stake::Reads => lower(&mut horizon.readers, xmin),
                Stake::May => lower(&mut horizon.others, xmin),
                Stake::TooOld => {}
            }
        }
        horizon.past = past;
        Some(horizon)
    }

    /// Of a transaction that committed before the caller's own snapshot.
    pub fn has_passed(&self, xid: TransactionId) -> bool {
        let is_before = |limit: Option<TransactionId>| limit.is_none_or(|limit| precedes(xid, limit));
        is_before(self.readers)
            && (is_before(self.others) || self.past.as_ref().is_some_and(|past| past.had_ended(xid)))
    }
}

/// One transaction id is from before another.
pub fn precedes(one: TransactionId, other: TransactionId) -> bool {
    // SAFETY: compares two numbers.
    unsafe { pg_sys::TransactionIdPrecedes(one, other) }
}

fn lower(limit: &mut Option<TransactionId>, xmin: TransactionId) {
    if limit.is_none_or(|limit| precedes(xmin, limit)) {
        *limit = Some(xmin);
    }
}

/// Refuses to look at a staging table for the first time with a snapshot that is older than the grace: rows that it should
/// see may be cleared away. To be called before anything locks the table. Only where one snapshot serves the whole
/// transaction can that be.
pub fn check_snapshot(table: pg_sys::Oid) -> Result<(), Error> {
    let Some(grace) = guc::reclaim_grace() else {
        return Ok(());
    };
    // SAFETY: variables of this process, and a look into its locks.
    let (keeps_snapshot, looked, began) = unsafe {
        (
            pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32,
            pg_sys::CheckRelationOidLockedByMe(table, pg_sys::AccessShareLock as i32, true),
            pg_sys::GetCurrentTransactionStartTimestamp(),
        )
    };
    if !keeps_snapshot || looked {
        return Ok(());
    }
    let age = super::process::now().saturating_sub(began);
    let old = u128::try_from(age).is_ok_and(|age| age >= grace.as_micros());
    // One that was taken over from another session is older than the transaction.
    // SAFETY: a transaction of this kind has a snapshot from its first statement on.
    let xmin = unsafe { (*pg_sys::GetTransactionSnapshot()).xmin };
    let imported = past::before(grace).is_some_and(|past| past.is_younger_than(xmin));
    if old || imported {
        return Err(Error::SnapshotTooOld(relation::name_of(table)));
    }
    Ok(())
}
