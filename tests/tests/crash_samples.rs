//! Crashes at random moments while samples are taken and alerts change their state. Afterwards no sample says more than happened, none
//! is there twice, old ones keep to their room, and alerts say how it is.

use std::sync::Arc;
use std::time::Duration;

use cluster_tests::alerts::{health, rows, tune};
use cluster_tests::campaign::{Bell, Chance, Numbers, soaking};
use cluster_tests::readings::{DOORS, attribute, stage};
use cluster_tests::samples::{nothing_absurd, old_day, sample};
use cluster_tests::{Background, Cluster, Database, SOON, Session, eventually, workers};

const NAME: &str = "crash";

/// Rows of one INSERT.
const ROWS: i64 = 10;

/// Of all samples.
const MOST_BYTES: i64 = 16 << 20;

struct Campaign {
    cluster: Arc<Cluster>,
    database: Database,
    chance: Chance,
    /// Statements of the writer that were sent, whatever became of them.
    sent: Numbers,
    readings: i64,
}

impl Campaign {
    fn start() -> Campaign {
        let cluster = Cluster::builder()
            .set("shared_preload_libraries", "pg_stat_statements,pg_telemetry")
            .set("pg_telemetry.alert_interval", "1s")
            .set("pg_telemetry.sample_interval", "1s")
            .set("pg_telemetry.sample_max_size", format!("{}MB", MOST_BYTES >> 20))
            .start();
        let database = cluster.create_database(NAME);
        let mut session = database.install();
        workers::wait_for_start(&cluster, NAME);
        session.exec(
            "CREATE EXTENSION pg_stat_statements SCHEMA public;
             CREATE TABLE public.counted (n integer)",
        );
        // What a crash itself makes bad is the matter of other tests.
        for alert in [
            "disk_full",
            "worker_missing",
            "task_late",
            "crash_lost_readings",
            "staging_old",
        ] {
            tune(&mut session, alert, "enabled = false");
        }
        tune(
            &mut session,
            "flush_paused",
            "warn = 0, critical = 100000, clear = 0, for_duration = '0', keep_for = '0'",
        );
        let id = attribute(&mut session, "temperature", "number");
        stage(&mut session, DOORS[1], id, 1, 100);
        session.exec("SELECT stage_flush()");
        Campaign {
            cluster,
            database,
            chance: Chance::new(),
            sent: Numbers::default(),
            readings: 100,
        }
    }

