//! The rows of `partition_health`: the partitions one by one, and each set of them as a whole. What is not known is NULL.
//!
//! No partition is opened or locked: somebody who holds ACCESS EXCLUSIVE on one of them must not hold up whoever looks why.

use std::collections::HashMap;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::partition::bounds::{Micros, Period, covered_until};
use crate::partition::budget::Budget;
use crate::partition::create::Parent;
use crate::partition::lacks::{Kind, Lack, lacks};
use crate::partition::state;
use crate::pg::partitions::{EPOCH_2000, to_read};
use crate::pg::{files, identity, lock, xact};
use crate::sql::{argument, read, value};

/// Partitions that are not sealed and whose files are looked at; of all others the catalog says how large they were.
const LOOKED_AT: usize = 500;

/// Partitions of which each column is compared with that of the parent: with more of them, that would take longer than all the
/// rest.
const COMPARED: usize = 1000;

#[derive(Default)]
struct Row {
    oid: pg_sys::Oid,
    parent: &'static str,
    partition: Option<String>,
    starts_at: Option<i64>,
    ends_at: Option<i64>,
    state: Option<&'static str>,
    seal: Option<String>,
    sealed_at: Option<TimestampWithTimeZone>,
    made_at: Option<TimestampWithTimeZone>,
    made_late: Option<bool>,
    rows: Option<i64>,
    bytes: Option<i64>,
    index_bytes: Option<i64>,
    dead_rows: Option<i64>,
    last_vacuum_at: Option<TimestampWithTimeZone>,
    last_analyze_at: Option<TimestampWithTimeZone>,
    xid_age: Option<i64>,
    observed_from: Option<TimestampWithTimeZone>,
    observed_until: Option<TimestampWithTimeZone>,
    missing_indexes: Vec<String>,
    invalid_indexes: Vec<String>,
    missing_privileges: Vec<String>,
    missing_settings: Vec<String>,
    remedies: Vec<String>,
    gap_before: Option<Interval>,
    covered_until: Option<i64>,
    leaves_as: Option<String>,
    tries: Option<i32>,
    next_try_at: Option<TimestampWithTimeZone>,
    last_error: Option<String>,
    in_the_way: Option<String>,
    detail: Option<String>,
}

