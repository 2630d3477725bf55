//! Benchmarks of pg_telemetry. `make bench` runs all cases, `make bench CASE=name` one of them.
//!
//! Numbers of one machine mean nothing on another one, so every case measures a baseline as well, in the same run and in
//! turn with ours, and it is their ratio that has a goal. BENCH_ROUNDS says how many rounds count (default 5).
//!
//! To add a case: a file in `cases/` that implements [`case::Case`], and a line in `cases/mod.rs`.

mod case;
mod cases;
mod copy_format;
mod cost;
mod cpu;
mod outcome;
mod random;
mod readings;
mod report;
mod rounds;
mod server;
mod side;
mod stats;
mod twin;

use std::process::ExitCode;

use crate::case::Case;
use crate::outcome::Outcome;
use crate::server::Server;

const ROUNDS: &str = "BENCH_ROUNDS";
const DEFAULT_ROUNDS: usize = 5;

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let (cases, rounds) = match (cases::find(&names), wanted_rounds()) {
        (Ok(cases), Ok(rounds)) => (cases, rounds),
        (Err(message), _) | (_, Err(message)) => {
            eprintln!("bench: {message}");
            return ExitCode::from(2);
        }
    };

    let server = Server::start();
    let environment = report::Environment::of(&server);
    report::print_head(&environment);
    for case in cases {
        let outcome = run(case, &server, rounds);
        report::print(&outcome);
        report::write_json(&environment, &outcome);
    }
    report::print_legend();
    ExitCode::SUCCESS
}

fn run(case: &dyn Case, server: &Server, wanted: usize) -> Outcome {
    let mut run = case.set_up(server);
    let samples = rounds::measure(
        run.as_mut(),
        case.baselines().len(),
        case.warms_up(),
        case.rounds(wanted),
    );
    run.verify();
    Outcome::of(case, samples)
}

fn wanted_rounds() -> Result<usize, String> {
    let Ok(text) = std::env::var(ROUNDS) else {
        return Ok(DEFAULT_ROUNDS);
    };
    match text.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => Err(format!("{ROUNDS} is a number of rounds from 1, not {text:?}")),
    }
}
