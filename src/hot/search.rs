//! What becomes of values of searchable attributes when they change: the narrow table that is indexed by value. It has each value
//! once, however often it was observed, so it is written only when it changes.

use std::collections::HashMap;

use super::value::HotValue;
use crate::error::Error;
use crate::installed::{Installed, Table};
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

/// Rows as columns, as a statement takes them.
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
    fn add(&mut self, changed: &Changed) {
        self.tenants.push(changed.entity.tenant_id);
        self.attributes.push(changed.attribute_id);
        self.entities.push(changed.entity.entity_id);
        self.places.push(changed.entity.place.cast_signed());
        let (mut number, mut whole, mut text) = (None, None, None);
        match &changed.value {
            Some(HotValue::Number(value)) => number = Some(*value),
            Some(HotValue::Integer(value) | HotValue::Timestamp(value)) => whole = Some(*value),
            Some(HotValue::Boolean(value)) => whole = Some(i64::from(*value)),
            Some(HotValue::Text(value)) => text = Some(prefix(value).to_owned()),
            Some(HotValue::Json(_)) | None => {}
        }
        self.numbers.push(number);
        self.whole.push(whole);
        self.texts.push(text);
    }
}

/// Called in the transaction that writes the documents, once for many of them, after they were written and while their rows are
/// locked by it: the same values are the latest there and here. It must wait for no lock that an application may hold.
pub fn apply(installed: &Installed, changed: &[Changed]) -> Result<(), Error> {
    if changed.is_empty() || installed.table_oid(Table::Search)?.is_none() {
        return Ok(());
    }
    // The last word on each, in the order of the table's key.
    let mut last: HashMap<(i64, i32, i64), &Changed> = HashMap::with_capacity(changed.len());
    for one in changed {
        last.insert(
            (one.entity.tenant_id, one.attribute_id, one.entity.entity_id),
            one,
        );
    }
    let mut last: Vec<_> = last.into_iter().collect();
    last.sort_unstable_by_key(|(key, _)| *key);
    let (mut kept, mut gone) = (Columns::default(), Columns::default());
    for (_, one) in last {
        match &one.value {
            None | Some(HotValue::Json(_)) => gone.add(one),
            Some(_) => kept.add(one),
        }
    }
    let search = installed.qualified(Table::Search);
    if !kept.tenants.is_empty() {
        write(
            &format!(
                "INSERT INTO {search} AS s (tenant_id, attribute_id, entity_id, value_num, value_int, value_text, document_place)
                 SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (tenant_id, attribute_id, entity_id) DO UPDATE
                 SET value_num = excluded.value_num, value_int = excluded.value_int, value_text = excluded.value_text,
                     document_place = excluded.document_place
                 WHERE (s.value_num, s.value_int, s.value_text)
                     IS DISTINCT FROM (excluded.value_num, excluded.value_int, excluded.value_text)"
            ),
            vec![
                argument(kept.tenants),
                argument(kept.attributes),
                argument(kept.entities),
                argument(kept.numbers),
                argument(kept.whole),
                argument(kept.texts),
                argument(kept.places),
            ],
            |_| Ok(()),
        )?;
    }
    if !gone.tenants.is_empty() {
        write(
            &format!(
                "DELETE FROM {search} AS s USING unnest($1, $2, $3) AS g (tenant_id, attribute_id, entity_id)
                 WHERE (s.tenant_id, s.attribute_id, s.entity_id) = (g.tenant_id, g.attribute_id, g.entity_id)"
            ),
            vec![
                argument(gone.tenants),
                argument(gone.attributes),
                argument(gone.entities),
            ],
            |_| Ok(()),
        )?;
    }
    Ok(())
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
