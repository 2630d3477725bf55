//! Random interleavings of everything that writes documents, compared with a plain model: of each attribute the greatest of
//! (observed, came in, value), as long as its fact is there and the attribute is hot. A run that fails is made shorter, and says
//! its seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster_tests::campaign::soaking;
use cluster_tests::readings::{DOORS, build_attributes};
use cluster_tests::{Cluster, Database, Session};

const ENTITIES: i64 = 4;
const ATTRIBUTES: usize = 4;

/// The last attribute has long texts: so many letters for each value.
const LONG: usize = ATTRIBUTES - 1;
const LETTERS: usize = 100_000;

/// Seeds that once found something, and some more.
const SEEDS: [u64; 6] = [1, 2, 3, 7, 42, 2026];

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Stage {
        door: usize,
        entity: i64,
        attribute: usize,
        observed: Option<i64>,
        value: i64,
    },
    Flush,
    FlushUndone,
    Upsert {
        entity: i64,
        attribute: usize,
        observed: Option<i64>,
        value: i64,
        undone: bool,
    },
    Hold(i64),
    Release,
    Delete(i64),
    Undelete(i64),
    Rebuild(i64),
    Spoil(i64),
    Promote {
        attribute: usize,
        searchable: bool,
    },
    Demote(usize),
    /// One step of what follows from that, for so many entities.
    Build(i64),
    Crash,
}

/// A small generator with a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn step(&mut self) -> Step {
        let entity = self.below(ENTITIES as u64) as i64 + 1;
        let attribute = self.below(ATTRIBUTES as u64) as usize;
        // Few times and few values, so that they meet.
        let observed = (self.below(3) > 0).then(|| self.below(20) as i64 - 15);
        let value = self.below(5) as i64;
        match self.below(108) {
            0..40 => Step::Stage {
                door: self.below(2) as usize,
                entity,
                attribute,
                observed,
                value,
            },
            40..60 => Step::Flush,
            60..63 => Step::FlushUndone,
            63..78 => Step::Upsert {
                entity,
                attribute,
                observed,
                value,
                undone: self.below(5) == 0,
            },
            78..84 => Step::Hold(entity),
            84..88 => Step::Release,
            88..90 => Step::Delete(entity),
            90..94 => Step::Undelete(entity),
            94..97 => Step::Rebuild(entity),
            97..99 => Step::Spoil(entity),
            99..102 => Step::Promote {
                attribute,
                searchable: self.below(2) == 0,
            },
            102..103 => Step::Demote(attribute),
            103..107 => Step::Build(self.below(3) as i64 + 1),
            _ => Step::Crash,
        }
    }
}

struct World {
    cluster: Arc<Cluster>,
    database: Database,
    session: Session,
    holder: Session,
    held: Option<i64>,
    ids: Vec<i64>,
    deleted: BTreeMap<i64, bool>,
}

impl World {
    fn new(cluster: &Arc<Cluster>, name: &str) -> World {
        let database = cluster.create_database(name);
        let mut session = database.install();
        let ids = (0..ATTRIBUTES)
            .map(|n| {
                let kind = if n == LONG { "text" } else { "integer" };
                session.number(&format!(
                    "SELECT register_attribute(1, 'a{n}', '{kind}', is_hot => true)"
                ))
            })
            .collect();
        let holder = database.connect();
        World {
            cluster: Arc::clone(cluster),
            database,
            session,
            holder,
            held: None,
            ids,
            deleted: BTreeMap::new(),
        }
    }

    fn is_held(&self, entity: i64) -> bool {
        self.held == Some(entity)
    }

