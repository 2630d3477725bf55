//! The keeper's task: what was counted goes into `attribute_use`.

use super::counters::{Counts, Key};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{process, xact};
use crate::shmem;
use crate::sql::{argument, write};
use crate::worker::task::{Context, Report};

/// Counts in shared memory of this database, in order; None where nothing is preloaded.
pub fn counted() -> Option<Vec<(Key, Counts)>> {
    let database = process::my_database();
    let mut found = Vec::new();
    shmem::look_at_heat(|heat| heat.read(database, &mut found))?;
    found.sort_unstable_by_key(|(key, _)| *key);
    Some(found)
}

pub fn keep_heat(context: &Context) -> Result<Report, Error> {
    write_down(context.installed)?;
    Ok(Report::default())
}

fn write_down(installed: &Installed) -> Result<(), Error> {
    if installed.table_oid(Table::AttributeUse)?.is_none() {
        return Ok(());
    }
    let mut counted = counted().unwrap_or_default();
    counted.retain(|(_, counts)| !counts.is_zero());
    if counted.is_empty() {
        return Ok(());
    }
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let column = |of: fn(&Counts) -> u64| {
        counted
            .iter()
            .map(|(_, counts)| number(of(counts)))
            .collect::<Vec<i64>>()
    };
    write(
        &format!(
            "INSERT INTO {} AS u (tenant_id, attribute_id, asked, filtered, written)
             SELECT * FROM unnest($1, $2, $3, $4, $5)
             ON CONFLICT (tenant_id, attribute_id) DO UPDATE
             SET asked = u.asked + excluded.asked, filtered = u.filtered + excluded.filtered,
                 written = u.written + excluded.written, last_used_at = clock_timestamp()",
            installed.qualified(Table::AttributeUse)
        ),
        vec![
            argument(counted.iter().map(|(key, _)| key.tenant_id).collect::<Vec<i64>>()),
            argument(
                counted
                    .iter()
                    .map(|(key, _)| key.attribute_id)
                    .collect::<Vec<i32>>(),
            ),
            argument(column(|counts| counts.asked)),
            argument(column(|counts| counts.filtered)),
            argument(column(|counts| counts.written)),
        ],
        |_| Ok(()),
    )?;
    // What a rollback takes back is counted still.
    xact::after_commit(move || {
        shmem::change_heat(|heat| heat.written_down(&counted));
    });
    Ok(())
}
