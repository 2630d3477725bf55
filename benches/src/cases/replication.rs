//! What it costs to know how fresh a node is, and how soon a token is noticed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::{Cluster, Database, SOON, Session, eventually};

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cost::Meter;
use crate::cpu;
use crate::server::{Server, set_background_workers};

/// One statement of a client.
pub struct Call {
    name: &'static str,
    shows: &'static str,
    statement: &'static str,
}

pub const FRESHNESS: Call = Call {
    name: "freshness",
    shows: "freshness() on a standby, for each response",
    statement: "SELECT data_source, lag_seconds FROM telemetry.freshness()",
};

pub const CAN_SERVE: Call = Call {
    name: "can_serve",
    shows: "can_serve() on a standby, for each request",
    statement: "SELECT telemetry.can_serve('eventual')",
};

const CALLS: u32 = 2000;
const CPU: &str = "CPU µs/call, the statement included";
const WALL: &str = "wall µs/call, the round trip included";

impl Case for Call {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shows(&self) -> &'static str {
        self.shows
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(CPU, Compare::SideBySide).goal(Bound::AtMost(50.0)),
            Metric::new(WALL, Compare::SideBySide),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["SELECT pg_last_wal_replay_lsn()"]
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name);
        database.connect().exec("SELECT heartbeat()");
        let standby = server.cluster().standby();
        standby.catch_up_with(server.cluster());
        Box::new(Calls {
            session: standby.connect(self.name),
            statement: self.statement,
            _standby: standby,
            _database: database,
        })
    }
}

struct Calls {
    session: Session,
    statement: &'static str,
    _standby: Arc<Cluster>,
    _database: Database,
}

impl Calls {
    fn call(&mut self, text: &str) -> Sample {
        let pid = self.session.pid();
        let statement = self.session.client().prepare(text).expect("a statement");
        let cpu = cpu::nanoseconds_at_rest(pid);
        let start = Instant::now();
        for _ in 0..CALLS {
            self.session.client().query(&statement, &[]).expect("an answer");
        }
        let wall = start.elapsed();
        let cpu = cpu::nanoseconds_at_rest(pid) - cpu;
        let per_call = |nanoseconds: f64| nanoseconds / 1000.0 / f64::from(CALLS);
        Sample::default()
            .with(CPU, per_call(cpu as f64))
            .with(WALL, per_call(wall.as_nanos() as f64))
    }
}

impl Run for Calls {
    fn ours(&mut self) -> Sample {
        self.call(self.statement)
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.call("SELECT pg_last_wal_replay_lsn()")
    }
}

pub struct Heartbeat;

const WINDOW: Duration = Duration::from_secs(20);
const WAL_PER_HOUR: &str = "WAL, MB in an hour";
const GROWTH: &str = "growth of the table, bytes";

impl Case for Heartbeat {
    fn name(&self) -> &'static str {
        "heartbeat"
    }

    fn shows(&self) -> &'static str {
        "a server with a slot and nothing to do, for 20 s"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![
            Metric::new(WAL_PER_HOUR, Compare::SideBySide).goal(Bound::AtMost(4.0)),
            Metric::new(GROWTH, Compare::SideBySide).goal(Bound::AtMost(0.0)),
        ]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["background_workers = off"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(2)
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name());
        let mut session = database.connect();
        session.exec("SELECT pg_create_physical_replication_slot('bench_heartbeat')");
        // All rows that there will ever be, as after a month: what grows from here on is bloat.
        session.exec(
            "INSERT INTO replication_heartbeat (slot, written_at, wal_position, timeline, writer)
             SELECT n, now() - n * interval '1 h', '0/1', 1, 'nobody' FROM generate_series(0, 199) n",
        );
        Box::new(Beats {
            meter: Meter::new(server.cluster()),
            cluster: server.cluster().clone(),
            session,
            _database: database,
        })
    }
}

struct Beats {
    meter: Meter,
    cluster: Arc<Cluster>,
    session: Session,
    _database: Database,
}

