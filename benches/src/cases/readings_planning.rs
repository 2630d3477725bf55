//! What it costs to find out where the readings of a time are.

use cluster_tests::{Database, Session};
use postgres::Statement;

use crate::case::{Bound, Case, Compare, Metric, Run, Sample};
use crate::cpu;
use crate::server::Server;

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
