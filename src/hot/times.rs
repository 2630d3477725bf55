//! When each value of a document was observed, packed into the bytes of `hot_times`. Pure.
//!
//! Version 1: the version (one byte), the number of entries, the newest observation (eight bytes, little-endian), then for each
//! attribute, in the order of their ids: the id as the distance from the one before, how long before the newest it was observed,
//! and how long after that it came in. Numbers are unsigned LEB128, the first id is zigzag. What was observed together takes three
//! or four bytes each.

use super::corrupt::Corrupt;
use super::stamp::Stamp;

const VERSION: u8 = 1;

/// Attribute ids with their stamps, in the order of the ids.
pub type Times = Vec<(i32, Stamp)>;

/// `times` are in the order of their ids, each once.
pub fn pack(times: &[(i32, Stamp)]) -> Vec<u8> {
    let newest = newest(times).unwrap_or(0);
    let mut bytes = Vec::with_capacity(12 + times.len() * 5);
    bytes.push(VERSION);
    push(&mut bytes, times.len() as u64);
    bytes.extend_from_slice(&newest.to_le_bytes());
    let mut before = None;
    for (id, stamp) in times {
        let step = match before {
            None => zigzag(*id),
            Some(before) => i64::from(*id).wrapping_sub(i64::from(before)) as u64,
        };
        push(&mut bytes, step);
        push(&mut bytes, newest.wrapping_sub(stamp.event) as u64);
        push(&mut bytes, stamp.ingested.wrapping_sub(stamp.event) as u64);
        before = Some(*id);
    }
    bytes
}

/// When the newest of them was observed.
pub fn newest(times: &[(i32, Stamp)]) -> Option<i64> {
    times.iter().map(|(_, stamp)| stamp.event).max()
}

pub fn unpack(bytes: &[u8]) -> Result<Times, Corrupt> {
    let mut rest = bytes;
    match take_byte(&mut rest)? {
        VERSION => {}
        _ => return Err(Corrupt("hot_times has an unknown version")),
    }
    let count = usize::try_from(take(&mut rest)?).map_err(|_| SHORT)?;
    let (newest, entries) = rest.split_first_chunk::<8>().ok_or(SHORT)?;
    let newest = i64::from_le_bytes(*newest);
    rest = entries;
    // An entry has three bytes at least: what claims to have more than there can be is refused before room is made for it.
    if count > rest.len() / 3 {
        return Err(SHORT);
    }
    let mut times = Times::with_capacity(count);
    for _ in 0..count {
        let step = take(&mut rest)?;
        let id = match times.last() {
            None => unzigzag(step),
            Some((before, _)) if step > 0 => i64::try_from(step)
                .ok()
                .and_then(|step| i64::from(*before).checked_add(step)),
            Some(_) => None,
        };
        let id = id.and_then(|id| i32::try_from(id).ok());
        let id = id.ok_or(Corrupt("hot_times names attributes out of order"))?;
        let event = newest.wrapping_sub(take(&mut rest)? as i64);
        let ingested = event.wrapping_add(take(&mut rest)? as i64);
        if event > newest || ingested < event {
            return Err(Corrupt("hot_times has an impossible time"));
        }
        times.push((id, Stamp { event, ingested }));
    }
    if !rest.is_empty() {
        return Err(Corrupt("hot_times is longer than it says"));
    }
    Ok(times)
}

const SHORT: Corrupt = Corrupt("hot_times is cut short");

fn zigzag(id: i32) -> u64 {
    let id = i64::from(id);
    (id << 1 ^ id >> 63) as u64
}

fn unzigzag(value: u64) -> Option<i64> {
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

fn push(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(rest: &mut &[u8]) -> Result<u64, Corrupt> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = take_byte(rest)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Corrupt("hot_times has a number that is too long"))
}

fn take_byte(rest: &mut &[u8]) -> Result<u8, Corrupt> {
    let (first, others) = rest.split_first().ok_or(SHORT)?;
    *rest = others;
    Ok(*first)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(event: i64, ingested: i64) -> Stamp {
        Stamp { event, ingested }
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        let ends = [
            (i32::MIN, at(i64::MIN, i64::MAX)),
            (-1, at(i64::MIN, i64::MIN)),
            (0, at(0, 0)),
            (1, at(-5, 7)),
            (i32::MAX, at(i64::MAX, i64::MAX)),
        ];
        let one = [(7, at(100, 100))];
        for times in [&ends[..], &ends[1..], &ends[2..4], &one, &[]] {
            assert_eq!(unpack(&pack(times)).unwrap(), times);
        }
    }

    #[test]
    fn what_was_observed_together_takes_three_bytes_each() {
        let times: Times = (1..=50).map(|id| (id, at(1_000_000, 1_000_000))).collect();
        assert_eq!(pack(&times).len(), 10 + 3 * 50);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_an_error_or_other_times_and_never_a_panic() {
        let times: Times = (0..20)
            .map(|id| (id * 300, at(1 << id, 1 << (id + 20))))
            .collect();
        let bytes = pack(&times);
        for length in 0..bytes.len() {
            assert!(unpack(&bytes[..length]).is_err(), "{length}");
        }
        for place in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[place / 8] ^= 1 << (place % 8);
            if let Ok(found) = unpack(&flipped) {
                assert_ne!(found, times);
                assert!(found.is_sorted_by(|left, right| left.0 < right.0));
            }
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(unpack(&longer).is_err());
        assert!(unpack(&[]).is_err());
        assert!(unpack(&[2, 0]).is_err());
        assert!(unpack(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }
}