impl Beats {
    fn watch(&mut self) -> Sample {
        // Not the maps of free space and of visibility, which appear when autovacuum comes by.
        let size =
            "SELECT pg_relation_size('replication_heartbeat') + pg_indexes_size('replication_heartbeat')";
        let (before, wal) = (self.session.number(size), self.meter.wal_position());
        std::thread::sleep(WINDOW);
        let wal = (self.meter.wal_position() - wal) as f64;
        Sample::default()
            .with(WAL_PER_HOUR, wal / 1e6 * 3600.0 / WINDOW.as_secs_f64())
            .with(GROWTH, (self.session.number(size) - before) as f64)
    }
}

impl Run for Beats {
    fn ours(&mut self) -> Sample {
        set_background_workers(&self.cluster, true);
        eventually(SOON, "heartbeats", || {
            let beats =
                "SELECT count(*) > 0 AND max(written_at) > now() - interval '1 s' FROM replication_heartbeat";
            if self.session.is_true(beats) {
                Ok(())
            } else {
                Err(())
            }
        });
        let sample = self.watch();
        set_background_workers(&self.cluster, false);
        cluster_tests::workers::wait_for_end(&self.cluster, "heartbeat");
        sample
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.watch()
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        // A slot would keep all WAL of the cases that follow.
        let _ = self
            .session
            .try_exec("SELECT pg_drop_replication_slot('bench_heartbeat')");
    }
}

pub struct Token;

const WAITS: usize = 10;
const LATE: &str = "ms after the replay, longest of 10";

impl Case for Token {
    fn name(&self) -> &'static str {
        "wait_for_token"
    }

    fn shows(&self) -> &'static str {
        "a standby has replayed, and the waiter is told; it had waited for 0.1 to 1 s"
    }

    fn metrics(&self) -> Vec<Metric> {
        vec![Metric::new(LATE, Compare::SideBySide).goal(Bound::AtMost(10.0))]
    }

    fn baselines(&self) -> &'static [&'static str] {
        &["a client that asks token_reached() every 10 ms"]
    }

    fn rounds(&self, wanted: usize) -> usize {
        wanted.min(3)
    }

    fn set_up(&self, server: &Server) -> Box<dyn Run> {
        let database = server.database(self.name());
        let mut writer = database.connect();
        writer.exec("CREATE TABLE notes (n int)");
        let standby = server.cluster().standby();
        standby.catch_up_with(server.cluster());
        server.cluster().set_and_reload("synchronous_standby_names", "*");
        writer.exec("SET synchronous_commit = remote_apply");
        Box::new(Waits {
            cluster: server.cluster().clone(),
            writer,
            standby,
            _database: database,
        })
    }
}

struct Waits {
    cluster: Arc<Cluster>,
    writer: Session,
    standby: Arc<Cluster>,
    _database: Database,
}

impl Waits {
    fn longest(&mut self, wait: fn(&mut Session, &str)) -> Sample {
        let longest = (0..WAITS).map(|round| self.late(round, wait)).fold(0.0, f64::max);
        Sample::default().with(LATE, longest)
    }

    /// The commit returns when the standby has replayed it, so that nobody has to look there.
    fn late(&mut self, round: usize, wait: fn(&mut Session, &str)) -> f64 {
        self.writer.exec("BEGIN; INSERT INTO notes VALUES (1)");
        let token = self.writer.text("SELECT telemetry.commit_token()");
        let mut waiter = self.standby.connect("wait_for_token");
        let waiting = std::thread::spawn(move || {
            wait(&mut waiter, &token);
            Instant::now()
        });
        std::thread::sleep(Duration::from_millis(100 * (round as u64 + 1)));
        self.writer.exec("COMMIT");
        let seen = Instant::now();
        let told = waiting.join().expect("the waiter");
        told.saturating_duration_since(seen).as_secs_f64() * 1000.0
    }
}

impl Run for Waits {
    fn ours(&mut self) -> Sample {
        self.longest(|session, token| {
            session.exec(&format!("CALL telemetry.wait_for_token('{token}', '10 s')"));
        })
    }

    fn baseline(&mut self, _which: usize) -> Sample {
        self.longest(|session, token| {
            let reached = format!("SELECT telemetry.token_reached('{token}')");
            while !session.is_true(&reached) {
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        // Otherwise all that follows would wait for a standby that is gone.
        self.cluster.set_and_reload("synchronous_standby_names", "");
    }
}
