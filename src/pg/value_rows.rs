//! The table that has entities by their values, written many rows at once and without the executor. Only where that is the same.
//!
//! Whoever writes holds the lock on the document of each entity, so nobody else writes the same rows. A value that has changed is a new
//! row, and the one before is deleted: new rows lie together, and so do their entries in the indexes, which an UPDATE of each would
//! not achieve.

use pgrx::{IntoDatum, pg_sys};

use super::btree::Tree;
use super::btree_key::{Key, Kind, ordered, pack_place, unordered, unpack_place};
use super::citus;
use super::entity_rows::content;
use super::index_read::{ReadIndex, Scalar};
use super::layout;
use super::memory::Scratch;
use super::relation::Relation;
use super::rows_by_key::Lookup;
use super::single;
use super::slots::{MOST, Slots};
use super::write_index::WriteIndex;
use super::xact;

const COLUMNS: usize = 7;
const TENANT: usize = 0;
const ENTITY: usize = 1;
const NUMBER: usize = 2;
const WHOLE: usize = 3;
const DOCUMENT: usize = 4;
const ATTRIBUTE: usize = 5;
const TEXT: usize = 6;

const KEYS: usize = 3;
const KINDS: [Kind; KEYS] = [Kind::Wide, Kind::Small, Kind::Wide];

/// Columns of an index by value: tenant, attribute, value, entity, and the place of the document.
const BY_VALUE: usize = 5;

const TRIGGERS: u32 = pg_sys::TRIGGER_TYPE_INSERT | pg_sys::TRIGGER_TYPE_UPDATE | pg_sys::TRIGGER_TYPE_DELETE;
const RIGHTS: u32 = pg_sys::ACL_SELECT | pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE;

/// What the table is to say of an attribute of an entity; without a value it is to say nothing.
pub struct NewRow<'a> {
    pub tenant_id: i64,
    pub attribute_id: i32,
    pub entity_id: i64,
    pub value: Option<Scalar<'a>>,
    /// Where the document is.
    pub document: u64,
}

impl NewRow<'_> {
    fn key(&self) -> [i64; KEYS] {
        [self.tenant_id, self.attribute_id.into(), self.entity_id]
    }
}

/// The table and its indexes. What looks at the others is dropped first.
pub struct ValueRows {
    lookup: Lookup<KEYS, COLUMNS>,
    snapshot: Box<pg_sys::SnapshotData>,
    key: WriteIndex,
    numbers: WriteIndex,
    whole: WriteIndex,
    texts: WriteIndex,
    relation: Relation,
}

impl ValueRows {
    /// Waits for the lock, as a statement would. None where only the executor is right.
    pub fn open(oid: pg_sys::Oid) -> Option<ValueRows> {
        let relation = Relation::open_to_write(oid);
        let plain = relation.is_plain_heap()
            && !relation.has_children()
            && !relation.has_rules()
            && !relation.has_row_security()
            && !relation.has_trigger(TRIGGERS, None)
            && relation.may(RIGHTS)
            && layout::is_search(&relation)
            && !xact::is_serializable()
            && !citus::is_distributed(oid);
        // One for the key, one for each kind of value, and none that somebody added or is building anew.
        if !plain || relation.indexes().len() != 4 {
            return None;
        }
        relation.check_replica_identity();
        let place = |column: usize| column as i16 + 1;
        let tenant = (place(TENANT), pg_sys::F_BTINT8CMP);
        let attribute = (place(ATTRIBUTE), pg_sys::F_BTINT4CMP);
        let entity = (place(ENTITY), pg_sys::F_BTINT8CMP);
        let key = ReadIndex::of(&relation, &[tenant, attribute, entity], &[], true, None)?;
        let by = |column, order| {
            let columns = [tenant, attribute, (place(column), order), entity];
            ReadIndex::of(
                &relation,
                &columns,
                &[place(DOCUMENT)],
                false,
                Some(place(column)),
            )
        };
        // SAFETY: indexes of an open table that is locked.
        let to_write = |index: ReadIndex| unsafe { WriteIndex::open(index.oid(), pg_sys::RowExclusiveLock) };
        let key = to_write(key);
        let numbers = to_write(by(NUMBER, pg_sys::F_BTFLOAT8CMP)?);
        let whole = to_write(by(WHOLE, pg_sys::F_BTINT8CMP)?);
        let texts = to_write(by(TEXT, pg_sys::F_BTTEXTCMP)?);
        let mut snapshot = Box::<pg_sys::SnapshotData>::default();
        snapshot.snapshot_type = pg_sys::SnapshotType::SNAPSHOT_DIRTY;
        // SAFETY: all three are kept beside it, the snapshot at its place in its box; the index is the one on these columns.
        let lookup = unsafe {
            let places = [TENANT, ATTRIBUTE, ENTITY];
            Lookup::new(&relation, key.pointer, &raw mut *snapshot, KINDS, places)
        };
        Some(ValueRows {
            lookup,
            snapshot,
            key,
            numbers,
            whole,
            texts,
            relation,
        })
    }