    /// Writes, and takes samples beside the keeper, until the server goes.
    fn begin(&self, bell: &Bell) -> [Background<()>; 2] {
        let (writing, sampling, sent) = (bell.clone(), bell.clone(), self.sent.clone());
        let writer = self.database.background(move |session| {
            while writing.silent() {
                sent.take(1);
                let insert = format!("INSERT INTO public.counted SELECT generate_series(1, {ROWS})");
                if session.try_exec(&insert).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let sampler = self.database.background(move |session| {
            // 55P03: the keeper is at it.
            let goes_on = |session: &mut Session| match session.try_exec("SELECT telemetry.take_samples()") {
                Err(failure) => failure.code == "55P03",
                Ok(()) => true,
            };
            while sampling.silent() && goes_on(session) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        [writer, sampler]
    }

    fn round(&mut self, number: u32) {
        let mut session = self.database.connect();
        match number % 4 {
            1 => session.exec("SELECT pg_stat_reset()"),
            3 => session.exec("SELECT public.pg_stat_statements_reset(), pg_stat_reset()"),
            _ => {}
        }
        let bell = Bell::default();
        let traffic = self.begin(&bell);
        std::thread::sleep(Duration::from_millis(self.chance.between(50, 500)));
        // The keeper is about to notice it, does so, or has.
        let is_paused = number.is_multiple_of(2);
        let flip = if is_paused {
            "SELECT pause('for the test')"
        } else {
            "SELECT resume()"
        };
        session.exec(flip);
        std::thread::sleep(Duration::from_millis(self.chance.between(1, 700)));
        if number.is_multiple_of(3) {
            self.cluster.crash();
            self.cluster.start();
        } else {
            let keeper = workers::pids(&self.cluster, NAME, "keeper");
            // After the crash before it may not have been started yet.
            let victim = keeper
                .first()
                .map_or(session.pid(), |pid| pid.parse().expect("a process id"));
            self.cluster.kill_process(victim);
        }
        bell.ring();
        traffic.into_iter().for_each(Background::join);
        let mut session = self.database.connect();
        self.check(&mut session);
        if number % 3 == 2 {
            settled(&mut session, is_paused);
        }
    }

    /// Never more than was sent, in the samples and in the views over them.
    #[track_caller]
    fn check(&self, session: &mut Session) {
        nothing_absurd(session);
        let most = self.sent.last();
        let counted = "relation = 'public.counted'";
        let inserted = session.number(&format!(
            "SELECT coalesce(sum(rows_inserted), 0) FROM relation_samples WHERE {counted}"
        ));
        assert!(inserted <= most * ROWS, "{inserted} of {}", most * ROWS);
        for (shown, most) in [
            (
                "SELECT coalesce(sum(rows_inserted), 0) FROM table_usage WHERE table_name = 'public.counted'",
                most * ROWS,
            ),
            (
                "SELECT coalesce(sum(calls), 0) FROM slow_queries WHERE query LIKE 'INSERT INTO public.counted%'",
                most,
            ),
            (
                "SELECT coalesce(sum(rows_estimate), 0) FROM tenant_usage WHERE place = 'facts'",
                self.readings,
            ),
        ] {
            let found = session.number(shown);
            assert!((0..=most).contains(&found), "{found} of {most}: {shown}");
        }
        let odd = session.rows(
            "SELECT scope, name FROM cache_hit WHERE hit_ratio NOT BETWEEN 0 AND 1 OR least(blocks_hit, blocks_read) < 0
             UNION ALL SELECT state, query FROM slow_queries WHERE mean_ms < 0 OR exec_ms < 0 OR hit_ratio NOT BETWEEN 0 AND 1",
        );
        assert!(odd.is_empty(), "{odd:?}");
    }
}

/// What the keeper says once it is back is how it is.
#[track_caller]
fn settled(session: &mut Session, is_paused: bool) {
    eventually(
        SOON,
        &format!("the alert says that it is paused: {is_paused}"),
        || {
            let row = rows(session, "flush_paused").swap_remove(0);
            let fires = row.state == "firing";
            let knows = row.state != "unknown" && health(session).0 == i64::from(is_paused);
            if fires == is_paused && knows {
                Ok(())
            } else {
                Err((row, health(session)))
            }
        },
    );
}

#[test]
fn crashes_make_no_false_sample_and_no_alert_that_stays() {
    let mut campaign = Campaign::start();
    for number in 1..=if soaking() { 100 } else { 10 } {
        campaign.round(number);
    }
    let mut session = campaign.database.connect();
    session.exec("SELECT resume()");
    settled(&mut session, false);
    let alerts =
        session.rows("SELECT alert, object, count(*) FROM alert_state GROUP BY 1, 2 HAVING count(*) > 1");
    assert!(alerts.is_empty(), "{alerts:?}");
    let unknown = session.rows("SELECT alert, detail FROM telemetry_alerts WHERE state = 'unknown'");
    assert!(unknown.is_empty(), "{unknown:?}");

    // Nobody was so quick that nothing was ever counted.
    campaign
        .cluster
        .set_and_reload("pg_telemetry.sample_interval", "0");
    let written =
        "SELECT coalesce(sum(rows_inserted), 0) FROM relation_samples WHERE relation = 'public.counted'";
    sample(&mut session);
    let before = session.number(written);
    session.exec("INSERT INTO public.counted VALUES (0)");
    sample(&mut session);
    assert_eq!(session.number(written), before + 1, "exactly what happened since");
    campaign.sent.take(1);
    campaign.check(&mut session);

    // What came before makes room after a crash as it does without one.
    old_day(&mut session, "relation_samples", 5);
    session.exec(
        "INSERT INTO relation_samples SELECT now() - interval '5 days', 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, false, repeat('x', 200), 'r', 't'
         FROM generate_series(1, 80000)",
    );
    let size = "SELECT sum(pg_total_relation_size(i.inhrelid))::bigint FROM pg_inherits i
                WHERE i.inhparent::regclass::text ~ '_samples$|sample_runs$'";
    assert!(session.number(size) > MOST_BYTES, "more than there may be");
    campaign
        .cluster
        .set_and_reload("pg_telemetry.sample_interval", "1s");
    campaign.cluster.crash();
    campaign.cluster.start();
    let mut session = campaign.database.connect();
    eventually(SOON, "samples keep to their room", || {
        match session.number(size) {
            small if small <= MOST_BYTES => Ok(()),
            large => Err(large),
        }
    });
}