#[allow(clippy::type_complexity)]
#[pg_extern]
fn partition_health_rows() -> Result<
    TableIterator<
        'static,
        (
            name!(parent, String),
            name!(partition, Option<String>),
            name!(starts_at, Option<TimestampWithTimeZone>),
            name!(ends_at, Option<TimestampWithTimeZone>),
            name!(state, Option<String>),
            name!(seal, Option<String>),
            name!(sealed_at, Option<TimestampWithTimeZone>),
            name!(made_at, Option<TimestampWithTimeZone>),
            name!(made_late, Option<bool>),
            name!(rows_estimate, Option<i64>),
            name!(bytes, Option<i64>),
            name!(index_bytes, Option<i64>),
            name!(dead_rows, Option<i64>),
            name!(last_vacuum_at, Option<TimestampWithTimeZone>),
            name!(last_analyze_at, Option<TimestampWithTimeZone>),
            name!(xid_age, Option<i64>),
            name!(observed_from, Option<TimestampWithTimeZone>),
            name!(observed_until, Option<TimestampWithTimeZone>),
            name!(missing_indexes, Option<Vec<String>>),
            name!(invalid_indexes, Option<Vec<String>>),
            name!(missing_privileges, Option<Vec<String>>),
            name!(missing_settings, Option<Vec<String>>),
            name!(remedies, Option<Vec<String>>),
            name!(gap_before, Option<Interval>),
            name!(covered_until, Option<TimestampWithTimeZone>),
            name!(leaves_as, Option<String>),
            name!(tries, Option<i32>),
            name!(next_try_at, Option<TimestampWithTimeZone>),
            name!(last_error, Option<String>),
            name!(in_the_way, Option<String>),
            name!(detail, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let installed = Installed::require()?;
    let rows = identity::as_owner(|| {
        let mut rows = set(&installed, Parent::Facts)?;
        rows.extend(set(&installed, Parent::Rejected)?);
        Ok(rows)
    })?;
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    Ok(TableIterator::new(rows.into_iter().map(move |row| {
        (
            row.parent.to_owned(),
            row.partition,
            row.starts_at.and_then(timestamp),
            row.ends_at.and_then(timestamp),
            row.state.map(str::to_owned),
            row.seal,
            row.sealed_at,
            row.made_at,
            row.made_late,
            row.rows,
            row.bytes,
            row.index_bytes,
            row.dead_rows,
            row.last_vacuum_at,
            row.last_analyze_at,
            row.xid_age,
            row.observed_from,
            row.observed_until,
            some(row.missing_indexes),
            some(row.invalid_indexes),
            some(row.missing_privileges),
            some(row.missing_settings),
            some(row.remedies),
            row.gap_before,
            row.covered_until.and_then(timestamp),
            row.leaves_as,
            row.tries,
            row.next_try_at,
            row.last_error,
            row.in_the_way,
            row.detail,
        )
    })))
}

/// Of microseconds since 2000, open ends included.
fn timestamp(time: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(time).ok()
}

fn since_2000(time: Micros) -> i64 {
    match time {
        Micros::MIN | Micros::MAX => time,
        _ => time.saturating_sub(EPOCH_2000),
    }
}

fn set(installed: &Installed, parent: Parent) -> Result<Vec<Row>, Error> {
    let name = match parent {
        Parent::Facts => "facts",
        Parent::Rejected => "rejected",
        Parent::Samples(table) => table.name(),
    };
    let mut whole = Row {
        parent: name,
        ..Row::default()
    };
    let Some(relation) = installed.table_oid(parent.table())? else {
        whole.detail = Some("its table is missing: call setup()".to_owned());
        return Ok(vec![whole]);
    };
    let mut rows = partitions(installed, parent, relation, name)?;
    // The list of partitions is only asked for where no row of the state says the bounds.
    if rows.iter().any(|row| row.starts_at.is_none()) && lock::try_read(relation) {
        let bounds: HashMap<u32, (i64, i64)> = to_read(relation)
            .into_iter()
            .map(|partition| (partition.oid.to_u32(), (partition.from, partition.until)))
            .collect();
        for row in rows.iter_mut().filter(|row| row.starts_at.is_none()) {
            if let Some((from, until)) = bounds.get(&row.oid.to_u32()) {
                (row.starts_at, row.ends_at) = (Some(*from), Some(*until));
            }
        }
    }
    rows.sort_by_key(|row| (row.starts_at, row.oid.to_u32()));
    sizes(&mut rows)?;
    let compares_columns = rows.len() <= COMPARED;
    note_lacks(&mut rows, lacks(relation, compares_columns)?);

    let attached = |row: &&mut Row| row.state == Some("attached");
    let mut end: Option<i64> = None;
    let mut periods = Vec::new();
    for row in rows.iter_mut().filter(attached) {
        if let (Some(start), Some(until)) = (row.starts_at, row.ends_at) {
            row.gap_before = end
                .filter(|end| *end < start)
                .map(|end| Interval::from_micros(start - end));
            end = Some(until);
            periods.push(Period { start, end: until });
        }
    }
    whole.starts_at = periods.first().map(|first| first.start);
    whole.ends_at = end;
    whole.covered_until = covered_until(&periods, since_2000(state::now()));
    let total = |of: fn(&Row) -> Option<i64>| rows.iter().map(of).sum::<Option<i64>>();
    whole.rows = total(|row| row.rows);
    whole.bytes = total(|row| row.bytes);
    whole.index_bytes = total(|row| row.index_bytes);
    whole.dead_rows = total(|row| row.dead_rows);
    whole.xid_age = rows.iter().filter_map(|row| row.xid_age).max();
    let indexes: Option<i64> = read(
        "SELECT count(*) FROM pg_index WHERE indrelid = $1",
        vec![argument(relation)],
        value,
    )?;
    whole.detail = Budget::of_this_server()?.warning(periods.len() as i64, indexes.unwrap_or(0));
    rows.insert(0, whole);
    Ok(rows)
}

fn partitions(
    installed: &Installed,
    parent: Parent,
    relation: pg_sys::Oid,
    name: &'static str,
) -> Result<Vec<Row>, Error> {
    let known = match (parent, installed.table_oid(Table::PartitionState)?) {
        // Whoever changes it, a restore say, must not be waited for.
        (Parent::Facts, Some(oid)) if lock::try_read(oid) => {
            format!("SELECT * FROM {}", installed.qualified(Table::PartitionState))
        }
        _ => NOTHING_KNOWN.to_owned(),
    };
    let counted = !xact::in_recovery();
    let text = format!(
        "WITH known AS ({known}),
              indexes AS (
                  SELECT i.indrelid, sum(c.relpages::bigint) AS pages
                  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid GROUP BY i.indrelid),
              found AS (
                  SELECT c.oid, h.inhparent, h.inhdetachpending, c.relnamespace, c.relname, c.reltuples, c.relpages, c.relfrozenxid,
                         c.reltoastrelid, c.relkind
                  FROM pg_class c JOIN pg_inherits h ON h.inhrelid = c.oid AND h.inhparent = $1
                  UNION ALL
                  SELECT c.oid, NULL, NULL, c.relnamespace, c.relname, c.reltuples, c.relpages, c.relfrozenxid, c.reltoastrelid,
                         c.relkind
                  FROM known k JOIN pg_class c ON c.oid = k.relation_oid AND c.relname = k.partition
                  WHERE NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid))
         SELECT f.oid, format('%I.%I', n.nspname, f.relname), k.starts_at, k.ends_at, f.inhparent IS NOT NULL, f.inhdetachpending,
                k.seal, k.sealed_at, k.made_at, k.made_late, k.rows,
                CASE WHEN f.relkind = 'r' THEN pg_stat_get_live_tuples(f.oid) END, f.reltuples::bigint,
                (f.relpages::bigint + coalesce(t.relpages, 0)) * $2,
                coalesce(x.pages, 0)::bigint * $2,
                pg_stat_get_dead_tuples(f.oid),
                greatest(pg_stat_get_last_vacuum_time(f.oid), pg_stat_get_last_autovacuum_time(f.oid)),
                greatest(pg_stat_get_last_analyze_time(f.oid), pg_stat_get_last_autoanalyze_time(f.oid)),
                CASE WHEN f.relfrozenxid <> '0' THEN age(f.relfrozenxid)::bigint END,
                k.observed_from, k.observed_until, k.leaves_as, k.tries, k.next_try_at, k.last_error, k.in_the_way
         FROM found f JOIN pg_namespace n ON n.oid = f.relnamespace
              LEFT JOIN known k ON k.relation_oid = f.oid AND k.partition = f.relname
              LEFT JOIN pg_class t ON t.oid = f.reltoastrelid
              LEFT JOIN indexes x ON x.indrelid = f.oid"
    );
    let mut found = Vec::new();
    let arguments = vec![argument(relation), argument(i64::from(pg_sys::BLCKSZ))];
    read(&text, arguments, |rows| {
        for row in rows {
            let exact = row.get::<i64>(11)?;
            let live = row.get::<i64>(12)?.filter(|live| *live > 0);
            let analyzed = row.get::<i64>(13)?.filter(|tuples| *tuples >= 0);
            let seal: Option<String> = row.get(7)?;
            let sealed = seal.as_deref() == Some("sealed");
            let time = |time: Option<TimestampWithTimeZone>| time.map(pg_sys::TimestampTz::from);
            found.push(Row {
                oid: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
                parent: name,
                partition: row.get(2)?,
                starts_at: time(row.get(3)?),
                ends_at: time(row.get(4)?),
                state: Some(match (row.get::<bool>(5)?, row.get::<bool>(6)?) {
                    (_, Some(true)) => "detach pending",
                    (Some(true), _) => "attached",
                    _ => "detached",
                }),
                sealed_at: row.get(8)?,
                made_at: row.get(9)?,
                made_late: row.get(10)?,
                rows: exact.filter(|_| sealed).or(live).or(analyzed),
                bytes: row.get(14)?,
                index_bytes: row.get(15)?,
                dead_rows: row.get::<i64>(16)?.filter(|_| counted),
                last_vacuum_at: row.get(17)?,
                last_analyze_at: row.get(18)?,
                xid_age: row.get(19)?,
                observed_from: row.get(20)?,
                observed_until: row.get(21)?,
                leaves_as: row.get(22)?,
                tries: row.get(23)?,
                next_try_at: row.get(24)?,
                last_error: row.get(25)?,
                in_the_way: row.get(26)?,
                seal,
                ..Row::default()
            });
        }
        Ok(())
    })?;
    Ok(found)
}

