//! One server with a data folder of its own: start, stop, crash, reload.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::cluster_dir::ClusterDir;
use crate::database::Database;
use crate::log::LogMark;
use crate::psql::{self, ToolOutput};
use crate::session::{Failure, Session};
use crate::wait::{SOON, eventually};
use crate::{Installation, account, process, template};

/// Servers listen in folders of their own only, so they can all use the same port.
pub(crate) const PORT: u16 = 5432;

/// Far above any bound that a test asserts; a server that needs longer hangs.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The three ways to ask a server to stop.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Waits for sessions to end.
    Smart,
    /// Ends sessions, then writes a checkpoint.
    Fast,
    /// No checkpoint: the next start recovers from a crash.
    Immediate,
}

impl Stop {
    fn signal(self) -> i32 {
        match self {
            Stop::Smart => libc::SIGTERM,
            Stop::Fast => libc::SIGINT,
            Stop::Immediate => libc::SIGQUIT,
        }
    }
}

/// How a cluster is to be made.
#[derive(Clone)]
pub struct Builder {
    installation: Installation,
    preload: bool,
    durable: bool,
    true_time: bool,
    settings: Vec<(String, String)>,
}

impl Builder {
    /// Loads pg_telemetry at server start, so that its workers run.
    pub fn preload(mut self) -> Builder {
        self.preload = true;
        self
    }

    /// With fsync, for tests that take the power away.
    pub fn durable(mut self) -> Builder {
        self.durable = true;
        self
    }

    /// With the clock of the machine, for measurements; nobody can set it.
    pub fn true_time(mut self) -> Builder {
        self.true_time = true;
        self
    }

    pub fn set(mut self, name: &str, value: impl ToString) -> Builder {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn installation(mut self, installation: &Installation) -> Builder {
        self.installation = installation.clone();
        self
    }

    /// Makes the data folder and starts the server.
    pub fn start(self) -> Arc<Cluster> {
        let cluster = self.create();
        cluster.start();
        cluster
    }

    /// Makes the data folder only.
    pub fn create(self) -> Arc<Cluster> {
        let dir = ClusterDir::create();
        template::copy_to(&self.installation, &dir.data());
        let clock = (!self.true_time).then(|| Clock::in_dir(dir.path()));
        let cluster = Cluster::in_dir(self.installation.clone(), dir, clock);
        for (name, value) in self.initial_settings() {
            cluster.set(&name, value);
        }
        cluster
    }

    fn initial_settings(self) -> Vec<(String, String)> {
        let mut settings: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| settings.push((name.to_owned(), value.to_owned()));
        set("listen_addresses", "");
        set("shared_buffers", "32MB");
        set("log_line_prefix", "%m [%p] %b %e %q%u@%d ");
        set("log_checkpoints", "off");
        // The default of 8 does not carry workers for the databases of several tests at once.
        set("max_worker_processes", "40");
        if self.preload {
            set("shared_preload_libraries", "pg_telemetry");
        }
        if !self.durable {
            set("fsync", "off");
        }
        settings.extend(self.settings);
        settings
    }
}

/// A server, running or not; stopped and removed when the last handle is dropped.
pub struct Cluster {
    installation: Installation,
    dir: ClusterDir,
    server: Mutex<Option<Child>>,
    clock: Option<Clock>,
}

impl Cluster {
    pub fn builder() -> Builder {
        Builder {
            installation: Installation::current().clone(),
            preload: false,
            durable: false,
            true_time: false,
            settings: Vec::new(),
        }
    }

    /// Takes over a folder whose data are there already.
    fn in_dir(installation: Installation, dir: ClusterDir, clock: Option<Clock>) -> Arc<Cluster> {
        let cluster = Cluster {
            installation,
            dir,
            server: Mutex::new(None),
            clock,
        };
        cluster.set("unix_socket_directories", cluster.dir.socket_dir().display());
        cluster.set("port", PORT);
        Arc::new(cluster)
    }

