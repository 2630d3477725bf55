//! The rows of `partition_health`: the partitions one by one, and each set of them as a whole. What is not known is NULL.
//!
//! No partition is opened or locked: somebody who holds ACCESS EXCLUSIVE on one of them must not hold up whoever looks why.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::partition::bounds::{Micros, Period, covered_until};
use crate::partition::budget::Budget;
use crate::partition::create::Parent;
use crate::partition::lacks::{Kind, Lack, lacks};
use crate::partition::state;
use crate::pg::answer::Answer;
use crate::pg::census::{ByOid, census};
use crate::pg::memory::Scratch;
use crate::pg::partitions::{EPOCH_2000, to_read};
use crate::pg::{catalog, files, identity, lock, xact};
use crate::sql::{self, argument, read, value};

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
    sealed_at: Option<i64>,
    made_at: Option<i64>,
    made_late: Option<bool>,
    rows: Option<i64>,
    bytes: Option<i64>,
    index_bytes: Option<i64>,
    dead_rows: Option<i64>,
    last_vacuum_at: Option<i64>,
    last_analyze_at: Option<i64>,
    xid_age: Option<i64>,
    observed_from: Option<i64>,
    observed_until: Option<i64>,
    missing_indexes: Vec<String>,
    invalid_indexes: Vec<String>,
    missing_privileges: Vec<String>,
    missing_settings: Vec<String>,
    remedies: Vec<String>,
    gap_before: Option<Interval>,
    covered_until: Option<i64>,
    leaves_as: Option<String>,
    tries: Option<i32>,
    next_try_at: Option<i64>,
    last_error: Option<String>,
    in_the_way: Option<String>,
    detail: Option<String>,
}

#[pg_extern]
fn partition_health_rows(mut answer: Answer) -> Result<(), ErrorReport> {
    let installed = Installed::require()?;
    let rows = identity::as_owner(|| {
        let mut rows = set(&installed, Parent::Facts)?;
        rows.extend(set(&installed, Parent::Rejected)?);
        Ok(rows)
    })?;
    let scratch = Scratch::new();
    for row in rows {
        scratch.within(|| answer.add_values(row.values()));
        scratch.reset();
    }
    Ok(())
}

