//! Deleting and rewriting ended in each way at each step, by a library that has places to do so compiled in: nothing is lost but
//! what was to be deleted, nothing is left behind, and it goes on.

use cluster_tests::old_day::{EACH, OldDay};
use cluster_tests::{Cluster, Installation, SOON, eventually, workers};

const STEPS: [&str; 10] = [
    "policies_held",
    "batch_deleted",
    "batch_noted",
    "before_copy",
    "rows_copied",
    "index_copied",
    "before_exchange",
    "exchanged",
    "before_drop",
    "dropped",
];

/// The advisory lock at which a step waits.
const KEY: i64 = 78;

#[derive(Debug, Clone, Copy)]
enum End {
    Cancel,
    Terminate,
    /// The whole server starts over.
    Kill,
}

#[test]
fn whatever_ends_it_at_any_step_it_goes_on() {
    let builder = Cluster::builder()
        .installation(&Installation::with_fault_points())
        .preload();
    let mut day = OldDay::new(builder);
    workers::wait_for_start(&day.cluster, "old_day");
    day.session.exec("SELECT set_retention('30 days', 1)");
    day.cluster.reload();
    day.wait_until_done();
    for step in STEPS {
        // In this order: a worker that is ended again and again is started ever later, until the server starts over.
        for end in [End::Cancel, End::Terminate, End::Kill] {
            let what = format!("{end:?} at {step}");
            let mut holder = day.database.connect();
            holder.exec(&format!("SELECT pg_advisory_lock({KEY})"));
            let armed = format!("{step}=wait:{KEY}");
            day.cluster.set_and_reload("pg_telemetry.fault_points", &armed);
            day.session.exec("SET pg_telemetry.fault_points = ''");
            day.fill(1);
            day.seal();
            let held_up = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
            let mut looks = 0;
            let janitor = eventually(SOON, &what, || {
                if looks % 10 == 0 {
                    day.cluster.reload();
                }
                looks += 1;
                let status =
                    "SELECT task, state, last_error, detail FROM worker_status WHERE worker = 'janitor'";
                match day.session.column(held_up).pop() {
                    Some(pid) => Ok(pid.parse::<i32>().expect("a number")),
                    None => Err(day.session.rows(status)),
                }
            });
            match end {
                End::Cancel => day.session.exec(&format!("SELECT pg_cancel_backend({janitor})")),
                End::Terminate => day
                    .session
                    .exec(&format!("SELECT pg_terminate_backend({janitor})")),
                End::Kill => {
                    day.cluster.set("pg_telemetry.fault_points", "");
                    let log = day.cluster.log_mark();
                    day.cluster.kill_process(janitor);
                    eventually(SOON, "the server starts over", || {
                        let lines = log.lines_with("all server processes terminated; reinitializing");
                        if lines.is_empty() { Err(()) } else { Ok(()) }
                    });
                    day.cluster.wait_until_ready();
                    day.session = day.database.connect();
                    workers::wait_for_start(&day.cluster, "old_day");
                }
            }
            day.cluster.set_and_reload("pg_telemetry.fault_points", "");
            drop(holder);
            day.wait_until_done();
            assert_eq!((day.of_tenant(1), day.of_tenant(2)), (0, EACH), "{what}");
            assert_eq!(day.state("removed_rows"), "0", "{what}");
            day.holds_together();
        }
    }
}
