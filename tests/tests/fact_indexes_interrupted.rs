//! The janitor is killed, cancelled and failed at each step of an index of facts, by a library that has places for that compiled
//! in. The next one goes on from what is there, and no reading is lost.

use std::sync::Arc;

use cluster_tests::integrity::check_facts;
use cluster_tests::readings::{attribute, facts, stage, wait_for_facts};
use cluster_tests::{Cluster, Database, Installation, SOON, Session, eventually, workers};

const STEPS: [&str; 3] = ["before_index_statement", "before_attach", "after_attach"];

struct Bench {
    cluster: Arc<Cluster>,
    database: Database,
    session: Session,
    id: i64,
    staged: i64,
}

fn bench() -> Bench {
    let cluster = Cluster::builder()
        .installation(&Installation::with_fault_points())
        .preload()
        .set("restart_after_crash", "on")
        .start();
    let database = cluster.create_database("interrupted");
    let mut session = database.install();
    workers::wait_for_start(&cluster, "interrupted");
    let id = attribute(&mut session, "temperature", "number");
    Bench {
        cluster,
        database,
        session,
        id,
        staged: 0,
    }
}

impl Bench {
    fn arm(&self, faults: &str) {
        self.cluster.set_and_reload("pg_telemetry.fault_points", faults);
    }

    fn stage(&mut self) {
        stage(
            &mut self.session,
            "entity_values_ingest_durable",
            self.id,
            self.staged + 1,
            self.staged + 10,
        );
        self.staged += 10;
    }

    /// Until the server, of which a process was killed, is up again.
    fn come_back(&mut self, crashes: usize) {
        eventually(SOON, "the server is up after a crash", || {
            let seen = self.cluster.log().lines_with("was terminated by signal 9").len();
            let ready = self.cluster.try_connect("interrupted");
            match ready {
                Ok(session) if seen >= crashes => {
                    self.session = session;
                    Ok(())
                }
                _ => Err(seen),
            }
        });
        self.session = self.database.connect();
        self.session.exec("SET search_path = telemetry, public");
    }

    fn finish(&mut self, name: &str) {
        let row = format!(
            "SELECT is_complete AND partitions_complete = partitions AND to_rebuild = 0 FROM fact_indexes WHERE index_name = '{name}'"
        );
        eventually(SOON, &format!("{name} is complete"), || {
            match self.session.is_true(&row) {
                true => Ok(()),
                false => Err(self.session.rows(
                    "SELECT task, state, last_error, detail FROM worker_status WHERE task = 'build_index'",
                )),
            }
        });
        assert_eq!(
            self.session
                .column("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid"),
            Vec::<String>::new(),
            "{name}"
        );
        self.stage();
        wait_for_facts(&mut self.session, self.staged);
        check_facts(&mut self.session);
    }
}

#[test]
fn killed_at_each_step() {
    let mut bench = bench();
    for (number, step) in STEPS.into_iter().enumerate() {
        bench.stage();
        bench.arm(&format!("{step}=crash@2"));
        let name = format!("killed_{number}");
        let column = ["value_num", "value_int", "observed_at"][number];
        bench.session.exec(&format!(
            "SELECT add_fact_index('{{{column}}}', index_name => '{name}')"
        ));
        bench.come_back(number + 1);
        bench.arm("");
        bench.finish(&name);
    }
    assert_eq!(facts(&mut bench.session), (bench.staged, bench.staged));
}

#[test]
fn failed_at_each_step_it_rests_and_goes_on() {
    let mut bench = bench();
    for (number, step) in STEPS.into_iter().enumerate() {
        bench.stage();
        bench.arm(&format!("{step}=error:53100@2"));
        let name = format!("failed_{number}");
        let column = ["value_num", "value_int", "observed_at"][number];
        bench.session.exec(&format!(
            "SELECT add_fact_index('{{{column}}}', index_name => '{name}')"
        ));
        bench.finish(&name);
        bench.arm("");
    }
    let errors = bench.cluster.log().lines_with("task build_index: fault at");
    assert!(errors.len() >= STEPS.len(), "{errors:#?}");
}

#[test]
fn killed_and_cancelled_in_the_middle_of_a_statement() {
    let mut bench = bench();
    bench.stage();
    wait_for_facts(&mut bench.session, 10);
    for (number, how) in ["cancel", "kill"].into_iter().enumerate() {
        for rebuild in [false, true] {
            let leaf = bench
                .session
                .text("SELECT to_char(now() AT TIME ZONE 'UTC', '\"telemetry.entity_values_ts_p\"YYYYMMDD')");
            let mut holder = bench.database.connect();
            let name = format!("held_{number}");
            let column = ["value_num", "value_int"][number];
            let working = format!(
                "SELECT s.pid FROM pg_stat_progress_create_index s WHERE s.current_locker_pid = {}",
                holder.pid()
            );
            // A writer comes while it is at work, so that it waits in the middle.
            bench.arm("before_index_statement=sleep:1");
            bench.session.exec(&match rebuild {
                false => format!("SELECT add_fact_index('{{{column}}}', index_name => '{name}')"),
                true => format!("SELECT reindex_facts('{name}')"),
            });
            eventually(SOON, "the janitor is at this partition", || {
                holder.exec("ROLLBACK");
                holder.exec(&format!("BEGIN; LOCK TABLE {leaf} IN ROW EXCLUSIVE MODE"));
                let started = std::time::Instant::now();
                while started.elapsed().as_millis() < 2500 {
                    if !bench.session.column(&working).is_empty() {
                        return Ok(());
                    }
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
                Err("not yet")
            });
            bench.arm("");
            let janitor = bench.session.number(&working);
            if how == "cancel" {
                bench
                    .session
                    .exec(&format!("SELECT pg_cancel_backend({janitor})"));
                holder.exec("ROLLBACK");
            } else {
                let crashes = bench.cluster.log().lines_with("was terminated by signal 9").len();
                bench.cluster.kill_process(janitor as i32);
                bench.come_back(crashes + 1);
            }
            bench.finish(&name);
        }
    }
}
