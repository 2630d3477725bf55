//! BRIN indexes of the partitions in use: what came since the last look is summarised by the keeper. The server's own way, `autosummarize`,
//! asks autovacuum for each range, has room for 256 of them between two of its rounds, and logs each further one: at 100,000
//! readings a second that would be forty lines a second, and ranges that queries have to read in whole.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use pgrx::pg_sys;

use super::state;
use crate::error::Error;
use crate::installed::Installed;
use crate::pg::{files, lock};
use crate::sql::{argument, read};

/// One run takes so long, and no more than so many partitions: each costs locks until its end.
const LONGEST: Duration = Duration::from_millis(50);
const MOST_INDEXES: usize = 64;

thread_local! {
    /// Up to which page each index was summarised.
    static SUMMARISED: RefCell<HashMap<pg_sys::Oid, i64>> = RefCell::default();
}

struct Index {
    oid: pg_sys::Oid,
    partition: pg_sys::Oid,
    path: String,
    pages_per_range: i64,
}

/// Ranges that are complete; the one that grows is read by everybody anyway. Passes over what somebody has locked, VACUUM most
/// likely, which summarises as well. Whether there is more to do.
pub fn summarise_new(installed: &Installed) -> Result<bool, Error> {
    let indexes = of_partitions_in_use(installed)?;
    SUMMARISED.with_borrow_mut(|known| known.retain(|oid, _| indexes.iter().any(|index| index.oid == *oid)));
    let (begun, mut locked) = (Instant::now(), 0);
    for index in &indexes {
        let pages = files::bytes(&index.path) / i64::from(pg_sys::BLCKSZ);
        let end = pages - pages % index.pages_per_range;
        let known = SUMMARISED.with_borrow(|known| known.get(&index.oid).copied());
        // It may have been emptied, and filled again.
        let mut page = known.filter(|known| *known <= pages).unwrap_or(0);
        if page >= end || !lock::try_alone(index.partition) {
            continue;
        }
        locked += 1;
        while page < end && begun.elapsed() < LONGEST {
            read(
                "SELECT brin_summarize_range($1, $2)",
                vec![argument(index.oid), argument(page)],
                |_| Ok(()),
            )?;
            page += index.pages_per_range;
        }
        SUMMARISED.with_borrow_mut(|known| known.insert(index.oid, page));
        if page < end || locked == MOST_INDEXES {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A sealed one has all that it needs, and that of somebody else is for its owner.
fn of_partitions_in_use(installed: &Installed) -> Result<Vec<Index>, Error> {
    let Some(state) = state::table(installed)? else {
        return Ok(Vec::new());
    };
    let text = format!(
        "SELECT i.indexrelid, i.indrelid, pg_relation_filepath(i.indrelid),
                coalesce((SELECT option_value::bigint FROM pg_options_to_table(c.reloptions)
                          WHERE option_name = 'pages_per_range'), 128)
         FROM {state} s JOIN pg_index i ON i.indrelid = s.relation_oid
              JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
         WHERE s.seal <> 'sealed' AND s.leaves_as IS NULL AND s.left_at IS NULL
           AND i.indisvalid AND a.amname = 'brin' AND pg_has_role(c.relowner, 'USAGE')"
    );
    read(&text, vec![], |rows| {
        let mut found = Vec::new();
        for row in rows {
            if let (Some(oid), Some(partition), Some(path), Some(pages_per_range)) =
                (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)
            {
                found.push(Index {
                    oid,
                    partition,
                    path,
                    pages_per_range,
                });
            }
        }
        Ok(found)
    })
}
