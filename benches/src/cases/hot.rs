//! What the projection costs a flush: the same readings of hot and of cold attributes, and the difference for each entity, against one
//! UPDATE … SET doc = doc || delta of a document of the same width.

use std::time::{Duration, Instant};

use cluster_tests::{Database, Session};

use super::burden::hold_snapshot;
use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::{CPU, Cost, Meter, WAL, WALL};
use crate::server::Server;
use crate::twin::STAGING;

const ENTITIES: usize = 10_000;

/// Updates whose new version stayed on the page, and needed no entry of an index.
const HOT: &str = "HOT updates, %";

/// Against the same update of documents that have a GIN index.
const GIN: &str = "times cheaper than with GIN";

/// How long a snapshot is held; for much less nothing is any different.
const HELD_FOR: Duration = Duration::from_secs(30);
const LONG_HELD_FOR: Duration = Duration::from_secs(300);

/// Between two flushes meanwhile.
const BREAK: Duration = Duration::from_millis(500);

pub struct Upkeep {
    name: &'static str,
    shows: &'static str,
    /// Of each entity, and so many attributes.
    rows: usize,
}

pub const ONE: Upkeep = Upkeep {
    name: "projection_1",
    shows: "documents of 10,000 entities kept up by a flush, 1 row each",
    rows: 1,
};

pub const TEN: Upkeep = Upkeep {
    name: "projection_10",
    shows: "documents of 10,000 entities kept up by a flush, 10 rows each",
    rows: 10,
};

pub const FIFTY: Upkeep = Upkeep {
    name: "projection_50",
    shows: "documents of 10,000 entities kept up by a flush, 50 rows each",
    rows: 50,
};

impl Case for Upkeep {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::OfBaseline).ratio_goal(Bound::AtMost(1.2)),
            Metric::new(WALL, Compare::OfBaseline),
            Metric::new(WAL, Compare::OfBaseline),
            Metric::new(HOT, Compare::SideBySide).goal(Bound::AtLeast(95.0)),
            Metric::new(GIN, Compare::SideBySide).goal(Bound::AtLeast(3.0)),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["UPDATE … SET doc = doc || delta"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        Box::new(Documents::new(server, self.name, self.rows))
    }
}

struct Documents {
    database: Database,
    session: Session,
    meter: Meter,
    rows: usize,
    round: usize,
}

impl Documents {
    fn new(server: &Server, name: &str, rows: usize) -> Documents {
        let database = server.database(name);
        let mut session = database.connect();
        session.exec(&format!(
            "SELECT register_attribute(1, 'hot_' || n, 'number', is_hot => true), register_attribute(1, 'cold_' || n, 'number')
             FROM generate_series(1, {rows}) AS n;
             SELECT register_attribute(1, 'found_1', 'number', is_hot => true);
             UPDATE attributes SET is_searchable = true WHERE name = 'found_1';
             UPDATE attribute_builds SET search_ready = true, finished_at = now()"
        ));
        for docs in ["docs", "docs_gin"] {
            session.exec(&format!(
                "CREATE TABLE {docs} (tenant_id bigint, entity_id bigint, doc jsonb NOT NULL, PRIMARY KEY (tenant_id, entity_id))
                     WITH (fillfactor = 50);
                 INSERT INTO {docs} SELECT 1, e, jsonb_object_agg('hot_' || n, e + n + 0.25)
                     FROM generate_series(1, {ENTITIES}) e, generate_series(1, {rows}) n GROUP BY e ORDER BY e"
            ));
        }
        session.exec("CREATE INDEX ON docs_gin USING gin (doc)");
        session.exec("CREATE TABLE deltas (entity_id bigint PRIMARY KEY, delta jsonb NOT NULL)");
        let mut documents = Documents {
            meter: Meter::new(server.cluster()),
            database,
            session,
            rows,
            round: 0,
        };
        // The pages fill evenly, as after a while of use.
        for _ in 0..4 {
            documents.flush("hot");
            documents.update("docs");
        }
        documents
    }

    /// Stages new values of all entities and flushes them.
    fn flush(&mut self, which: &str) -> Cost {
        self.round += 1;
        let round = self.round;
        self.session.exec(&format!(
            "INSERT INTO {STAGING} (tenant_id, entity_id, attribute_id, value_num)
             SELECT 1, e, a.attribute_id, e + {round} + 0.25
             FROM generate_series(1, {ENTITIES}) e, attributes a WHERE a.name LIKE '{which}\\_%'"
        ));
        let staged = self.session.number(&format!("SELECT count(*) FROM {STAGING}"));
        let (flushed, cost) = self.meter.measure(&mut self.session, |session| {
            session.number(&format!("SELECT stage_flush({staged})"))
        });
        assert_eq!(flushed, staged);
        cost
    }

    fn update(&mut self, table: &str) -> Cost {
        self.round += 1;
        let (rows, round) = (self.rows, self.round);
        self.session.exec(&format!(
            "TRUNCATE deltas; INSERT INTO deltas SELECT e, jsonb_object_agg('hot_' || n, e + {round} + 0.25)
                 FROM generate_series(1, {ENTITIES}) e, generate_series(1, {rows}) n GROUP BY e ORDER BY e; ANALYZE deltas"
        ));
        let update = format!(
            "UPDATE {table} AS d SET doc = d.doc || n.delta FROM deltas AS n WHERE d.tenant_id = 1 AND d.entity_id = n.entity_id"
        );
        let ((), cost) = self
            .meter
            .measure(&mut self.session, |session| session.exec(&update));
        cost
    }

