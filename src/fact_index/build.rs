//! Carrying the steps out: the keeper notices that there is something to do, the janitor does one step after the other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::steps::{Action, Step, UNFINISHED, steps};
use super::{brief, overview, rebuild};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::partition::holders::{Holder, holders};
use crate::pg::{fault, signals};
use crate::sql::{argument, read, run, value};
use crate::worker::maintenance::ask_janitor;
use crate::worker::task::{BUILD_INDEX, Context};

/// Whoever holds a lock on the partition for longer may hold it for hours, and all others would wait for the janitor as long.
const LONG: Duration = Duration::from_secs(3);

const LOOK: Duration = Duration::from_millis(100);

/// Two seconds of tries to attach an index; then others have their turn, and it is tried again when the keeper looks next.
const ATTACH_TRIES: usize = 20;

/// After a step that failed, before the next try; twice as long each time.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(1800);

/// When a step was last tried, and how often.
#[derive(Debug, Clone, Copy)]
struct Tried {
    times: u32,
    ended: Instant,
}

thread_local! {
    static TRIED: RefCell<HashMap<String, Tried>> = RefCell::default();
    /// The statement that the janitor runs now.
    static RUNNING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// How long a step rests after so many tries. Pure.
fn rest(times: u32) -> Duration {
    PATIENCE
        .saturating_mul(1 << times.saturating_sub(1).min(16))
        .min(LONGEST)
}

fn note(statement: &str) {
    TRIED.with_borrow_mut(|tried| {
        let entry = tried.entry(statement.to_owned()).or_insert(Tried {
            times: 0,
            ended: Instant::now(),
        });
        entry.times = entry.times.saturating_add(1);
        entry.ended = Instant::now();
    });
}

fn rests(statement: &str) -> bool {
    TRIED.with_borrow(|tried| {
        tried
            .get(statement)
            .is_some_and(|tried| tried.ended.elapsed() < rest(tried.times))
    })
}

/// Whether there may be a step to take: a cheap look, some milliseconds with a thousand partitions.
pub fn is_wanted(installed: &Installed) -> Result<bool, Error> {
    let Some(facts) = installed.table_oid(Table::Facts)? else {
        return Ok(false);
    };
    let mut text = format!(
        "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = $1 AND NOT indisvalid AND NOT indisunique)
                OR EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                           WHERE NOT i.indisvalid AND (c.relispartition OR c.relname ~ {UNFINISHED})
                             AND i.indrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1))"
    );
    if installed.table_oid(Table::IndexRebuilds)?.is_some() {
        text.push_str(&format!(
            " OR EXISTS (SELECT FROM {})",
            installed.qualified(Table::IndexRebuilds)
        ));
    }
    let found: Option<bool> = read(&text, vec![argument(facts)], value)?;
    Ok(found == Some(true))
}

/// The next step that has to be a statement of its own; one that may be done in a transaction is done here. As long as there are
/// more, the janitor is asked again: each step is committed before the next.
pub fn next_statement(context: &Context, _relation: u32) -> Result<Option<String>, Error> {
    if let Some(statement) = RUNNING.take() {
        TRIED.with_borrow_mut(|tried| {
            if let Some(tried) = tried.get_mut(&statement) {
                tried.ended = Instant::now();
            }
        });
    }
    let facts = context.installed.require_table(Table::Facts)?;
    rebuild::forget_done(context.installed, facts)?;
    let all = steps(context.installed)?;
    TRIED.with_borrow_mut(|tried| tried.retain(|known, _| all.iter().any(|step| step.statement == *known)));
    let mut hindered = None;
    let mut tries = ATTACH_TRIES;
    for step in all {
        if step.busy || rests(&step.statement) {
            continue;
        }
        let go_on = || ask_janitor(context.database, BUILD_INDEX, facts.to_u32());
        if step.action == Action::Attach {
            fault::point("before_attach");
            match brief::tried(tries, || run(&step.statement)) {
                Ok(Some(())) => {
                    fault::point("after_attach");
                    go_on();
                    return Ok(None);
                }
                Ok(None) => tries = 1,
                Err(failure) => {
                    note(&step.statement);
                    hindered = hindered.or(Some(failure));
                    continue;
                }
            }
            let holder = holders(step.leaf)?
                .first()
                .map_or_else(|| "somebody".to_owned(), ToString::to_string);
            hindered = hindered.or(Some(Error::IndexWaits {
                partition: step.partition,
                holder,
            }));
        } else if let Some(holder) = in_the_way(&step)? {
            note(&step.statement);
            hindered = hindered.or(Some(Error::IndexWaits {
                partition: step.partition,
                holder,
            }));
        } else {
            note(&step.statement);
            RUNNING.set(Some(step.statement.clone()));
            go_on();
            fault::point("before_index_statement");
            return Ok(Some(step.statement));
        }
    }
    hindered.map_or(Ok(None), Err)
}

/// Who would have to be waited for. CREATE INDEX and REINDEX wait for whoever may write into the partition, and in the end for
/// every old snapshot; DROP INDEX for whoever uses the partition at all.
fn in_the_way(step: &Step) -> Result<Option<String>, Error> {
    let all = || -> Result<Vec<Holder>, Error> {
        let mut found = holders(step.leaf)?;
        found.retain(|holder| step.action == Action::DropLeftover || holder.writes());
        Ok(found)
    };
    let began = Instant::now();
    let mut before = all()?;
    while !before.is_empty() {
        if began.elapsed() > LONG {
            return Ok(before.first().map(ToString::to_string));
        }
        signals::pause(LOOK);
        let now = all()?;
        before.retain(|holder| now.contains(holder));
    }
    if step.action == Action::DropLeftover {
        return Ok(None);
    }
    overview::old_snapshot()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_rests_longer_each_time() {
        assert_eq!(rest(1), PATIENCE);
        assert_eq!(rest(2), PATIENCE * 2);
        assert_eq!(rest(4), PATIENCE * 8);
        assert_eq!(rest(100), LONGEST);
        assert_eq!(rest(u32::MAX), LONGEST);
    }
}
