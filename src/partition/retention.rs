//! Which partitions of facts are to be removed: those in which the time of every tenant is over.
//!
//! A partition leaves in two steps, as its detachment has to be a statement of its own: the janitor notes in its state how it
//! leaves, and detaches it; a later rotation drops what is to be dropped and no longer attached. Killed in between, it goes on
//! from what it finds.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::datum::Interval;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::archive;
use super::bounds::{Micros, Period};
use super::create::Parent;
use super::expire::hold_policies;
use super::plan::{Action, Planned};
use super::policy::{Fate, Policies, Policy};
use super::state::{self, Leaves, now};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::partitions::{EPOCH_2000, to_read};
use crate::pg::{fault, identity, xact};
use crate::sql::{argument, read, run, value, write};

/// How long nothing is removed after the partition of the present had to be made late.
const SETTLE: Micros = 24 * 3600 * 1_000_000;

/// What is to be removed, oldest first, and what stays although it is old.
pub fn removals(installed: &Installed) -> Result<Vec<Planned>, Error> {
    let mut planned = interrupted(installed)?;
    let Some(policies) = policies(installed)? else {
        return Ok(planned);
    };
    for (oid, period) in state::to_drop(installed)? {
        let mut drop = removal(installed, Action::Drop, oid, period)?;
        match who_keeps(installed, &policies, oid, period.end)? {
            None => "it was detached, and the time of all its readings is over".clone_into(&mut drop.reason),
            Some(reason) => {
                drop.action = Action::Keep;
                drop.reason = format!("it is detached already, but {reason}");
            }
        }
        planned.push(drop);
    }
    let mut doubt = None;
    let mut looks = LOOKS;
    for partition in to_read(installed.require_table(Table::Facts)?) {
        let period = partition.period();
        if policies.fate(period.end) == Fate::Stays {
            continue;
        }
        if doubt.is_none() {
            doubt = Some(doubts_about_the_clock(installed)?);
        }
        let mut detach = removal(installed, Action::Detach, partition.oid, period)?;
        let kept = match doubt.as_ref().and_then(Option::as_ref) {
            Some(doubt) => Some(doubt.clone()),
            None => still_keeps(installed, &policies, partition.oid, period.end, &mut looks)?,
        };
        match kept {
            Some(reason) => (detach.action, detach.reason) = (Action::Keep, reason),
            None => {
                "the time of all its readings is over".clone_into(&mut detach.reason);
                detach.statement = Some(format!(
                    "ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY",
                    installed.qualified(Table::Facts),
                    detach.partition
                ));
            }
        }
        planned.push(detach);
    }
    Ok(planned)
}

pub(super) fn removal(
    installed: &Installed,
    action: Action,
    oid: pg_sys::Oid,
    period: Period,
) -> Result<Planned, Error> {
    let name: Option<String> = read(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.oid = $1",
        vec![argument(oid)],
        value,
    )?;
    Ok(Planned {
        action,
        parent: Parent::Facts,
        oid: Some(oid),
        partition: name.unwrap_or_else(|| installed.qualified(Table::Facts)),
        period,
        reason: String::new(),
        statement: None,
    })
}

/// None without the table of policies, and with the SQL objects of a version that said that nothing acts on them yet: a newer
/// library alone must not begin to remove readings.
pub(super) fn policies(installed: &Installed) -> Result<Option<Policies>, Error> {
    let announced: Option<bool> = read(
        "SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                        WHERE n.nspname = $1 AND p.proname = 'set_retention')",
        vec![argument(installed.schema.clone())],
        value,
    )?;
    if announced != Some(true) || installed.table_oid(Table::Retention)?.is_none() {
        return Ok(None);
    }
    // In UTC, so that no change of clocks moves it. Longer than five thousand years is for ever.
    let text = format!(
        "SELECT tenant_id, legal_hold, CASE WHEN keep < interval '5000 years' THEN
                    (extract(epoch FROM (now() AT TIME ZONE 'UTC') - keep) * 1000000)::bigint END
         FROM {}",
        installed.qualified(Table::Retention)
    );
    let mut all = Vec::new();
    read(&text, vec![], |rows| {
        for row in rows {
            all.push(Policy {
                tenant_id: row.get(1)?.unwrap_or_default(),
                legal_hold: row.get(2)?.unwrap_or(true),
                before: row.get(3)?,
            });
        }
        Ok(())
    })?;
    let accepted = guc::accept_past_seconds().saturating_mul(1_000_000);
    Ok(Some(Policies {
        all,
        accepted_since: now().saturating_sub(accepted),
    }))
}