    /// Writes rows of which each key comes once, in order, in the transaction that has locked their documents. Returns those, by their
    /// number, that somebody else is writing all the same.
    pub fn write(&mut self, rows: &[NewRow]) -> Vec<usize> {
        // What this transaction wrote before may be deleted now.
        xact::next_command();
        let (mut new, mut busy) = (Vec::with_capacity(rows.len()), Vec::new());
        for (number, row) in rows.iter().enumerate() {
            pgrx::check_for_interrupts!();
            match self.clear(row) {
                Cleared::Yes if row.value.is_some() => new.push(row),
                Cleared::Yes | Cleared::AsItIs => {}
                Cleared::Busy => busy.push(number),
            }
        }
        let scratch = Scratch::new();
        let mut slots = Slots::of(&self.relation);
        for chunk in new.chunks(MOST) {
            let places = self.insert(chunk, &mut slots, &scratch);
            self.index(chunk, &places, &scratch);
            scratch.reset();
        }
        xact::next_command();
        busy
    }

    /// Deletes the row that there is, unless it says the same.
    fn clear(&mut self, row: &NewRow) -> Cleared {
        let Some(found) = self.lookup.find(row.key()) else {
            return Cleared::Yes;
        };
        // SAFETY: our own snapshot, in which the server notes who is about to insert the row or to take it away.
        let (inserter, deleter) = unsafe {
            let snapshot = &raw const *self.snapshot;
            (
                (&raw const (*snapshot).xmin).read_volatile(),
                (&raw const (*snapshot).xmax).read_volatile(),
            )
        };
        let nobody = pg_sys::TransactionId::INVALID;
        // Even if it says the same: it may be gone in a moment.
        if (inserter, deleter) != (nobody, nobody) {
            return Cleared::Busy;
        }
        if row
            .value
            .is_some_and(|value| says(&found.values, &found.nulls, value))
        {
            return Cleared::AsItIs;
        }
        // SAFETY: writing was allowed when the document was written.
        let command = unsafe { pg_sys::GetCurrentCommandId(true) };
        if single::delete(self.relation.as_ptr(), found.place, command) {
            Cleared::Yes
        } else {
            Cleared::Busy
        }
    }

    /// Where the rows lie then.
    fn insert(&self, rows: &[&NewRow], slots: &mut Slots, scratch: &Scratch) -> Vec<u64> {
        let tuples: Vec<pg_sys::HeapTuple> =
            scratch.within(|| rows.iter().map(|row| self.form(row)).collect());
        slots.insert_formed(&self.relation, &tuples, scratch);
        slots.places(rows.len()).map(|place| pack_place(&place)).collect()
    }

