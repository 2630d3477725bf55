//! One step after the other of what is to be done, each in a transaction of its own; how far it has come is in
//! `attribute_builds`, so that it goes on there after a crash.

use pgrx::datum::TimestampWithTimeZone;

use super::phase::{Phase, State};
use super::{documents, search};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::shmem;
use crate::sql::{argument, moment, read, value, write};
use crate::staging::judge::ValueType;
use crate::worker::board::Job;
use crate::worker::maintenance::ask_janitor;
use crate::worker::task::{BUILD, Context, Report};

/// Entities of one step: their documents are locked for as long as it takes, some ten milliseconds.
pub const BATCH: i64 = 2_000;

/// How far a phase has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The partition that begins here, or later.
    pub time: Option<i64>,
    pub tenant: Option<i64>,
    /// None with a tenant: it is done.
    pub entity: Option<i64>,
}

/// What a step has done.
pub enum Worked {
    Some { entities: i64, place: Place },
    Waiting(String),
    Done,
}

pub struct Build {
    pub attribute_id: i32,
    pub tenant_id: i64,
    pub name: String,
    pub value_type: ValueType,
    pub place: Place,
    state: State,
    phase: Phase,
    is_announced: bool,
    is_old: bool,
    boundary: Option<i64>,
}

impl Build {
    /// The tenant to work on: its own, or, of a shared attribute, one after the other.
    pub fn tenant(
        &self,
        next: impl FnOnce(Option<i64>) -> Result<Option<i64>, Error>,
    ) -> Result<Option<i64>, Error> {
        match self.place {
            Place {
                tenant: Some(tenant),
                entity: Some(_),
                ..
            } => Ok(Some(tenant)),
            Place { tenant, .. } if self.tenant_id == 0 => next(tenant),
            Place { tenant: None, .. } => Ok(Some(self.tenant_id)),
            Place { tenant: Some(_), .. } => Ok(None),
        }
    }
}

/// Does a step of the first attribute with which there is something to do. Whether something is left, and whether anything was done.
pub fn step(installed: &Installed, most: i64) -> Result<(bool, bool), Error> {
    if installed.table_oid(Table::AttributeBuilds)?.is_none() {
        return Ok((false, false));
    }
    let builds = open(installed)?;
    let left = !builds.is_empty();
    for build in builds {
        if advance(installed, &build, most)? {
            return Ok((true, true));
        }
    }
    Ok((left, false))
}

/// Those that are not done, locked; what another session works on is left to it.
fn open(installed: &Installed) -> Result<Vec<Build>, Error> {
    let text = format!(
        "SELECT b.attribute_id, a.tenant_id, a.name, a.value_type, a.is_hot, a.is_searchable AND a.value_type <> 'json',
                b.hot_ready, b.search_ready, b.phase, b.is_announced,
                b.requested_at < clock_timestamp() - interval '61 s' OR b.requested_at > clock_timestamp() + interval '1 h',
                b.boundary, b.at_time, b.at_tenant, b.at_entity
         FROM {} b JOIN {} a USING (attribute_id) WHERE b.finished_at IS NULL
         ORDER BY b.requested_at LIMIT 100 FOR NO KEY UPDATE OF b SKIP LOCKED",
        installed.qualified(Table::AttributeBuilds),
        installed.qualified(Table::Attributes)
    );
    write(&text, vec![], |rows| {
        let mut found = Vec::new();
        for row in rows {
            let flag = |column: usize| -> Result<bool, Error> { Ok(row.get::<bool>(column)? == Some(true)) };
            let (Some(attribute_id), Some(tenant_id), Some(name)) = (row.get(1)?, row.get(2)?, row.get(3)?)
            else {
                continue;
            };
            let value_type = row.get::<String>(4)?.as_deref().and_then(ValueType::named);
            let phase = row.get::<String>(9)?.as_deref().and_then(Phase::named);
            let (Some(value_type), Some(phase)) = (value_type, phase) else {
                continue;
            };
            found.push(Build {
                attribute_id,
                tenant_id,
                name,
                value_type,
                state: State {
                    is_hot: flag(5)?,
                    is_searchable: flag(6)?,
                    hot_ready: flag(7)?,
                    search_ready: flag(8)?,
                },
                phase,
                is_announced: flag(10)?,
                is_old: flag(11)?,
                boundary: row.get(12)?,
                place: Place {
                    time: row.get::<TimestampWithTimeZone>(13)?.map(i64::from),
                    tenant: row.get(14)?,
                    entity: row.get(15)?,
                },
            });
        }
        Ok(found)
    })
}

