//! Stack traces of Rust in error messages: of use to nobody who reads a server log, and there as soon as RUST_BACKTRACE is in the
//! environment that the server was started with.

const SWITCH: &str = "RUST_LIB_BACKTRACE";

/// Unless somebody asked for just these.
pub fn keep_out_of_errors() {
    if std::env::var_os(SWITCH).is_none() {
        // SAFETY: the library is loaded by a process of the server, which has a single thread.
        unsafe { std::env::set_var(SWITCH, "0") }
    }
}