    /// Another server of the same kind, whose data are in that folder.
    pub(crate) fn twin_in(&self, dir: ClusterDir) -> Arc<Cluster> {
        let clock = self.clock.as_ref().map(|_| Clock::in_dir(dir.path()));
        Cluster::in_dir(self.installation.clone(), dir, clock)
    }

    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Its clock, which can be set at any time.
    pub fn clock(&self) -> &Clock {
        self.clock
            .as_ref()
            .expect("a server that was not asked to have the true time")
    }

    /// Where it listens: the host of a connection string.
    pub fn socket_dir(&self) -> &Path {
        self.dir.socket_dir()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.data()
    }

    /// A folder of this cluster that the server account can write, for dumps and the like.
    pub fn scratch_dir(&self) -> &Path {
        self.dir.path()
    }

    // --- settings

    /// Writes a setting into postgresql.conf; it takes effect at start or reload.
    pub fn set(&self, name: &str, value: impl ToString) {
        let line = format!("{name} = '{}'\n", value.to_string().replace('\'', "''"));
        let conf = self.data_dir().join("postgresql.conf");
        let written = OpenOptions::new()
            .append(true)
            .open(&conf)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", conf.display()));
    }

    /// Has the running server read its settings again, and waits until new sessions see that.
    pub fn reload(&self) {
        let loaded = "SELECT pg_conf_load_time()";
        let before = self.connect("postgres").text(loaded);
        process::signal(self.postmaster_pid(), libc::SIGHUP);
        eventually(SOON, "a reload of the settings", || {
            let now = self.connect("postgres").text(loaded);
            if now != before { Ok(()) } else { Err(now) }
        });
    }

    pub fn set_and_reload(&self, name: &str, value: impl ToString) {
        self.set(name, value);
        self.reload();
    }

    // --- start and stop

    pub fn start(&self) {
        self.start_with(&[]);
    }