/// Whether it came any further.
fn advance(installed: &Installed, build: &Build, most: i64) -> Result<bool, Error> {
    let worked = match build.phase {
        Phase::Waiting => wait(installed, build)?,
        Phase::FillingDocuments => documents::fill(installed, build, most)?,
        Phase::FillingSearch => search::fill(installed, build, most)?,
        Phase::EmptyingSearch => search::empty(installed, build, most)?,
        Phase::EmptyingDocuments => documents::empty(installed, build, most)?,
        Phase::Done => Worked::Done,
    };
    match worked {
        Worked::Some { entities, place } => {
            keep(installed, build, build.state, build.phase, place, entities)?;
            Ok(true)
        }
        Worked::Waiting(reason) => {
            let text = format!(
                "UPDATE {} SET waits_for = $2 WHERE attribute_id = $1 AND waits_for IS DISTINCT FROM $2",
                installed.qualified(Table::AttributeBuilds)
            );
            write(
                &text,
                vec![argument(build.attribute_id), argument(reason)],
                |_| Ok(()),
            )?;
            Ok(false)
        }
        Worked::Done => {
            let state = build.state.done(build.phase);
            let next = state.after(build.phase);
            keep(installed, build, state, next, Place::default(), 0)?;
            Ok(true)
        }
    }
}

fn keep(
    installed: &Installed,
    build: &Build,
    state: State,
    phase: Phase,
    place: Place,
    entities: i64,
) -> Result<(), Error> {
    let text = format!(
        "UPDATE {} SET hot_ready = $2, search_ready = $3, phase = $4, at_time = $5, at_tenant = $6, at_entity = $7,
                entities = entities + $8, worked_at = clock_timestamp(), waits_for = NULL,
                finished_at = CASE WHEN $4 = 'done' THEN clock_timestamp() END
         WHERE attribute_id = $1",
        installed.qualified(Table::AttributeBuilds)
    );
    let arguments = vec![
        argument(build.attribute_id),
        argument(state.hot_ready),
        argument(state.search_ready),
        argument(phase.text()),
        argument(place.time.map(moment)),
        argument(place.tenant),
        argument(place.entity),
        argument(entities),
    ];
    write(&text, arguments, |_| Ok(()))
}

/// Until nobody is left who may go by the old flags: a transaction that writes takes its number before it looks at them, so
/// it is enough to wait for all that had one when the change was there to be seen.
fn wait(installed: &Installed, build: &Build) -> Result<Worked, Error> {
    if !build.is_announced && !build.is_old {
        return Ok(Worked::Waiting(
            "sessions that were not told: the flags were changed by hand; a minute".to_owned(),
        ));
    }
    // A number that is still to come was written down by another cluster, before a restore.
    let text = "SELECT CASE WHEN $1 <= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                            THEN $1 <= pg_snapshot_xmin(pg_current_snapshot())::text::bigint END";
    let over: Option<bool> = read(text, vec![argument(build.boundary)], value)?;
    match over {
        Some(true) => Ok(Worked::Done),
        Some(false) => Ok(Worked::Waiting(
            "transactions that began before it was asked for".to_owned(),
        )),
        None => {
            let text = format!(
                "UPDATE {} SET boundary = pg_snapshot_xmax(pg_current_snapshot())::text::bigint WHERE attribute_id = $1",
                installed.qualified(Table::AttributeBuilds)
            );
            write(&text, vec![argument(build.attribute_id)], |_| Ok(()))?;
            Ok(Worked::Some {
                entities: 0,
                place: Place::default(),
            })
        }
    }
}

/// The keeper's task: there is something to do, so the janitor shall.
pub fn watch_builds(context: &Context) -> Result<Report, Error> {
    let installed = context.installed;
    if installed.table_oid(Table::AttributeBuilds)?.is_some() {
        let text = format!(
            "SELECT EXISTS (SELECT FROM {} WHERE finished_at IS NULL)",
            installed.qualified(Table::AttributeBuilds)
        );
        let open: Option<bool> = read(&text, vec![], value)?;
        if open == Some(true) {
            ask_janitor(context.database, BUILD, 0);
        }
    }
    Ok(Report::default())
}

/// The janitor's job: one step, and the next one as long as it comes any further; the keeper asks again for what waits.
pub fn build_statement(context: &Context, _: u32) -> Result<Option<String>, Error> {
    let (_, worked) = step(context.installed, BATCH)?;
    if worked {
        let job = Job {
            task: BUILD,
            relation: 0,
        };
        shmem::change_database(context.database, |database| database.request(job));
    }
    Ok(None)
}