/// Why a partition that is old enough stays all the same; None when nobody keeps it.
pub(super) fn who_keeps(
    installed: &Installed,
    policies: &Policies,
    oid: pg_sys::Oid,
    until: Micros,
) -> Result<Option<String>, Error> {
    match policies.fate(until) {
        Fate::Stays => Ok(Some("its time is not over any more".to_owned())),
        Fate::GoesWithout(tenants) => Ok(keeper(installed, oid, tenants)?.map(kept_by)),
    }
}

/// Into so many partitions one plan looks for readings that keep them, and which tenant's were found is believed for so long.
/// A tenant that keeps its readings for years keeps thousands of partitions: to look into each of them every minute would take
/// seconds, and a lock on each.
const LOOKS: usize = 256;
const BELIEVED: Duration = Duration::from_secs(3600);

thread_local! {
    static KEPT_BY: RefCell<HashMap<u32, (i64, Instant)>> = RefCell::default();
}

/// The same of a partition that is attached. That nobody keeps it is always looked at anew.
fn still_keeps(
    installed: &Installed,
    policies: &Policies,
    oid: pg_sys::Oid,
    until: Micros,
    looks: &mut usize,
) -> Result<Option<String>, Error> {
    let Fate::GoesWithout(tenants) = policies.fate(until) else {
        return who_keeps(installed, policies, oid, until);
    };
    let known = KEPT_BY.with_borrow(|kept| kept.get(&oid.to_u32()).copied());
    if let Some((tenant, at)) = known
        && at.elapsed() < BELIEVED
        && tenants.contains(&tenant)
    {
        return Ok(Some(kept_by(tenant)));
    }
    if !tenants.is_empty() {
        if *looks == 0 {
            return Ok(Some(
                "it has not been looked at yet whether a tenant keeps it; one of the next plans will"
                    .to_owned(),
            ));
        }
        *looks -= 1;
    }
    let tenant = keeper(installed, oid, tenants)?;
    KEPT_BY.with_borrow_mut(|kept| match tenant {
        Some(tenant) => drop(kept.insert(oid.to_u32(), (tenant, Instant::now()))),
        None => drop(kept.remove(&oid.to_u32())),
    });
    Ok(tenant.map(kept_by))
}

fn kept_by(tenant: i64) -> String {
    format!("tenant {tenant} keeps it: by a longer time or a legal hold")
}

/// One of these tenants that has readings in the partition.
fn keeper(installed: &Installed, oid: pg_sys::Oid, tenants: Vec<i64>) -> Result<Option<i64>, Error> {
    if tenants.is_empty() {
        return Ok(None);
    }
    let partition = removal(installed, Action::Keep, oid, Period { start: 0, end: 0 })?.partition;
    crate::sql::read_once(
        &format!(
            "SELECT t FROM unnest($1) AS t WHERE EXISTS (SELECT FROM ONLY {partition} AS f WHERE f.tenant_id = t) LIMIT 1"
        ),
        vec![argument(tenants)],
        value,
    )
}

