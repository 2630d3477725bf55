//! A query whose rows are looked at one by one, as the executor makes them: none is kept, and whoever has seen enough ends it.
//! Either its parameters are constants for the planner, so that partitions are left out when it plans and not when it runs; or it is
//! planned once, for all of them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::jsonb::Jsonb;
use super::memory::Scratch;
use crate::error::Error;

/// One row, for as long as it is looked at.
pub struct Row {
    slot: *mut pg_sys::TupleTableSlot,
}

impl Row {
    pub fn slot(&self) -> *mut pg_sys::TupleTableSlot {
        self.slot
    }

    /// Columns are counted from 0.
    fn datum(&self, column: usize) -> Option<pg_sys::Datum> {
        // SAFETY: all columns of the slot were read before; a column that it has not counts as NULL.
        unsafe {
            let there = column < usize::try_from((*self.slot).tts_nvalid).unwrap_or(0);
            (there && !*(*self.slot).tts_isnull.add(column)).then(|| *(*self.slot).tts_values.add(column))
        }
    }

    /// Of a bigint or a time.
    pub fn long(&self, column: usize) -> Option<i64> {
        self.datum(column).map(|datum| datum.value() as i64)
    }

    pub fn double(&self, column: usize) -> Option<f64> {
        self.datum(column)
            .map(|datum| f64::from_bits(datum.value() as u64))
    }

    /// False for NULL.
    pub fn boolean(&self, column: usize) -> bool {
        self.datum(column).is_some_and(|datum| datum.value() as u8 != 0)
    }

    pub fn text(&self, column: usize) -> Option<Cow<'_, str>> {
        // SAFETY: the caller's query says that the column is a text.
        unsafe {
            let text = <&str>::from_datum(self.datum(column)?, false)?;
            Some(Cow::Borrowed(text))
        }
    }

    /// Of a bytea.
    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        // SAFETY: the caller's query says that the column is a bytea.
        unsafe { <&[u8]>::from_datum(self.datum(column)?, false) }
    }

    pub fn document(&self, column: usize) -> Option<Jsonb<'_>> {
        self.datum(column).map(Jsonb::of)
    }
}

#[repr(C)]
struct Receiver<'a> {
    /// First, as the server knows no more of it.
    base: pg_sys::DestReceiver,
    each: &'a mut dyn FnMut(&Row) -> Result<bool, Error>,
    failed: Option<Error>,
    scratch: Scratch,
}

#[pg_guard]
unsafe extern "C-unwind" fn receive(
    slot: *mut pg_sys::TupleTableSlot,
    receiver: *mut pg_sys::DestReceiver,
) -> bool {
    // SAFETY: the receiver is the one that `stream` made, and nobody else looks at it while the query runs. What is unpacked for
    // one row is freed with it.
    unsafe {
        let receiver = receiver.cast::<Receiver>();
        pg_sys::slot_getallattrs(slot);
        let each = &mut (*receiver).each;
        let scratch = &(*receiver).scratch;
        let outcome = scratch.within(|| each(&Row { slot }));
        scratch.reset();
        match outcome {
            Ok(more) => more,
            Err(error) => {
                (*receiver).failed = Some(error);
                false
            }
        }
    }
}

unsafe extern "C-unwind" fn start(_: *mut pg_sys::DestReceiver, _: i32, _: pg_sys::TupleDesc) {}

unsafe extern "C-unwind" fn stop(_: *mut pg_sys::DestReceiver) {}

/// How a query is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// With the snapshot of the caller's query.
    Once,
    /// The same, and its plan is kept for the next time.
    Kept,
    /// The same, planned for its arguments each time: only what was parsed is kept.
    Planned,
    /// With what this transaction has written and what has been committed by now.
    Now,
}

thread_local! {
    static PLANS: RefCell<HashMap<(CString, How), pg_sys::SPIPlanPtr>> = RefCell::default();
}

/// # Safety
/// To be called while connected to SPI.
unsafe fn plan(text: &CStr, arguments: &[DatumWithOid], how: How) -> pg_sys::SPIPlanPtr {
    let key = (text.to_owned(), how);
    if let Some(kept) = PLANS.with_borrow(|plans| plans.get(&key).copied()) {
        return kept;
    }
    let option = match how {
        How::Planned => pg_sys::CURSOR_OPT_CUSTOM_PLAN,
        _ => pg_sys::CURSOR_OPT_GENERIC_PLAN,
    };
    let mut types: Vec<pg_sys::Oid> = arguments.iter().map(DatumWithOid::oid).collect();
    // SAFETY: connected, as promised; a plan that is kept lives as long as the process.
    let plan = unsafe {
        let plan = pg_sys::SPI_prepare_cursor(
            text.as_ptr(),
            types.len() as i32,
            types.as_mut_ptr(),
            option as i32,
        );
        pg_sys::SPI_keepplan(plan);
        plan
    };
    PLANS.with_borrow_mut(|plans| plans.insert(key, plan));
    plan
}

/// Forgets kept plans.
pub fn forget() {
    for plan in PLANS.take().into_values() {
        // SAFETY: kept by `plan`, and no longer known to anybody.
        unsafe { pg_sys::SPI_freeplan(plan) };
    }
}

/// Runs a query and has `each` look at its rows until it says false.
pub fn stream(
    text: &str,
    arguments: &[DatumWithOid],
    how: How,
    each: &mut dyn FnMut(&Row) -> Result<bool, Error>,
) -> Result<(), Error> {
    let Ok(text) = CString::new(text) else {
        return Ok(());
    };
    let mut receiver = Receiver {
        base: pg_sys::DestReceiver {
            receiveSlot: Some(receive),
            rStartup: Some(start),
            rShutdown: Some(stop),
            rDestroy: Some(stop),
            mydest: pg_sys::CommandDest::DestNone,
        },
        each,
        failed: None,
        scratch: Scratch::new(),
    };
    Spi::connect(|_| {
        // SAFETY: connected; text, parameters and receiver outlive the call.
        unsafe {
            let options = pg_sys::SPIExecuteOptions {
                params: parameters(arguments),
                read_only: how != How::Now,
                must_return_tuples: true,
                dest: &raw mut receiver.base,
                ..Default::default()
            };
            if matches!(how, How::Kept | How::Planned) {
                pg_sys::SPI_execute_plan_extended(plan(&text, arguments, how), &options);
            } else {
                pg_sys::SPI_execute_extended(text.as_ptr(), &options);
            }
        }
    });
    match receiver.failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The arguments as constants.
///
/// # Safety
/// Needs a memory context that lives as long as the list is used.
pub(super) unsafe fn parameters(arguments: &[DatumWithOid]) -> pg_sys::ParamListInfo {
    // SAFETY: the list is made with room for as many as are written.
    unsafe {
        let list = pg_sys::makeParamList(arguments.len() as i32);
        for (index, argument) in arguments.iter().enumerate() {
            let datum = argument.datum().map(|datum| datum.sans_lifetime());
            *(*list).params.as_mut_ptr().add(index) = pg_sys::ParamExternData {
                value: datum.unwrap_or(pg_sys::Datum::null()),
                isnull: datum.is_none(),
                pflags: pg_sys::PARAM_FLAG_CONST as u16,
                ptype: argument.oid(),
            };
        }
        list
    }
}
