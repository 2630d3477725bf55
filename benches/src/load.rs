//! Writers and flushers that share the machine for a while, each with its next piece of work ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cluster_tests::{Background, Database, Session};

use crate::copy_format::{Format, Payload};
use crate::cpu;
use crate::flushers::{self, BATCH_ROWS, Share, Total, Until};
use crate::readings::Fleet;
use crate::twin::STAGING;

pub const WRITERS: usize = 2;
const FLUSHERS: usize = 2;

const COPY_ROWS: usize = 10_000;

/// Different COPYs that a writer sends in turn.
const PAYLOADS: usize = 20;

/// Writers wait while so many rows are staged: one batch for each flusher, and one more.
const MOST_WAITING: u64 = (FLUSHERS as u64 + 1) * BATCH_ROWS;

pub struct Load {
    payloads: Arc<Vec<Payload>>,
    database: Database,
}

impl Load {
    pub fn new(database: &Database, fleet: &mut Fleet) -> Load {
        let payloads = (0..PAYLOADS)
            .map(|_| Payload::new(Format::Binary, &fleet.send(COPY_ROWS)))
            .collect();
        Load {
            payloads: Arc::new(payloads),
            database: database.clone(),
        }
    }

    /// COPY after COPY until the time is over; `may_go_on` says when to hold back.
    pub fn write(
        &self,
        table: &str,
        end: Instant,
        may_go_on: impl Fn() -> bool + Send + 'static,
    ) -> Background<Share> {
        let (table, payloads) = (table.to_owned(), self.payloads.clone());
        self.database.background(move |session| {
            let cpu_before = cpu::nanoseconds_at_rest(session.pid());
            let mut rows = 0;
            let mut payloads = payloads.iter().cycle();
            while Instant::now() < end {
                if !may_go_on() {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                let payload = payloads.next().expect("there are payloads");
                rows += payload.copy(session, &table);
            }
            Share {
                rows,
                cpu_ns: cpu::nanoseconds_at_rest(session.pid()) - cpu_before,
                ended: Instant::now(),
            }
        })
    }

    /// Into staging and on into facts: what was written, and what arrived. The writers hold back while much is waiting, so that it
    /// could go on for ever.
    pub fn run(&self, started: Instant, end: Instant) -> (Total, Total) {
        let (staged, flushed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (staged, flushed) = (staged.clone(), flushed.clone());
                self.write(STAGING, end, move || {
                    // Counted before it is sent, so that all writers together keep to the limit.
                    let waiting = staged
                        .load(Ordering::Relaxed)
                        .saturating_sub(flushed.load(Ordering::Relaxed));
                    let free = waiting + COPY_ROWS as u64 <= MOST_WAITING;
                    if free {
                        staged.fetch_add(COPY_ROWS as u64, Ordering::Relaxed);
                    }
                    free
                })
            })
            .collect();
        let flushers: Vec<_> = (0..FLUSHERS)
            .map(|_| flushers::start(&self.database, Until::Time(end), &flushed))
            .collect();
        let written = Total::of(started, writers.into_iter().map(Background::join));
        let arrived = Total::of(started, flushers.into_iter().map(Background::join));
        (written, arrived)
    }
}

/// Nothing is missing; the next round begins with nothing.
pub fn verify_and_empty(session: &mut Session, facts: &str, rows: u64) {
    let found = session.number(&format!("SELECT count(*) FROM {facts}"));
    assert_eq!(found as u64, rows, "rows in {facts}");
    session.exec(&format!("TRUNCATE {facts}"));
}