const NOTHING_KNOWN: &str = "SELECT NULL::text AS partition, NULL::oid AS relation_oid, NULL::timestamptz AS starts_at,
    NULL::timestamptz AS ends_at, NULL::text AS seal, NULL::timestamptz AS sealed_at, NULL::timestamptz AS made_at,
    NULL::boolean AS made_late, NULL::bigint AS rows, NULL::timestamptz AS observed_from, NULL::timestamptz AS observed_until,
    NULL::text AS leaves_as, NULL::integer AS tries, NULL::timestamptz AS next_try_at, NULL::text AS last_error,
    NULL::text AS in_the_way WHERE false";

/// What the catalog says of sizes is as old as the last vacuum: the files of those that are being written are looked at.
fn sizes(rows: &mut [Row]) -> Result<(), Error> {
    let growing: Vec<pg_sys::Oid> = rows
        .iter()
        .rev()
        .filter(|row| row.seal.as_deref() != Some("sealed"))
        .map(|row| row.oid)
        .take(LOOKED_AT)
        .collect();
    let mut found: HashMap<u32, (i64, i64)> = HashMap::new();
    let text = "SELECT c.oid, p.is_index, pg_relation_filepath(p.oid)
                FROM pg_class c, LATERAL (
                    SELECT c.oid, false UNION ALL
                    SELECT c.reltoastrelid, false WHERE c.reltoastrelid <> 0 UNION ALL
                    SELECT i.indexrelid, i.indrelid = c.oid FROM pg_index i WHERE i.indrelid IN (c.oid, nullif(c.reltoastrelid, 0))
                ) AS p (oid, is_index)
                WHERE c.oid = ANY ($1) AND c.relkind = 'r'";
    read(text, vec![argument(growing)], |parts| {
        for part in parts {
            let (Some(oid), Some(is_index), Some(path)) = (
                part.get::<pg_sys::Oid>(1)?,
                part.get::<bool>(2)?,
                part.get::<String>(3)?,
            ) else {
                continue;
            };
            let bytes = files::bytes(&path);
            let sums = found.entry(oid.to_u32()).or_default();
            if is_index {
                sums.1 += bytes;
            } else {
                sums.0 += bytes;
            }
        }
        Ok(())
    })?;
    for row in rows {
        if let Some((bytes, index_bytes)) = found.get(&row.oid.to_u32()) {
            (row.bytes, row.index_bytes) = (Some(*bytes), Some(*index_bytes));
            // Not even a page: nothing was ever counted, and there is nothing.
            if *bytes < i64::from(pg_sys::BLCKSZ) * 2 && row.rows.is_none() {
                row.rows = Some(0);
            }
        }
    }
    Ok(())
}

fn note_lacks(rows: &mut [Row], lacks: Vec<Lack>) {
    let mut places: HashMap<u32, usize> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        places.insert(row.oid.to_u32(), place);
    }
    for lack in lacks {
        let Some(row) = places
            .get(&lack.leaf.to_u32())
            .and_then(|place| rows.get_mut(*place))
        else {
            continue;
        };
        row.remedies.extend(lack.remedy);
        match lack.kind {
            Kind::MissingIndex => row.missing_indexes.push(lack.what),
            Kind::InvalidIndex => row.invalid_indexes.push(lack.what),
            Kind::Privilege => row.missing_privileges.push(lack.what),
            Kind::Setting => row.missing_settings.push(lack.what),
        }
    }
}
