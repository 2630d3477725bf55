//! A hook around the statements that need a database without connections.

use std::ffi::{CStr, c_char};
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::{compat, databases};

/// What to do before and after such a statement, with the oid of the database.
#[derive(Clone, Copy)]
pub struct Guarded {
    pub before: fn(u32),
    /// Runs also when the statement fails, and must not raise an error itself.
    pub after: fn(u32),
}

static GUARDED: OnceLock<Guarded> = OnceLock::new();
static PREVIOUS: OnceLock<pg_sys::ProcessUtility_hook_type> = OnceLock::new();

/// Called once, while the postmaster loads preloaded libraries.
pub fn install(guarded: Guarded) {
    // SAFETY: nothing else runs in the postmaster now; every process inherits the hook.
    unsafe {
        if GUARDED.set(guarded).is_ok() && PREVIOUS.set(pg_sys::ProcessUtility_hook).is_ok() {
            pg_sys::ProcessUtility_hook = Some(process_utility);
        }
    }
}

unsafe extern "C-unwind" {
    // pgrx wraps a function of this name in a guard, which rebuilds every error that passes: without its position, its
    // context and the names of table and constraint. Clients need those, of all statements of the whole server.
    #[link_name = "standard_ProcessUtility"]
    fn server_process_utility(
        statement: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        destination: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// The arguments of a hook, as they go on to the next.
#[derive(Clone, Copy)]
struct Call {
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
}

/// No guard here: an error of the server jumps over this frame, in which there is nothing to drop.
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    let call = Call {
        statement,
        text,
        read_only_tree,
        context,
        parameters,
        environment,
        destination,
        completion,
    };
    // SAFETY: the server passes a valid statement; the arguments go on unchanged.
    unsafe {
        if may_concern_a_database((*statement).utilityStmt) {
            guarded(&call);
        } else {
            go_on(&call);
        }
    }
}

/// # Safety
/// The arguments must be those of a call of the hook. Nothing that must be dropped may be on the stack of the caller, or a
/// guard between.
unsafe fn go_on(call: &Call) {
    let next = match PREVIOUS.get() {
        Some(Some(previous)) => *previous,
        _ => server_process_utility,
    };
    // SAFETY: promised by the caller.
    unsafe {
        next(
            call.statement,
            call.text,
            call.read_only_tree,
            call.context,
            call.parameters,
            call.environment,
            call.destination,
            call.completion,
        )
    }
}

/// # Safety
/// The arguments must be those of a call of the hook.
#[pg_guard]
unsafe extern "C-unwind" fn guarded(call: &Call) {
    // SAFETY: promised by the caller; the guard turns a jump into an unwinding.
    let go_on = || unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| go_on(call)) };
    // SAFETY: promised by the caller.
    let affected = unsafe { affected_database((*call.statement).utilityStmt) };
    match (affected, GUARDED.get()) {
        (Some(database), Some(guarded)) => PgTryBuilder::new(AssertUnwindSafe(|| {
            (guarded.before)(database);
            go_on();
        }))
        .finally(move || (guarded.after)(database))
        .execute(),
        _ => go_on(),
    }
}

/// # Safety
/// `node` must be a valid node.
unsafe fn may_concern_a_database(node: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: a node is of the struct that its tag says.
    unsafe {
        match (*node).type_ {
            T_DropdbStmt | T_AlterDatabaseStmt | T_CreatedbStmt => true,
            T_RenameStmt => {
                (*node.cast::<pg_sys::RenameStmt>()).renameType == pg_sys::ObjectType::OBJECT_DATABASE
            }
            _ => false,
        }
    }
}

/// The database that must be left by everybody for this statement; None for all other statements, and when the user may
/// not do it anyway: nobody shall stop workers by a statement that fails.
///
/// # Safety
/// `node` must be a valid node that may concern a database.
unsafe fn affected_database(node: *mut pg_sys::Node) -> Option<u32> {
    // SAFETY: a node is of the struct that its tag says.
    unsafe {
        let name = match (*node).type_ {
            pg_sys::NodeTag::T_DropdbStmt => (*node.cast::<pg_sys::DropdbStmt>()).dbname,
            pg_sys::NodeTag::T_RenameStmt => (*node.cast::<pg_sys::RenameStmt>()).subname,
            pg_sys::NodeTag::T_AlterDatabaseStmt => {
                let alter = node.cast::<pg_sys::AlterDatabaseStmt>();
                option((*alter).options, c"tablespace")?;
                (*alter).dbname
            }
            pg_sys::NodeTag::T_CreatedbStmt => {
                let create = node.cast::<pg_sys::CreatedbStmt>();
                let template = option((*create).options, c"template");
                return template_database(template.map_or(std::ptr::null(), |name| name.cast_const()));
            }
            _ => return None,
        };
        let database = find(name)?;
        compat::owns_database(pg_sys::Oid::from(database)).then_some(database)
    }
}

/// # Safety
/// `name` must be NULL, for the default template, or a valid C string.
unsafe fn template_database(name: *const c_char) -> Option<u32> {
    // SAFETY: promised by the caller.
    let database = unsafe {
        find(if name.is_null() {
            c"template1".as_ptr()
        } else {
            name
        })?
    };
    compat::may_copy_database(pg_sys::Oid::from(database)).then_some(database)
}

/// # Safety
/// `name` must be NULL or a valid C string.
unsafe fn find(name: *const c_char) -> Option<u32> {
    // SAFETY: promised by the caller; a statement that needs a catalog lookup runs in a transaction.
    unsafe {
        if name.is_null() || !pg_sys::IsTransactionState() {
            return None;
        }
        databases::find(CStr::from_ptr(name))
    }
}

/// The string value of an option in a list of DefElem.
///
/// # Safety
/// `options` must be NULL or a list of DefElem.
unsafe fn option(options: *mut pg_sys::List, name: &CStr) -> Option<*mut c_char> {
    // SAFETY: promised by the caller.
    unsafe {
        if options.is_null() {
            return None;
        }
        (0..(*options).length)
            .map(|index| {
                (*(*options).elements.add(index as usize))
                    .ptr_value
                    .cast::<pg_sys::DefElem>()
            })
            .find(|element| CStr::from_ptr((**element).defname) == name && !(**element).arg.is_null())
            .map(|element| pg_sys::defGetString(element))
    }
}
