//! Crashes at random moments while many rows are on their way. Ledgers on the client's side say which rows were acknowledged,
//! and which were seen in facts: the durable door loses none of them, the fast door none that was flushed, and no row comes
//! twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cluster_tests::campaign::{
    Bell, COPIED, Chance, Ledger, Numbers, announce, copy_lines, entities_in_facts, faults, soaking,
};
use cluster_tests::integrity::{check_facts, check_staging, summarize_facts};
use cluster_tests::readings::{DOORS, attribute};
use cluster_tests::{Background, Cluster, Database, SOON, Stop, eventually, workers};

const NAME: &str = "crash";

/// Rows of one COPY.
const ROWS: i64 = 500;

/// Between two COPYs of a writer: a campaign of many rounds must still be able to count its rows.
const PAUSE: Duration = Duration::from_millis(4);

/// The same where nobody else writes, so that the commit of a flush is the last that happened for a while: had it not waited for
/// the disk, it would be lost.
const LONG_PAUSE: Duration = Duration::from_millis(40);

/// Entities of the fast door; those of the durable one are far below.
const FAST: i64 = 1_000_000_001;

/// Rounds after which indexes and pages are checked; always at the end too.
const CHECK_EVERY: usize = 25;

struct Campaign {
    cluster: Arc<Cluster>,
    database: Database,
    attribute: i64,
    chance: Chance,
    durable: Numbers,
    fast: Numbers,
    /// What must be in facts, after all rounds so far.
    due: Vec<(i64, i64)>,
}

/// What goes on until the crash.
struct Traffic {
    bell: Bell,
    writers: Vec<Background<()>>,
    others: [Background<()>; 2],
    /// Acknowledged by the durable door.
    committed: Ledger,
    /// Of the fast door, and seen in facts.
    flushed: Ledger,
}

impl Campaign {
    fn start() -> Campaign {
        let cluster = Cluster::builder()
            .preload()
            .durable()
            .set("checkpoint_timeout", "30s")
            .set("pg_telemetry.flush_workers", 2)
            .set("pg_telemetry.flush_interval", "10ms")
            .start();
        let database = cluster.create_database(NAME);
        let mut session = database.install();
        Campaign {
            attribute: attribute(&mut session, "temperature", "number"),
            cluster,
            database,
            chance: Chance::new(),
            durable: Numbers::default(),
            fast: Numbers::from(FAST),
            due: Vec::new(),
        }
    }

    fn write(
        &self,
        door: &'static str,
        numbers: &Numbers,
        ledger: Option<&Ledger>,
        pause: Duration,
        bell: &Bell,
    ) -> Background<()> {
        let (numbers, ledger, bell) = (numbers.clone(), ledger.cloned(), bell.clone());
        let id = self.attribute;
        self.database.background(move |session| {
            while bell.silent() {
                let first = numbers.take(ROWS);
                let lines = copy_lines(id, first, ROWS);
                if session.try_copy(&format!("{door} {COPIED}"), &lines).is_err() {
                    break;
                }
                if let Some(ledger) = &ledger {
                    ledger.add(first, first + ROWS - 1);
                }
                std::thread::sleep(pause);
            }
        })
    }

    /// Notes which rows of the fast door are in facts. Whoever sees a row may rely on it.
    fn watch(&self, began: &str, every: Duration, ledger: &Ledger, bell: &Bell) -> Background<()> {
        let (began, ledger, bell) = (began.to_owned(), ledger.clone(), bell.clone());
        self.database.background(move |session| {
            let mut known = HashSet::new();
            while bell.silent() {
                let seen = session.try_rows(&format!(
                    "SELECT entity_id FROM entity_values_ts
                     WHERE ingested_at >= '{began}' AND entity_id >= {FAST}"
                ));
                let Ok(seen) = seen else { break };
                for row in seen {
                    let entity = row[0].parse().expect("a number");
                    if known.insert(entity) {
                        ledger.add(entity, entity);
                    }
                }
                std::thread::sleep(every);
            }
        })
    }

    fn begin(&self, began: &str, durable_too: bool) -> Traffic {
        let (bell, committed, flushed) = Default::default();
        let [fast, durable] = DOORS;
        let (pause, look) = if durable_too {
            (PAUSE, LONG_PAUSE)
        } else {
            (LONG_PAUSE, PAUSE)
        };
        let mut writers = vec![self.write(fast, &self.fast, None, pause, &bell)];
        // Each commit of the durable door brings to disk whatever a flush may have left behind.
        if durable_too {
            writers.push(self.write(durable, &self.durable, Some(&committed), pause, &bell));
        }
        let flushing = bell.clone();
        let flushing = self.database.background(move |session| {
            while flushing.silent() && session.try_exec("SELECT stage_flush(2000)").is_ok() {}
        });
        let others = [flushing, self.watch(began, look, &flushed, &bell)];
        Traffic {
            bell,
            writers,
            others,
            committed,
            flushed,
        }
    }

