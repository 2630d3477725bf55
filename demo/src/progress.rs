//! One line a second: where the rows are.

use std::time::{Duration, Instant};

use postgres::{Client, Statement};

use crate::Outcome;

const COUNTS: &str = "SELECT
    (SELECT count(*) FROM telemetry.entity_values_ingest),
    (SELECT count(*) FROM telemetry.entity_values_ts),
    (SELECT count(*) FROM telemetry.entity_values_rejected),
    (SELECT count(*) FROM pg_partition_tree('telemetry.entity_values_ts') WHERE isleaf)";

struct Counts {
    at: Instant,
    staged: i64,
    facts: i64,
    rejected: i64,
    partitions: i64,
}

pub struct Progress {
    client: Client,
    counts: Statement,
    started: Instant,
    lines: u32,
    last: Counts,
}

impl Progress {
    pub fn start(mut client: Client) -> Outcome<Progress> {
        let counts = client.prepare(COUNTS)?;
        let last = count(&mut client, &counts)?;
        println!(
            "\n{:>6} {:>10} {:>12} {:>10} {:>9} {:>11}",
            "time", "staged", "facts", "rows/s", "rejected", "partitions"
        );
        Ok(Progress {
            client,
            counts,
            started: last.at,
            lines: 0,
            last,
        })
    }

    /// Waits for the next full second and prints what is where.
    pub fn next_line(&mut self) -> Outcome<()> {
        self.lines += 1;
        let due = self.started + Duration::from_secs(self.lines.into());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));

        let now = count(&mut self.client, &self.counts)?;
        let rate = (now.facts - self.last.facts) as f64 / (now.at - self.last.at).as_secs_f64();
        println!(
            "{:>4} s {:>10} {:>12} {:>10} {:>9} {:>11}",
            self.lines,
            grouped(now.staged),
            grouped(now.facts),
            grouped(rate.round() as i64),
            grouped(now.rejected),
            now.partitions,
        );
        self.last = now;
        Ok(())
    }

    pub fn staged(&self) -> i64 {
        self.last.staged
    }

    /// Every reading that was sent is in facts or rejected, once.
    pub fn summary(&self, sent: u64) -> Outcome<()> {
        let sent = i64::try_from(sent)?;
        let Counts {
            staged,
            facts,
            rejected,
            ..
        } = self.last;
        println!(
            "\n{} readings sent = {} in facts + {} rejected + {} still staged",
            grouped(sent),
            grouped(facts),
            grouped(rejected),
            grouped(staged)
        );
        if sent != facts + rejected + staged {
            return Err("this does not add up".into());
        }
        Ok(())
    }
}

fn count(client: &mut Client, counts: &Statement) -> Outcome<Counts> {
    let row = client.query_one(counts, &[])?;
    Ok(Counts {
        at: Instant::now(),
        staged: row.get(0),
        facts: row.get(1),
        rejected: row.get(2),
        partitions: row.get(3),
    })
}

/// 1234567 as 1,234,567.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    format!("{}{}", if number < 0 { "-" } else { "" }, groups.join(","))
}
