//! `rebuild_hot()` and `verify_hot()`: the projection made anew from facts, and compared with them.

use std::rc::Rc;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::by_sql;
use super::entity::{Outcome, View, Writer};
use super::facts::{Difference, differences, mended};
use super::latest::{Shown, Source, single};
use super::merge::{Delta, Fault, Merged, Stored, merge};
use super::project::note_changes;
use super::reduce::{candidates, deltas};
use super::search::{self, Changed, Entity};
use super::staged::{add, add_returned};
use super::value::HotValue;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::jsonb::{Built, layout_of};
use crate::pg::partitions::{self, Partition};
use crate::pg::{identity, process, xact};
use crate::registry::{required, tenant_at_least};
use crate::shmem;
use crate::sql::{argument, read};
use crate::staging::batch::{Batch, Row};
use crate::staging::dictionary::{self, Attributes};
use crate::staging::store::COLUMNS;

/// What a tenant's documents are made of.
struct Rules {
    attributes: Rc<Attributes>,
    /// The ids of the hot attributes, in order.
    hot: Vec<i32>,
    partitions: Vec<Partition>,
}

impl Rules {
    fn of(installed: &Installed, tenant_id: i64) -> Result<Rules, Error> {
        // A tenant's own attribute hides a shared one of its name, whether it is hot or not.
        let text = format!(
            "SELECT a.attribute_id FROM {0} AS a WHERE a.is_hot AND a.tenant_id = ANY (ARRAY[0, $1])
               AND NOT (a.tenant_id = 0 AND EXISTS (
                   SELECT FROM {0} AS o WHERE o.tenant_id = $1 AND o.name = a.name))
             ORDER BY 1",
            installed.qualified(Table::Attributes)
        );
        let hot = xact::with_latest_snapshot(|| {
            read(&text, vec![argument(tenant_id)], |rows| {
                let mut hot = Vec::with_capacity(rows.len());
                for row in rows {
                    hot.extend(row.get::<i32>(1)?);
                }
                Ok(hot)
            })
        })?;
        dictionary::forget();
        let attributes = dictionary::attributes(installed, xact::has_id(), hot.iter().copied())?;
        Ok(Rules {
            hot: hot
                .into_iter()
                .filter(|id| attributes.hot(*id).is_some())
                .collect(),
            attributes,
            partitions: partitions::to_read(installed.require_table(Table::Facts)?),
        })
    }

    fn named(&self) -> Vec<(i32, &str)> {
        let name = |id: &i32| Some((*id, &*self.attributes.hot(*id)?.name));
        self.hot.iter().filter_map(name).collect()
    }

    /// Facts that came in then have been removed, with their partition.
    fn is_gone(&self, ingested_at: i64) -> bool {
        let covers = |partition: &Partition| partition.from <= ingested_at && ingested_at < partition.until;
        !self.partitions.iter().any(covers)
    }
}

/// The newest facts of an entity, as the active snapshot sees them. None that came in before the last one was observed can be
/// newer than that, so one look at the end of each series says where to stop.
fn newest_facts(installed: &Installed, tenant_id: i64, entity_id: i64, hot: &[i32]) -> Result<Batch, Error> {
    let facts = installed.qualified(Table::Facts);
    let event = "least(coalesce(f.observed_at, f.ingested_at), f.ingested_at)";
    let series = "f.tenant_id = $1 AND f.attribute_id = a.id AND f.entity_id = $2";
    let text = format!(
        "SELECT n.tenant_id, n.entity_id, n.ingested_at, n.observed_at, n.value_num, n.value_int, n.attribute_id, n.value_text
         FROM unnest($3) AS a (id),
              LATERAL (SELECT {event} AS event FROM {facts} AS f WHERE {series} ORDER BY f.ingested_at DESC LIMIT 1) AS l,
              LATERAL (SELECT {COLUMNS} FROM {facts} AS f WHERE {series} AND f.ingested_at >= l.event
                       ORDER BY {event} DESC, f.ingested_at DESC FETCH FIRST 1 ROW WITH TIES) AS n"
    );
    let mut batch = Batch::unrouted(usize::MAX, usize::MAX);
    let arguments = vec![argument(tenant_id), argument(entity_id), argument(hot.to_vec())];
    read(&text, arguments, |_| {
        add_returned(&mut batch);
        Ok(())
    })?;
    Ok(batch)
}

fn deltas_of<'a>(batch: &'a Batch, attributes: &'a Attributes) -> Vec<Delta<'a>> {
    let rows: &[Row] = &batch.rows;
    deltas(batch, rows, &candidates(batch, rows, attributes), attributes)
}

