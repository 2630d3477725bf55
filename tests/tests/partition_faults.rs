//! Rotation ended in each way at each of its steps, by a library that has places to do so compiled in: creating, attaching, sealing,
//! detaching, dropping. Whatever happens, the workers go on from what they find, and no reading that is kept is lost.

use std::sync::Arc;

use cluster_tests::{Cluster, Database, Installation, SOON, Session, eventually, workers};

const STEPS: [&str; 11] = [
    "partition_made",
    "partition_attached",
    "seal_begun",
    "seal_vacuumed",
    "seal_before_look",
    "seal_before_note",
    "seal_noted",
    "marked",
    "detached",
    "before_drop",
    "dropped",
];

/// The advisory lock at which a step waits.
const KEY: i64 = 78;

struct Bench {
    cluster: Arc<Cluster>,
    database: Database,
    session: Session,
}

/// Readings of 40 days ago of a tenant that keeps them for ever; for all others their time would be over.
fn bench() -> Bench {
    let cluster = Cluster::builder()
        .installation(&Installation::with_fault_points())
        .preload()
        .set("pg_telemetry.accept_past", "1000d")
        .start();
    let database = cluster.create_database("faults");
    let mut session = database.install();
    workers::wait_for_start(&cluster, "faults");
    session.exec(
        "INSERT INTO entity_values_ingest_durable (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 7, n, now() - interval '40 days', register_attribute(7, 'temperature', 'number'), 1 FROM generate_series(1, 2) n",
    );
    eventually(SOON, "they are flushed", || {
        match session.number("SELECT count(*) FROM entity_values_ts") {
            2 => Ok(()),
            n => Err(n),
        }
    });
    session.exec(
        "UPDATE partition_state SET made_late = false;
         SELECT set_retention('30 days'); INSERT INTO retention_policies (tenant_id, keep) VALUES (7, NULL)",
    );
    cluster.set_and_reload("pg_telemetry.accept_past", "1h");
    Bench {
        cluster,
        database,
        session,
    }
}

impl Bench {
    /// Something to do for each step: a partition ahead is missing, one is to be sealed again, and one is to go.
    fn work(&mut self) {
        self.session.exec(
            "DO $$ DECLARE last text; BEGIN
                 SELECT max(c.relname) INTO last FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'entity_values_ts'::regclass;
                 EXECUTE format('DROP TABLE %I', last);
             END $$;
             CREATE TABLE old (LIKE entity_values_ts INCLUDING DEFAULTS);
             ALTER TABLE old OWNER TO telemetry_owner;
             INSERT INTO old SELECT 1, n, '2020-01-01 12:00+00', NULL, 1, NULL, 1, NULL FROM generate_series(1, 100) n;
             ALTER TABLE entity_values_ts ATTACH PARTITION old FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00');
             UPDATE partition_state SET seal = 'reopened', observed_from = NULL WHERE ends_at < now() AND leaves_as IS NULL",
        );
    }

    fn state(&mut self) -> Vec<Vec<String>> {
        self.session.rows(
            "SELECT (SELECT count(*) FROM pg_inherits WHERE inhdetachpending),
                    to_regclass('old'),
                    (SELECT count(*) FROM pg_inherits WHERE inhparent = 'entity_values_ts'::regclass),
                    (SELECT count(*) FROM partition_state),
                    (SELECT string_agg(DISTINCT seal, ',') FROM partition_state WHERE ends_at < now() - interval '20 days'),
                    (SELECT observed_from = ingested_at FROM partition_state, entity_values_ts WHERE rows = 2 AND tenant_id = 7 AND entity_id = 2),
                    (SELECT count(*) FROM entity_values_ts),
                    (SELECT count(*) FROM pg_class WHERE relname LIKE 'entity\\_values\\_ts\\_p%' AND relkind = 'r' AND NOT relispartition)",
        )
    }

    #[track_caller]
    fn goes_on(&mut self, what: &str) {
        eventually(SOON * 2, what, || {
            self.cluster.reload();
            let state = self.state();
            let attached = state[0][2].clone();
            let wanted = [
                "0",
                cluster_tests::NULL,
                &attached,
                &attached,
                "sealed",
                "t",
                "2",
                "0",
            ];
            let ahead = "SELECT covered_until > now() + interval '4 days' FROM partition_health WHERE parent = 'facts' AND partition IS NULL";
            if state[0] == wanted && self.session.text(ahead) == "t" {
                Ok(())
            } else {
                let jobs = "SELECT task, state, last_error FROM worker_status WHERE last_error IS NOT NULL";
                Err((state, self.session.rows(jobs)))
            }
        });
    }

