//! The rows of `telemetry_metrics`. The query behind it has half a hundred branches: to plan it costs several times what it costs to
//! run it, and some exporters ask for one metric at a time. So its plan is kept by each session.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::installed::Installed;
use crate::pg::answer::Answer;
use crate::sql;

#[pg_extern]
fn telemetry_metrics_rows(mut answer: Answer) -> Result<(), ErrorReport> {
    let installed = Installed::require()?;
    let text = format!(
        "SELECT name, type, help, labels, value FROM {}",
        installed.qualify("telemetry_metric_sources")
    );
    sql::each_kept(&text, vec![], |row| {
        answer.add(row);
        Ok(true)
    })?;
    Ok(())
}
