//! Stored readings that the projection has not taken in yet: where they wait, and how they get out of there.

use super::project::project;
use super::reduce::Candidate;
use super::spacing;
use super::staged::add_returned;
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::claim::Staging;
use crate::pg::door::Door;
use crate::pg::handover::{TAKEN, Taken};
use crate::pg::page_plan::Work;
use crate::pg::xact;
use crate::sql::{write, write_taken};
use crate::staging::batch::{Batch, NO_LEAF, Row};
use crate::staging::course::Course;
use crate::staging::dictionary;
use crate::staging::store::COLUMNS;

/// Puts rows of a batch there.
pub fn keep(installed: &Installed, batch: &Batch, rows: &[Row], later: &[Candidate]) -> Result<(), Error> {
    if later.is_empty() {
        return Ok(());
    }
    let table = installed.require_table(Table::Pending)?;
    let of = |candidate: &Candidate| batch.tuple(&rows[candidate.row as usize]);
    if let Some(door) = Door::open(table) {
        let mut kept = Batch::unrouted(usize::MAX, usize::MAX);
        for tuple in later.iter().map(of) {
            kept.add(tuple, 0, NO_LEAF);
        }
        door.insert(&mut kept);
        return Ok(());
    }
    let mut taken = Taken::new();
    later.iter().for_each(|candidate| taken.add(of(candidate), None));
    let text = format!(
        "INSERT INTO {} ({COLUMNS}) SELECT {COLUMNS} FROM {TAKEN}",
        installed.qualified(Table::Pending)
    );
    write_taken(&text, vec![], &mut taken)?;
    Ok(())
}

/// Takes in what waits, at most so many rows of it. Whether there is something left to do, if only to look again.
pub fn take_in(installed: &Installed, course: &Course, max_rows: i64) -> Result<bool, Error> {
    let Some(table) = installed.table_oid(Table::Pending)? else {
        return Ok(false);
    };
    let direct = Staging::open(table);
    if let Some(direct) = &direct {
        if !direct.has_pages() {
            return Ok(false);
        }
        let (work, _) = xact::with_snapshot(|| Ok(direct.work()))?;
        if work != Work::Now {
            return Ok(work != Work::None);
        }
    }
    let projection = installed.require_table(Table::Projection)?;
    if course.is_left_alone(projection.to_u32()) || !course.projects(|| spacing::is_due(projection)) {
        return Ok(true);
    }
    let most_rows = usize::try_from(max_rows).unwrap_or(usize::MAX);
    let mut batch = Batch::unrouted(most_rows, guc::flush_memory());
    let wrote_before = xact::has_id();
    xact::next_command();
    let left = xact::with_snapshot(|| {
        match direct {
            Some(direct) => direct.claim(&mut batch),
            None => claim_by_sql(installed, &mut batch)?,
        }
        if batch.rows.is_empty() {
            return Ok(false);
        }
        let attributes = dictionary::attributes(installed, wrote_before, batch.attributes.iter())?;
        let rows = std::mem::take(&mut batch.rows);
        project(installed, course, &batch, &rows, &attributes)?;
        batch.rows = rows;
        Ok(true)
    })?;
    xact::next_command();
    Ok(left)
}

fn claim_by_sql(installed: &Installed, batch: &mut Batch) -> Result<(), Error> {
    let table = installed.qualified(Table::Pending);
    let text = format!(
        "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} LIMIT 10000 FOR UPDATE SKIP LOCKED))
         RETURNING {COLUMNS}"
    );
    write(&text, vec![], |_| {
        add_returned(batch);
        Ok(())
    })
}