    /// Starts the server with more arguments on its command line.
    pub fn start_with(&self, arguments: &[&str]) {
        let mut server = self.server();
        assert!(server.is_none(), "the server runs already");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.log())
            .expect("a log in our own folder");
        let mut command = account::command(&self.installation.program("postgres"));
        command
            .arg("-D")
            .arg(self.data_dir())
            .args(arguments)
            .stdin(std::process::Stdio::null());
        if let Some(clock) = &self.clock {
            command.envs(clock.environment());
        }
        command
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log);
        *server = Some(process::spawn_server(command).expect("the server starts"));
        drop(server);
        self.wait_until_ready();
    }

    /// Waits until the server takes connections: after a start, or while it recovers from a crash of a backend.
    pub fn wait_until_ready(&self) {
        let mut exited = None;
        eventually(STOP_TIMEOUT, "the server takes connections", || {
            exited = exited.or_else(|| self.server().as_mut()?.try_wait().ok()?);
            match self.try_connect("postgres") {
                _ if exited.is_some() => Ok(()),
                Ok(_) => Ok(()),
                Err(failure) => Err(failure),
            }
        });
        if let Some(status) = exited {
            self.server().take();
            panic!(
                "the server ended while starting ({status})\n{}",
                self.log().text()
            );
        }
    }

    pub fn stop(&self, how: Stop) {
        let mut server = self.server();
        let child = server.as_mut().expect("the server runs");
        process::signal(child.id(), how.signal());
        let exited = process::wait_for_exit(child, STOP_TIMEOUT);
        assert!(
            exited.is_some(),
            "{how:?} stop not finished within {STOP_TIMEOUT:?}"
        );
        server.take();
    }

    pub fn restart(&self, how: Stop) {
        self.stop(how);
        self.start();
    }

    /// Kills the postmaster without any chance to clean up, and waits until its children noticed.
    pub fn crash(&self) {
        let mut server = self.server();
        let mut child = server.take().expect("the server runs");
        kill_with_children(&mut child);
    }

    /// Kills one server process (a session or a worker) and waits until the postmaster has restarted all of them.
    pub fn kill_process(&self, pid: i32) {
        let log = self.log_mark();
        assert!(
            process::signal(pid.unsigned_abs(), libc::SIGKILL),
            "no process {pid}"
        );
        eventually(STOP_TIMEOUT, "the server starts over", || {
            let lines = log.lines_with("all server processes terminated; reinitializing");
            if lines.is_empty() {
                Err("no such line in the log")
            } else {
                Ok(())
            }
        });
        self.wait_until_ready();
    }

    pub fn is_running(&self) -> bool {
        self.server()
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub fn postmaster_pid(&self) -> u32 {
        self.server().as_ref().expect("the server runs").id()
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        // A test that panicked while it held this left a state that is still right.
        self.server
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Ends the server at any price and removes its folder; for the end of a test, however it ends.
    pub(crate) fn dispose(&self) {
        if let Some(mut child) = self.server().take() {
            process::signal(child.id(), libc::SIGQUIT);
            if process::wait_for_exit(&mut child, Duration::from_secs(10)).is_none() {
                kill_with_children(&mut child);
            }
        }
        self.dir.remove();
    }

    // --- sessions and programs

    pub fn try_connect(&self, database: &str) -> Result<Session, Failure> {
        Session::open(self.dir.socket_dir(), "postgres", database)
    }

    #[track_caller]
    pub fn connect(&self, database: &str) -> Session {
        self.connect_as("postgres", database)
    }

    #[track_caller]
    pub fn connect_as(&self, user: &str, database: &str) -> Session {
        Session::open(self.dir.socket_dir(), user, database)
            .unwrap_or_else(|failure| panic!("no connection to {database} as {user}: {failure}"))
    }

    pub fn create_database(self: &Arc<Cluster>, name: &str) -> Database {
        Database::create(self.clone(), name)
    }

    /// Any client program against this server.
    pub fn tool<A: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> ToolOutput {
        let mut command = psql::client(&self.installation, program, self.dir.socket_dir());
        // Some programs leave files where they run.
        command.args(arguments).current_dir(self.scratch_dir());
        psql::run(command, input)
    }

    /// Runs pg_upgrade from a stopped cluster of an older major into this one, which was never started.
    pub fn upgrade_from(&self, old: &Cluster) {
        let [old_bin, new_bin] = [&old.installation, &self.installation].map(|from| from.bindir().to_owned());
        let arguments = [
            ("--old-bindir", old_bin),
            ("--new-bindir", new_bin),
            ("--old-datadir", old.data_dir()),
            ("--new-datadir", self.data_dir()),
            ("--socketdir", self.dir.socket_dir().to_owned()),
        ];
        let mut command = account::command(&self.installation.program("pg_upgrade"));
        for (name, value) in arguments {
            command.arg(name).arg(value);
        }
        command
            .args(["--username", "postgres"])
            .current_dir(self.scratch_dir());
        psql::run(command, "").success();
    }

    // --- log

    /// The whole log of this server.
    pub fn log(&self) -> LogMark {
        LogMark::start_of(&self.dir.log())
    }

    /// The end of the log as it is now, to look later at what came after.
    pub fn log_mark(&self) -> LogMark {
        LogMark::end_of(&self.dir.log())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.log().print_if_panicking();
        self.dispose();
    }
}

/// The children notice the death of their parent on their own; until all have, the data folder cannot be used again.
///
/// It is stopped first: one that still starts processes would have children that are on no list.
fn kill_with_children(postmaster: &mut Child) {
    process::stop(postmaster.id());
    let children = process::children_of(postmaster.id());
    process::signal(postmaster.id(), libc::SIGKILL);
    postmaster.wait().expect("a child can be waited for");
    let deadline = Instant::now() + Duration::from_secs(10);
    for pid in children {
        while process::is_alive(pid) {
            if Instant::now() > deadline {
                process::signal(pid, libc::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