/// How many values of an entity are not as they should be, after they were made so. `wait`: for whoever has the row; otherwise
/// None when somebody has.
fn rebuild(
    installed: &Installed,
    rules: &Rules,
    tenant_id: i64,
    entity_id: i64,
    wait: bool,
) -> Result<Option<i64>, Error> {
    xact::next_command();
    let hot = rules.named();
    let mut different = 0;
    let entity = Entity {
        tenant_id,
        entity_id,
        place: 0,
    };
    let mut changed: Vec<Changed> = Vec::new();
    let mut change = |view: View| {
        // What was committed before the row was found.
        let batch = xact::with_latest_snapshot(|| newest_facts(installed, tenant_id, entity_id, &rules.hot))?;
        let deltas = deltas_of(&batch, &rules.attributes);
        let is_gone = |time| rules.is_gone(time);
        let found = differences(view.stored, &deltas, &hot, is_gone, &layout_of);
        different = found.len() as i64;
        changed.clear();
        // An unreadable document is written anew even if nothing is left of it.
        if found.is_empty() && view.stored.is_none_or(is_readable) {
            return Ok(None);
        }
        let merged = mended(view.stored, &deltas, &hot, &found, &layout_of)
            .ok_or_else(|| Fault::TooLarge.of(installed, tenant_id, entity_id))?;
        let searched = Merged {
            changed: merged.changed.clone(),
            forgotten: merged.forgotten.clone(),
            attrs: Vec::new(),
            times: Vec::new(),
            as_of: 0,
        };
        let mut noted = Vec::new();
        note_changes(&mut noted, entity, searched, &deltas, &rules.attributes);
        changed.extend(noted.into_iter().map(owned));
        Ok(Some(merged))
    };
    let outcome = if xact::is_read_committed() {
        Writer::open(installed)?.write(installed, tenant_id, entity_id, &mut change)?
    } else {
        Outcome::Busy
    };
    if matches!(outcome, Outcome::Busy) {
        if !wait {
            return Ok(None);
        }
        by_sql::write_waiting(installed, tenant_id, entity_id, &mut change)?;
    }
    if let Outcome::Written(_, place) = outcome {
        changed.iter_mut().for_each(|one| one.entity.place = place);
    }
    if !changed.is_empty() {
        search::apply(installed, &changed)?;
    }
    xact::next_command();
    Ok(Some(different))
}

fn is_readable(stored: Stored) -> bool {
    merge(Some(stored), &[], &layout_of).is_ok() && super::document::read(stored.attrs).is_ok()
}

fn owned(changed: Changed) -> Changed<'static> {
    Changed {
        entity: changed.entity,
        attribute_id: changed.attribute_id,
        value: changed.value.map(HotValue::into_owned),
    }
}

#[pg_extern]
fn rebuild_hot(tenant_id: Option<i64>, entity_id: Option<i64>) -> Result<i32, ErrorReport> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let entity_id = required(entity_id, "entity_id")?;
    Ok(identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        shmem::notice_if_unseen(process::my_database());
        let rules = Rules::of(&installed, tenant_id)?;
        let different = rebuild(&installed, &rules, tenant_id, entity_id, true)?;
        Ok::<_, Error>(i32::try_from(different.unwrap_or_default()).unwrap_or(i32::MAX))
    })?)
}

/// Waits for nobody while it holds rows: where it would have to, the batch ends, and the next begins by waiting.
#[pg_extern]
fn rebuild_hot_batch(
    tenant_id: Option<i64>,
    after_entity: Option<i64>,
    max_entities: Option<i32>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(last_entity, Option<i64>),
            name!(entities, i64),
            name!(different, i64),
        ),
    >,
    ErrorReport,
> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let max_entities = required(max_entities, "max_entities")?;
    let row = identity::as_owner(|| {
        xact::check_writable()?;
        let installed = Installed::require()?;
        let rules = Rules::of(&installed, tenant_id)?;
        let (mut last, mut entities, mut different) = (None, 0, 0);
        for entity_id in next_entities(
            &installed,
            &rules,
            tenant_id,
            after_entity,
            i64::from(max_entities),
        )? {
            pgrx::check_for_interrupts!();
            let Some(found) = rebuild(&installed, &rules, tenant_id, entity_id, entities == 0)? else {
                break;
            };
            last = Some(entity_id);
            entities += 1;
            different += found;
        }
        Ok::<_, Error>((last, entities, different))
    })?;
    Ok(TableIterator::once(row))
}

