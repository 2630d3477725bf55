//! The folders of one run: where clusters live, and what earlier runs left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{account, installation, process};

/// Keeps the folders of finished clusters, to look at data and logs.
const KEEP: &str = "PG_TELEMETRY_KEEP";

/// The limit for a socket's path is 107 bytes, and the server appends "/.s.PGSQL.5432".
const LONGEST_SOCKET_DIR: usize = 90;

/// A folder for one cluster, removed when dropped.
#[derive(Debug)]
pub(crate) struct ClusterDir {
    path: PathBuf,
    socket_dir: PathBuf,
}

impl ClusterDir {
    pub(crate) fn create() -> ClusterDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = base().join(&name);
        make_private(&path);
        let socket_dir = if path.as_os_str().len() <= LONGEST_SOCKET_DIR {
            path.clone()
        } else {
            let short = Path::new("/tmp").join(format!("pg_telemetry-{name}"));
            make_private(&short);
            short
        };
        ClusterDir { path, socket_dir }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    pub(crate) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub(crate) fn remove(&self) {
        if std::env::var_os(KEEP).is_some() {
            return;
        }
        // Whatever cannot be removed now, the next run removes.
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_dir_all(&self.socket_dir);
    }
}

impl Drop for ClusterDir {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The folder of all clusters; belongs to the server account.
pub(crate) fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let base = installation::run_dir().join("clusters");
        fs::create_dir_all(&base).unwrap_or_else(|error| panic!("cannot create {}: {error}", base.display()));
        account::give(&base);
        let writable = account::command(Path::new("test")).arg("-w").arg(&base).status();
        assert!(
            writable.is_ok_and(|status| status.success()),
            "the user running the servers cannot write {}: choose another PG_TELEMETRY_RUN_DIR",
            base.display()
        );
        remove_leftovers(&base);
        base
    })
}

fn make_private(path: &Path) {
    fs::create_dir(path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("our own folder can be changed");
    account::give(path);
}

/// A run that was killed leaves folders; the name begins with the process that made them.
fn remove_leftovers(base: &Path) {
    for entry in fs::read_dir(base)
        .expect("our own folder can be listed")
        .flatten()
    {
        let name = entry.file_name();
        let maker = name
            .to_str()
            .and_then(|name| name.split_once('-'))
            .and_then(|(pid, _)| pid.parse().ok());
        // Our own number, before we have made any, was somebody else's in another namespace or before a restart.
        let is_gone = |pid: u32| pid == std::process::id() || !process::is_alive(pid);
        if maker.is_some_and(is_gone) && std::env::var_os(KEEP).is_none() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
