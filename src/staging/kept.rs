//! Rows that stay in staging although they are bad: as long as `entity_values_rejected` cannot be written, the good ones beside
//! them go on without them. Known by their places. Pure.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

/// Places of one staging table.
pub type Places = Rc<HashSet<u64>>;

/// More than that are not told apart: the good rows wait with them.
const MOST: usize = 100_000;

pub fn key(block: u32, number: u16) -> u64 {
    u64::from(block) << 16 | u64::from(number)
}

#[derive(Debug, Default)]
pub struct Kept {
    /// By staging table.
    places: RefCell<Vec<(u32, Places)>>,
    news: Cell<bool>,
}

impl Kept {
    pub fn of(&self, table: u32) -> Places {
        let places = self.places.borrow();
        let known = places.iter().find(|(known, _)| *known == table);
        known.map(|(_, places)| places.clone()).unwrap_or_default()
    }

    /// Further ones, as far as their places are known.
    pub fn keep(&self, table: u32, more: impl Iterator<Item = Option<u64>>) {
        let mut places = self.of(table);
        let before = places.len();
        let Some(more) = more.collect::<Option<Vec<u64>>>() else {
            return;
        };
        Rc::make_mut(&mut places).extend(more);
        if places.len() > MOST || places.len() == before {
            return;
        }
        let mut all = self.places.borrow_mut();
        all.retain(|(known, _)| *known != table);
        all.push((table, places));
        self.news.set(true);
    }

    pub fn forget(&self) {
        self.places.borrow_mut().clear();
        self.news.set(false);
    }

    /// Whether there are some more since this was asked last: then it is worth while to try again without them.
    pub fn has_news(&self) -> bool {
        self.news.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_worth_another_try() {
        let kept = Kept::default();
        assert!(!kept.has_news());
        kept.keep(1, [Some(key(0, 1)), Some(key(7, 2))].into_iter());
        assert!(kept.has_news() && !kept.has_news());
        assert!(kept.of(1).contains(&key(7, 2)) && kept.of(2).is_empty());
        kept.keep(1, [Some(key(7, 2))].into_iter());
        assert!(!kept.has_news());
        kept.keep(2, [Some(3), None].into_iter());
        assert!(!kept.has_news() && kept.of(2).is_empty());
        kept.keep(2, (0..=MOST as u64).map(Some));
        assert!(!kept.has_news() && kept.of(2).is_empty());
        kept.forget();
        assert!(kept.of(1).is_empty());
    }
}
