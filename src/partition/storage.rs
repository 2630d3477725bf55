//! Storage parameters of partitions, each with its reason. Whoever changes them on a partition has changed them for good: later
//! partitions follow the newest one (`likeness.rs`), and a parameter that is set is never touched. Those of the other tables are in
//! `sql/setup/`.

use pgrx::pg_sys;

use super::create::Parent;
use crate::error::Error;
use crate::sql::{argument, read, value};

/// Of the very first partition.
pub fn first_options(parent: Parent) -> &'static str {
    match parent {
        // Rows are only added. A vacuum each million of them sets the bits of the visibility map that index-only scans look for and
        // summarises the ends of BRIN, and reads no more than what is new; by the default of a fifth of the table, a day of a busy
        // fleet would go without for hours. Freezing is left to the last vacuum, when the partition is sealed. ANALYZE keeps
        // its tenth: it grows rarer as the partition grows.
        Parent::Facts => {
            "autovacuum_vacuum_insert_threshold = 1000000, autovacuum_vacuum_insert_scale_factor = 0"
        }
        // Nobody reads them often, and a month later they are gone: a vacuum for what was added has no use.
        Parent::Rejected | Parent::Samples(_) => "autovacuum_vacuum_insert_threshold = -1",
    }
}

/// What changes when no more rows are added. Nothing is turned off: readings of a tenant may be deleted from it later, and
/// statistics must follow.
const SEALED: [(&str, &str); 3] = [
    // All of it is frozen by the vacuum that seals it; rows that come late are the affair of the next one.
    ("autovacuum_vacuum_insert_threshold", "-1"),
    // Whatever is written once more is frozen at once, and never again a reason to read all of it.
    ("autovacuum_freeze_min_age", "0"),
    // Deletions come in batches and leave pages that nothing will fill but other deletions' rewriting: a twentieth is enough to
    // have the dead entries taken out of the indexes.
    ("autovacuum_vacuum_scale_factor", "0.05"),
];

/// The ALTER TABLE that a partition gets when it is sealed; None when there is nothing to set. `leaf` is its name, quoted. Takes
/// SHARE UPDATE EXCLUSIVE: nobody who reads or writes waits. Parameters that the user has set are left alone; those of the
/// first partition (`first_options`) count as ours.
pub fn sealing(leaf: pg_sys::Oid, name: &str) -> Result<Option<String>, Error> {
    let ours: Vec<String> = first_options(Parent::Facts)
        .split(", ")
        .map(|option| option.replace(" = ", "="))
        .collect();
    let changes: Option<String> = read(
        "SELECT string_agg(format('%s = %s', s.name, s.value), ', ')
         FROM unnest($2::text[], $3::text[]) AS s (name, value)
         WHERE NOT EXISTS (SELECT FROM pg_class c, unnest(c.reloptions) AS o (option)
                           WHERE c.oid = $1 AND split_part(o.option, '=', 1) = s.name AND o.option <> ALL ($4::text[]))",
        vec![
            argument(leaf),
            argument(SEALED.map(|(name, _)| name).to_vec()),
            argument(SEALED.map(|(_, value)| value).to_vec()),
            argument(ours),
        ],
        value,
    )?;
    Ok(changes.map(|changes| format!("ALTER TABLE {name} SET ({changes})")))
}