    fn take(&mut self, step: &Step) {
        let time = |observed: &Option<i64>| match observed {
            Some(minutes) => format!("date_trunc('hour', now()) + interval '{minutes} minutes'"),
            None => "NULL".to_owned(),
        };
        match step {
            Step::Stage {
                door,
                entity,
                attribute,
                observed,
                value,
            } => {
                let (column, value) = match *attribute {
                    LONG => ("value_text", format!("repeat('{value}', {LETTERS})")),
                    _ => ("value_int", value.to_string()),
                };
                self.session.exec(&format!(
                    "INSERT INTO {} (tenant_id, entity_id, attribute_id, observed_at, {column})
                     VALUES (1, {entity}, {}, {}, {value})",
                    DOORS[*door],
                    self.ids[*attribute],
                    time(observed)
                ));
            }
            Step::Flush => self
                .session
                .exec("SET lock_timeout = '1ms'; SELECT stage_flush(); RESET lock_timeout"),
            Step::FlushUndone => self.session.exec("BEGIN; SELECT stage_flush(); ROLLBACK"),
            Step::Upsert { entity, .. }
            | Step::Delete(entity)
            | Step::Undelete(entity)
            | Step::Rebuild(entity)
            | Step::Spoil(entity)
                if self.is_held(*entity) => {}
            Step::Upsert {
                entity,
                attribute,
                observed,
                value,
                undone,
            } => {
                let end = if *undone { "ROLLBACK" } else { "COMMIT" };
                let value = match *attribute {
                    LONG => format!("repeat('{value}', {LETTERS})"),
                    _ => value.to_string(),
                };
                let call = format!(
                    "BEGIN; SELECT upsert_hot_attrs(1, {entity}, jsonb_build_object('a{attribute}', {value}), {})",
                    time(observed)
                );
                match self.session.try_exec(&call) {
                    Ok(()) => self.session.exec(end),
                    // Of a deleted entity, or one whose document was spoiled, or of an attribute that is not hot.
                    Err(failure) => {
                        let expected = ["55000", "XX001"].contains(&failure.code.as_str());
                        assert!(expected, "{failure:?}");
                        self.session.exec("ROLLBACK");
                    }
                }
            }
            Step::Hold(entity) if self.held.is_none() => {
                self.holder.exec(&format!(
                    "BEGIN; INSERT INTO entity_jsonb (tenant_id, entity_id, as_of) VALUES (1, {entity}, now())
                         ON CONFLICT (tenant_id, entity_id) DO UPDATE SET as_of = entity_jsonb.as_of"
                ));
                self.held = Some(*entity);
            }
            Step::Release if self.held.is_some() => {
                self.holder.exec("ROLLBACK");
                self.held = None;
            }
            Step::Hold(_) | Step::Release => {}
            Step::Delete(entity) => {
                self.session.exec(&format!("SELECT delete_entity(1, {entity})"));
                self.deleted.insert(*entity, true);
            }
            Step::Undelete(entity) => {
                self.session.exec(&format!("SELECT undelete_entity(1, {entity})"));
                self.deleted.remove(entity);
            }
            Step::Rebuild(entity) => self.session.exec(&format!("SELECT rebuild_hot(1, {entity})")),
            Step::Spoil(entity) => self.session.exec(&format!(
                "UPDATE entity_jsonb SET hot_times = '\\x0301' WHERE entity_id = {entity};
                 SELECT stage_flush(); SELECT rebuild_hot(1, {entity})"
            )),
            Step::Promote {
                attribute,
                searchable,
            } => self.session.exec(&format!(
                "SELECT promote_attribute(1, 'a{attribute}', {searchable})"
            )),
            Step::Demote(attribute) => self
                .session
                .exec(&format!("SELECT demote_attribute(1, 'a{attribute}')")),
            Step::Build(entities) => self.session.exec(&format!("SELECT build_attributes({entities})")),
            Step::Crash => {
                self.cluster.crash();
                self.cluster.start();
                self.held = None;
                self.session = self.database.connect();
                self.holder = self.database.connect();
            }
        }
    }

    /// All that waits is taken in; then the documents are those of the model.
    fn check(&mut self) -> Result<(), String> {
        self.take(&Step::Release);
        self.session.exec("SELECT stage_flush(); SELECT stage_flush()");
        build_attributes(&mut self.session, 100);
        let differs = self.session.rows(
            "WITH newest AS (
                 SELECT DISTINCT ON (entity_id, attribute_id) entity_id, a.name,
                        coalesce(to_jsonb(f.value_int), to_jsonb(f.value_text)) AS value
                 FROM entity_values_ts f JOIN attributes a USING (attribute_id) WHERE a.is_hot
                 ORDER BY entity_id, attribute_id, least(coalesce(observed_at, ingested_at), ingested_at) DESC,
                          ingested_at DESC, value_int DESC, value_text DESC),
             model AS (SELECT entity_id, jsonb_object_agg(name, value) AS attrs FROM newest GROUP BY 1)
             SELECT coalesce(m.entity_id, e.entity_id)::text, left(m.attrs::text, 100), left(e.hot_attrs::text, 100)
             FROM model m FULL JOIN entity_jsonb e USING (entity_id)
             WHERE m.attrs IS DISTINCT FROM nullif(e.hot_attrs, '{}')",
        );
        let unlike = self.session.rows(
            "WITH expected AS (
                 SELECT e.entity_id, a.attribute_id, (e.hot_attrs ->> a.name)::text AS value
                 FROM entity_jsonb e, attributes a WHERE a.is_searchable AND e.hot_attrs ? a.name)
             SELECT coalesce(x.entity_id, s.entity_id), coalesce(x.attribute_id, s.attribute_id), left(x.value, 20), s.value_int,
                    left(s.value_text, 20)
             FROM expected x FULL JOIN entity_search s USING (entity_id, attribute_id)
             WHERE left(x.value, 200) IS DISTINCT FROM coalesce(s.value_int::text, s.value_text)",
        );
        let verified = self
            .session
            .rows("SELECT entity_id, attribute, left(stored::text, 50), left(from_facts::text, 50) FROM verify_hot(1)");
        let waiting = self.session.number("SELECT count(*) FROM projection_pending");
        let hidden: Vec<i64> = (1..=ENTITIES)
            .filter(|entity| {
                let shown = self.session.text(&format!("SELECT entity_latest(1, {entity})"));
                self.deleted.contains_key(entity) && shown != "{}"
            })
            .collect();
        let same = differs.is_empty() && unlike.is_empty() && verified.is_empty();
        if same && waiting == 0 && hidden.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{differs:?}, entity_search: {unlike:?}, verify_hot: {verified:?}, {waiting} waiting, {hidden:?} not hidden"
        ))
    }
}

