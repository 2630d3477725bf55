//! How far each index of facts is, and who is in the way.

use pgrx::pg_sys;

use super::steps::{Place, complete, places};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::files;
use crate::sql::{argument, read, value};

/// One index of facts.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    pub name: String,
    pub definition: Option<String>,
    pub is_complete: bool,
    pub partitions: i64,
    pub complete: i64,
    pub to_rebuild: i64,
    pub bytes: Option<i64>,
    pub working_on: Option<String>,
    pub phase: Option<String>,
    pub done: Option<f64>,
    pub waits_for: Option<String>,
}

/// A snapshot that is held for longer holds the end of CREATE INDEX CONCURRENTLY up, and so everything that the janitor does.
/// The process that holds the oldest such one in this database.
pub fn old_snapshot() -> Result<Option<String>, Error> {
    crate::pg::identity::as_statistics_reader(|| {
        read(
            "SELECT format('process %s (a snapshot held for %s s)', pid, extract(epoch FROM clock_timestamp() - xact_start)::int)
             FROM pg_stat_activity
             WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
               AND backend_type <> 'autovacuum worker' AND xact_start < clock_timestamp() - interval '60 s'
             ORDER BY xact_start LIMIT 1",
            vec![],
            value,
        )
    })
}

pub fn overview(installed: &Installed) -> Result<Vec<Overview>, Error> {
    let Some(facts) = installed.table_oid(Table::Facts)? else {
        return Ok(Vec::new());
    };
    let (partitions, complete) = complete(facts)?;
    let mut known: Vec<(pg_sys::Oid, Overview)> = Vec::new();
    if partitions > 0 {
        let all = Overview {
            is_complete: true,
            partitions,
            complete: partitions,
            ..Overview::default()
        };
        known.extend(complete.iter().map(|index| (*index, all.clone())));
    }
    for place in places(facts, complete)? {
        let at = known.iter().position(|(index, _)| *index == place.index);
        let at = at.unwrap_or_else(|| {
            known.push((place.index, Overview::default()));
            known.len() - 1
        });
        let row = &mut known[at].1;
        row.is_complete = place.index_is_valid;
        row.partitions += 1;
        row.complete += i64::from(is_complete(&place));
    }
    let rebuilds = super::rebuild::wanted(installed, facts)?;
    let mut found: Vec<Overview> = Vec::new();
    for (index, counts) in known {
        let (name, mut row) = described(index, counts)?;
        row.to_rebuild = rebuilds.iter().filter(|rebuild| rebuild.index == name).count() as i64;
        progress(index, &mut row)?;
        if (!row.is_complete || row.to_rebuild > 0) && row.working_on.is_none() {
            row.waits_for = old_snapshot()?;
        }
        found.push(row);
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn is_complete(place: &Place) -> bool {
    matches!(&place.own, Some(own) if own.is_valid && own.is_attached)
}

/// Its qualified name, and what else there is to say of it.
fn described(index: pg_sys::Oid, counts: Overview) -> Result<(String, Overview), Error> {
    read(
        "SELECT c.relname::text, pg_get_indexdef(c.oid), format('%I.%I', n.nspname, c.relname)
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        vec![argument(index)],
        |rows| {
            if rows.is_empty() {
                return Ok((String::new(), counts));
            }
            let row = rows.first();
            let overview = Overview {
                name: row.get(1)?.unwrap_or_default(),
                definition: row.get(2)?,
                bytes: bytes(index)?,
                ..counts
            };
            Ok((row.get(3)?.unwrap_or_default(), overview))
        },
    )
}

/// The files of so many of them are looked at, the newest; of all others the catalog says how large they were.
const LOOKED_AT: i64 = 500;

/// Of all its parts. None of them is locked: somebody who keeps a partition to himself must not hold up whoever looks on.
fn bytes(index: pg_sys::Oid) -> Result<Option<i64>, Error> {
    let text = "
        SELECT array_agg(pg_relation_filepath(p.oid)) FILTER (WHERE p.place <= $2),
               coalesce(sum(p.relpages) FILTER (WHERE p.place > $2), 0)::bigint * $3
        FROM (SELECT c.oid, c.relpages, row_number() OVER (ORDER BY c.oid DESC) AS place
              FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid WHERE h.inhparent = $1) AS p";
    let block = i64::from(pg_sys::BLCKSZ);
    let arguments = vec![argument(index), argument(LOOKED_AT), argument(block)];
    read(text, arguments, |rows| {
        let (paths, others) = rows.first().get_two::<Vec<Option<String>>, i64>()?;
        let files = paths.map(|paths| paths.iter().flatten().map(|path| files::bytes(path)).sum::<i64>());
        Ok(files.map(|files| files + others.unwrap_or(0)))
    })
}

/// What the server says of a build that is under way: of an index with this definition, or of one that takes the place of one
/// that is attached. Which index that is it says only to those who may know.
fn progress(index: pg_sys::Oid, row: &mut Overview) -> Result<(), Error> {
    let text = "
        SELECT l.relname::text, s.phase || coalesce(', for process ' || nullif(s.current_locker_pid, 0), ''),
               CASE WHEN s.blocks_total > 0 THEN s.blocks_done::float8 / s.blocks_total
                    WHEN s.tuples_total > 0 THEN s.tuples_done::float8 / s.tuples_total END,
               CASE WHEN s.current_locker_pid > 0 THEN 'process ' || s.current_locker_pid END
        FROM pg_stat_progress_create_index s JOIN pg_class l ON l.oid = s.relid
             JOIN pg_index p ON p.indexrelid = $1
             JOIN pg_inherits h ON h.inhrelid = l.oid AND h.inhparent = p.indrelid
             JOIN pg_index b ON b.indexrelid = s.index_relid
        WHERE s.datname = current_database()
          AND b.indkey = p.indkey AND b.indclass = p.indclass AND b.indoption = p.indoption
          AND pg_get_expr(b.indpred, b.indrelid) IS NOT DISTINCT FROM pg_get_expr(p.indpred, p.indrelid)
          AND pg_get_expr(b.indexprs, b.indrelid) IS NOT DISTINCT FROM pg_get_expr(p.indexprs, p.indrelid)
        LIMIT 1";
    crate::pg::identity::as_statistics_reader(|| {
        read(text, vec![argument(index)], |rows| {
            if !rows.is_empty() {
                let found = rows.first();
                row.working_on = found.get(1)?;
                row.phase = found.get(2)?;
                row.done = found.get(3)?;
                row.waits_for = found.get(4)?;
            }
            Ok(())
        })
    })
}
