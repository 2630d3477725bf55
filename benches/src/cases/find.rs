//! Searching for entities by their latest values, against what one would write by hand for one question: a table of columns with the
//! best index for it.

use std::ops::Range;
use std::time::Instant;

use cluster_tests::Session;
use postgres::Statement;
use postgres::types::{ToSql, Type};

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cpu;
use crate::server::Server;

const ENTITIES: i64 = 1_000_000;

const CPU: &str = "CPU µs for one search";
const WALL: &str = "wall µs for one search";
const BARE: &str = "of a bare prepared SELECT";
const SCAN: &str = "times faster than a scan of the documents";

/// A search among a million entities, and the statement of somebody who made a table for it.
pub struct Find {
    name: &'static str,
    shows: &'static str,
    /// By a number below MOST_ASKED, which each search has another of: `$1` of the statements.
    filters: fn(i64) -> String,
    by_columns: &'static str,
    by_document: &'static str,
    /// Of each search.
    results: i64,
    searches: u32,
}

const BY_ZONE: Find = Find {
    name: "",
    shows: "",
    filters: |zone| format!(r#"{{"zone": {zone}}}"#),
    by_columns: "c.zone = $1",
    by_document: "(hot_attrs ->> 'zone')::bigint = $1",
    results: 0,
    searches: 0,
};

pub const ONE: Find = Find {
    name: "find_one",
    shows: "the first of 1,000 entities by equality, among a million",
    results: 1,
    searches: 2_000,
    ..BY_ZONE
};

pub const PAGE: Find = Find {
    name: "find_page",
    shows: "the first 100 of 1,000 entities by equality, among a million",
    results: 100,
    searches: 500,
    ..BY_ZONE
};

pub const EQUALITY: Find = Find {
    name: "find_equality",
    shows: "1,000 of a million entities by equality",
    results: 2_000,
    searches: 100,
    ..BY_ZONE
};

pub const RANGE: Find = Find {
    name: "find_range",
    shows: "1,000 of a million entities by a range",
    filters: |tenth| {
        let from = tenth as f64 * 0.1;
        format!(r#"{{"battery": {{"gte": {from}, "lt": {}}}}}"#, from + 0.1)
    },
    by_columns: "c.battery >= $1::bigint * 0.1::float8 AND c.battery < $1::bigint * 0.1::float8 + 0.1::float8",
    by_document: "(hot_attrs ->> 'battery')::float8 >= $1::bigint * 0.1::float8
                  AND (hot_attrs ->> 'battery')::float8 < $1::bigint * 0.1::float8 + 0.1::float8",
    results: 2_000,
    searches: 100,
};

pub const AND: Find = Find {
    name: "find_and_of_three",
    shows: "1,000 of a million entities by three attributes, 50,000 and more by each of them",
    filters: |zone| {
        format!(
            r#"{{"mode": "mode 3", "zone": {{"gte": {zone}, "lt": {}}}, "battery": {{"lt": 10}}}}"#,
            zone + 50
        )
    },
    by_columns: "c.mode = 'mode 3' AND c.zone >= $1 AND c.zone < $1 + 50 AND c.battery < 10",
    by_document: "hot_attrs ->> 'mode' = 'mode 3' AND (hot_attrs ->> 'zone')::bigint >= $1
                  AND (hot_attrs ->> 'zone')::bigint < $1 + 50 AND (hot_attrs ->> 'battery')::float8 < 10",
    results: 2_000,
    searches: 10,
};

/// The indexes are the best for each of the questions; the planner takes the one that it is for.
const BY_HAND: &str = "
    CREATE TABLE by_columns AS
        SELECT tenant_id, entity_id, hot_attrs ->> 'mode' AS mode, (hot_attrs ->> 'zone')::bigint AS zone,
               (hot_attrs ->> 'battery')::float8 AS battery, hot_attrs, as_of
        FROM entity_jsonb ORDER BY entity_id;
    CREATE TABLE columns_alone AS SELECT tenant_id, entity_id, mode, zone, battery FROM by_columns ORDER BY entity_id;
    CREATE UNIQUE INDEX ON columns_alone (tenant_id, entity_id);
    CREATE INDEX ON by_columns (tenant_id, zone, entity_id);
    CREATE INDEX ON by_columns (tenant_id, battery, entity_id);
    CREATE INDEX ON by_columns (tenant_id, mode, zone, battery, entity_id);
    CREATE INDEX ON columns_alone (tenant_id, zone, entity_id);
    CREATE INDEX ON columns_alone (tenant_id, battery, entity_id);
    CREATE INDEX ON columns_alone (tenant_id, mode, zone, battery, entity_id)";

/// Searches ask for numbers below this one in turn. One that asks for the same over and over finds all of it in the cache of
/// the processor.
const MOST_ASKED: i64 = 950;

/// The number of a search.
fn asked(search: u32) -> i64 {
    i64::from(search) * 389 % MOST_ASKED
}

const RECENT: &str = "as_of >= now() - interval '1 day'";

impl Find {
    fn bare(&self) -> String {
        format!(
            "SELECT c.entity_id, c.hot_attrs, c.as_of FROM public.by_columns c
             WHERE c.tenant_id = 1 AND {} AND c.{RECENT} ORDER BY c.entity_id LIMIT {}",
            self.by_columns, self.results
        )
    }

    fn joined(&self) -> String {
        format!(
            "SELECT c.entity_id, d.hot_attrs, d.as_of
             FROM public.columns_alone c JOIN telemetry.entity_jsonb d USING (tenant_id, entity_id)
             WHERE c.tenant_id = 1 AND {} AND d.{RECENT} AND d.deleted_at IS NULL ORDER BY c.entity_id LIMIT {}",
            self.by_columns, self.results
        )
    }
}

impl Case for Find {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::OfBaseline).ratio_goal(Bound::AtMost(1.5)),
            Metric::new(WALL, Compare::OfBaseline),
            Metric::new(BARE, Compare::SideBySide).goal(Bound::AtMost(1.5)),
            Metric::new(SCAN, Compare::SideBySide).goal(Bound::AtLeast(20.0)),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &[
            "a PL/pgSQL function over a table of columns and documents with the best index for it",
            "the same over a table of columns alone, joined to the documents",
        ]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.kept_database("find", fill);
        let mut session = database.connect();
        let function = |name: &str, query: &str| {
            format!(
                "CREATE OR REPLACE FUNCTION public.{name}(bigint) RETURNS TABLE (entity_id bigint, hot_attrs jsonb, last_observed_at timestamptz)
                     LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
                     #variable_conflict use_column
                     BEGIN RETURN QUERY {query}; END $$"
            )
        };
        let (joined, wide) = (format!("{}_joined", self.name), format!("{}_wide", self.name));
        // What parallel workers do would not be counted.
        session.exec("SET max_parallel_workers_per_gather = 0");
        session.exec(&function(&wide, &self.bare()));
        session.exec(&function(&joined, &self.joined()));
        let mut prepare = |text: &str| session.client().prepare(text).expect("a statement");
        let scan = format!(
            "SELECT entity_id, hot_attrs, as_of FROM telemetry.entity_jsonb
             WHERE tenant_id = 1 AND {} AND {RECENT} ORDER BY entity_id LIMIT {}",
            self.by_document, self.results
        );
        Box::new(Searches {
            ours: prepare(&format!(
                "SELECT * FROM telemetry.find_entities_by_attributes(1, $1::text::jsonb, '1 day', {})",
                self.results
            )),
            filters: self.filters,
            bare: prepare(&self.bare()),
            by_hand: [wide, joined].map(|name| prepare(&format!("SELECT * FROM public.{name}($1)"))),
            scan: prepare(&scan),
            times: self.searches,
            session,
        })
    }
}

