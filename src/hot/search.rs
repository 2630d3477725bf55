//! What becomes of values of searchable attributes when they change: the narrow table that is indexed by value. It has each value
//! once, however often it was observed, so it is written only when it changes.

use super::value::HotValue;
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::index_read::Scalar;
use crate::pg::value_rows::{NewRow, ValueRows};
use crate::sql::{argument, write};
use crate::staging::judge::ValueType;

/// Of a text so many bytes are kept, at most: an entry of an index has an end.
const LONGEST_PREFIX: usize = 200;

/// An entity, and where its document is, as an index finds it; 0 where that is not known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entity {
    pub tenant_id: i64,
    pub entity_id: i64,
    pub place: u64,
}

/// A searchable attribute of an entity has another value now, or none any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed<'a> {
    pub entity: Entity,
    pub attribute_id: i32,
    pub value: Option<HotValue<'a>>,
}

/// The column of a type; of JSON nothing is kept.
pub fn column(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Number => "value_num",
        ValueType::Integer | ValueType::Boolean | ValueType::Timestamp => "value_int",
        ValueType::Text | ValueType::Json => "value_text",
    }
}

/// The beginning of a text, as it is kept: what begins alike is found together, and told apart by the document.
pub fn prefix(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_PREFIX)]
}

/// From here on come the beginnings of all texts that are not less than this one. A beginning is up to three bytes shorter than it
/// may be, where the next letter takes more than there is left.
pub fn low_end(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_PREFIX - 3)]
}

/// Up to here come the beginnings of all texts that are not greater than this one; it is longer than any beginning, if it was.
pub fn high_end(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_PREFIX + 4)]
}

/// What is kept of a value; nothing of JSON.
fn kept<'a>(value: Option<&'a HotValue>) -> Option<Scalar<'a>> {
    Some(match value? {
        HotValue::Number(value) => Scalar::Number(*value),
        HotValue::Integer(value) | HotValue::Timestamp(value) => Scalar::Whole(*value),
        HotValue::Boolean(value) => Scalar::Whole(i64::from(*value)),
        HotValue::Text(value) => Scalar::Text(prefix(value)),
        HotValue::Json(_) => return None,
    })
}

/// Called in the transaction that writes the documents, once for many of them, after they were written and while their rows are
/// locked by it: the same values are the latest there and here. It must wait for no lock that an application may hold.
pub fn apply(installed: &Installed, changed: &[Changed]) -> Result<(), Error> {
    if changed.is_empty() {
        return Ok(());
    }
    let Some(table) = installed.table_oid(Table::Search)? else {
        return Ok(());
    };
    let rows = last_words(changed);
    let busy = match ValueRows::open(table) {
        Some(mut table) => table.write(&rows),
        None => (0..rows.len()).collect(),
    };
    let (mut kept, mut gone) = (Columns::default(), Columns::default());
    for number in busy {
        let row = &rows[number];
        let columns = if row.value.is_some() { &mut kept } else { &mut gone };
        columns.add(row);
    }
    kept.write_into(installed)?;
    gone.delete_from(installed)
}

/// The last word on each, in the order of the table's key.
fn last_words<'a>(changed: &'a [Changed]) -> Vec<NewRow<'a>> {
    let key = |one: &&Changed| (one.entity.tenant_id, one.attribute_id, one.entity.entity_id);
    let mut sorted: Vec<&Changed> = changed.iter().collect();
    // Of the same key they stay as they came.
    sorted.sort_by_key(key);
    sorted
        .chunk_by(|left, right| key(left) == key(right))
        .filter_map(|of_key| of_key.last())
        .map(|one| NewRow {
            tenant_id: one.entity.tenant_id,
            attribute_id: one.attribute_id,
            entity_id: one.entity.entity_id,
            value: kept(one.value.as_ref()),
            document: one.entity.place,
        })
        .collect()
}

/// Rows as columns, as a statement takes them: where only the executor is right, and where somebody has to be waited for.
#[derive(Default)]
struct Columns {
    tenants: Vec<i64>,
    attributes: Vec<i32>,
    entities: Vec<i64>,
    numbers: Vec<Option<f64>>,
    whole: Vec<Option<i64>>,
    texts: Vec<Option<String>>,
    places: Vec<i64>,
}

impl Columns {
    fn add(&mut self, row: &NewRow) {
        self.tenants.push(row.tenant_id);
        self.attributes.push(row.attribute_id);
        self.entities.push(row.entity_id);
        self.places.push(row.document.cast_signed());
        let (mut number, mut whole, mut text) = (None, None, None);
        match row.value {
            Some(Scalar::Number(value)) => number = Some(value),
            Some(Scalar::Whole(value)) => whole = Some(value),
            Some(Scalar::Small(value)) => whole = Some(value.into()),
            Some(Scalar::Text(value)) => text = Some(value.to_owned()),
            None => {}
        }
        self.numbers.push(number);
        self.whole.push(whole);
        self.texts.push(text);
    }

    fn write_into(self, installed: &Installed) -> Result<(), Error> {
        if self.tenants.is_empty() {
            return Ok(());
        }
        let text = format!(
            "INSERT INTO {} AS s
                 (tenant_id, attribute_id, entity_id, value_num, value_int, value_text, document_place)
             SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (tenant_id, attribute_id, entity_id) DO UPDATE
             SET value_num = excluded.value_num, value_int = excluded.value_int, value_text = excluded.value_text,
                 document_place = excluded.document_place
             WHERE (s.value_num, s.value_int, s.value_text)
                 IS DISTINCT FROM (excluded.value_num, excluded.value_int, excluded.value_text)",
            installed.qualified(Table::Search)
        );
        let arguments = vec![
            argument(self.tenants),
            argument(self.attributes),
            argument(self.entities),
            argument(self.numbers),
            argument(self.whole),
            argument(self.texts),
            argument(self.places),
        ];
        write(&text, arguments, |_| Ok(()))
    }

    fn delete_from(self, installed: &Installed) -> Result<(), Error> {
        if self.tenants.is_empty() {
            return Ok(());
        }
        let text = format!(
            "DELETE FROM {} AS s USING unnest($1, $2, $3) AS g (tenant_id, attribute_id, entity_id)
             WHERE (s.tenant_id, s.attribute_id, s.entity_id) = (g.tenant_id, g.attribute_id, g.entity_id)",
            installed.qualified(Table::Search)
        );
        let arguments = vec![
            argument(self.tenants),
            argument(self.attributes),
            argument(self.entities),
        ];
        write(&text, arguments, |_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(prefix("abc"), "abc");
        assert_eq!(prefix(&"a".repeat(300)).len(), LONGEST_PREFIX);
        let cut = prefix(&"a€".repeat(100)).len();
        assert!(cut <= LONGEST_PREFIX && cut > LONGEST_PREFIX - 4, "{cut}");
    }

    #[test]
    fn beginnings_lie_between_the_ends_of_what_texts_lie_between() {
        let letters = ["a", "b", "\u{7f}", "é", "€", "😀"];
        let mut texts = vec![String::new()];
        for length in LONGEST_PREFIX - 6..LONGEST_PREFIX + 6 {
            let start = "a".repeat(length);
            for first in letters {
                texts.push(format!("{start}{first}"));
                texts.extend(letters.map(|second| format!("{start}{first}{second}zzzzzz")));
            }
        }
        for bound in &texts {
            for text in &texts {
                if text >= bound {
                    assert!(prefix(text) >= low_end(bound), "{text} {bound}");
                }
                if text <= bound {
                    assert!(prefix(text) <= high_end(bound), "{text} {bound}");
                }
            }
        }
    }
}
