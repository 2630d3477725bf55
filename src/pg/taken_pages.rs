//! Pages of which a flush of this process took every row, all at once. As long as nothing else happened to such a page, what
//! is to be known of its rows is to be known of the one transaction that took them: none need be looked at.
//!
//! That nothing happened is seen in the header of the page: a row that is added moves the ends of the free space, and clearing
//! away what is dead takes the deleter out of the hint that it left there. Rows of a deleter that committed, or still
//! runs, are changed by nobody; of one that was rolled back, every row is looked at.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys;
use pgrx::pg_sys::TransactionId;

use super::compat;
use super::heap_page::{Ends, Page};

/// Numbers of transactions come again after four thousand million.
const TRUSTED_FOR: u64 = 1 << 30;

/// The pages of one table.
pub struct TakenPages {
    /// Which file: TRUNCATE makes another one.
    file: u32,
    since: u64,
    pages: HashMap<u32, Seal>,
}

/// How a page looked when it was taken.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seal {
    deleter: TransactionId,
    ends: Ends,
}

thread_local! {
    static KNOWN: RefCell<HashMap<pg_sys::Oid, TakenPages>> = RefCell::default();
}

impl TakenPages {
    /// What this process knows of an open relation. To be given back by `keep`; what is not is forgotten.
    pub fn of(relation: pg_sys::Relation) -> TakenPages {
        // SAFETY: open; and the counter of transactions.
        let (oid, file, now) = unsafe {
            (
                (*relation).rd_id,
                compat::file_number(relation),
                pg_sys::ReadNextFullTransactionId().value,
            )
        };
        KNOWN
            .with_borrow_mut(|known| known.remove(&oid))
            .filter(|known| known.file == file && now.saturating_sub(known.since) < TRUSTED_FOR)
            .unwrap_or(TakenPages {
                file,
                since: now,
                pages: HashMap::new(),
            })
    }

    pub fn keep(self, table: pg_sys::Oid) {
        KNOWN.with_borrow_mut(|known| known.insert(table, self));
    }

    /// Every row of the page, and there is nothing else on it, was marked by this deleter.
    pub fn add(&mut self, block: u32, page: Page, deleter: TransactionId) {
        let ends = page.ends();
        self.pages.insert(block, Seal { deleter, ends });
    }

    /// Who took every row of this page, if nothing happened to it since.
    pub fn deleter(&mut self, block: u32, page: Page) -> Option<TransactionId> {
        let seal = self.pages.get(&block)?;
        if page.prunable() == seal.deleter && page.ends() == seal.ends {
            return Some(seal.deleter);
        }
        self.pages.remove(&block);
        None
    }
}