struct Runs {
    cluster: Arc<Cluster>,
    count: usize,
}

impl Runs {
    fn run(&mut self, steps: &[Step]) -> Result<(), String> {
        self.count += 1;
        let mut world = World::new(&self.cluster, &format!("model_{}", self.count));
        for step in steps {
            world.take(step);
        }
        world.check()
    }

    /// The same fault with fewer steps.
    fn shrink(&mut self, mut steps: Vec<Step>) -> Vec<Step> {
        let mut piece = steps.len() / 2;
        while piece > 0 {
            let mut start = 0;
            while start < steps.len() {
                let mut fewer = steps.clone();
                fewer.drain(start..(start + piece).min(steps.len()));
                if self.run(&fewer).is_err() {
                    steps = fewer;
                } else {
                    start += piece;
                }
            }
            piece /= 2;
        }
        steps
    }
}

#[test]
fn documents_are_what_a_plain_model_says() {
    let cluster = Cluster::builder().durable().start();
    let mut runs = Runs { cluster, count: 0 };
    let more = if soaking() { 100 } else { 0 };
    for seed in SEEDS.into_iter().chain(1000..1000 + more) {
        let mut random = Random(seed);
        let steps: Vec<Step> = (0..120).map(|_| random.step()).collect();
        if let Err(fault) = runs.run(&steps) {
            let short = runs.shrink(steps);
            let fault = runs.run(&short).err().unwrap_or(fault);
            panic!("seed {seed}: {fault}\nafter {short:#?}");
        }
    }
}

/// Sessions write at the same time, the server is killed, and again; then the documents are what the facts say.
#[test]
fn after_crashes_the_projection_is_what_a_rebuild_makes() {
    let cluster = Cluster::builder()
        .preload()
        .durable()
        .set("pg_telemetry.flush_interval", "10ms")
        .set("pg_telemetry.flush_workers", 2)
        .start();
    let database = cluster.create_database("killed");
    let mut session = database.install();
    session.exec(
        "SELECT register_attribute(1, 'a' || n, 'integer', is_hot => true) FROM generate_series(0, 2) n",
    );
    let rounds = if soaking() { 20 } else { 3 };
    for round in 0..rounds {
        let work = |n: i64| {
            database.background(move |session: &mut Session| {
                for turn in 0.. {
                    let entity = (turn * 7 + n) % 50;
                    let sql = match turn % 6 {
                        4 => format!(
                            "SELECT count(*) FROM verify_hot(1, {entity}); SELECT rebuild_hot(1, {entity})"
                        ),
                        5 if n > 0 => "SELECT build_attributes(10)".to_owned(),
                        5 if turn % 36 < 18 => "SELECT demote_attribute(1, 'a0')".to_owned(),
                        5 => "SELECT promote_attribute(1, 'a0', true)".to_owned(),
                        0 => {
                            format!("SELECT upsert_hot_attrs(1, {entity}, '{{\"a1\": {turn}, \"a2\": {n}}}')")
                        }
                        1 => format!(
                            "BEGIN; SELECT upsert_hot_attrs(1, {entity}, '{{\"a2\": {turn}}}'); ROLLBACK"
                        ),
                        door => format!(
                            "INSERT INTO {} (tenant_id, entity_id, attribute_id, value_int)
                             SELECT 1, e, attribute_id, {turn} FROM attributes, generate_series(1, 50) e",
                            DOORS[door as usize - 2]
                        ),
                    };
                    match session.try_exec(&sql) {
                        // Promotions and rebuilds may meet.
                        Err(failure) if failure.code == "40P01" => session.exec("ROLLBACK"),
                        Err(_) => return,
                        Ok(()) => {}
                    }
                }
            })
        };
        let workers: Vec<_> = (0..3).map(work).collect();
        std::thread::sleep(std::time::Duration::from_millis(700 + 100 * round));
        cluster.crash();
        workers.into_iter().for_each(|worker| worker.join());
        cluster.start();
        session = database.connect();
        session.exec("SELECT drain('20s')");
        cluster_tests::eventually(cluster_tests::SOON, "all is taken in", || {
            match session.number("SELECT count(*) FROM projection_pending") {
                0 => Ok(()),
                waiting => Err(waiting),
            }
        });
        build_attributes(&mut session, 100);
        let wrong =
            session.rows("SELECT entity_id, attribute, stored::text, from_facts::text FROM verify_hot(1)");
        assert_eq!(wrong, Vec::<Vec<String>>::new(), "round {round}");
        assert!(session.number("SELECT count(*) FROM entity_jsonb") >= 50);
    }
    assert_eq!(session.rows("CALL rebuild_hot_tenant(1)")[0][1], "0");
}
