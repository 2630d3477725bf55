//! BRIN indexes of the partitions in use: what came since the last look is summarised by the keeper. The server's own way, `autosummarize`,
//! asks autovacuum for each range, has room for 256 of them between two of its rounds, and logs each further one: at 100,000
//! readings a second that would be forty lines a second, and ranges that queries have to read in whole.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys;

use super::state;
use crate::error::Error;
use crate::installed::Installed;
use crate::pg::{files, lock};
use crate::sql::{argument, read};

/// Bytes of new pages for which a look at an index is worth while: a range of 32 pages.
const WORTH_A_LOOK: i64 = 32 * pg_sys::BLCKSZ as i64;

thread_local! {
    /// How large a partition was when each of its indexes was summarised last.
    static SUMMARISED: RefCell<HashMap<pg_sys::Oid, i64>> = RefCell::default();
}

struct Index {
    oid: pg_sys::Oid,
    partition: pg_sys::Oid,
    path: String,
}

/// Passes over what somebody has locked, VACUUM most likely, which summarises as well.
pub fn summarise_new(installed: &Installed) -> Result<(), Error> {
    let indexes = of_partitions_in_use(installed)?;
    SUMMARISED.with_borrow_mut(|known| known.retain(|oid, _| indexes.iter().any(|index| index.oid == *oid)));
    for index in &indexes {
        let bytes = files::bytes(&index.path);
        let known = SUMMARISED.with_borrow(|known| known.get(&index.oid).copied());
        let grown = bytes - known.unwrap_or(0);
        if (0..WORTH_A_LOOK).contains(&grown) || !lock::try_alone(index.partition) {
            continue;
        }
        read(
            "SELECT brin_summarize_new_values($1)",
            vec![argument(index.oid)],
            |_| Ok(()),
        )?;
        SUMMARISED.with_borrow_mut(|known| known.insert(index.oid, bytes));
    }
    Ok(())
}

/// A sealed one has all that it needs.
fn of_partitions_in_use(installed: &Installed) -> Result<Vec<Index>, Error> {
    let Some(state) = state::table(installed)? else {
        return Ok(Vec::new());
    };
    let text = format!(
        "SELECT i.indexrelid, i.indrelid, pg_relation_filepath(i.indrelid)
         FROM {state} s JOIN pg_index i ON i.indrelid = s.relation_oid
              JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
         WHERE s.seal <> 'sealed' AND s.leaves_as IS NULL AND s.left_at IS NULL AND i.indisvalid AND a.amname = 'brin'"
    );
    read(&text, vec![], |rows| {
        let mut found = Vec::new();
        for row in rows {
            if let (Some(oid), Some(partition), Some(path)) = (row.get(1)?, row.get(2)?, row.get(3)?) {
                found.push(Index { oid, partition, path });
            }
        }
        Ok(found)
    })
}
