//! Rejected readings once more: back into the staging table that they came from, for the next flush.

use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::filter::conditions;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::partition::parts::parts;
use crate::pg::{identity, process, xact};
use crate::shmem;
use crate::sql::{argument, run_once, value};
use crate::staging::judge::Fault;
use crate::staging::store::COLUMNS;

/// Pages of a partition that one statement goes through, some ten thousand rows: memory stays bounded.
const PAGES: i64 = 256;

#[pg_extern]
fn retry_rejected(
    filter: Option<JsonB>,
    max_rows: Option<i64>,
    restamp: Option<bool>,
) -> Result<i64, ErrorReport> {
    Ok(identity::as_owner(|| retry(filter, max_rows, restamp))?)
}

fn retry(filter: Option<JsonB>, max_rows: Option<i64>, restamp: Option<bool>) -> Result<i64, Error> {
    let JsonB(filter) = filter.ok_or(Error::NullArgument { argument: "filter" })?;
    let restamp = restamp.ok_or(Error::NullArgument { argument: "restamp" })?;
    if let Some(value) = max_rows.filter(|rows| *rows < 0) {
        return Err(Error::OutOfRange {
            argument: "max_rows",
            value,
            allowed: "0 and above; NULL: no limit",
        });
    }
    let conditions = conditions(&filter, FIRST_CONDITION).map_err(Error::InvalidFilter)?;
    xact::check_writable()?;
    let installed = Installed::require()?;
    shmem::notice_if_unseen(process::my_database());

    let limit = max_rows.unwrap_or(i64::MAX);
    let mut put_back = 0;
    for part in parts(&installed, Table::Rejected)? {
        let text = statement(&installed, &part.name, &conditions.sql);
        let mut first = 0;
        while first < part.pages && put_back < limit {
            pgrx::check_for_interrupts!();
            let mut arguments = vec![
                argument(format!("({first},0)")),
                argument(format!("({},0)", first + PAGES)),
                argument(limit - put_back),
                argument(restamp),
                argument(Fault::IngestedAtOutside.reason().into_owned()),
            ];
            arguments.extend(conditions.values.iter().map(|text| argument(text.clone())));
            put_back += run_once(&text, arguments, value::<i64>)?.unwrap_or(0);
            first += PAGES;
        }
    }
    Ok(put_back)
}

const FIRST_CONDITION: usize = 6;

/// Takes rows out of some pages of a partition and puts them into staging, in one statement: no row is ever in both or in
/// neither. Rows that another session is putting back are left to it.
fn statement(installed: &Installed, partition: &str, conditions: &str) -> String {
    let fast = installed.qualified(Table::Ingest);
    let durable = installed.qualified(Table::IngestDurable);
    // A row without a time of its own, or with one that was refused, may be stamped anew; what it said stays as the time of
    // the observation.
    format!(
        "WITH gone AS (
             DELETE FROM ONLY {partition} WHERE ctid = ANY (ARRAY(
                 SELECT s.ctid FROM ONLY {partition} AS s
                 WHERE s.ctid >= $1::tid AND s.ctid < $2::tid AND {conditions}
                 LIMIT $3 FOR UPDATE SKIP LOCKED))
             RETURNING {COLUMNS}, durable, $4 AND (ingested_at IS NULL OR reason = $5) AS restamped),
         back AS (
             SELECT tenant_id, entity_id, CASE WHEN restamped THEN now() ELSE ingested_at END AS ingested_at,
                    CASE WHEN restamped AND isfinite(ingested_at) THEN coalesce(observed_at, ingested_at)
                         ELSE observed_at END AS observed_at,
                    value_num, value_int, attribute_id, value_text, durable
             FROM gone),
         to_fast AS (INSERT INTO {fast} ({COLUMNS}) SELECT {COLUMNS} FROM back WHERE NOT durable),
         to_durable AS (INSERT INTO {durable} ({COLUMNS}) SELECT {COLUMNS} FROM back WHERE durable)
         SELECT count(*) FROM gone"
    )
}
