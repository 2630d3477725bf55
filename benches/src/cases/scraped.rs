//! What it costs to be scraped while COPY and flush have the machine to themselves.
//!
//! A scrape asks what the file for sql_exporter asks, on a connection that is kept, as pg_monitor. Throughput that differs by one percent
//! cannot be told from noise. So the goal is about the CPU of the scraping session against that of all cores in ten seconds, and
//! throughput is compared with a scrape each second, which is ten times as much.

use std::time::{Duration, Instant};

use cluster_tests::{Database, Session, project};
use postgres::Statement;

use super::burden::add_partitions;
use super::flush::WITHOUT_B_TREE;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cpu;
use crate::load::{Load, verify_and_empty};
use crate::readings::Fleet;
use crate::server::Server;
use crate::stats::median;
use crate::twin::FACTS;

const FILE: &str = "monitoring/sql_exporter/pg_telemetry.collector.yml";

const PARTITIONS: usize = 1000;

const EVERY: Duration = Duration::from_secs(1);
const USUAL_SECONDS: f64 = 10.0;

/// At most, of each side of a round.
const SECONDS: u64 = 20;

const SHARE: &str = "% of all cores, one in 10 s";
const CPU: &str = "CPU ms of a scrape";
const WALL: &str = "ms of a scrape, under load";
const RATE: &str = "rows/s, a scrape each second";

pub struct Scraped;

impl Case for Scraped {
    fn name(&self) -> &'static str {
        "scraped"
    }

    fn shows(&self) -> &'static str {
        "COPY writers and flushers, 1,000 partitions, with scrapes of all metrics and without"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(RATE, Compare::OfBaseline),
            Metric::new(SHARE, Compare::SideBySide).goal(Bound::AtMost(1.0)),
            Metric::new(CPU, Compare::SideBySide),
            Metric::new(WALL, Compare::SideBySide),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["nobody scrapes"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(3)
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name());
        let mut session = database.connect();
        let mut fleet = Fleet::register(&mut session);
        session.exec(WITHOUT_B_TREE);
        add_partitions(&mut session, PARTITIONS);
        Box::new(Scrapes {
            load: Load::new(&database, &mut fleet),
            length: Duration::from_secs(server.options().seconds.min(SECONDS)),
            monitor: database.create_login(Some("pg_monitor")),
            query: query(),
            session,
            database,
        })
    }
}

/// What the exporter runs.
fn query() -> String {
    let file = project::read(FILE);
    let (_, query) = file.split_once("query: |").expect("the file has a query");
    query.to_owned()
}

struct Scrapes {
    load: Load,
    length: Duration,
    monitor: String,
    query: String,
    session: Session,
    database: Database,
}

/// Of each scrape, in milliseconds.
#[derive(Default)]
struct Times {
    cpu: Vec<f64>,
    wall: Vec<f64>,
}

/// The connection of the exporter.
struct Scraper {
    session: Session,
    prepared: Statement,
}

impl Scraper {
    fn connect(database: &Database, monitor: &str, query: &str) -> Scraper {
        let mut session = database.connect_as(monitor);
        let prepared = session.client().prepare(query);
        let mut scraper = Scraper {
            prepared: prepared.unwrap_or_else(|error| panic!("{FILE}: {error:?}")),
            session,
        };
        // It is made once, and plans once.
        scraper.scrape();
        scraper
    }

    fn scrape(&mut self) {
        let rows = self.session.client().query(&self.prepared, &[]);
        assert!(rows.is_ok_and(|rows| rows.len() > 40), "a scrape answers");
    }

    fn scrape_until(mut self, end: Instant) -> Times {
        let mut times = Times::default();
        let mut next = Instant::now();
        while next < end {
            let (cpu, start) = (cpu::nanoseconds_at_rest(self.session.pid()), Instant::now());
            self.scrape();
            times.wall.push(start.elapsed().as_secs_f64() * 1e3);
            let cpu = cpu::nanoseconds_at_rest(self.session.pid()) - cpu;
            times.cpu.push(cpu as f64 / 1e6);
            next += EVERY;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        times
    }
}

impl Scrapes {
    fn round(&mut self, scraper: Option<Scraper>) -> Sample {
        self.session.exec("CHECKPOINT");
        let started = Instant::now();
        let end = started + self.length;
        let scraping = scraper.map(|scraper| std::thread::spawn(move || scraper.scrape_until(end)));
        let (written, arrived) = self.load.run(started, end);
        let times = scraping.map(|thread| thread.join().expect("every scrape answers"));
        let (cpu, wall) = times.map_or((0.0, 0.0), |times| (median(&times.cpu), median(&times.wall)));
        while self.session.number("SELECT stage_flush()") > 0 {}
        verify_and_empty(&mut self.session, FACTS, written.rows);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Sample::default()
            .with(RATE, arrived.rows as f64 / arrived.took.as_secs_f64())
            .with(SHARE, cpu / (USUAL_SECONDS * 1e3 * cores as f64) * 100.0)
            .with(CPU, cpu)
            .with(WALL, wall)
    }
}

impl Run for Scrapes {
    fn ours(&mut self) -> Sample {
        let scraper = Scraper::connect(&self.database, &self.monitor, &self.query);
        self.round(Some(scraper))
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.round(None)
    }
}
