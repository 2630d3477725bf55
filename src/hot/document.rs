//! An object of the server's type jsonb, read and written where it lies: what does not change is copied as it is, nothing becomes
//! text on the way. Pure.
//!
//! A container is a header (how many, which kind), an entry of four bytes for each child (its kind and either its length or,
//! every so often, where it ends), and the children, keys before values, numbers and containers aligned to four bytes. The keys
//! of an object come in the order of their lengths, then of their bytes.

use std::cmp::Ordering;

use super::corrupt::Corrupt;
use super::numeric;

const HEADER: usize = 4;
const ENTRY: usize = 4;
/// The length that the server keeps in front of the whole.
pub const LENGTH: usize = 4;

const COUNT_MASK: u32 = 0x0fff_ffff;
const SCALAR: u32 = 0x1000_0000;
const OBJECT: u32 = 0x2000_0000;
const ARRAY: u32 = 0x4000_0000;

const OFFSET_MASK: u32 = 0x0fff_ffff;
const KIND_MASK: u32 = 0x7000_0000;
const KIND_SHIFT: u32 = 28;
const IS_OFFSET: u32 = 0x8000_0000;
/// Every so many entries one says where it ends, and the others how long they are.
const STRIDE: usize = 32;

/// What a value is. In the order of the server's own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    String,
    Numeric,
    False,
    True,
    Null,
    Container,
}

impl Kind {
    fn of(entry: u32) -> Option<Kind> {
        Some(match (entry & KIND_MASK) >> KIND_SHIFT {
            0 => Kind::String,
            1 => Kind::Numeric,
            2 => Kind::False,
            3 => Kind::True,
            4 => Kind::Null,
            5 => Kind::Container,
            _ => return None,
        })
    }

    fn is_aligned(self) -> bool {
        matches!(self, Kind::Numeric | Kind::Container)
    }
}

/// One value, in the server's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    pub kind: Kind,
    pub bytes: &'a [u8],
}

impl Item<'_> {
    /// An order of all values, the same for ever: numbers by their size, all else by kind and bytes.
    pub fn compare(&self, other: &Item) -> Ordering {
        // Names of what is no number come after numbers.
        let rank = |kind| match kind {
            Kind::Numeric => -1,
            kind => kind as i32,
        };
        match (self.kind, other.kind) {
            (Kind::Numeric, Kind::Numeric) => numeric::compare(self.bytes, other.bytes),
            (left, right) => rank(left)
                .cmp(&rank(right))
                .then_with(|| self.bytes.cmp(other.bytes)),
        }
    }
}

/// A key with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    pub key: &'a [u8],
    pub item: Item<'a>,
}

/// The order of the keys of an object.
pub fn key_order(left: &[u8], right: &[u8]) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// The pairs of an object, in order. `container`: without the length in front.
pub fn read(container: &[u8]) -> Result<Vec<Pair<'_>>, Corrupt> {
    let header = word(container, 0).ok_or(SHORT)?;
    if header & OBJECT == 0 || header & (SCALAR | ARRAY) != 0 {
        return Err(Corrupt("hot_attrs is not an object"));
    }
    let count = (header & COUNT_MASK) as usize;
    let mut pairs = Vec::with_capacity(count.min(container.len() / (2 * ENTRY)));
    let mut children = Children::new(container, 2 * count).ok_or(SHORT)?;
    for _ in 0..count {
        let key = children.next_item()?;
        if key.kind != Kind::String {
            return Err(Corrupt("hot_attrs has a key that is no text"));
        }
        let before = pairs.last().map(|pair: &Pair| pair.key);
        if before.is_some_and(|before| key_order(before, key.bytes) != Ordering::Less) {
            return Err(Corrupt("hot_attrs has its keys out of order"));
        }
        pairs.push(Pair {
            key: key.bytes,
            item: key,
        });
    }
    for pair in &mut pairs {
        pair.item = children.next_item()?;
    }
    Ok(pairs)
}

/// The value that a whole document is: itself, or what it holds if it is a single value.
pub fn whole(container: &[u8]) -> Result<Item<'_>, Corrupt> {
    let header = word(container, 0).ok_or(SHORT)?;
    if header & SCALAR == 0 {
        return Ok(Item {
            kind: Kind::Container,
            bytes: container,
        });
    }
    Children::new(container, 1).ok_or(SHORT)?.next_item()
}

const SHORT: Corrupt = Corrupt("hot_attrs is cut short");

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + ENTRY)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

/// Goes through the children of a container.
struct Children<'a> {
    container: &'a [u8],
    data: &'a [u8],
    next: usize,
    count: usize,
    offset: usize,
}

impl<'a> Children<'a> {
    fn new(container: &'a [u8], count: usize) -> Option<Children<'a>> {
        let data = container.get(HEADER + count * ENTRY..)?;
        Some(Children {
            container,
            data,
            next: 0,
            count,
            offset: 0,
        })
    }

    #[inline]
    fn next_item(&mut self) -> Result<Item<'a>, Corrupt> {
        let entry = word(self.container, HEADER + self.next * ENTRY).filter(|_| self.next < self.count);
        let entry = entry.ok_or(SHORT)?;
        let kind = Kind::of(entry).ok_or(Corrupt("hot_attrs has a value of an unknown kind"))?;
        let length = (entry & OFFSET_MASK) as usize;
        let start = self.offset;
        let end = if entry & IS_OFFSET != 0 {
            length
        } else {
            start + length
        };
        let start = if kind.is_aligned() {
            start.next_multiple_of(4)
        } else {
            start
        };
        let bytes = self.data.get(start..end).ok_or(SHORT)?;
        self.next += 1;
        self.offset = end;
        Ok(Item { kind, bytes })
    }
}