    /// Waits until a worker has come to the step at which it is held up; its process id.
    #[track_caller]
    fn held_up(&mut self, what: &str) -> i32 {
        let pid = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        eventually(SOON, what, || {
            self.cluster.reload();
            match self.session.column(pid).pop() {
                Some(pid) => Ok(pid.parse().expect("a process id is a number")),
                None => Err(self
                    .session
                    .rows("SELECT task, state, last_error FROM worker_status")),
            }
        })
    }
}

#[test]
fn workers_that_are_terminated_at_any_step_go_on() {
    let mut bench = bench();
    bench.goes_on("all is well");
    let mut holder = bench.database.connect();
    for step in STEPS {
        holder.exec(&format!("SELECT pg_advisory_lock({KEY})"));
        bench
            .cluster
            .set_and_reload("pg_telemetry.fault_points", format!("{step}=wait:{KEY}"));
        bench.work();
        let pid = bench.held_up(step);
        bench.cluster.set_and_reload("pg_telemetry.fault_points", "");
        bench.session.exec(&format!("SELECT pg_terminate_backend({pid})"));
        holder.exec(&format!("SELECT pg_advisory_unlock({KEY})"));
        bench.goes_on(step);
    }
}

#[test]
fn a_server_that_crashes_at_any_step_goes_on() {
    let mut bench = bench();
    bench.goes_on("all is well");
    for step in STEPS {
        let mut holder = bench.database.connect();
        holder.exec(&format!("SELECT pg_advisory_lock({KEY})"));
        bench
            .cluster
            .set_and_reload("pg_telemetry.fault_points", format!("{step}=wait:{KEY}"));
        bench.work();
        let pid = bench.held_up(step);
        bench.cluster.set_and_reload("pg_telemetry.fault_points", "");
        bench.cluster.kill_process(pid);
        bench.session = bench.database.connect();
        bench.goes_on(step);
    }
}

#[test]
fn a_detachment_that_dies_while_it_waits_is_ended() {
    let mut bench = bench();
    bench.goes_on("all is well");
    let mut holder = bench.database.connect();
    holder.exec(&format!("SELECT pg_advisory_lock({KEY})"));
    bench
        .cluster
        .set_and_reload("pg_telemetry.fault_points", format!("marked=wait:{KEY}"));
    bench.work();
    let janitor = bench.held_up("about to detach");
    // A reader that comes now is waited for, half way through.
    let mut reader = bench.database.connect();
    reader.exec("BEGIN; SELECT count(*) FROM entity_values_ts");
    bench.cluster.set_and_reload("pg_telemetry.fault_points", "");
    bench.cluster.set_and_reload("pg_telemetry.lock_timeout", "30s");
    holder.exec(&format!("SELECT pg_advisory_unlock({KEY})"));
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    eventually(SOON, "the detachment waits", || {
        match bench.session.number(pending) {
            1 => Ok(()),
            n => Err(n),
        }
    });
    bench
        .session
        .exec(&format!("SELECT pg_terminate_backend({janitor})"));
    eventually(SOON, "who is in the way is named", || {
        bench.cluster.reload();
        let named = "SELECT state, in_the_way FROM partition_health WHERE partition LIKE '%old'";
        let rows = bench.session.rows(named);
        let wanted = format!("process {} (AccessShareLock)", reader.pid());
        if rows[0][0] == "detach pending" && rows[0][1].contains(&wanted) {
            Ok(())
        } else {
            Err((
                rows,
                bench
                    .session
                    .rows("SELECT task, state, last_error FROM worker_status WHERE worker = 'janitor'"),
            ))
        }
    });
    assert_eq!(
        reader.number("SELECT count(*) FROM old"),
        100,
        "it is there for whoever looks"
    );
    reader.exec("COMMIT");
    bench.cluster.set_and_reload("pg_telemetry.lock_timeout", "1s");
    bench.goes_on("it is ended");
}
