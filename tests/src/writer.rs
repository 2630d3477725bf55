//! A stream of readings from a second session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::background::Background;
use crate::database::Database;

/// A session that stages batch after batch through the durable door.
pub struct Writer {
    stop: Arc<AtomicBool>,
    session: Background<i64>,
}

impl Writer {
    const BATCH: i64 = 50;

    /// Between two batches, so that workers keep up with it.
    const PAUSE: Duration = Duration::from_millis(5);

    pub fn start(database: &Database, attribute_id: i64, first: i64) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let session = database.background(move |session| {
            let mut next = first;
            while !stopped.load(Ordering::Relaxed) {
                let batch = format!(
                    "INSERT INTO telemetry.entity_values_ingest_durable (tenant_id, entity_id, attribute_id, value_num)
                     SELECT 1, n, {attribute_id}, 0 FROM generate_series({next}, {next} + {} - 1) n",
                    Writer::BATCH
                );
                if session.try_exec(&batch).is_err() {
                    break;
                }
                next += Writer::BATCH;
                std::thread::sleep(Writer::PAUSE);
            }
            next - first
        });
        Writer { stop, session }
    }

    /// How many rows were committed, and their commit acknowledged.
    pub fn finish(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.session.join()
    }
}
