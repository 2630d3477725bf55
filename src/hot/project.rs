//! What a flush does for the projection, after facts: each entity of the batch is written once, without waiting for anybody. What
//! cannot be written now goes to `projection_pending` in the same transaction; a later flush takes it from there. Newest wins, so it
//! does not matter when that is.

use super::entity::{Outcome, View, Writer};
use super::merge::{Delta, Merged, merge};
use super::pending;
use super::reduce::{Candidate, candidates, deltas};
use super::search::{self, Changed, Entity};
use super::spacing;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::jsonb::layout_of;
use crate::pg::memory::Scratch;
use crate::pg::{fault, xact};
use crate::staging::batch::{Batch, Row};
use crate::staging::blame::{Blame, blame};
use crate::staging::course::Course;
use crate::staging::dictionary::Attributes;
use crate::staging::flush::Move;

/// The rows that this flush has stored.
pub fn project_stored(
    work: &Move,
    batch: &Batch,
    stored: &[Row],
    attributes: &Attributes,
) -> Result<(), Error> {
    let is_hot = |id| attributes.hot(id).is_some();
    // Of an older version, which has no projection yet, the second table is missing.
    if !batch.attributes.iter().any(is_hot) || work.installed.table_oid(Table::Pending)?.is_none() {
        return Ok(());
    }
    project(work.installed, work.course, batch, stored, attributes)
}

/// Brings rows that are in facts into the projection, or keeps them for later.
pub fn project(
    installed: &Installed,
    course: &Course,
    batch: &Batch,
    rows: &[Row],
    attributes: &Attributes,
) -> Result<(), Error> {
    let candidates = candidates(batch, rows, attributes);
    if candidates.is_empty() {
        return Ok(());
    }
    let later = |candidates: &[Candidate]| pending::keep(installed, batch, rows, candidates);
    let table = installed.require_table(Table::Projection)?;
    if course.is_left_alone(table.to_u32()) || !course.projects(|| spacing::is_due(table)) {
        return later(&candidates);
    }
    let run = || write(installed, course, batch, rows, &candidates, attributes);
    if !course.is_careful() {
        return later(&run()?);
    }
    let scratch = Scratch::new();
    match scratch.within(|| xact::subtransaction(run)) {
        Ok(busy) => later(&busy),
        Err(failure) if blame(&failure.sqlstate) == Blame::Caller => Err(failure.into()),
        Err(failure) => {
            course.passes_by(table.to_u32(), failure);
            later(&candidates)
        }
    }
}

/// Writes each entity that can be written, and returns what could not.
fn write(
    installed: &Installed,
    course: &Course,
    batch: &Batch,
    rows: &[Row],
    candidates: &[Candidate],
    attributes: &Attributes,
) -> Result<Vec<Candidate>, Error> {
    fault::point("before_projection");
    let mut writer = Writer::open(installed)?;
    let of_one = |left: &Candidate, right: &Candidate| {
        (left.tenant_id, left.entity_id) == (right.tenant_id, right.entity_id)
    };
    let mut entities: Vec<(usize, &[Candidate])> = candidates
        .chunk_by(of_one)
        .map(|of_entity| {
            let place = writer.place_of(of_entity[0].tenant_id, of_entity[0].entity_id);
            (place, of_entity)
        })
        .collect();
    entities.sort_by_key(|(place, _)| *place);

    let mut later = Vec::new();
    let mut changed = Vec::new();
    for (_, of_entity) in entities {
        let (tenant_id, entity_id) = (of_entity[0].tenant_id, of_entity[0].entity_id);
        let deltas = deltas(batch, rows, of_entity, attributes);
        let mut change = |view: View| {
            merge(view.stored, &deltas, &layout_of).map_err(|fault| fault.of(installed, tenant_id, entity_id))
        };
        let outcome = match writer.write(installed, tenant_id, entity_id, &mut change) {
            Err(error @ (Error::CorruptDocument { .. } | Error::DocumentTooLarge { .. })) => {
                course.complain(|| format!("{error}; {}", error.hint().unwrap_or_default()));
                Outcome::Busy
            }
            outcome => outcome?,
        };
        match outcome {
            Outcome::AsItWas => {}
            Outcome::Busy => later.extend_from_slice(of_entity),
            Outcome::Written(merged, place) => {
                let entity = Entity {
                    tenant_id,
                    entity_id,
                    place,
                };
                note_changes(&mut changed, entity, merged, &deltas, attributes);
            }
        }
    }
    drop(writer);
    fault::point("projected");
    if !changed.is_empty() {
        search::apply(installed, &changed)?;
    }
    Ok(later)
}

/// What of a document that was written is of interest for searches.
pub fn note_changes<'a>(
    changed: &mut Vec<Changed<'a>>,
    entity: Entity,
    merged: Merged,
    deltas: &[Delta<'a>],
    attributes: &Attributes,
) {
    let is_searched = |id: &i32| attributes.hot(*id).is_some_and(|hot| hot.is_searchable);
    let change = |attribute_id, value| Changed {
        entity,
        attribute_id,
        value,
    };
    let gone = merged.forgotten.into_iter().filter(is_searched);
    changed.extend(gone.map(|id| change(id, None)));
    let new = merged.changed.into_iter().map(|place| &deltas[place]);
    let new = new.filter(|delta| is_searched(&delta.attribute_id));
    changed.extend(new.map(|delta| change(delta.attribute_id, Some(delta.value.clone()))));
}
