//! Alerts as a test sees them.

use crate::database::Database;
use crate::session::{NULL, Session};
use crate::wait::{SOON, eventually};

/// What a row of telemetry_alerts says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Empty where there is only one.
    pub object: String,
    pub severity: String,
    pub state: String,
    pub detail: String,
    pub run: String,
    pub suppressed_by: String,
}

/// All rows of one alert, tests left out.
#[track_caller]
pub fn rows(session: &mut Session, alert: &str) -> Vec<Alert> {
    let text = |value: &String| {
        if value == NULL {
            String::new()
        } else {
            value.clone()
        }
    };
    session
        .rows(&format!(
            "SELECT object, severity, state, detail, run, suppressed_by FROM telemetry_alerts
             WHERE alert = '{alert}' AND NOT is_test ORDER BY object"
        ))
        .iter()
        .map(|row| Alert {
            object: text(&row[0]),
            severity: text(&row[1]),
            state: text(&row[2]),
            detail: text(&row[3]),
            run: text(&row[4]),
            suppressed_by: text(&row[5]),
        })
        .collect()
}

/// States of one alert, in order, each once.
#[track_caller]
pub fn states(session: &mut Session, alert: &str) -> Vec<String> {
    session.column(&format!(
        "SELECT DISTINCT state FROM telemetry_alerts WHERE alert = '{alert}' AND NOT is_test ORDER BY 1"
    ))
}

/// Waits until some row of the alert is in this state, looked at by whoever looks; that row.
#[track_caller]
pub fn wait_until(session: &mut Session, alert: &str, state: &str) -> Alert {
    eventually(SOON, &format!("{alert} is {state}"), || {
        let rows = rows(session, alert);
        match rows.iter().find(|row| row.state == state) {
            Some(row) => Ok(row.clone()),
            None => Err(rows),
        }
    })
}

/// The same where nobody looks by himself.
#[track_caller]
pub fn evaluate_until(session: &mut Session, alert: &str, state: &str) -> Alert {
    eventually(SOON, &format!("{alert} is {state}"), || {
        session.exec("SELECT evaluate_alerts()");
        let rows = rows(session, alert);
        match rows.iter().find(|row| row.state == state) {
            Some(row) => Ok(row.clone()),
            None => Err(rows),
        }
    })
}

/// Runs what the alert says, as somebody who copies it into psql.
#[track_caller]
pub fn do_as_told(database: &Database, alert: &Alert) {
    database.psql(&alert.run).success();
}

/// Overrides fields of a rule: `"warn = 5, for_duration = '0'"`.
#[track_caller]
pub fn tune(session: &mut Session, alert: &str, fields: &str) {
    session.exec(&format!(
        "INSERT INTO alert_rules (alert) VALUES ('{alert}') ON CONFLICT DO NOTHING;
         UPDATE alert_rules SET {fields} WHERE alert = '{alert}'"
    ));
}

/// The extension in a new database, where the disk of this machine does not count: it may be nearly full, whatever is tested.
#[track_caller]
pub fn install(database: &Database) -> Session {
    let mut session = database.install();
    tune(&mut session, "disk_full", "enabled = false");
    session
}

/// The status and the sentence.
#[track_caller]
pub fn health(session: &mut Session) -> (i64, String) {
    let row = session
        .rows("SELECT status, summary FROM health()")
        .swap_remove(0);
    (row[0].parse().expect("a status"), row[1].clone())
}
