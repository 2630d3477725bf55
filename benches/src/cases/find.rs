//! Searching for entities by their latest values, the latest value of an attribute over all entities, and readings of one of them.

use std::time::Instant;

use cluster_tests::{Database, Session};
use postgres::Statement;

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cpu;
use crate::server::Server;

const ENTITIES: i64 = 1_000_000;

const WALL: &str = "ms for one search";
const SCAN: &str = "times faster than a scan of the documents";

/// A search among a million entities, and the statement of somebody who made a table for it.
pub struct Find {
    name: &'static str,
    shows: &'static str,
    filters: &'static str,
    index: &'static str,
    by_columns: &'static str,
    by_document: &'static str,
}

pub const EQUALITY: Find = Find {
    name: "find_equality",
    shows: "1,000 of a million entities by equality",
    filters: r#"{"zone": 77}"#,
    index: "(tenant_id, zone, entity_id)",
    by_columns: "zone = 77",
    by_document: "(hot_attrs ->> 'zone')::bigint = 77",
};

pub const RANGE: Find = Find {
    name: "find_range",
    shows: "1,000 of a million entities by a range",
    filters: r#"{"battery": {"gte": 50, "lt": 50.1}}"#,
    index: "(tenant_id, battery, entity_id)",
    by_columns: "battery >= 50 AND battery < 50.1",
    by_document: "(hot_attrs ->> 'battery')::float8 >= 50 AND (hot_attrs ->> 'battery')::float8 < 50.1",
};

pub const AND: Find = Find {
    name: "find_and_of_three",
    shows: "1,000 of a million entities by three attributes",
    filters: r#"{"mode": "mode 3", "zone": {"gte": 100, "lt": 150}, "battery": {"lt": 10}}"#,
    index: "(tenant_id, mode, zone, battery, entity_id)",
    by_columns: "mode = 'mode 3' AND zone >= 100 AND zone < 150 AND battery < 10",
    by_document: "hot_attrs ->> 'mode' = 'mode 3' AND (hot_attrs ->> 'zone')::bigint >= 100
                  AND (hot_attrs ->> 'zone')::bigint < 150 AND (hot_attrs ->> 'battery')::float8 < 10",
};

const SEARCHES: u32 = 20;

impl Case for Find {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(WALL, Compare::OfBaseline).ratio_goal(Bound::AtMost(1.5)),
            Metric::new(SCAN, Compare::SideBySide).goal(Bound::AtLeast(20.0)),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["the best index for it, on a table of columns"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        fill(&mut session, ENTITIES);
        session.exec(&format!(
            "CREATE TABLE by_columns AS
                 SELECT tenant_id, entity_id, hot_attrs ->> 'mode' AS mode, (hot_attrs ->> 'zone')::bigint AS zone,
                        (hot_attrs ->> 'battery')::float8 AS battery, hot_attrs, as_of
                 FROM entity_jsonb ORDER BY entity_id;
             CREATE INDEX ON by_columns {}",
            self.index
        ));
        session.exec("VACUUM ANALYZE by_columns, entity_jsonb, entity_search");
        let prepare =
            |session: &mut Session, text: &str| session.client().prepare(text).expect("a statement");
        let ours = format!(
            "SELECT * FROM telemetry.find_entities_by_attributes(1, '{}', '1 day', 2000)",
            self.filters
        );
        let index = format!(
            "SELECT entity_id, hot_attrs, as_of FROM by_columns
             WHERE tenant_id = 1 AND {} AND as_of >= now() - interval '1 day' ORDER BY entity_id LIMIT 2000",
            self.by_columns
        );
        let scan = format!(
            "SELECT entity_id, hot_attrs, as_of FROM entity_jsonb
             WHERE tenant_id = 1 AND {} AND as_of >= now() - interval '1 day' ORDER BY entity_id LIMIT 2000",
            self.by_document
        );
        Box::new(Searches {
            ours: prepare(&mut session, &ours),
            index: prepare(&mut session, &index),
            scan: prepare(&mut session, &scan),
            session,
            _database: database,
        })
    }
}

