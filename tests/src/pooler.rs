//! The real PgBouncer in front of a server, in transaction mode, with two server connections that take turns.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::campaign::announce;
use crate::cluster::{Cluster, PORT};
use crate::database::Database;
use crate::psql::ToolOutput;
use crate::session::Session;
use crate::wait::{SOON, eventually};
use crate::{account, process};

/// Stopped when dropped.
pub struct Pooler {
    child: Child,
    dir: PathBuf,
    prepares: bool,
}

impl Pooler {
    /// None, announced, where it is not installed.
    pub fn to(cluster: &Cluster) -> Option<Pooler> {
        let Some((program, version)) = find() else {
            announce("SKIPPED: pgbouncer is not installed");
            return None;
        };
        // Statements that a client has prepared follow it from one server connection to another since 1.21.
        let prepares = version >= (1, 21);
        let dir = cluster.scratch_dir().join("pool");
        fs::create_dir(&dir).expect("a folder in our own");
        account::give(&dir);
        let users = dir.join("users");
        fs::write(&users, "\"postgres\" \"\"\n").expect("a file in our own folder");
        let settings = dir.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={} port={PORT}\n\n[pgbouncer]\nlisten_port = {PORT}\nunix_socket_dir = {}\nauth_type = trust\n\
             auth_file = {}\npool_mode = transaction\ndefault_pool_size = 2\nserver_round_robin = 1\n\
             ignore_startup_parameters = extra_float_digits\n{}",
            cluster.socket_dir().display(),
            dir.display(),
            users.display(),
            if prepares {
                "max_prepared_statements = 100\n"
            } else {
                ""
            }
        );
        fs::write(&settings, text).expect("a file in our own folder");
        for file in [&users, &settings] {
            account::give(file);
        }
        let log = fs::File::create(dir.join("log")).expect("a file in our own folder");
        let mut command = account::command(&program);
        command
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = process::spawn_server(command).expect("pgbouncer starts");
        let pooler = Pooler { child, dir, prepares };
        eventually(SOON, "pgbouncer answers", || {
            pooler.try_connect("postgres").map(drop)
        });
        Some(pooler)
    }

    /// Whether a client may prepare a statement in one transaction and run it in another.
    pub fn keeps_prepared_statements(&self) -> bool {
        self.prepares
    }

    fn try_connect(&self, database: &str) -> Result<Session, crate::session::Failure> {
        Session::open(&self.dir, "postgres", database)
    }

    /// psql by way of the pooler, stopping at the first error.
    pub fn psql(&self, database: &Database, script: &str) -> ToolOutput {
        let dir = self.dir.display().to_string();
        let arguments = ["-X", "-v", "ON_ERROR_STOP=1", "-h", &dir, "-d", database.name()];
        database.tool("psql", arguments, script)
    }

    #[track_caller]
    pub fn connect(&self, database: &str) -> Session {
        self.try_connect(database)
            .unwrap_or_else(|failure| panic!("no connection to {database} by the pooler: {failure}"))
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, and its version.
fn find() -> Option<(PathBuf, (u32, u32))> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.exists())?;
    let output = Command::new(&program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text
        .split_whitespace()
        .nth(1)?
        .split('.')
        .map(|part| part.parse().ok());
    Some((program, (numbers.next()??, numbers.next()??)))
}
