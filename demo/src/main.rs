//! Feeds a simulated robot fleet into a database with pg_telemetry and shows, once a second, where the rows are.
//!
//! The arguments are the folder of the server's socket and how many seconds the fleet drives.

mod fleet;
mod progress;
mod registry;
mod robot;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

use crate::progress::Progress;

/// How long the flusher may take to move what is staged when the fleet has stopped.
const DRAIN: Duration = Duration::from_secs(15);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket_dir), Some(seconds)) = (arguments.next(), arguments.next()) else {
        return Err("usage: demo SOCKET_DIR SECONDS".into());
    };
    let duration = Duration::from_secs(
        seconds
            .parse()
            .map_err(|_| format!("not a number of seconds: {seconds}"))?,
    );

    let mut admin = connect(&socket_dir, "postgres")?;
    let dictionary = registry::attributes(&mut admin)?;
    let fleets = registry::fleets(&mut admin)?;
    println!(
        "{} robots of {} tenants, each reports once a second; {} attributes; one COPY connection a tenant",
        fleets.iter().map(|fleet| fleet.robots.len()).sum::<usize>(),
        fleets.len(),
        dictionary.len(),
    );

    let until = Instant::now() + duration;
    let gateways: Vec<_> = fleets
        .into_iter()
        .map(|fleet| {
            let client = connect(&socket_dir, "fleet")?;
            let dictionary = dictionary.clone();
            Ok(std::thread::spawn(move || {
                fleet::drive(fleet, client, &dictionary, until)
            }))
        })
        .collect::<Outcome<_>>()?;

    let mut progress = Progress::start(admin)?;
    while gateways.iter().any(|gateway| !gateway.is_finished()) {
        progress.next_line()?;
    }
    let mut sent = 0;
    for gateway in gateways {
        sent += gateway.join().map_err(|_| "a gateway panicked")??;
    }

    let deadline = Instant::now() + DRAIN;
    while progress.staged() > 0 && Instant::now() < deadline {
        progress.next_line()?;
    }
    progress.summary(sent)
}

fn connect(socket_dir: &str, user: &str) -> Outcome<Client> {
    let client = postgres::Config::new()
        .host(socket_dir)
        .user(user)
        .dbname("demo")
        .application_name("robot fleet")
        .connect(NoTls)?;
    Ok(client)
}

/// The server's own words, where it was the server that refused.
fn explain(error: &(dyn Error + 'static)) -> String {
    match error
        .downcast_ref::<postgres::Error>()
        .and_then(postgres::Error::as_db_error)
    {
        Some(refusal) => {
            let hint = refusal
                .hint()
                .map(|hint| format!(" ({hint})"))
                .unwrap_or_default();
            format!("{} [{}]{hint}", refusal.message(), refusal.code().code())
        }
        None => error.to_string(),
    }
}