/// Entities with a mode of five, a zone of a thousand and a battery of any charge, all searchable, by way of a flush.
fn fill(session: &mut Session, entities: i64) {
    session.exec(
        "SELECT register_attribute(1, 'mode', 'text', is_hot => true), register_attribute(1, 'zone', 'integer', is_hot => true),
                register_attribute(1, 'battery', 'number', is_hot => true);
         UPDATE attributes SET is_searchable = true; UPDATE attribute_builds SET search_ready = true, finished_at = now()",
    );
    const STEP: i64 = 50_000;
    for first in (0..entities).step_by(STEP as usize) {
        let last = (first + STEP).min(entities) - 1;
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num, value_int, value_text)
             SELECT 1, e, a.attribute_id, CASE a.name WHEN 'battery' THEN (e * 7919 % 100000) / 1000.0 END,
                    CASE a.name WHEN 'zone' THEN e * 104729 % 1000 END,
                    CASE a.name WHEN 'mode' THEN 'mode ' || e * 31 / 7 % 5 END
             FROM generate_series({first}::bigint, {last}) e, attributes a"
        ));
        session.exec("SELECT stage_flush(1000000)");
    }
    assert_eq!(session.number("SELECT count(*) FROM entity_jsonb"), entities);
    assert_eq!(session.number("SELECT count(*) FROM entity_search"), 3 * entities);
}

struct Searches {
    session: Session,
    ours: Statement,
    index: Statement,
    scan: Statement,
    _database: Database,
}

impl Searches {
    /// Milliseconds for one of so many, and how many rows it found.
    fn time(session: &mut Session, statement: &Statement, times: u32) -> (f64, usize) {
        let start = Instant::now();
        let mut rows = 0;
        for _ in 0..times {
            rows = session.client().query(statement, &[]).expect("an answer").len();
        }
        (start.elapsed().as_secs_f64() * 1000.0 / f64::from(times), rows)
    }
}

impl Run for Searches {
    fn ours(&mut self) -> Sample {
        let (ours, found) = Searches::time(&mut self.session, &self.ours, SEARCHES);
        let (scan, expected) = Searches::time(&mut self.session, &self.scan, 1);
        assert_eq!(found, expected, "both searches find the same");
        assert!(found > 500, "{found} were found");
        Sample::default().with(WALL, ours).with(SCAN, scan / ours)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        let (index, _) = Searches::time(&mut self.session, &self.index, SEARCHES);
        Sample::default().with(WALL, index).with(SCAN, 1.0)
    }
}

/// The latest value of one attribute of all entities, with so many readings of each.
pub struct LatestOfAll {
    name: &'static str,
    shows: &'static str,
    history: i64,
}

pub const LATEST: LatestOfAll = LatestOfAll {
    name: "latest_of_all",
    shows: "the latest value of one attribute of 10,000 entities, 20 readings of each in facts",
    history: 20,
};

pub const LATEST_LONG: LatestOfAll = LatestOfAll {
    name: "latest_of_all_long",
    shows: "the same, 200 readings of each",
    history: 200,
};

const LATEST_WALL: &str = "ms for all";

impl Case for LatestOfAll {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![Metric::new(LATEST_WALL, Compare::TimesCheaper).ratio_goal(Bound::AtLeast(10.0))]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["DISTINCT ON over facts, with their index"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        let mut session = database.connect();
        session.exec("SELECT register_attribute(1, 'battery', 'number', is_hot => true)");
        for round in 0..self.history {
            session.exec(&format!(
                "INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
                 SELECT 1, e, now() - ({} - {round}) * interval '1 s', attribute_id, {round} + e / 10000.0
                 FROM generate_series(1, 10000) e, attributes",
                self.history
            ));
            session.exec("SELECT stage_flush(1000000)");
        }
        session.exec("VACUUM ANALYZE entity_jsonb, entity_values_ts");
        let mut prepare = |text: &str| session.client().prepare(text).expect("a statement");
        let ours = prepare(
            "SELECT entity_id, (hot_attrs -> 'battery')::float8 FROM entity_jsonb WHERE tenant_id = 1",
        );
        let index = prepare(
            "SELECT DISTINCT ON (entity_id) entity_id, value_num FROM entity_values_ts
             WHERE tenant_id = 1 AND attribute_id = 1 AND ingested_at > now() - interval '1 day'
             ORDER BY entity_id, ingested_at DESC",
        );
        Box::new(Latest {
            ours,
            index,
            session,
            _database: database,
        })
    }
}