/// An object of these pairs, which are in order, with the length in front. None when it would be larger than the server allows.
pub fn write(pairs: &[Pair]) -> Option<Vec<u8>> {
    let size: usize = pairs
        .iter()
        .map(|pair| pair.key.len() + pair.item.bytes.len() + 3)
        .sum();
    let entries = LENGTH + HEADER;
    let data = entries + 2 * ENTRY * pairs.len();
    if size > OFFSET_MASK as usize || pairs.len() > COUNT_MASK as usize {
        return None;
    }
    let mut bytes = Vec::with_capacity(data + size);
    bytes.resize(data, 0);
    bytes[LENGTH..entries].copy_from_slice(&(OBJECT | pairs.len() as u32).to_ne_bytes());
    let keys = pairs.iter().map(|pair| Item {
        kind: Kind::String,
        bytes: pair.key,
    });
    let items = keys.chain(pairs.iter().map(|pair| pair.item));
    let mut before = data;
    for (number, item) in items.enumerate() {
        if item.kind.is_aligned() {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes.extend_from_slice(item.bytes);
        let place = if number % STRIDE == 0 {
            IS_OFFSET | (bytes.len() - data) as u32
        } else {
            (bytes.len() - before) as u32
        };
        let entry = (item.kind as u32) << KIND_SHIFT | place;
        let at = entries + number * ENTRY;
        bytes[at..at + ENTRY].copy_from_slice(&entry.to_ne_bytes());
        before = bytes.len();
    }
    let length = bytes.len() as u32;
    let length = if cfg!(target_endian = "little") {
        length << 2
    } else {
        length
    };
    bytes[..LENGTH].copy_from_slice(&length.to_ne_bytes());
    Some(bytes)
}

/// A single value as a document, without the length in front: what `whole` reads.
pub fn alone(item: Item) -> Vec<u8> {
    if item.kind == Kind::Container {
        return item.bytes.to_vec();
    }
    let entry = (item.kind as u32) << KIND_SHIFT | IS_OFFSET | item.bytes.len() as u32 & OFFSET_MASK;
    let mut container = (ARRAY | SCALAR | 1).to_ne_bytes().to_vec();
    container.extend_from_slice(&entry.to_ne_bytes());
    container.extend_from_slice(item.bytes);
    container
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn item(kind: Kind, bytes: &[u8]) -> Item<'_> {
        Item { kind, bytes }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let one = [40, 0, 0, 0, 0x80, 0x80, 21, 0, 0x88, 0x13];
        for count in [0, 1, 2, 31, 32, 33, 100, 5000] {
            let keys: Vec<String> = (0..count).map(|number| format!("key{number:05}")).collect();
            let pairs: Vec<Pair> = keys
                .iter()
                .enumerate()
                .map(|(number, key)| Pair {
                    key: key.as_bytes(),
                    item: match number % 5 {
                        0 => item(Kind::String, &key.as_bytes()[..number % 7]),
                        1 => item(Kind::Numeric, &one),
                        2 => item(Kind::True, &[]),
                        3 => item(Kind::Null, &[]),
                        _ => item(Kind::Container, &one[..8]),
                    },
                })
                .collect();
            let written = write(&pairs).unwrap();
            assert_eq!(read(&written[LENGTH..]).unwrap(), pairs, "{count}");
        }
    }

    #[test]
    fn what_is_no_such_object_is_refused_without_a_panic() {
        let pair = |key: &'static str| Pair {
            key: key.as_bytes(),
            item: item(Kind::String, b"value"),
        };
        let written = write(&[pair("a"), pair("b"), pair("cc")]).unwrap();
        let container = &written[LENGTH..];
        for length in 0..container.len() {
            assert!(read(&container[..length]).is_err(), "{length}");
        }
        for place in 0..container.len() * 8 {
            let mut flipped = container.to_vec();
            flipped[place / 8] ^= 1 << (place % 8);
            let _ = read(&flipped);
            let _ = whole(&flipped);
        }
        assert!(read(&write(&[pair("b"), pair("a")]).unwrap()[LENGTH..]).is_err());
        assert!(read(&write(&[pair("a"), pair("a")]).unwrap()[LENGTH..]).is_err());
    }

    #[test]
    fn a_value_alone_is_read_again() {
        for value in [
            item(Kind::String, b"xyz"),
            item(Kind::True, b""),
            item(Kind::Container, &[0; 4]),
        ] {
            assert_eq!(whole(&alone(value)).unwrap(), value);
        }
    }

    #[test]
    fn values_have_one_order() {
        let text = item(Kind::String, b"x");
        assert_eq!(text.compare(&item(Kind::String, b"y")), Ordering::Less);
        assert_eq!(text.compare(&item(Kind::True, b"")), Ordering::Less);
        assert_eq!(
            item(Kind::False, b"").compare(&item(Kind::True, b"")),
            Ordering::Less
        );
    }
}
