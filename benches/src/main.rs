//! Benchmarks of pg_telemetry. `make bench` runs all cases, `make bench CASE=name` those whose names begin so.
//!
//! Numbers of one machine mean nothing on another one, so every case measures a baseline as well, in the same run and in
//! turn with ours, and it is their ratio that has a goal. BENCH_ROUNDS says how many rounds count (default 5),
//! BENCH_SECONDS how long the sustained cases last (60); with BENCH_LONG=1 nothing that takes minutes is emulated.
//!
//! To add a case: a file in `cases/` that implements [`case::Case`], and a line in `cases/mod.rs`.

mod case;
mod cases;
mod copy_format;
mod cost;
mod cpu;
mod flushers;
mod load;
mod lock_waits;
mod options;
mod outcome;
mod random;
mod readings;
mod report;
mod rounds;
mod server;
mod side;
mod stats;
mod twin;
mod warm;

use std::process::ExitCode;
use std::time::Instant;

use crate::case::Case;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::server::Server;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let (cases, options) = match (cases::find(&names), Options::from_environment()) {
        (Ok(cases), Ok(options)) => (cases, options),
        (Err(message), _) | (_, Err(message)) => {
            eprintln!("bench: {message}");
            return ExitCode::from(2);
        }
    };

    let server = Server::start(options);
    let environment = report::Environment::of(&server);
    report::print_head(&environment);
    let mut outcomes = Vec::new();
    for case in cases {
        let outcome = run(case, &server, options.rounds);
        report::print(&outcome);
        report::write_json(&environment, &outcome);
        outcomes.push(outcome);
    }
    report::print_goals(&outcomes);
    report::print_legend();
    ExitCode::SUCCESS
}

fn run(case: &dyn Case, server: &Server, wanted: usize) -> Outcome {
    let mut run = case.set_up(server);
    let load = report::load();
    let start = Instant::now();
    let samples = rounds::measure(
        run.as_mut(),
        case.baselines().len(),
        case.warms_up(),
        case.rounds(wanted),
    );
    run.verify();
    Outcome::of(case, samples, load, start.elapsed())
}