impl Row {
    /// In the order of the columns.
    fn values(self) -> [Option<pg_sys::Datum>; 31] {
        fn list(list: Vec<String>) -> Option<pg_sys::Datum> {
            (!list.is_empty()).then(|| list.into_datum()).flatten()
        }
        fn time(time: Option<i64>) -> Option<pg_sys::Datum> {
            time.and_then(timestamp).into_datum()
        }
        [
            self.parent.into_datum(),
            self.partition.into_datum(),
            time(self.starts_at),
            time(self.ends_at),
            self.state.into_datum(),
            self.seal.into_datum(),
            time(self.sealed_at),
            time(self.made_at),
            self.made_late.into_datum(),
            self.rows.into_datum(),
            self.bytes.into_datum(),
            self.index_bytes.into_datum(),
            self.dead_rows.into_datum(),
            time(self.last_vacuum_at),
            time(self.last_analyze_at),
            self.xid_age.into_datum(),
            time(self.observed_from),
            time(self.observed_until),
            list(self.missing_indexes),
            list(self.invalid_indexes),
            list(self.missing_privileges),
            list(self.missing_settings),
            list(self.remedies),
            self.gap_before.into_datum(),
            time(self.covered_until),
            self.leaves_as.into_datum(),
            self.tries.into_datum(),
            time(self.next_try_at),
            self.last_error.into_datum(),
            self.in_the_way.into_datum(),
            self.detail.into_datum(),
        ]
    }
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

/// What `partition_state` says of a partition, times in the server's microseconds.
#[derive(Default)]
struct Known {
    name: String,
    row: Row,
    exact_rows: Option<i64>,
}

fn known(installed: &Installed, parent: Parent) -> Result<ByOid<Known>, Error> {
    let mut found = ByOid::default();
    let there = installed.table_oid(Table::PartitionState)?;
    // Whoever changes it, a restore say, must not be waited for.
    if parent != Parent::Facts || !there.is_some_and(lock::try_read) {
        return Ok(found);
    }
    let text = format!(
        "SELECT relation_oid::bigint, partition, starts_at, ends_at, seal, sealed_at, made_at, made_late, rows, observed_from,
                observed_until, leaves_as, tries::bigint, next_try_at, last_error, in_the_way
         FROM {} WHERE relation_oid IS NOT NULL",
        installed.qualified(Table::PartitionState)
    );
    sql::each(&text, vec![], |row| {
        let text = |column| row.text(column).map(Cow::into_owned);
        let known = Known {
            name: text(1).unwrap_or_default(),
            exact_rows: row.long(8),
            row: Row {
                starts_at: row.long(2),
                ends_at: row.long(3),
                seal: text(4),
                sealed_at: row.long(5),
                made_at: row.long(6),
                made_late: Some(row.boolean(7)),
                observed_from: row.long(9),
                observed_until: row.long(10),
                leaves_as: text(11),
                tries: row.long(12).and_then(|tries| i32::try_from(tries).ok()),
                next_try_at: row.long(13),
                last_error: text(14),
                in_the_way: text(15),
                ..Row::default()
            },
        };
        found.extend(row.long(0).map(|oid| (oid as u32, known)));
        Ok(true)
    })?;
    Ok(found)
}

fn partitions(
    installed: &Installed,
    parent: Parent,
    relation: pg_sys::Oid,
    name: &'static str,
) -> Result<Vec<Row>, Error> {
    let mut known = known(installed, parent)?;
    let mut states: Vec<(pg_sys::Oid, &'static str)> = Vec::new();
    // What is known and is a partition of nothing was detached.
    let text = "SELECT inhrelid::bigint, inhparent = $1, inhdetachpending FROM pg_inherits
                WHERE inhparent = $1 OR inhrelid = ANY ($2)";
    let numbers = known.keys().copied().map(pg_sys::Oid::from).collect::<Vec<_>>();
    let mut detached: HashSet<u32> = known.keys().copied().collect();
    sql::each(text, vec![argument(relation), argument(numbers)], |row| {
        let oid = row.long(0).map_or(0, |oid| oid as u32);
        detached.remove(&oid);
        if row.boolean(1) {
            let state = if row.boolean(2) {
                "detach pending"
            } else {
                "attached"
            };
            states.push((pg_sys::Oid::from(oid), state));
        }
        Ok(true)
    })?;
    states.extend(
        detached
            .into_iter()
            .map(|oid| (pg_sys::Oid::from(oid), "detached")),
    );
    let mut catalog = census(states.iter().map(|(oid, _)| *oid));
    let mut counted = statistics(catalog.keys().copied().map(pg_sys::Oid::from).collect())?;
    let mut schemas: HashMap<u32, String> = HashMap::new();
    let block = i64::from(pg_sys::BLCKSZ);
    let mut found = Vec::with_capacity(states.len());
    for (oid, state) in states {
        let number = oid.to_u32();
        let Some(entry) = catalog.remove(&number) else {
            continue;
        };
        let known = known.remove(&number).filter(|known| known.name == entry.name);
        if state == "detached" && known.is_none() {
            continue;
        }
        let Known { row, exact_rows, .. } = known.unwrap_or_default();
        let counts = counted.remove(&number).unwrap_or_default();
        let schema = schemas
            .entry(entry.schema.to_u32())
            .or_insert_with(|| quote_identifier(catalog::schema_name(entry.schema).unwrap_or_default()));
        let is_sealed = row.seal.as_deref() == Some("sealed");
        let live = counts.live_rows.filter(|live| entry.is_plain && *live > 0);
        found.push(Row {
            oid,
            parent: name,
            partition: Some(format!("{schema}.{}", quote_identifier(&entry.name))),
            state: Some(state),
            rows: exact_rows.filter(|_| is_sealed).or(live).or(entry.rows),
            bytes: Some(entry.pages * block),
            index_bytes: Some(entry.index_pages * block),
            dead_rows: counts.dead_rows.filter(|_| !xact::in_recovery()),
            last_vacuum_at: counts.last_vacuum_at,
            last_analyze_at: counts.last_analyze_at,
            xid_age: entry.xid_age,
            ..row
        });
    }
    Ok(found)
}

/// What the server has counted.
#[derive(Default)]
struct Counts {
    live_rows: Option<i64>,
    dead_rows: Option<i64>,
    last_vacuum_at: Option<i64>,
    last_analyze_at: Option<i64>,
}

fn statistics(tables: Vec<pg_sys::Oid>) -> Result<ByOid<Counts>, Error> {
    let text = "SELECT o::bigint, pg_stat_get_live_tuples(o), pg_stat_get_dead_tuples(o),
                       greatest(pg_stat_get_last_vacuum_time(o), pg_stat_get_last_autovacuum_time(o)),
                       greatest(pg_stat_get_last_analyze_time(o), pg_stat_get_last_autoanalyze_time(o))
                FROM unnest($1) AS o";
    let mut found = ByOid::default();
    sql::each(text, vec![argument(tables)], |row| {
        let counts = Counts {
            live_rows: row.long(1),
            dead_rows: row.long(2),
            last_vacuum_at: row.long(3),
            last_analyze_at: row.long(4),
        };
        found.extend(row.long(0).map(|oid| (oid as u32, counts)));
        Ok(true)
    })?;
    Ok(found)
}

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
    let mut places: ByOid<usize> = ByOid::default();
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