    fn form(&self, row: &NewRow) -> pg_sys::HeapTuple {
        let mut values = [pg_sys::Datum::null(); COLUMNS];
        let mut nulls = [true; COLUMNS];
        let mut set = |column: usize, value: pg_sys::Datum| {
            values[column] = value;
            nulls[column] = false;
        };
        set(TENANT, row.tenant_id.into());
        set(ENTITY, row.entity_id.into());
        set(DOCUMENT, row.document.cast_signed().into());
        set(ATTRIBUTE, row.attribute_id.into());
        match row.value {
            // As the index has it.
            Some(Scalar::Number(value)) => set(NUMBER, Scalar::Number(unordered(ordered(value))).datum()),
            Some(value @ (Scalar::Whole(_) | Scalar::Small(_))) => set(WHOLE, value.datum()),
            Some(value @ Scalar::Text(_)) => set(TEXT, value.datum()),
            None => {}
        }
        // SAFETY: the values are those of the descriptor.
        unsafe {
            let descriptor = (*self.relation.as_ptr()).rd_att;
            pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr())
        }
    }

    fn index(&self, rows: &[&NewRow], places: &[u64], scratch: &Scratch) {
        let mut keys = Vec::with_capacity(rows.len());
        let (mut numbers, mut whole, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for (row, place) in rows.iter().zip(places) {
            let (tenant, attribute) = (row.tenant_id, i64::from(row.attribute_id));
            let place = *place;
            let key = |values| Key { values, place };
            keys.push(key([tenant, attribute, row.entity_id, 0]));
            let by = |value| {
                (
                    key([tenant, attribute, value, row.entity_id]),
                    row.document.cast_signed(),
                )
            };
            match row.value {
                Some(Scalar::Number(value)) => numbers.push(by(ordered(value))),
                Some(Scalar::Whole(value)) => whole.push(by(value)),
                Some(Scalar::Small(value)) => whole.push(by(value.into())),
                Some(Scalar::Text(text)) => texts.push((*row, text, place)),
                None => {}
            }
        }
        self.put(&self.key, &keys, &[], scratch, |number| {
            let [tenant, attribute, entity, _] = keys[number].values;
            [tenant.into(), (attribute as i32).into(), entity.into()]
        });
        let as_double = |value| pg_sys::Datum::from(unordered(value).to_bits());
        self.put_numbers(&self.numbers, numbers, as_double, scratch);
        self.put_numbers(&self.whole, whole, pg_sys::Datum::from, scratch);
        texts.sort_unstable_by_key(|(row, text, place)| {
            (row.tenant_id, row.attribute_id, *text, row.entity_id, *place)
        });
        scratch.within(|| {
            for (row, text, place) in texts {
                let text = text.into_datum().unwrap_or(pg_sys::Datum::null());
                self.put_one(
                    &self.texts,
                    by_value(row.key(), text, row.document.cast_signed()),
                    place,
                );
            }
        });
    }

    fn put_numbers(
        &self,
        index: &WriteIndex,
        mut entries: Vec<(Key, i64)>,
        datum: impl Fn(i64) -> pg_sys::Datum,
        scratch: &Scratch,
    ) {
        entries.sort_unstable();
        let (keys, documents): (Vec<Key>, Vec<i64>) = entries.into_iter().unzip();
        self.put(index, &keys, &documents, scratch, |number| {
            let [tenant, attribute, value, entity] = keys[number].values;
            by_value([tenant, attribute, entity], datum(value), documents[number])
        });
    }

    /// Entries in order, with what is included of each if the index has such a column; `datums` of one as the server takes it.
    fn put<const N: usize>(
        &self,
        index: &WriteIndex,
        keys: &[Key],
        included: &[i64],
        scratch: &Scratch,
        datums: impl Fn(usize) -> [pg_sys::Datum; N],
    ) {
        // SAFETY: an open index of the b-tree kind, until the end of this.
        let tree = unsafe { Tree::of(index.pointer, !included.is_empty()) };
        let by_server = |number: usize| self.put_one(index, datums(number), keys[number].place);
        scratch.within(|| match tree {
            Some(tree) => tree.insert(&self.relation, keys, included, by_server),
            None => (0..keys.len()).for_each(by_server),
        });
    }

    fn put_one<const N: usize>(&self, index: &WriteIndex, mut values: [pg_sys::Datum; N], place: u64) {
        let is_key = std::ptr::eq(index, &self.key);
        // SAFETY: both are open and locked; the arrays are as wide as the index. Nobody else writes a row of this key, so its
        // uniqueness need not be looked at, which might wait.
        unsafe {
            pg_sys::index_insert(
                index.pointer,
                values.as_mut_ptr(),
                [false; N].as_mut_ptr(),
                &mut unpack_place(place),
                self.relation.as_ptr(),
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO,
                is_key,
                index.info,
            );
        }
    }
}

/// An entry of an index by value.
fn by_value(key: [i64; KEYS], value: pg_sys::Datum, document: i64) -> [pg_sys::Datum; BY_VALUE] {
    let [tenant, attribute, entity] = key;
    [
        tenant.into(),
        (attribute as i32).into(),
        value,
        entity.into(),
        document.into(),
    ]
}

/// Whether a row has this value.
fn says(values: &[pg_sys::Datum; COLUMNS], nulls: &[bool; COLUMNS], value: Scalar) -> bool {
    let bits = |column: usize| values[column].value() as u64;
    match value {
        Scalar::Number(value) => !nulls[NUMBER] && ordered(f64::from_bits(bits(NUMBER))) == ordered(value),
        Scalar::Whole(value) => !nulls[WHOLE] && bits(WHOLE).cast_signed() == value,
        Scalar::Small(value) => !nulls[WHOLE] && bits(WHOLE).cast_signed() == i64::from(value),
        // SAFETY: a text of a row that was just found, which stays pinned.
        Scalar::Text(text) => !nulls[TEXT] && unsafe { content(values[TEXT]) } == text.as_bytes(),
    }
}

enum Cleared {
    Yes,
    /// What is to be written is there.
    AsItIs,
    Busy,
}
