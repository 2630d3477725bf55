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
    // Not the binding of pgrx: that one catches errors and raises them anew, without their context and object names.
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

/// Every utility statement of the cluster comes through here, and an error in it must reach the client as it is. So this
/// function has no guard and nothing to drop: the server's error jumps right over it.
#[allow(clippy::too_many_arguments)]
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
    // SAFETY: the arguments come from the server and go on to it unchanged; a statement has a valid node.
    unsafe {
        if needs_empty_database((*statement).utilityStmt) {
            guarded_process_utility(
                statement,
                text,
                read_only_tree,
                context,
                parameters,
                environment,
                destination,
                completion,
            );
        } else {
            let next = PREVIOUS
                .get()
                .copied()
                .flatten()
                .unwrap_or(server_process_utility);
            next(
                statement,
                text,
                read_only_tree,
                context,
                parameters,
                environment,
                destination,
                completion,
            );
        }
    }
}

/// Only looks at the statement itself, so that it costs others next to nothing.
///
/// # Safety
/// `node` must be a valid node.
unsafe fn needs_empty_database(node: *mut pg_sys::Node) -> bool {
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

#[allow(clippy::too_many_arguments)]
#[pg_guard]
unsafe extern "C-unwind" fn guarded_process_utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    destination: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    let next = PREVIOUS
        .get()
        .copied()
        .flatten()
        .unwrap_or(server_process_utility);
    // SAFETY: the arguments come from the server and go on to it unchanged.
    let go_on = || unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            next(
                statement,
                text,
                read_only_tree,
                context,
                parameters,
                environment,
                destination,
                completion,
            )
        })
    };
    // SAFETY: the server passes a valid statement.
    let affected = unsafe { affected_database((*statement).utilityStmt) };
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

/// The database that must be left by everybody for this statement; None for all other statements, and when the user may
/// not do it anyway: nobody shall stop workers by a statement that fails.
///
/// # Safety
/// `node` must be a valid node.
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