    /// How many rows were acknowledged by the durable door, and how many of the fast door were seen in facts.
    fn round(&mut self, number: usize, crash: &impl Fn(&Campaign, &Traffic)) -> (usize, usize) {
        // Workers that were killed come back one after the other; a round begins when all are there.
        self.wait_for_flushers();
        let mut session = self.database.connect();
        summarize_facts(&mut session);
        let began = session.text("SELECT clock_timestamp()");
        let traffic = self.begin(&began, number % 2 == 1);
        std::thread::sleep(Duration::from_millis(self.chance.between(50, 600)));
        crash(self, &traffic);
        traffic.bell.ring();
        for session in traffic.writers.into_iter().chain(traffic.others) {
            session.join();
        }
        let mut session = self.database.connect();
        let left = session.number("SELECT count(*) FROM entity_values_ingest");
        assert_eq!(left, 0, "a crash empties the fast door");
        assert!(session.is_true("SELECT drain('20 s')"));
        let (committed, flushed) = (traffic.committed.copy(), traffic.flushed.copy());
        let found = entities_in_facts(&mut session, &format!("ingested_at >= '{began}'"));
        for (door, due) in [("durable", &committed), ("fast", &flushed)] {
            assert_eq!(faults(due, &found), Vec::<String>::new(), "{door} door");
        }
        let rows = (committed.len() * ROWS as usize, flushed.len());
        self.due.extend(committed.into_iter().chain(flushed));
        rows
    }

    fn wait_for_flushers(&self) {
        eventually(SOON, "both flushers run", || {
            match workers::pids(&self.cluster, NAME, "flusher").len() {
                2 => Ok(()),
                running => Err(running),
            }
        });
    }

    fn check(&self) {
        let mut session = self.database.connect();
        check_facts(&mut session);
        for door in DOORS {
            check_staging(&mut session, door);
        }
        let found = entities_in_facts(&mut session, "true");
        assert_eq!(faults(&self.due, &found), Vec::<String>::new(), "all rounds");
    }
}

fn campaign(what: &str, crash: impl Fn(&Campaign, &Traffic)) {
    let rounds = if soaking() { 100 } else { 10 };
    let mut campaign = Campaign::start();
    let (mut committed, mut flushed) = (0, 0);
    for round in 1..=rounds {
        let rows = campaign.round(round, &crash);
        committed += rows.0;
        flushed += rows.1;
        if round % CHECK_EVERY == 0 && round < rounds {
            campaign.check();
        }
    }
    campaign.check();
    let log = campaign.cluster.log();
    assert_eq!(log.lines_with("PANIC:"), Vec::<String>::new());
    assert_eq!(log.lines_with("deadlock detected"), Vec::<String>::new());
    assert!(committed > 0 && flushed > 0, "nothing was written");
    let text = format!(
        "{what}: {rounds} crashes, {committed} rows acknowledged by the durable door, {flushed} of the fast door seen in facts"
    );
    if soaking() {
        announce(&text);
    } else {
        println!("{text}");
    }
}

#[test]
fn kill_9_of_the_postmaster_loses_only_what_was_not_flushed() {
    campaign("kill -9 of the postmaster", |campaign, _| {
        campaign.cluster.crash();
        campaign.cluster.start();
    });
}

#[test]
fn immediate_shutdown_loses_only_what_was_not_flushed() {
    campaign("immediate shutdown", |campaign, _| {
        campaign.cluster.restart(Stop::Immediate);
    });
}

#[test]
fn kill_9_of_a_flusher_loses_only_what_was_not_flushed() {
    campaign("kill -9 of a flusher", |campaign, _| {
        let flushers = workers::pids(&campaign.cluster, NAME, "flusher");
        let flusher = flushers.last().expect("a flusher runs");
        campaign
            .cluster
            .kill_process(flusher.parse().expect("a process id is a number"));
    });
}

#[test]
fn kill_9_of_a_writer_loses_only_what_was_not_flushed() {
    campaign("kill -9 of a writer", |campaign, traffic| {
        let writer = traffic.writers.last().expect("somebody writes");
        campaign.cluster.kill_process(writer.pid());
    });
}
