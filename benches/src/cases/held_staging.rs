//! Staging after 200 flushes while somebody holds a snapshot that has nothing to do with it: how large it is, and what COPY into
//! it costs.

use cluster_tests::{Database, Session};

use super::burden::hold_snapshot;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::copy_format::{Format, Payload};
use crate::cost::{CPU, Cost, Meter, WAL, WALL};
use crate::readings::Fleet;
use crate::server::Server;
use crate::side::Side;
use crate::twin::STAGING;

const FLUSHES: usize = 200;
const ROWS: usize = 10_000;

const PAGES: &str = "pages of staging";
const FRESH: &str = "fresh";

pub struct Size;

pub const SIZE: Size = Size;

impl Case for Size {
    fn name(&self) -> &'static str {
        "held_staging_size"
    }

    fn shows(&self) -> &'static str {
        "200 flushes of 10,000 rows under a held snapshot, least grace"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(PAGES, Compare::OfBaseline).ratio_goal(Bound::AtMost(1.0)),
            Metric::new(CPU, Compare::OfBaseline),
            Metric::new(WALL, Compare::OfBaseline),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["the same without the snapshot"]
    }

    fn rounds(&self, _wanted: usize) -> usize {
        1
    }

    fn warms_up(&self) -> bool {
        false
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        server.set_least_grace();
        let sides = ["held", "free"].map(|which| Worn::new(server, &format!("{}_{which}", self.name())));
        Box::new(Sizes {
            meter: Meter::new(server.cluster()),
            sides,
        })
    }
}

struct Sizes {
    meter: Meter,
    sides: [Worn; 2],
}

impl Run for Sizes {
    fn ours(&mut self) -> Sample {
        let _holder = hold_snapshot(&self.sides[0].database);
        self.sides[0].wear_down(&mut self.meter)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.sides[1].wear_down(&mut self.meter)
    }

    fn verify(&mut self) {
        self.sides.iter_mut().for_each(|side| side.side.verify());
    }
}

/// Staging that has seen many flushes.
struct Worn {
    database: Database,
    session: Session,
    fleet: Fleet,
    side: Side,
}

impl Worn {
    fn new(server: &Server, name: &str) -> Worn {
        let database = server.database(name);
        let mut session = database.connect();
        Worn {
            fleet: Fleet::register(&mut session),
            side: Side::ours(&database, STAGING),
            session,
            database,
        }
    }

    fn wear_down(&mut self, meter: &mut Meter) -> Sample {
        let cost = self.side.stage_and_flush(meter, &mut self.fleet, ROWS, FLUSHES);
        cost.per_row(ROWS * FLUSHES).with(PAGES, self.side.pages() as f64)
    }
}

pub struct CopyInto;

pub const COPY: CopyInto = CopyInto;

impl Case for CopyInto {
    fn name(&self) -> &'static str {
        "held_staging_copy"
    }

    fn shows(&self) -> &'static str {
        "COPY of 10,000 rows into staging, after 200 flushes under a snapshot that is still held"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::TimesCheaper).ratio_goal(Bound::AtLeast(1.0)),
            Metric::new(WALL, Compare::TimesCheaper),
            Metric::new(WAL, Compare::SideBySide),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["a fresh table"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        4 * wanted
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        server.set_least_grace();
        let mut worn = Worn::new(server, self.name());
        let holder = hold_snapshot(&worn.database);
        let mut meter = Meter::new(server.cluster());
        worn.wear_down(&mut meter);
        Box::new(Copies {
            payload: Payload::new(Format::Binary, &worn.fleet.send(ROWS)),
            meter,
            worn,
            _holder: holder,
        })
    }
}

struct Copies {
    payload: Payload,
    meter: Meter,
    worn: Worn,
    _holder: Session,
}

impl Copies {
    fn copy_into(&mut self, table: &str) -> Cost {
        let payload = &self.payload;
        let (rows, cost) = self
            .meter
            .measure(&mut self.worn.session, |session| payload.copy(session, table));
        assert_eq!(rows, ROWS as u64);
        cost
    }
}

impl Run for Copies {
    fn ours(&mut self) -> Sample {
        let cost = self.copy_into(STAGING);
        let flushed = self.worn.session.number("SELECT stage_flush()");
        assert_eq!(flushed, ROWS as i64);
        cost.per_row(ROWS)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.worn.session.exec(&format!(
            "CREATE UNLOGGED TABLE {FRESH} (LIKE {STAGING} INCLUDING DEFAULTS)"
        ));
        let cost = self.copy_into(FRESH);
        self.worn.session.exec(&format!("DROP TABLE {FRESH}"));
        cost.per_row(ROWS)
    }
}