/// Entities with a mode of five, a zone of a thousand and a battery of any charge, all searchable, by way of a flush.
fn fill(session: &mut Session) {
    session.exec(
        "SELECT register_attribute(1, 'mode', 'text', is_hot => true), register_attribute(1, 'zone', 'integer', is_hot => true),
                register_attribute(1, 'battery', 'number', is_hot => true);
         UPDATE attributes SET is_searchable = true; UPDATE attribute_builds SET search_ready = true, finished_at = now()",
    );
    const STEP: i64 = 50_000;
    for first in (0..ENTITIES).step_by(STEP as usize) {
        let last = (first + STEP).min(ENTITIES) - 1;
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num, value_int, value_text)
             SELECT 1, e, a.attribute_id, CASE a.name WHEN 'battery' THEN (e * 7919 % 100000) / 1000.0 END,
                    CASE a.name WHEN 'zone' THEN e * 104729 % 1000 END,
                    CASE a.name WHEN 'mode' THEN 'mode ' || e * 31 / 7 % 5 END
             FROM generate_series({first}::bigint, {last}) e, attributes a"
        ));
        session.exec("SELECT stage_flush(1000000)");
    }
    assert_eq!(session.number("SELECT count(*) FROM entity_jsonb"), ENTITIES);
    assert_eq!(session.number("SELECT count(*) FROM entity_search"), 3 * ENTITIES);
    session.exec("SET search_path = public, telemetry");
    session.exec(BY_HAND);
    session.exec("VACUUM ANALYZE by_columns, columns_alone, entity_jsonb, entity_search");
}

struct Searches {
    session: Session,
    ours: Statement,
    bare: Statement,
    by_hand: [Statement; 2],
    scan: Statement,
    filters: fn(i64) -> String,
    times: u32,
}

impl Searches {
    /// What one of these searches takes, and how many rows the last one found.
    fn time(&mut self, statement: &Statement, searches: Range<u32>) -> (Sample, usize) {
        let times = f64::from(searches.end - searches.start);
        let is_ours = statement.params()[0] == Type::TEXT;
        let pid = self.session.pid();
        let before = cpu::nanoseconds_at_rest(pid);
        let start = Instant::now();
        let mut rows = 0;
        for search in searches {
            let number = asked(search);
            let filters = (self.filters)(number);
            let parameter: &(dyn ToSql + Sync) = if is_ours { &filters } else { &number };
            let client = self.session.client();
            rows = client.query(statement, &[parameter]).expect("an answer").len();
        }
        let wall = start.elapsed().as_secs_f64() * 1e6 / times;
        let spent = (cpu::nanoseconds_at_rest(pid) - before) as f64 / 1000.0 / times;
        (Sample::default().with(CPU, spent).with(WALL, wall), rows)
    }
}

impl Run for Searches {
    fn ours(&mut self) -> Sample {
        let (ours, bare, scan) = (self.ours.clone(), self.bare.clone(), self.scan.clone());
        let (ours, found) = self.time(&ours, 0..self.times);
        let (bare, by_columns) = self.time(&bare, 0..self.times);
        let (scan, by_scan) = self.time(&scan, self.times - 1..self.times);
        assert_eq!([by_columns, by_scan], [found; 2], "all searches find the same");
        let [of_bare, of_scan] = [&bare, &scan].map(|other| ours.value(CPU) / other.value(CPU));
        ours.with(BARE, of_bare).with(SCAN, 1.0 / of_scan)
    }

    fn baseline(&mut self, which: usize) -> Sample {
        let by_hand = self.by_hand[which].clone();
        let (sample, _) = self.time(&by_hand, 0..self.times);
        sample.with(BARE, 0.0).with(SCAN, 0.0)
    }
}