/// Entities of a tenant that have a document, or facts of a hot attribute.
fn next_entities(
    installed: &Installed,
    rules: &Rules,
    tenant_id: i64,
    after: Option<i64>,
    most: i64,
) -> Result<Vec<i64>, Error> {
    let (projection, facts) = (
        installed.qualified(Table::Projection),
        installed.qualified(Table::Facts),
    );
    // Without a place to begin at, the condition that says so would be true of all.
    let behind = after.map_or("", |_| "AND entity_id > $3");
    let text = format!(
        "SELECT entity_id FROM (
             (SELECT entity_id FROM {projection} WHERE tenant_id = $1 {behind} ORDER BY entity_id LIMIT $4)
             UNION
             SELECT f.entity_id FROM unnest($2) AS a (id),
                 LATERAL (SELECT DISTINCT entity_id FROM {facts}
                          WHERE tenant_id = $1 AND attribute_id = a.id {behind} ORDER BY entity_id LIMIT $4) AS f) AS all_of_them
         ORDER BY 1 LIMIT $4"
    );
    let arguments = vec![
        argument(tenant_id),
        argument(rules.hot.clone()),
        argument(after),
        argument(most.max(1)),
    ];
    xact::with_latest_snapshot(|| {
        read(&text, arguments, |rows| {
            let mut found = Vec::with_capacity(rows.len());
            for row in rows {
                found.extend(row.get::<i64>(1)?);
            }
            Ok(found)
        })
    })
}

type Verified = (
    i64,
    String,
    Option<Built>,
    Option<Built>,
    Option<TimestampWithTimeZone>,
    Option<TimestampWithTimeZone>,
);

#[allow(clippy::type_complexity)]
#[pg_extern]
fn verify_hot(
    tenant_id: Option<i64>,
    entity_id: Option<i64>,
    after_entity: Option<i64>,
    max_entities: Option<i64>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(entity_id, i64),
            name!(attribute, String),
            name!(stored, Option<Built>),
            name!(from_facts, Option<Built>),
            name!(stored_observed_at, Option<TimestampWithTimeZone>),
            name!(facts_observed_at, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let tenant_id = tenant_at_least(tenant_id, 1, "1 and above")?;
    let rows = identity::as_owner(|| {
        let installed = Installed::require()?;
        let rules = Rules::of(&installed, tenant_id)?;
        let mut rows = Vec::new();
        if let Some(entity_id) = entity_id {
            verify(&installed, &rules, tenant_id, entity_id, &mut rows)?;
            return Ok::<_, Error>(rows);
        }
        let mut after = after_entity;
        let mut left = max_entities.unwrap_or(i64::MAX);
        while left > 0 {
            let entities = next_entities(&installed, &rules, tenant_id, after, left.min(BATCH))?;
            for entity_id in &entities {
                pgrx::check_for_interrupts!();
                verify(&installed, &rules, tenant_id, *entity_id, &mut rows)?;
            }
            left -= entities.len() as i64;
            match entities.last() {
                Some(last) => after = Some(*last),
                None => break,
            }
        }
        Ok(rows)
    })?;
    Ok(TableIterator::new(rows))
}

/// Entities whose ids are in memory at once.
const BATCH: i64 = 1000;

/// Compares an entity with its facts, all as one snapshot sees it. What waits for the projection counts as taken in.
fn verify(
    installed: &Installed,
    rules: &Rules,
    tenant_id: i64,
    entity_id: i64,
    rows: &mut Vec<Verified>,
) -> Result<(), Error> {
    let facts = newest_facts(installed, tenant_id, entity_id, &rules.hot)?;
    let deltas = deltas_of(&facts, &rules.attributes);
    let mut waiting = Batch::unrouted(usize::MAX, usize::MAX);
    if installed.table_oid(Table::Pending)?.is_some() {
        add(installed, Table::Pending, tenant_id, entity_id, &mut waiting)?;
    }
    let waiting_deltas = deltas_of(&waiting, &rules.attributes);
    let hot = rules.named();
    let mut compare = |stored: Option<Stored>| {
        // A document that cannot be read is compared as it is.
        let merged = merge(stored, &waiting_deltas, &layout_of).ok().flatten();
        let stored = match &merged {
            Some(merged) => Some(Stored {
                attrs: &merged.attrs[super::document::LENGTH..],
                times: Some(&merged.times),
            }),
            None => stored,
        };
        let found = differences(stored, &deltas, &hot, |time| rules.is_gone(time), &layout_of);
        for one in found {
            rows.push(verified(entity_id, &one, &deltas));
        }
        Ok(())
    };
    let mut source = Source::open(installed)?;
    source.with(installed, tenant_id, entity_id, |shown| match shown {
        Shown::There(stored) | Shown::Deleted(stored) => compare(stored),
    })
}

fn verified(entity_id: i64, one: &Difference, deltas: &[Delta]) -> Verified {
    let time = |event: i64| TimestampWithTimeZone::try_from(event).ok();
    let right = one.from_facts.map(|place| &deltas[place]);
    let value = right.map(|delta| {
        let mut bytes = Vec::new();
        let kind = delta.value.encode(&layout_of, &mut bytes);
        single(super::document::Item { kind, bytes: &bytes })
    });
    let stored_at = one.stored.and_then(|(_, stamp)| stamp);
    (
        entity_id,
        one.name.clone(),
        one.stored.map(|(item, _)| single(item)),
        value,
        stored_at.and_then(|stamp| time(stamp.event)),
        right.and_then(|delta| time(delta.stamp.event)),
    )
}
