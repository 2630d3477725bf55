//! The partitions of a table of which old ones go, with their sizes.

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::partitions::to_read;
use crate::sql::{argument, read};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub oid: u32,
    /// For use in SQL.
    pub name: String,
    /// The server's microseconds; up to and without `until`.
    pub from: i64,
    pub until: i64,
    /// With all that belongs to it.
    pub bytes: i64,
    /// Of the table itself.
    pub pages: i64,
}

/// In order of time. One that somebody drops at this moment is left out.
pub fn parts(installed: &Installed, table: Table) -> Result<Vec<Part>, Error> {
    let found = to_read(installed.require_table(table)?);
    let oids: Vec<_> = found.iter().map(|partition| partition.oid).collect();
    let text = "SELECT n::bigint, format('%I.%I', s.nspname, c.relname), pg_total_relation_size(c.oid),
                       pg_relation_size(c.oid) / current_setting('block_size')::bigint
                FROM unnest($1) WITH ORDINALITY AS p (oid, n)
                     JOIN pg_class AS c ON c.oid = p.oid JOIN pg_namespace AS s ON s.oid = c.relnamespace
                WHERE c.relkind = 'r'";
    let mut parts = Vec::with_capacity(found.len());
    read(text, vec![argument(oids)], |rows| {
        for row in rows {
            let (Some(number), Some(name), Some(bytes), Some(pages)) = (
                row.get::<i64>(1)?,
                row.get::<String>(2)?,
                row.get::<i64>(3)?,
                row.get::<i64>(4)?,
            ) else {
                continue;
            };
            if let Some(partition) = found.get((number - 1) as usize) {
                parts.push(Part {
                    oid: partition.oid.to_u32(),
                    name,
                    from: partition.from,
                    until: partition.until,
                    bytes,
                    pages,
                });
            }
        }
        Ok(())
    })?;
    parts.sort_by_key(|part| part.from);
    Ok(parts)
}
