//! The contract of telemetry_metrics as its SQL states it, and the files for exporters that follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::project;

const SOURCE: &str = "sql/telemetry_metrics.sql";

/// Where the files expect the extension.
const VIEW: &str = "telemetry.telemetry_metrics";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    pub name: String,
    pub kind: String,
    pub help: String,
    /// In the order of the alphabet.
    pub labels: Vec<String>,
}

/// All there can be, whatever the server at hand has; each is a branch `SELECT 'name', 'type', 'help', labels, value` of the view.
#[track_caller]
pub fn contract() -> Vec<Metric> {
    let source = project::read(SOURCE);
    let view = source.split("CREATE VIEW").nth(1).expect("the view");
    let metrics: Vec<Metric> = view
        .split("UNION ALL")
        .filter_map(|branch| {
            let select = branch.split_once("SELECT '")?.1;
            let mut parts = select.split("', '");
            let name = parts.next()?.to_owned();
            let kind = parts.next()?.to_owned();
            let help = parts.next()?.split("',").next()?.to_owned();
            let built = select.split_once("jsonb_build_object(").map_or("", |(_, rest)| {
                rest.split_once("FROM").map_or(rest, |(labels, _)| labels)
            });
            let mut labels: Vec<String> = keys(built);
            labels.sort();
            Some(Metric {
                name,
                kind,
                help,
                labels,
            })
        })
        .collect();
    assert!(metrics.len() > 20, "{SOURCE} is not written as it is read here");
    metrics
}

/// Of `'key', value, 'key', value)`: every other argument.
fn keys(arguments: &str) -> Vec<String> {
    let mut depth = 0;
    let mut argument = String::new();
    let mut all = Vec::new();
    for character in arguments.chars() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                all.push(std::mem::take(&mut argument));
                continue;
            }
            _ => {}
        }
        argument.push(character);
    }
    all.push(argument);
    all.iter()
        .step_by(2)
        .map(|key| key.trim().trim_matches('\'').to_owned())
        .filter(|key| !key.is_empty())
        .collect()
}

const HEADER: &str = "# Made from sql/telemetry_metrics.sql, and held to it by a test. Expects the extension in the schema telemetry.\n";

/// A collector for sql_exporter: one query feeds all metrics, each from a column of its own name. What is NULL in a row is left out
/// of it, so each row gives the one metric that it is about.
pub fn sql_exporter(metrics: &[Metric]) -> String {
    let mut text = format!("{HEADER}collector_name: pg_telemetry\nmetrics:\n");
    for metric in metrics {
        let Metric {
            name,
            kind,
            help,
            labels,
        } = metric;
        let _ = write!(
            text,
            "  - metric_name: {name}\n    type: {kind}\n    help: \"{help}\"\n"
        );
        if !labels.is_empty() {
            let _ = writeln!(text, "    key_labels: [{}]", labels.join(", "));
        }
        let _ = writeln!(text, "    values: [{name}]\n    query_ref: telemetry_metrics");
    }
    let _ = write!(
        text,
        "queries:\n  - query_name: telemetry_metrics\n    query: |\n      {}\n",
        wide_query(metrics).replace('\n', "\n      ")
    );
    text
}

/// A row for each row of the view, with a column for each label and one for each metric.
fn wide_query(metrics: &[Metric]) -> String {
    let labels: BTreeSet<&String> = metrics.iter().flat_map(|metric| &metric.labels).collect();
    let columns: Vec<String> = labels
        .iter()
        .map(|label| format!("labels->>'{label}' AS \"{label}\""))
        .chain(
            metrics
                .iter()
                .map(|Metric { name, .. }| format!("CASE name WHEN '{name}' THEN value END AS {name}")),
        )
        .collect();
    format!("SELECT {}\nFROM {VIEW}", columns.join(",\n       "))
}

/// Custom queries for postgres_exporter, which puts a metric's name together of a namespace and a column.
#[track_caller]
pub fn postgres_exporter(metrics: &[Metric]) -> String {
    let mut spaces: BTreeMap<&str, Vec<(&str, &Metric)>> = BTreeMap::new();
    for metric in metrics {
        let (space, column) = metric.name.rsplit_once('_').expect("a name of several words");
        spaces.entry(space).or_default().push((column, metric));
    }
    let mut text = HEADER.to_owned();
    for (space, columns) in spaces {
        let labels = &columns[0].1.labels;
        for (_, metric) in &columns {
            assert_eq!(
                &metric.labels, labels,
                "{space} has metrics with different labels"
            );
        }
        let mut selected: Vec<String> = labels
            .iter()
            .map(|label| format!("labels->>'{label}' AS \"{label}\""))
            .collect();
        selected.extend(columns.iter().map(|(column, metric)| {
            format!(
                "max(value) FILTER (WHERE name = '{}') AS \"{column}\"",
                metric.name
            )
        }));
        let names: Vec<String> = columns
            .iter()
            .map(|(_, metric)| format!("'{}'", metric.name))
            .collect();
        let _ = write!(
            text,
            "\n{space}:\n  query: |\n    SELECT {}\n    FROM {VIEW} WHERE name IN ({}) GROUP BY labels\n  metrics:\n",
            selected.join(",\n           "),
            names.join(", ")
        );
        for label in labels {
            let _ = write!(
                text,
                "    - {label}:\n        usage: \"LABEL\"\n        description: \"{label}\"\n"
            );
        }
        for (column, metric) in &columns {
            let _ = write!(
                text,
                "    - {column}:\n        usage: \"{}\"\n        description: \"{}\"\n",
                metric.kind.to_uppercase(),
                metric.help
            );
        }
    }
    text
}
