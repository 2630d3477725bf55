//! One JSON file a case, in the build folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Environment;
use super::table::goal;
use crate::case::Sample;
use crate::outcome::{Line, Outcome};
use crate::stats::Summary;

#[derive(Serialize)]
struct Report<'a> {
    case: &'a str,
    shows: &'a str,
    baseline: &'a str,
    unix_time: u64,
    environment: &'a Environment,
    load: f64,
    seconds: f64,
    rounds: usize,
    metrics: Vec<MetricReport<'a>>,
    samples: BTreeMap<&'a str, &'a [Sample]>,
}

#[derive(Serialize)]
struct MetricReport<'a> {
    metric: &'a str,
    ours: Summary,
    baseline: Summary,
    ratio: Option<Summary>,
    goal: Option<String>,
    met: Option<bool>,
}

impl<'a> From<&'a Line> for MetricReport<'a> {
    fn from(line: &'a Line) -> Self {
        MetricReport {
            metric: line.metric.name,
            ours: line.ours,
            baseline: line.baseline,
            ratio: line.ratio,
            goal: line.metric.goal.map(goal),
            met: line.meets_goal(),
        }
    }
}

/// `bench/pg15-copy_into_staging.json`; the one of the run before is overwritten.
pub fn write(environment: &Environment, outcome: &Outcome) {
    let samples = &outcome.samples;
    let baselines = outcome.baselines.iter().zip(&samples.baselines);
    let report = Report {
        case: outcome.case,
        shows: outcome.shows,
        baseline: outcome.baseline,
        unix_time: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs()),
        environment,
        load: outcome.load,
        seconds: outcome.took.as_secs_f64(),
        rounds: samples.ours.len(),
        metrics: outcome.lines.iter().map(MetricReport::from).collect(),
        samples: baselines
            .map(|(name, samples)| (*name, &samples[..]))
            .chain([("ours", &samples.ours[..])])
            .collect(),
    };
    let text = serde_json::to_string_pretty(&report).expect("numbers and names are JSON");
    let folder = folder();
    let file = folder.join(format!(
        "pg{}-{}.json",
        major(&environment.postgresql),
        outcome.case
    ));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, text + "\n"))
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// `make` names the build folder; cargo alone has it beside Cargo.toml.
pub fn folder() -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    target.join("bench")
}

fn major(version: &str) -> String {
    version.chars().take_while(char::is_ascii_digit).collect()
}
