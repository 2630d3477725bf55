//! One staged row, read from the bytes of its tuple. Pure: it knows how the server lays out the eight columns of staging and
//! facts, which `pg::layout` has compared with the table at hand.

/// Bytes of a tuple before the null bitmap.
pub const CTID: usize = 12;
pub const FIXED_HEADER: usize = 23;
pub const INFOMASK2: usize = 18;
pub const INFOMASK: usize = 20;
pub const HEADER_LENGTH: usize = 22;
const ATTRIBUTES_MASK: u16 = 0x07ff;
pub const HAS_NULL: u16 = 0x0001;

/// The columns, in their order.
pub const COLUMNS: usize = 8;
pub const INGESTED_AT: usize = 2;
pub const ATTRIBUTE_ID: usize = 6;

/// A tuple, header included.
#[derive(Debug, Clone, Copy)]
pub struct Tuple<'a> {
    bytes: &'a [u8],
    header: usize,
    /// Bit n set: column n has a value.
    present: u8,
}

/// What is checked about a row. The text is looked at by nobody, so it is not read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub tenant_id: Option<i64>,
    pub entity_id: Option<i64>,
    pub ingested_at: Option<i64>,
    pub observed_at: Option<i64>,
    pub has_num: bool,
    pub value_int: Option<i64>,
    pub attribute_id: Option<i32>,
    pub has_text: bool,
}

impl<'a> Tuple<'a> {
    /// None when this cannot be a row of eight columns.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Tuple<'a>> {
        let half = |at: usize| Some(u16::from_ne_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let columns = usize::from(half(INFOMASK2)? & ATTRIBUTES_MASK);
        let header = usize::from(*bytes.get(HEADER_LENGTH)?);
        if columns > COLUMNS {
            return None;
        }
        let stored = ((1u16 << columns) - 1) as u8;
        let present = if half(INFOMASK)? & HAS_NULL != 0 {
            *bytes.get(FIXED_HEADER)? & stored
        } else {
            stored
        };
        let tuple = Tuple {
            bytes,
            header,
            present,
        };
        (tuple.offset(COLUMNS - 1) <= bytes.len()).then_some(tuple)
    }

    /// Bit n set: column n has a value.
    pub fn present(&self) -> u8 {
        self.present
    }