struct Latest {
    session: Session,
    ours: Statement,
    index: Statement,
    _database: Database,
}

impl Latest {
    fn run(session: &mut Session, statement: &Statement) -> Sample {
        let (time, rows) = Searches::time(session, statement, 10);
        assert_eq!(rows, 10_000);
        Sample::default().with(LATEST_WALL, time)
    }
}

impl Run for Latest {
    fn ours(&mut self) -> Sample {
        Latest::run(&mut self.session, &self.ours)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        Latest::run(&mut self.session, &self.index)
    }
}

/// readings() of the last hour over a thousand partitions: mostly planning.
pub struct Readings;

const CALLS: u32 = 500;
const CPU: &str = "CPU µs/call, planning included";

impl Case for Readings {
    fn name(&self) -> &'static str {
        "readings_planning"
    }

    fn shows(&self) -> &'static str {
        "readings of the last hour of one series, 1,000 partitions"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![Metric::new(CPU, Compare::TimesCheaper).goal(Bound::AtMost(300.0))]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["a prepared SELECT with now() - interval"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name());
        let mut session = database.connect();
        session.exec(
            "SELECT register_attribute(1, 'battery', 'number');
             DO $$ BEGIN FOR day IN 10 .. 1009 LOOP
                 EXECUTE format('CREATE TABLE past_%s PARTITION OF entity_values_ts FOR VALUES FROM (%L) TO (%L)', day,
                     date_trunc('day', now(), 'UTC') - day * interval '1 day',
                     date_trunc('day', now(), 'UTC') - (day - 1) * interval '1 day');
             END LOOP; END $$;
             INSERT INTO entity_values_ingest (tenant_id, entity_id, ingested_at, attribute_id, value_num)
                 SELECT 1, 7, now() - n * interval '1 minute', 1, n FROM generate_series(1, 10) n;
             SELECT stage_flush()",
        );
        let mut prepare = |text: &str| session.client().prepare(text).expect("a statement");
        let ours = prepare(
            "SELECT observed_at, value_num FROM telemetry.readings(1, 7, 'battery', now() - interval '1 hour')",
        );
        let direct = prepare(
            "SELECT ingested_at, value_num FROM entity_values_ts
             WHERE tenant_id = 1 AND entity_id = 7 AND attribute_id = 1 AND ingested_at >= now() - interval '1 hour'
             ORDER BY ingested_at",
        );
        Box::new(ReadingsRun {
            ours,
            direct,
            session,
            _database: database,
        })
    }
}

struct ReadingsRun {
    session: Session,
    ours: Statement,
    direct: Statement,
    _database: Database,
}

impl ReadingsRun {
    fn run(session: &mut Session, statement: &Statement, calls: u32) -> Sample {
        let pid = session.pid();
        let before = cpu::nanoseconds_at_rest(pid);
        for _ in 0..calls {
            let rows = session.client().query(statement, &[]).expect("an answer");
            assert_eq!(rows.len(), 10);
        }
        let spent = (cpu::nanoseconds_at_rest(pid) - before) as f64;
        Sample::default().with(CPU, spent / 1000.0 / f64::from(calls))
    }
}

impl Run for ReadingsRun {
    fn ours(&mut self) -> Sample {
        ReadingsRun::run(&mut self.session, &self.ours, CALLS)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        ReadingsRun::run(&mut self.session, &self.direct, CALLS / 10)
    }
}
