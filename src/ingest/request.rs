//! What a request_id stands for. Pure.

use super::document::Entity;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub id: [u8; 16],
    /// Of all that was sent under it.
    pub fingerprint: i64,
}

impl Request {
    /// `readings`: the document as it is stored.
    pub fn new(id: [u8; 16], entity: Entity, observed_at: Option<i64>, readings: &[u8]) -> Request {
        let mut hash = Fnv::new();
        match entity {
            Entity::Id(id) => hash.add(&[0]).add(&id.to_ne_bytes()),
            Entity::External(text) => hash.add(&[1]).add(text.as_bytes()),
        };
        hash.add(&[2, u8::from(observed_at.is_some())])
            .add(&observed_at.unwrap_or(0).to_ne_bytes())
            .add(readings);
        Request {
            id,
            fingerprint: hash.0 as i64,
        }
    }

    pub fn text(&self) -> String {
        let digits: String = self.id.iter().map(|byte| format!("{byte:02x}")).collect();
        let group = |from: usize, until: usize| digits.get(from..until).unwrap_or_default();
        [
            group(0, 8),
            group(8, 12),
            group(12, 16),
            group(16, 20),
            group(20, 32),
        ]
        .join("-")
    }
}

/// FNV-1a: what it makes of some bytes stays the same in every version, since it is kept in a table. It tells a repeat from a
/// mistake, not from an attack.
struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) -> &mut Fnv {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(Fnv::new().add(b"foobar").0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn whatever_differs_changes_the_fingerprint() {
        let of = |entity, observed_at, readings: &[u8]| {
            Request::new([0; 16], entity, observed_at, readings).fingerprint
        };
        let first = of(Entity::Id(1), Some(0), b"x");
        assert_eq!(first, of(Entity::Id(1), Some(0), b"x"));
        for other in [
            of(Entity::Id(2), Some(0), b"x"),
            of(Entity::External("1"), Some(0), b"x"),
            of(Entity::Id(1), None, b"x"),
            of(Entity::Id(1), Some(0), b"y"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn an_id_is_shown_as_the_server_does() {
        let request = Request {
            id: std::array::from_fn(|n| n as u8),
            fingerprint: 0,
        };
        assert_eq!(request.text(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
