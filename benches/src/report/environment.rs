//! What the numbers of a run depend on besides the code.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use crate::server::Server;

#[derive(Serialize)]
pub struct Environment {
    pub postgresql: String,
    pub pg_telemetry: String,
    pub cpu: String,
    pub cpus: usize,
    /// Of the last minute before the run. What others do on the machine makes every number worse, ratios the least.
    pub load_before: f64,
    /// Those that are not PostgreSQL's defaults.
    pub settings: BTreeMap<String, String>,
}

impl Environment {
    pub fn of(server: &Server) -> Environment {
        let mut session = server.cluster().connect("postgres");
        let settings = session.rows(
            "SELECT name, current_setting(name) FROM pg_settings
             WHERE source = 'configuration file' AND name <> 'unix_socket_directories'",
        );
        Environment {
            postgresql: session.text("SHOW server_version"),
            pg_telemetry: session
                .text("SELECT default_version FROM pg_available_extensions WHERE name = 'pg_telemetry'"),
            cpu: cpu_model().unwrap_or_else(|| "unknown CPU".into()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            load_before: load(),
            settings: settings
                .into_iter()
                .filter_map(|row| Some(<[String; 2]>::try_from(row).ok()?.into()))
                .collect(),
        }
    }
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.to_owned())
}

/// Of the last minute; NaN where the machine does not say.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}