    /// The values alone, as they lie behind the header.
    pub fn values(&self) -> &'a [u8] {
        let end = if self.has(COLUMNS - 1) {
            self.bytes.len()
        } else {
            self.offset(COLUMNS - 1)
        };
        self.bytes.get(self.header..end).unwrap_or_default()
    }

    #[inline]
    pub fn has(&self, column: usize) -> bool {
        self.present & (1 << column) != 0
    }

    /// Where a column begins, if it is there. Every column but the last two takes eight bytes.
    #[inline]
    fn offset(&self, column: usize) -> usize {
        let wide = self.present & ((1 << column.min(ATTRIBUTE_ID)) - 1);
        let narrow = if column > ATTRIBUTE_ID && self.has(ATTRIBUTE_ID) {
            4
        } else {
            0
        };
        self.header + 8 * wide.count_ones() as usize + narrow
    }

    /// The eight bytes of one of the wide columns.
    #[inline]
    pub fn wide(&self, column: usize) -> Option<i64> {
        if !self.has(column) {
            return None;
        }
        let at = self.offset(column);
        let bytes = self.bytes.get(at..at + 8)?;
        Some(i64::from_ne_bytes(bytes.try_into().ok()?))
    }

    #[inline]
    pub fn attribute_id(&self) -> Option<i32> {
        if !self.has(ATTRIBUTE_ID) {
            return None;
        }
        let at = self.offset(ATTRIBUTE_ID);
        let bytes = self.bytes.get(at..at + 4)?;
        Some(i32::from_ne_bytes(bytes.try_into().ok()?))
    }

    /// Where the text begins, if there is one.
    pub fn text_at(&self) -> Option<usize> {
        let at = self.offset(COLUMNS - 1);
        (self.has(COLUMNS - 1) && at < self.bytes.len()).then_some(at)
    }

    #[inline]
    pub fn ingested_at(&self) -> Option<i64> {
        self.wide(INGESTED_AT)
    }

    #[inline]
    pub fn reading(&self) -> Reading {
        Reading {
            tenant_id: self.wide(0),
            entity_id: self.wide(1),
            ingested_at: self.wide(INGESTED_AT),
            observed_at: self.wide(3),
            has_num: self.has(4),
            value_int: self.wide(5),
            attribute_id: self.attribute_id(),
            has_text: self.has(7),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use super::*;

    /// A tuple as the server would store it, for the tests of this feature.
    pub fn tuple(wide: [Option<i64>; 6], attribute: Option<i32>, text: Option<&[u8]>) -> Vec<u8> {
        let present: Vec<bool> = wide
            .iter()
            .map(Option::is_some)
            .chain([attribute.is_some(), text.is_some()])
            .collect();
        let all = present.iter().all(|value| *value);
        let mut bytes = vec![0; 24];
        bytes[INFOMASK2..INFOMASK2 + 2].copy_from_slice(&8u16.to_ne_bytes());
        bytes[INFOMASK..INFOMASK + 2].copy_from_slice(&u16::from(!all).to_ne_bytes());
        bytes[HEADER_LENGTH] = 24;
        for (column, there) in present.iter().enumerate() {
            bytes[FIXED_HEADER] |= u8::from(*there && !all) << column;
        }
        for value in wide.into_iter().flatten() {
            bytes.extend(value.to_ne_bytes());
        }
        bytes.extend(attribute.into_iter().flat_map(i32::to_ne_bytes));
        bytes.extend(text.unwrap_or_default());
        bytes
    }

    #[test]
    fn all_columns_are_found() {
        let bytes = tuple(
            [Some(1), Some(2), Some(3), Some(4), Some(5), Some(6)],
            Some(7),
            Some(b"x"),
        );
        let tuple = Tuple::new(&bytes).unwrap();
        assert_eq!(tuple.text_at(), Some(24 + 6 * 8 + 4));
        assert_eq!(
            tuple.reading(),
            Reading {
                tenant_id: Some(1),
                entity_id: Some(2),
                ingested_at: Some(3),
                observed_at: Some(4),
                has_num: true,
                value_int: Some(6),
                attribute_id: Some(7),
                has_text: true,
            }
        );
    }

    #[test]
    fn every_combination_of_nulls_is_read_right() {
        for mask in 0..=255u32 {
            let there = |column: u32| mask & (1 << column) != 0;
            let wide = [0, 1, 2, 3, 4, 5].map(|column| there(column).then_some(i64::from(column) + 100));
            let text = there(7).then_some(&b"abc"[..]);
            let bytes = tuple(wide, there(6).then_some(-6), text);
            let tuple = Tuple::new(&bytes).unwrap();
            for (column, expected) in wide.iter().enumerate() {
                assert_eq!(tuple.wide(column), *expected, "mask {mask:#x}, column {column}");
            }
            assert_eq!(tuple.attribute_id(), there(6).then_some(-6), "mask {mask:#x}");
            assert_eq!(tuple.text_at().map(|at| &bytes[at..]), text, "mask {mask:#x}");
        }
    }

    #[test]
    fn columns_that_were_added_later_are_null() {
        let mut bytes = tuple(
            [Some(1), Some(2), Some(3), Some(4), Some(5), Some(6)],
            Some(7),
            Some(b"x"),
        );
        bytes[INFOMASK2] = 3;
        let reading = Tuple::new(&bytes).unwrap().reading();
        assert_eq!((reading.ingested_at, reading.observed_at), (Some(3), None));
        assert!(!reading.has_text);
    }

    #[test]
    fn what_is_no_such_tuple_is_refused() {
        let bytes = tuple([Some(1); 6], Some(7), None);
        assert!(Tuple::new(&bytes[..20]).is_none());
        assert!(Tuple::new(&bytes[..40]).is_none());
        let mut wider = bytes.clone();
        wider[INFOMASK2] = 9;
        assert!(Tuple::new(&wider).is_none());
    }
}
