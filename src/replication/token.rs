//! Commit tokens: what a client carries from the node where it wrote to the node where it reads. Pure.
//!
//! `pt1-<cluster>-<timeline>-L<position>`, or `-X<transaction>-L<position>` for a transaction that had not committed yet; all
//! numbers in hexadecimal.

use crate::pg::replication::Position;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The number of the cluster, the same on all physical copies.
    pub system: u64,
    pub timeline: u32,
    /// Where the WAL ended when the token was made.
    pub position: Position,
    /// The transaction that made the token, when it had written something: reached means that it has committed.
    pub transaction: Option<u64>,
}

impl Token {
    pub fn write(&self) -> String {
        let transaction = self.transaction.map(|id| format!("X{id:x}-")).unwrap_or_default();
        format!(
            "pt1-{:x}-{:x}-{transaction}L{:x}",
            self.system, self.timeline, self.position
        )
    }

    pub fn parse(text: &str) -> Option<Token> {
        let mut parts = text.strip_prefix("pt1-")?.split('-');
        let system = number(parts.next()?)?;
        let timeline = u32::try_from(number(parts.next()?)?).ok()?;
        let mut last = parts.next()?;
        let transaction = match last.strip_prefix('X') {
            Some(id) => {
                last = parts.next()?;
                Some(number(id)?)
            }
            None => None,
        };
        let position = number(last.strip_prefix('L')?)?;
        let complete = parts.next().is_none() && timeline > 0 && position > 0 && transaction != Some(0);
        complete.then_some(Token {
            system,
            timeline,
            position,
            transaction,
        })
    }
}

/// Only as `write` writes it: no sign, no capital letters, no zeros in front.
fn number(text: &str) -> Option<u64> {
    let value = u64::from_str_radix(text, 16).ok()?;
    (format!("{value:x}") == text).then_some(value)
}

/// The end of the record before an insert position. Behind the last record of a page the insert position already stands behind
/// the header of the next page, which nobody can have replayed before there is a record on it.
pub fn end_of_record(position: Position, page: u64, segment: u64) -> Position {
    const SHORT_HEADER: u64 = 24;
    const LONG_HEADER: u64 = 40;
    let header = if position % segment < page {
        LONG_HEADER
    } else {
        SHORT_HEADER
    };
    if position % page == header {
        position - header
    } else {
        position
    }
}

/// What a node knows of the token's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ancestry {
    /// It is the one of this node.
    Same,
    /// It ended at this position, and this node's goes on from there.
    EndedAt(Position),
    /// It is no ancestor of this node's.
    Stranger,
    /// It is newer than this node's.
    Newer,
}

/// A history file: one line for each timeline before this one, its number, where it ended, and why.
pub fn ancestry(token: u32, own: u32, history: Option<&str>) -> Option<Ancestry> {
    if token == own {
        return Some(Ancestry::Same);
    }
    if token > own {
        return Some(Ancestry::Newer);
    }
    let ended_at = history?.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let timeline: u32 = fields.next()?.parse().ok()?;
        let (high, low) = fields.next()?.split_once('/')?;
        let half = |text| u64::from_str_radix(text, 16).ok();
        (timeline == token).then_some(half(high)? << 32 | half(low)?)
    });
    Some(ended_at.map_or(Ancestry::Stranger, Ancestry::EndedAt))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        for transaction in [None, Some(0x1_0000_0003)] {
            let token = Token {
                system: u64::MAX,
                timeline: 3,
                position: 0xABCD_0000_0028,
                transaction,
            };
            assert_eq!(Token::parse(&token.write()), Some(token));
        }
    }

    #[test]
    fn anything_else_is_no_token() {
        for text in [
            "",
            "pt1",
            "pt1-",
            "pt1-1-1",
            "pt1-1-1-",
            "pt1-1-1-L",
            "pt1-1-1-L0",
            "pt1-1-0-L1",
            "pt1-1-1-X0-L1",
            "pt1-1-1-X5",
            "pt1-1-1-L1-",
            "pt1-1-1-L1 ",
            " pt1-1-1-L1",
            "pt1-1-1-l1",
            "pt1-1-1-L+1",
            "pt1-1-1-L01",
            "pt1-1-1-LA",
            "pt1-1-100000000-L1",
            "pt1-1-1-L10000000000000000",
            "pt2-1-1-L1",
            "0/3000028",
            "pt1-1-1-Lé",
        ] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_position_behind_the_header_of_an_empty_page_is_the_end_of_the_page_before() {
        let (page, segment) = (8192, 16 << 20);
        let end = |position| end_of_record(position, page, segment);
        assert_eq!(end(segment + 3 * page + 24), segment + 3 * page);
        assert_eq!(end(segment + 3 * page + 48), segment + 3 * page + 48);
        assert_eq!(end(2 * segment + 40), 2 * segment);
        assert_eq!(end(2 * segment + 24), 2 * segment + 24);
        assert_eq!(end(segment + 3 * page + 40), segment + 3 * page + 40);
    }

    #[test]
    fn the_history_of_a_timeline_says_where_the_others_ended() {
        let history =
            "1\t0/3000148\tno recovery target specified\n\n2\t1/A0000000\tno recovery target specified\n";
        let of = |token, own| ancestry(token, own, Some(history)).unwrap();
        assert_eq!(of(3, 3), Ancestry::Same);
        assert_eq!(of(4, 3), Ancestry::Newer);
        assert_eq!(of(1, 3), Ancestry::EndedAt(0x300_0148));
        assert_eq!(of(2, 3), Ancestry::EndedAt(0x1_A000_0000));
        assert_eq!(
            ancestry(2, 4, Some("1\t0/3000148\tx\n3\t0/4000000\tx\n")),
            Some(Ancestry::Stranger)
        );
        assert_eq!(ancestry(1, 2, None), None);
        assert_eq!(ancestry(1, 1, None), Some(Ancestry::Same));
    }
}
