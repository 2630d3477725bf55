//! How often documents are written while a snapshot is held. Each write leaves a dead version that nobody can clear away, and
//! every later look at the row has to pass by it. So then all entities are written together, the seldomer the longer that lasts;
//! what comes in between waits in `projection_pending`.

use std::cell::{Cell, RefCell};

use pgrx::pg_sys;

use super::horizon_age::HorizonAge;
use crate::guc;
use crate::pg::{horizon, process};

const SECOND: i64 = 1_000_000;

/// A horizon that is younger than this is nothing out of the ordinary.
const HELD: i64 = 10 * SECOND;

/// The next write is due after this part of the time for which the horizon has been held: as many versions pile up in the first
/// minute as in the ten after it.
const PART: i64 = 20;

/// However long that is.
const LONGEST: i64 = 60 * SECOND;

thread_local! {
    static AGE: RefCell<HorizonAge> = RefCell::default();
    static LAST: Cell<i64> = const { Cell::new(i64::MIN) };
}

/// Whether documents are to be written now. If so, the caller does.
pub fn is_due(projection: pg_sys::Oid) -> bool {
    let now = process::now();
    let (horizon, next) = horizon::removal(projection);
    let held = AGE.with_borrow_mut(|age| {
        age.note(now, next);
        age.of(now, horizon)
    });
    let due = wait(held, guc::projection_min_interval_micros())
        .is_none_or(|wait| now.saturating_sub(LAST.get()) >= wait || now < LAST.get());
    if due {
        LAST.set(now);
    }
    due
}

/// How long to wait between two writes, if at all.
fn wait(held: i64, least: i64) -> Option<i64> {
    (held >= HELD && least > 0).then(|| (held / PART).clamp(least, LONGEST.max(least)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_the_horizon_is_held_the_seldomer_documents_are_written() {
        assert_eq!(wait(9 * SECOND, SECOND), None);
        assert_eq!(wait(10 * SECOND, SECOND), Some(SECOND));
        assert_eq!(wait(100 * SECOND, SECOND), Some(5 * SECOND));
        assert_eq!(wait(100_000 * SECOND, SECOND), Some(LONGEST));
        assert_eq!(wait(100 * SECOND, 0), None);
        assert_eq!(wait(100 * SECOND, 100 * SECOND), Some(100 * SECOND));
    }
}
