//! Whether a text is one clause of CREATE INDEX and no more, by the server's own parser. What passes can be put into a statement on
//! lines of its own: it ends where it seems to end.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

/// A key of an index: a column, or an expression.
pub struct Key {
    pub column: Option<String>,
}

/// None unless the text is a single key, with a collation, operator class and order if it likes. A text that the parser does not
/// understand at all raises its error.
pub fn key(text: &str) -> Option<Key> {
    let statement = only_statement(&format!("CREATE INDEX ON facts USING btree (\n{text}\n)"))?;
    // SAFETY: a tree that was just made, of the kind that was asked for; its list of keys consists of IndexElem.
    unsafe {
        let statement = &*statement;
        let bare = statement.indexIncludingParams.is_null()
            && statement.options.is_null()
            && statement.tableSpace.is_null()
            && statement.whereClause.is_null();
        let keys = statement.indexParams;
        if !bare || keys.is_null() || (*keys).length != 1 {
            return None;
        }
        let element = &*(*(*keys).elements).ptr_value.cast::<pg_sys::IndexElem>();
        let name = element.name;
        Some(Key {
            column: (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned()),
        })
    }
}

/// Whether the text is one condition. It is the last clause of the statement, so whatever it consists of belongs to it.
pub fn is_condition(text: &str) -> bool {
    only_statement(&format!(
        "CREATE INDEX ON facts USING btree (tenant_id) WHERE (\n{text}\n)"
    ))
    .is_some()
}

fn only_statement(text: &str) -> Option<*const pg_sys::IndexStmt> {
    let text = CString::new(text).ok()?;
    // SAFETY: the parser takes a C string and returns a list of raw statements in the current memory context.
    unsafe {
        let statements = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        if statements.is_null() || (*statements).length != 1 {
            return None;
        }
        let raw = (*(*statements).elements).ptr_value.cast::<pg_sys::RawStmt>();
        let statement = (*raw).stmt;
        let is_index = (*statement).type_ == pg_sys::NodeTag::T_IndexStmt;
        is_index.then_some(statement.cast::<pg_sys::IndexStmt>().cast_const())
    }
}
