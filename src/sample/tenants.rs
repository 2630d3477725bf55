//! Readings of each tenant, estimated from a few pages of each partition. The flush counts nothing for it. A partition that is written
//! is looked at each hour, any other as often as its last look would be forgotten. One that telemetry_owner may not read is left out.

use pgrx::pg_sys::Oid;

use super::baseline::begin;
use super::turn::{Outcome, Turn};
use crate::error::Error;
use crate::guc;
use crate::installed::{Installed, Table};
use crate::pg::{files, handover, lock};
use crate::sql::{argument, read, run_once, time, write};

/// Pages of one partition: some ten thousand readings.
const PAGES: f64 = 64.0;

/// Partitions that the keeper looks at in one go: some milliseconds each.
const AT_ONCE: i64 = 4;

/// Tenants of a partition that get a row of their own.
const TENANTS: i64 = 100;

const SECOND: i64 = 1_000_000;

struct Candidate {
    oid: Oid,
    place: String,
    name: String,
    path: String,
}

pub fn sample(turn: &Turn) -> Result<Outcome, Error> {
    // Only notes when; what was counted between two looks is of no interest here.
    begin(turn.installed, "tenants", turn.now, 0)?;
    let most = if turn.at_once { i64::MAX } else { AT_ONCE };
    let mut samples = 0;
    let mut waiting = None;
    for candidate in candidates(turn, most)? {
        // Whoever has it locked is passed over, and met again at the next look.
        if lock::try_read(candidate.oid) {
            samples += look_at(turn, &candidate)?;
            note(turn, candidate.oid)?;
        } else {
            waiting = Some(format!("{} is locked", candidate.name));
        }
    }
    Ok(Outcome {
        state: "sampled",
        message: waiting,
        ..Outcome::sampled(None, samples)
    })
}

fn candidates(turn: &Turn, most: i64) -> Result<Vec<Candidate>, Error> {
    let installed = turn.installed;
    let parent = |table: Table| -> Result<_, Error> { Ok(argument(installed.require_table(table)?)) };
    let forgotten = guc::sample_keep_seconds().map_or(i64::MIN, |keep| turn.now - keep / 2 * SECOND);
    let text = format!(
        "WITH places AS (
             SELECT inhrelid AS oid, 'facts' AS place FROM pg_inherits WHERE inhparent = $1 UNION ALL
             SELECT inhrelid, 'rejected' FROM pg_inherits WHERE inhparent = $2 UNION ALL
             SELECT $3, 'staging' UNION ALL SELECT $4, 'durable staging'),
         written AS (
             SELECT DISTINCT relation_oid FROM {}
             WHERE NOT is_index AND rows_inserted + rows_deleted > 0 AND sampled_at > $5)
         SELECT c.oid, p.place, format('%I.%I', n.nspname, c.relname), pg_relation_filepath(c.oid)
         FROM places p JOIN pg_class c ON c.oid = p.oid JOIN pg_namespace n ON n.oid = c.relnamespace
              LEFT JOIN {} b ON b.source = 'tenants' AND b.a = c.oid::bigint AND b.b = 0
         WHERE c.relkind = 'r' AND NOT (c.relrowsecurity AND c.relforcerowsecurity) AND has_table_privilege(c.oid, 'SELECT')
           AND ($8 OR b.taken_at IS NULL OR b.taken_at < $6
                OR b.taken_at < $5 AND (p.place LIKE '%staging' OR EXISTS (SELECT FROM written w WHERE w.relation_oid = c.oid)))
         ORDER BY b.taken_at NULLS FIRST, c.oid DESC LIMIT $7",
        installed.qualified(Table::RelationSamples),
        installed.qualified(Table::SampleBaseline)
    );
    let arguments = vec![
        parent(Table::Facts)?,
        parent(Table::Rejected)?,
        parent(Table::Ingest)?,
        parent(Table::IngestDurable)?,
        time(turn.now - 3600 * SECOND),
        time(forgotten),
        argument(most),
        argument(turn.at_once),
    ];
    let mut found = Vec::new();
    read(&text, arguments, |rows| {
        for row in rows {
            if let (Some(oid), Some(place), Some(name), Some(path)) =
                (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)
            {
                found.push(Candidate {
                    oid,
                    place,
                    name,
                    path,
                });
            }
        }
        Ok(())
    })?;
    Ok(found)
}

fn look_at(turn: &Turn, candidate: &Candidate) -> Result<i64, Error> {
    let bytes = files::bytes(&candidate.path);
    let pages = bytes / i64::from(pgrx::pg_sys::BLCKSZ);
    let percent = (100.0 * PAGES / pages.max(1) as f64).min(100.0);
    // That there is nothing is written down as well. The indexes as the catalog has them: they are a share of an estimate here.
    let text = format!(
        "WITH found AS (
             SELECT tenant_id, count(*)::double precision AS rows, row_number() OVER (ORDER BY count(*) DESC, tenant_id) AS place
             FROM ONLY {} TABLESAMPLE SYSTEM ($3) GROUP BY tenant_id),
         named AS (SELECT CASE WHEN place <= $5 THEN tenant_id END AS tenant_id, sum(rows) AS rows FROM found GROUP BY 1),
         whole AS (SELECT sum(rows) AS rows FROM named),
         indexes AS (SELECT coalesce(sum(c.relpages::bigint), 0) * current_setting('block_size')::bigint AS bytes
                     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $6)
         INSERT INTO {} (sampled_at, tenant_id, rows_estimate, bytes_estimate, place, relation_oid)
         SELECT $1, n.tenant_id, coalesce(round(n.rows * 100 / $3), 0), coalesce(round(n.rows / w.rows * ($4 + x.bytes)), 0), $2, $6
         FROM whole w CROSS JOIN indexes x LEFT JOIN named n ON true",
        candidate.name,
        turn.installed.qualified(Table::TenantSamples)
    );
    let arguments = vec![
        time(turn.now),
        argument(candidate.place.clone()),
        argument(percent),
        argument(bytes),
        argument(TENANTS),
        argument(candidate.oid),
    ];
    run_once(&text, arguments, |_| Ok(handover::processed()))
}

/// Also of one that is empty, or it would be looked at again and again.
fn note(turn: &Turn, oid: Oid) -> Result<(), Error> {
    let text = format!(
        "INSERT INTO {} (source, a, b, taken_at, counters) VALUES ('tenants', $1, 0, $2, '{{}}')
         ON CONFLICT (source, a, b) DO UPDATE SET taken_at = excluded.taken_at",
        turn.installed.qualified(Table::SampleBaseline)
    );
    write(
        &text,
        vec![argument(i64::from(oid.to_u32())), time(turn.now)],
        |_| Ok(()),
    )
}

/// Forgets partitions that are gone.
pub fn forget_dropped(installed: &Installed) -> Result<(), Error> {
    let text = format!(
        "DELETE FROM {} b WHERE b.source = 'tenants' AND b.a <> 0 AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid::bigint = b.a)",
        installed.qualified(Table::SampleBaseline)
    );
    write(&text, vec![], |_| Ok(()))
}
