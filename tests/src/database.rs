//! One database of a cluster, as tests use it.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::background::{Background, SqlInBackground};
use crate::cluster::Cluster;
use crate::log::LogMark;
use crate::psql::ToolOutput;
use crate::session::Session;

/// A database that is dropped together with its last handle; the sessions opened here are such handles as well.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Arc<Cluster>,
    name: String,
    log: LogMark,
}

impl Database {
    pub(crate) fn create(cluster: Arc<Cluster>, name: &str) -> Database {
        let log = cluster.log_mark();
        cluster
            .connect("postgres")
            .exec(&format!("CREATE DATABASE {}", quoted(name)));
        Database {
            inner: Arc::new(Inner {
                cluster,
                name: name.to_owned(),
                log,
            }),
        }
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The name as an SQL identifier.
    pub fn quoted_name(&self) -> String {
        quoted(&self.inner.name)
    }

    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.inner.cluster
    }

    /// What the server has logged since this database came to be.
    pub fn log(&self) -> &LogMark {
        &self.inner.log
    }

    #[track_caller]
    pub fn connect(&self) -> Session {
        self.connect_as("postgres")
    }

    #[track_caller]
    pub fn connect_as(&self, user: &str) -> Session {
        self.inner
            .cluster
            .connect_as(user, self.name())
            .keeping(self.clone())
    }

    /// Creates the extension in the schema `telemetry`, which all later sessions of this database find by themselves.
    pub fn install(&self) -> Session {
        self.connect().exec(&format!(
            "CREATE SCHEMA telemetry; CREATE EXTENSION pg_telemetry SCHEMA telemetry;
             ALTER DATABASE {} SET search_path = telemetry, public",
            self.quoted_name()
        ));
        self.connect()
    }

    /// A login role of this database's test alone: roles belong to the whole cluster.
    pub fn create_login(&self, group: Option<&str>) -> String {
        let role = format!("{}_{}", self.name(), group.unwrap_or("nobody"));
        let mut session = self.connect();
        session.exec(&format!("CREATE ROLE {role} LOGIN"));
        if let Some(group) = group {
            session.exec(&format!("GRANT {group} TO {role}"));
        }
        role
    }

    /// Starts work in a session of its own.
    pub fn background<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> T + Send + 'static,
    ) -> Background<T> {
        Background::start(self.connect(), work)
    }

    pub fn background_sql(&self, sql: impl Into<String>) -> SqlInBackground {
        let sql = sql.into();
        self.background(move |session| session.try_exec(&sql))
    }

    /// psql without the user's own start-up file, stopping at the first error.
    pub fn psql(&self, script: &str) -> ToolOutput {
        self.tool(
            "psql",
            ["-X", "-v", "ON_ERROR_STOP=1", "-d", &self.inner.name],
            script,
        )
    }

    /// Any client program against the server of this database.
    pub fn tool<A: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> ToolOutput {
        self.inner.cluster.tool(program, arguments, input)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.log.print_if_panicking();
        if let Ok(mut session) = self.cluster.try_connect("postgres") {
            // Left behind it would only keep workers busy; a test may have dropped or renamed it itself.
            let _ = session.try_exec(&format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                quoted(&self.name)
            ));
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