/// Partitions are made ahead. When the one of the present had to be made late, either nobody made any for a while, or the clock
/// has jumped; for a day nothing is removed, so that somebody can look.
pub(super) fn doubts_about_the_clock(installed: &Installed) -> Result<Option<String>, Error> {
    let now_2000 = now() - EPOCH_2000;
    let current = to_read(installed.require_table(Table::Facts)?)
        .into_iter()
        .find(|partition| partition.from <= now_2000 && now_2000 < partition.until);
    let Some(current) = current else {
        return Ok(Some("there is no partition for readings of now".to_owned()));
    };
    let made_late = state::made_late_at(installed, current.oid)?;
    let settled = made_late.is_none_or(|made| now().saturating_sub(made) >= SETTLE);
    Ok((!settled).then(|| {
        "the partition of the present was made late: rotation stood still, or the clock has jumped; \
         nothing is removed for a day after that"
            .to_owned()
    }))
}

/// Detachments that were interrupted: until they are ended, readings of the partition are out of sight.
fn interrupted(installed: &Installed) -> Result<Vec<Planned>, Error> {
    let parent = installed.require_table(Table::Facts)?;
    let mut found = Vec::new();
    read(
        "SELECT inhrelid FROM pg_inherits WHERE inhparent = $1 AND inhdetachpending",
        vec![argument(parent)],
        |rows| {
            for row in rows {
                found.extend(row.get::<pg_sys::Oid>(1)?);
            }
            Ok(())
        },
    )?;
    found
        .into_iter()
        .map(|oid| {
            let open = Period {
                start: Micros::MIN,
                end: Micros::MAX,
            };
            let mut finish = removal(installed, Action::Finish, oid, open)?;
            "its detachment was interrupted".clone_into(&mut finish.reason);
            finish.statement = Some(format!(
                "ALTER TABLE {} DETACH PARTITION {} FINALIZE",
                installed.qualified(Table::Facts),
                finish.partition
            ));
            Ok(finish)
        })
        .collect()
}

/// Notes how a partition that is about to be detached leaves.
pub fn mark(installed: &Installed, planned: &Planned) -> Result<(), Error> {
    let leaves = match archive::wanted(installed)?.leaves_as.as_deref() {
        Some("archive") => Leaves::Archived,
        Some("keep") => Leaves::Kept,
        None if guc::retention_keeps_tables() => Leaves::Kept,
        _ => Leaves::Dropped,
    };
    match planned.oid {
        Some(oid) => state::note_leaving(installed, oid, &planned.period, leaves),
        None => Ok(()),
    }
}

/// Drops what is detached. Looked at once more: policies may have changed since.
pub fn drop_retired(installed: &Installed, planned: &Planned) -> Result<bool, Error> {
    // A hold that is committed before this counts.
    hold_policies(installed)?;
    let still = xact::with_latest_snapshot(|| {
        let now = removals(installed)?;
        Ok(now
            .into_iter()
            .any(|now| now.action == Action::Drop && now.oid == planned.oid))
    })?;
    if still {
        fault::point("before_drop");
        run(&format!("DROP TABLE {}", planned.partition))?;
        fault::point("dropped");
        if let Some(oid) = planned.oid {
            state::forget(installed, oid)?;
        }
    }
    Ok(still)
}

#[pg_extern]
fn set_retention(keep: Option<Interval>, tenant_id: Option<i64>) -> Result<(), ErrorReport> {
    Ok(identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        let tenant_id = tenant_id.unwrap_or(0);
        if tenant_id < 0 {
            return Err(Error::OutOfRange {
                argument: "tenant_id",
                value: tenant_id,
                allowed: "1 and above; 0 or NULL: all tenants without a time of their own",
            });
        }
        if keep.is_some_and(|keep| keep.as_micros() <= 0) {
            return Err(Error::InvalidText {
                argument: "keep",
                fault: "it must be longer than nothing; NULL keeps for ever".to_owned(),
            });
        }
        installed.require_table(Table::Retention)?;
        write(
            &format!(
                "INSERT INTO {} AS known (tenant_id, keep) VALUES ($1, $2)
                 ON CONFLICT (tenant_id) DO UPDATE SET keep = excluded.keep, updated_at = now()",
                installed.qualified(Table::Retention)
            ),
            vec![argument(tenant_id), argument(keep)],
            |_| Ok(()),
        )
    })?)
}
