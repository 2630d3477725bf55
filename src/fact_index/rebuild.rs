//! Indexes of partitions that are to be made anew. REINDEX CONCURRENTLY puts an index with another OID in the place of the old one,
//! so a request is done when the index that it names is not there any more; nothing has to be written for that.

use pgrx::pg_sys;

use super::steps::BUSY;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::sql::{argument, read, run, value, write};

#[derive(Debug, Clone)]
pub struct Rebuild {
    /// The index of the parent.
    pub index: String,
    pub name: String,
    pub leaf: pg_sys::Oid,
    pub partition: String,
    pub busy: bool,
}

/// That the index is there, and still the one that was meant: after a restore the number may be that of another.
const STILL: &str = "FROM $TABLE r JOIN pg_class c ON c.oid = r.index_oid AND c.relname = r.index_name
     JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indexrelid = c.oid
     JOIN pg_inherits h ON h.inhrelid = c.oid JOIN pg_index u ON u.indexrelid = h.inhparent AND u.indrelid = $1
     JOIN pg_class p ON p.oid = u.indexrelid JOIN pg_namespace m ON m.oid = p.relnamespace
     JOIN pg_class l ON l.oid = i.indrelid JOIN pg_namespace o ON o.oid = l.relnamespace";

fn still(installed: &Installed) -> String {
    STILL.replace("$TABLE", &installed.qualified(Table::IndexRebuilds))
}

/// None is, where the table is missing: the SQL objects may be older than the library.
pub fn wanted(installed: &Installed, facts: pg_sys::Oid) -> Result<Vec<Rebuild>, Error> {
    let mut found = Vec::new();
    if installed.table_oid(Table::IndexRebuilds)?.is_none() {
        return Ok(found);
    }
    let text = format!(
        "SELECT format('%I.%I', m.nspname, p.relname), format('%I.%I', n.nspname, c.relname), l.oid,
                format('%I.%I', o.nspname, l.relname), {BUSY}
         {} ORDER BY p.relname, l.relname DESC",
        still(installed)
    );
    read(&text, vec![argument(facts)], |rows| {
        for row in rows {
            found.push(Rebuild {
                index: row.get(1)?.unwrap_or_default(),
                name: row.get(2)?.unwrap_or_default(),
                leaf: row.get(3)?.unwrap_or(pg_sys::InvalidOid),
                partition: row.get(4)?.unwrap_or_default(),
                busy: row.get(5)?.unwrap_or(false),
            });
        }
        Ok(())
    })?;
    Ok(found)
}

/// Asks for all indexes of partitions that belong to this one, or to any of facts; how many were not asked for already.
pub fn request(installed: &Installed, facts: pg_sys::Oid, index: Option<pg_sys::Oid>) -> Result<i64, Error> {
    installed.require_table(Table::IndexRebuilds)?;
    forget_done(installed, facts)?;
    let text = format!(
        "WITH added AS (
             INSERT INTO {} (index_oid, index_name, requested_by)
             SELECT c.oid, c.relname, session_user
             FROM pg_index u JOIN pg_inherits h ON h.inhparent = u.indexrelid JOIN pg_class c ON c.oid = h.inhrelid
             WHERE u.indrelid = $1 AND ($2 IS NULL OR u.indexrelid = $2) AND c.relkind = 'i'
             ON CONFLICT (index_oid) DO NOTHING RETURNING 1)
         SELECT count(*) FROM added",
        installed.qualified(Table::IndexRebuilds)
    );
    let added: Option<i64> = write(&text, vec![argument(facts), argument(index)], value)?;
    Ok(added.unwrap_or(0))
}

/// Requests that are done, or about what is not there any more.
pub fn forget_done(installed: &Installed, facts: pg_sys::Oid) -> Result<(), Error> {
    if installed.table_oid(Table::IndexRebuilds)?.is_none() {
        return Ok(());
    }
    run(&format!(
        "DELETE FROM {} AS d WHERE d.index_oid NOT IN (SELECT r.index_oid {})",
        installed.qualified(Table::IndexRebuilds),
        still(installed).replace("$1", &facts.to_u32().to_string())
    ))
}
