//! An entity that may be what is looked for.

use crate::pg::value_entries::Entry;

#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub entity: i64,
    /// When the newest of what is known of it so far was observed.
    pub newest: i64,
    /// Where its document was, 0 if that is not known.
    pub document: u64,
}

impl Candidate {
    pub fn new(entity: i64, newest: i64) -> Candidate {
        Candidate {
            entity,
            newest,
            document: 0,
        }
    }
}

impl From<Entry> for Candidate {
    /// Of which no time is known.
    fn from(entry: Entry) -> Candidate {
        Candidate {
            document: entry.document,
            ..Candidate::new(entry.entity, i64::MIN)
        }
    }
}