    /// CPU of an update with GIN, with what it leaves to others: whoever next finds the list of entries too long, or VACUUM.
    fn update_with_gin(&mut self) -> f64 {
        let mut cost = self.update("docs_gin");
        let (_, merging) = self.meter.measure(&mut self.session, |session| {
            session.number("SELECT gin_clean_pending_list('docs_gin_doc_idx')")
        });
        cost += merging;
        cost.per_row(ENTITIES).value(CPU)
    }

    fn projection(&mut self) -> Cost {
        let cold = self.flush_into_nothing("cold");
        self.flush_into_nothing("hot").beyond(cold)
    }

    /// Into empty facts each time, so that nothing but the projection is different.
    fn flush_into_nothing(&mut self, which: &str) -> Cost {
        let cost = self.flush(which);
        self.session.exec("TRUNCATE entity_values_ts");
        cost
    }

    fn verify_nothing_waits(&mut self) {
        assert_eq!(self.session.number("SELECT count(*) FROM projection_pending"), 0);
    }

    fn hot_share(&mut self, tables: &str) -> f64 {
        self.session.exec("SELECT pg_stat_force_next_flush()");
        let share = format!(
            "SELECT coalesce(100 * sum(n_tup_hot_upd) / nullif(sum(n_tup_upd), 0), 0)::bigint
             FROM pg_stat_user_tables WHERE relname LIKE '{tables}'"
        );
        self.session.number(&share) as f64
    }
}

impl Run for Documents {
    fn ours(&mut self) -> Sample {
        let cost = self.projection().per_row(ENTITIES);
        let share = self.hot_share("entity\\_jsonb\\_%");
        let cheaper = self.update_with_gin() / cost.value(CPU);
        cost.with(HOT, share).with(GIN, cheaper)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        let cost = self.update("docs");
        let share = self.hot_share("docs");
        cost.per_row(ENTITIES).with(HOT, share).with(GIN, 0.0)
    }

    fn verify(&mut self) {
        let whole = format!(
            "SELECT count(*) FROM entity_jsonb WHERE (SELECT count(*) FROM jsonb_object_keys(hot_attrs)) = {}",
            self.rows
        );
        assert_eq!(self.session.number(&whole), ENTITIES as i64);
        self.verify_nothing_waits();
    }
}

/// What a value costs beyond that, if it is one to search by and is another one each time.
pub struct Searchable;

pub const SEARCHABLE: Searchable = Searchable;

impl Case for Searchable {
    fn name(&self) -> &'static str {
        "projection_searchable"
    }

    fn shows(&self) -> &'static str {
        "what a changed searchable value adds to that, 10,000 entities, 1 each"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::OfBaseline).ratio_goal(Bound::AtMost(0.8)),
            Metric::new(WALL, Compare::OfBaseline),
            Metric::new(WAL, Compare::OfBaseline),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["UPDATE … SET doc = doc || delta"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let mut documents = Documents::new(server, self.name(), 1);
        for _ in 0..4 {
            documents.flush("found");
        }
        Box::new(SearchableValues(documents))
    }
}

struct SearchableValues(Documents);

impl Run for SearchableValues {
    fn ours(&mut self) -> Sample {
        let hot = self.0.flush_into_nothing("hot");
        let found = self.0.flush_into_nothing("found");
        // As autovacuum would in between.
        self.0.session.exec("VACUUM entity_search");
        found.beyond(hot).per_row(ENTITIES)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.0.update("docs").per_row(ENTITIES)
    }

    fn verify(&mut self) {
        let same = "SELECT count(*) FROM entity_jsonb JOIN entity_search USING (tenant_id, entity_id)
                    WHERE (hot_attrs -> 'found_1')::float8 = value_num";
        assert_eq!(self.0.session.number(same), ENTITIES as i64);
        self.0.verify_nothing_waits();
    }
}

pub struct Held;

pub const HELD: Held = Held;

impl Case for Held {
    fn name(&self) -> &'static str {
        "projection_held"
    }

    fn shows(&self) -> &'static str {
        "the documents of 10,000 entities, 10 rows each, over flushes while a snapshot is held"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::OfBaseline).ratio_goal(Bound::AtMost(2.0)),
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
        Box::new(HeldDocuments {
            time: if server.options().long {
                LONG_HELD_FOR
            } else {
                HELD_FOR
            },
            held: Documents::new(server, "projection_held", 10),
            free: Documents::new(server, "projection_free", 10),
        })
    }
}

struct HeldDocuments {
    time: Duration,
    held: Documents,
    free: Documents,
}

/// Flushes twice a second or so.
fn flushes(documents: &mut Documents, time: Duration) -> Sample {
    let start = Instant::now();
    let (mut total, mut count) = (Cost::default(), 0);
    while start.elapsed() < time {
        total += documents.projection();
        count += 1;
        std::thread::sleep(BREAK);
    }
    total.per_row(ENTITIES * count)
}

impl Run for HeldDocuments {
    fn ours(&mut self) -> Sample {
        let _holder = hold_snapshot(&self.held.database);
        flushes(&mut self.held, self.time)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        flushes(&mut self.free, self.time)
    }
}
