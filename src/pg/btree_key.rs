//! Keys of a b-tree that are numbers, and how the server lays them out in a tuple. Pure.

use pgrx::pg_sys;

use super::heap_page;

/// Columns of a key.
pub const COLUMNS: usize = 4;

/// Of a tuple: its place in the table, then its size and flags.
pub const INFO: usize = 6;
pub const TUPLE_HEADER: usize = 8;

/// A key with the place of its row, which is the last part of every key: no two are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub values: [i64; COLUMNS],
    /// Block and number, as they are compared.
    pub place: u64,
}

pub fn pack_place(place: &pg_sys::ItemPointerData) -> u64 {
    u64::from(heap_page::block_of(place)) << 16 | u64::from(place.ip_posid)
}

pub fn unpack_place(place: u64) -> pg_sys::ItemPointerData {
    heap_page::place((place >> 16) as u32, place as u16)
}

/// How the server lays out the tuples of an index.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub(super) columns: Vec<Column>,
    /// Where a column of eight bytes begins that is no part of the key.
    included: Option<usize>,
    size: usize,
}

/// What a column of an index holds. In a key all are whole numbers of which the order is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Small,
    Wide,
    /// A double, as `ordered` has it.
    Double,
}

impl Kind {
    fn width(self) -> usize {
        match self {
            Kind::Small => 4,
            Kind::Wide | Kind::Double => 8,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Column {
    pub at: usize,
    pub kind: Kind,
}

impl Column {
    pub fn end(&self) -> usize {
        self.at + self.kind.width()
    }
}

/// A double as a whole number, in the order of the server: NaN above all, and both zeros alike.
pub fn ordered(double: f64) -> i64 {
    let double = if double == 0.0 { 0.0 } else { double };
    if double.is_nan() {
        return i64::MAX;
    }
    turned(double.to_bits().cast_signed())
}

/// The double of which `ordered` made this.
pub fn unordered(number: i64) -> f64 {
    match number {
        i64::MAX => f64::NAN,
        number => f64::from_bits(turned(number).cast_unsigned()),
    }
}

/// Of negative doubles the greater one has the smaller bits behind the sign.
fn turned(bits: i64) -> i64 {
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

impl Layout {
    pub fn of(kinds: &[Kind]) -> Layout {
        let mut at = TUPLE_HEADER;
        let mut columns = Vec::with_capacity(kinds.len());
        for &kind in kinds {
            let column = Column {
                at: at.next_multiple_of(kind.width()),
                kind,
            };
            at = column.end();
            columns.push(column);
        }
        Layout {
            columns,
            included: None,
            size: at.next_multiple_of(8),
        }
    }

    /// With a column of eight bytes behind, which orders nothing.
    pub fn with_included(mut self) -> Layout {
        self.included = Some(self.size);
        self.size += 8;
        self
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// The tuple of an entry, `size` bytes long; `included` counts if there is such a column.
    pub fn write(&self, key: &Key, included: i64, tuple: &mut [u8]) {
        tuple.fill(0);
        put(tuple, 0, (key.place >> 32) as u16);
        put(tuple, 2, (key.place >> 16) as u16);
        put(tuple, 4, key.place as u16);
        put(tuple, INFO, self.size as u16);
        for (column, value) in self.columns.iter().zip(key.values) {
            let place = &mut tuple[column.at..column.end()];
            match column.kind {
                Kind::Small => place.copy_from_slice(&(value as i32).to_ne_bytes()),
                Kind::Wide => place.copy_from_slice(&value.to_ne_bytes()),
                Kind::Double => place.copy_from_slice(&unordered(value).to_ne_bytes()),
            }
        }
        if let Some(at) = self.included {
            tuple[at..at + 8].copy_from_slice(&included.to_ne_bytes());
        }
    }
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the server orders them: NaN above all, both zeros alike.
    #[test]
    fn doubles_keep_their_order_as_whole_numbers() {
        let doubles = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -1.0,
            -f64::MIN_POSITIVE,
            -f64::from_bits(1),
            0.0,
            f64::from_bits(1),
            f64::MIN_POSITIVE,
            0.1,
            1.0,
            1.5,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        assert!(doubles.map(ordered).is_sorted_by(|left, right| left < right));
        for double in doubles {
            assert_eq!(ordered(unordered(ordered(double))), ordered(double));
            assert!(double.is_nan() || unordered(ordered(double)) == double);
        }
        assert_eq!(ordered(-0.0), ordered(0.0));
        assert_eq!(unordered(ordered(-0.0)).to_bits(), 0.0f64.to_bits());
        assert_eq!(ordered(-f64::NAN), ordered(f64::NAN));
    }
}
