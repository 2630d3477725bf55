//! The operating system account that servers and client programs run as: PostgreSQL refuses to run as root.

use std::ffi::CString;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Debian's package makes this account.
const SERVER_ACCOUNT: &str = "postgres";

#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

/// None when we are not root, and so everything runs as ourselves.
fn other_account() -> Option<Account> {
    static ACCOUNT: OnceLock<Option<Account>> = OnceLock::new();
    // SAFETY: geteuid has no preconditions.
    *ACCOUNT.get_or_init(|| (unsafe { libc::geteuid() } == 0).then(look_up))
}

fn look_up() -> Account {
    let name = CString::new(SERVER_ACCOUNT).expect("no NUL in a constant");
    // SAFETY: the name is NUL-terminated; the static record is copied before any other look-up, and this runs once.
    let record = unsafe { libc::getpwnam(name.as_ptr()).as_ref() };
    let record =
        record.unwrap_or_else(|| panic!("root cannot run PostgreSQL and there is no user {SERVER_ACCOUNT}"));
    Account {
        uid: record.pw_uid,
        gid: record.pw_gid,
    }
}

/// The program, to be run as the server account in a neutral place: no folder of ours, none of our PG* variables.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if let Some(account) = other_account() {
        // With a uid given, root's supplementary groups are dropped as well.
        command.uid(account.uid).gid(account.gid);
    }
    for (name, _) in std::env::vars_os() {
        // RUST_BACKTRACE would add a backtrace to the detail of every error that the extension reports.
        if name.as_encoded_bytes().starts_with(b"PG") || name == "RUST_BACKTRACE" {
            command.env_remove(&name);
        }
    }
    command.current_dir("/").env("LC_ALL", "C");
    command
}

/// Makes a file or folder belong to the server account.
pub(crate) fn give(path: &Path) {
    if let Some(account) = other_account() {
        chown(path, Some(account.uid), Some(account.gid))
            .unwrap_or_else(|error| panic!("cannot give {} to {SERVER_ACCOUNT}: {error}", path.display()));
    }
}
