//! Which HASH partition holds an entity: the server's own arithmetic for two bigints. Pure.

const SEED: u64 = 0x7a5b_2236_7996_dcfd;

/// What the server takes the remainder of.
pub fn row_hash(tenant_id: i64, entity_id: i64) -> u64 {
    combine(combine(0, hash(tenant_id)), hash(entity_id))
}

fn combine(left: u64, right: u64) -> u64 {
    let mixed = right
        .wrapping_add(0x49a0_f4dd_15e5_a8e3)
        .wrapping_add(left << 54)
        .wrapping_add(left >> 7);
    left ^ mixed
}

/// `hashint8extended` with the seed of partitioning: numbers that fit into an integer hash as that integer does.
fn hash(value: i64) -> u64 {
    let low = value as u32;
    let high = (value >> 32) as u32;
    let key = low ^ if value >= 0 { high } else { !high };

    let start = 0x9e37_79b9u32.wrapping_add(4).wrapping_add(3_923_095);
    let (mut a, mut b, mut c) = (start, start, start);
    a = a.wrapping_add((SEED >> 32) as u32);
    b = b.wrapping_add(SEED as u32);
    // mix: the same step with the three in turn
    for turn in [4, 6, 8, 16, 19, 4] {
        a = a.wrapping_sub(c) ^ c.rotate_left(turn);
        c = c.wrapping_add(b);
        (a, b, c) = (b, c, a);
    }
    a = a.wrapping_add(key);
    // final
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    u64::from(b) << 32 | u64::from(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_server() {
        // hashint8extended(value, 8816678312871386365)
        assert_eq!(hash(1), 0x52d6_2105_8124_e6d5);
        assert_eq!(hash(-5), 0x4bde_2283_2849_ad1c);
        assert_eq!(row_hash(1, 2), 5_098_941_802_753_702_177);
        assert_eq!(row_hash(-5, 1 << 40), 10_368_320_585_774_864_582);
    }
}
