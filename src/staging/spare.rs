//! Memory that a process keeps from one batch to the next: to get it from the system anew, page by page, would be a tenth of
//! the price of a flush.

use std::cell::RefCell;

use super::batch::Row;

/// More is not kept: a batch of 100,000 plain readings takes less.
const MOST_BYTES: usize = 32 << 20;

/// What a batch used less than this part of is given back: it was meant for a backlog that is gone.
const LEAST_USED: usize = 16;

#[derive(Default)]
pub struct Spare {
    pub words: Vec<u64>,
    pub rows: Vec<Row>,
}

thread_local! {
    static KEPT: RefCell<Spare> = RefCell::default();
}

/// What was kept; nothing for a second batch at the same time.
pub fn take() -> Spare {
    KEPT.take()
}

/// Keeps the memory of a batch that is done. Its words are what it used.
pub fn keep(mut done: Spare) {
    let used = done.words.len();
    if !is_worth_keeping(used, done.words.capacity(), done.rows.capacity()) {
        return;
    }
    done.words.clear();
    done.rows.clear();
    KEPT.with_borrow_mut(|kept| {
        if kept.words.capacity() < done.words.capacity() {
            *kept = done;
        }
    });
}

/// A batch that found nothing says nothing about the next one.
fn is_worth_keeping(used: usize, words: usize, rows: usize) -> bool {
    let bytes = words * size_of::<u64>() + rows * size_of::<Row>();
    bytes <= MOST_BYTES && (used == 0 || used >= words / LEAST_USED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(used: usize, capacity: usize) -> Spare {
        let mut words = Vec::with_capacity(capacity);
        words.resize(used, 7);
        Spare {
            words,
            rows: Vec::new(),
        }
    }

    #[test]
    fn what_is_kept_comes_back_empty_and_once() {
        keep(done(100, 1000));
        let spare = take();
        assert_eq!((spare.words.len(), spare.words.capacity()), (0, 1000));
        assert_eq!(take().words.capacity(), 0);
    }

    #[test]
    fn the_larger_of_two_is_kept() {
        keep(done(100, 1000));
        keep(done(10, 100));
        assert_eq!(take().words.capacity(), 1000);
    }

    #[test]
    fn too_much_and_what_is_hardly_used_is_not_kept() {
        keep(done(1 << 22, MOST_BYTES / 8 + 1));
        assert_eq!(take().words.capacity(), 0);
        keep(done(10, 1000));
        assert_eq!(take().words.capacity(), 0);
        assert!(
            is_worth_keeping(0, 1000, 0) && !is_worth_keeping(61, 1000, 0) && is_worth_keeping(62, 1000, 0)
        );
    }
}
