//! How a search would be made, and what it would cost, without making it.

use super::cold;
use super::question::{Condition, Kept, Question};
use super::search;
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::estimate::Estimate;
use crate::pg::{identity, settings};
use crate::sql::{argument, estimate};

/// One line of the explanation.
pub struct Line {
    pub attribute: Option<String>,
    pub reads: &'static str,
    pub purpose: &'static str,
    pub expected: Estimate,
    pub note: Option<String>,
}

/// The readings of the window that a cold condition would have to go through.
pub fn expected(installed: &Installed, question: &Question, condition: &Condition) -> Estimate {
    let (text, arguments) = cold::query(installed, question, condition, "");
    estimate(&text, arguments)
}

pub fn lines(installed: &Installed, question: &Question) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::new();
    for condition in question.of(Kept::Searchable) {
        let (text, arguments) = search::query(installed, question.tenant_id, condition, None, i64::MAX);
        let expected = identity::as_owner(|| settings::with_index_scans(|| Ok(estimate(&text, arguments))))?;
        lines.push(Line {
            attribute: Some(condition.attribute.name.clone()),
            reads: "search index",
            purpose: "candidates",
            expected,
            note: Some(
                "the condition that turns out to have the fewest entities gives the candidates".into(),
            ),
        });
    }
    let has_candidates = !lines.is_empty();
    for condition in question.of(Kept::Hot) {
        lines.push(Line {
            attribute: Some(condition.attribute.name.clone()),
            reads: "projection",
            purpose: if has_candidates { "check" } else { "candidates" },
            expected: projection(installed, question, has_candidates),
            note: (!has_candidates).then(|| {
                format!(
                    "every entity of the tenant is looked at until there are enough; if it is searched by often: \
                     SELECT promote_attribute({}, '{}', searchable => true)",
                    question.tenant_id,
                    condition.attribute.name.replace('\'', "''")
                )
            }),
        });
    }
    let mut has_candidates = !lines.is_empty();
    for condition in question.of(Kept::Cold) {
        let expected = expected(installed, question, condition);
        let most = guc::find_max_readings();
        let note = match expected.rows > most as f64 && !has_candidates {
            true => format!("refused: pg_telemetry.find_max_readings is {most}"),
            false => "not kept hot: its readings in the window are read".to_owned(),
        };
        lines.push(Line {
            attribute: Some(condition.attribute.name.clone()),
            reads: "facts",
            purpose: if has_candidates { "check" } else { "candidates" },
            expected,
            note: Some(note),
        });
        has_candidates = true;
    }
    lines.push(Line {
        attribute: None,
        reads: "projection",
        purpose: "result",
        expected: projection(installed, question, true),
        note: Some("one look for each candidate, in the order of entities".into()),
    });
    Ok(lines)
}

/// One entity of the projection, or all of a tenant.
fn projection(installed: &Installed, question: &Question, one: bool) -> Estimate {
    let which = if one { "AND entity_id = 0" } else { "" };
    let text = format!(
        "SELECT hot_attrs, hot_times FROM {} WHERE tenant_id = $1 AND deleted_at IS NULL {which}",
        installed.qualified(Table::Projection)
    );
    estimate(&text, vec![argument(question.tenant_id)])
}
