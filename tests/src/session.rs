//! One connection, with the few calls that tests make all the time.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io::Write;
use std::path::Path;

use postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// How SQL's NULL appears among values in text form.
pub const NULL: &str = "<null>";

/// What the server said when a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The SQLSTATE; empty when the connection broke without one.
    pub code: String,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Failure {
        match error.as_db_error() {
            Some(db) => Failure {
                code: db.code().code().to_owned(),
                message: db.message().to_owned(),
                detail: db.detail().unwrap_or_default().to_owned(),
                hint: db.hint().unwrap_or_default().to_owned(),
            },
            None => Failure {
                code: String::new(),
                message: match error.source() {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                },
                detail: String::new(),
                hint: String::new(),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{} [{}]", self.message, self.code)?;
        if !self.detail.is_empty() {
            write!(out, "\n  detail: {}", self.detail)?;
        }
        if !self.hint.is_empty() {
            write!(out, "\n  hint: {}", self.hint)?;
        }
        Ok(())
    }
}

/// A connection. Calls that are expected to work fail the test with the statement and the server's words.
pub struct Session {
    client: Client,
    pid: i32,
    /// What must not go before the session does.
    keeps: Option<Box<dyn Any + Send>>,
}

impl Session {
    pub(crate) fn open(socket_dir: &Path, user: &str, database: &str) -> Result<Session, Failure> {
        let mut client = Config::new()
            .host_path(socket_dir)
            .user(user)
            .dbname(database)
            .connect(NoTls)?;
        // Not prepared: behind a pooler the next step of that may come to another server process.
        let pid = client
            .simple_query("SELECT pg_backend_pid()")?
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                _ => None,
            })
            .unwrap_or_default();
        Ok(Session {
            client,
            pid,
            keeps: None,
        })
    }

    pub(crate) fn keeping(mut self, what: impl Any + Send) -> Session {
        self.keeps = Some(Box::new(what));
        self
    }

    /// The server process behind this session.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The client underneath, for what the calls here do not cover.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Runs one or several statements; several form one transaction unless they say otherwise.
    pub fn try_exec(&mut self, sql: &str) -> Result<(), Failure> {
        Ok(self.client.batch_execute(sql)?)
    }

    #[track_caller]
    pub fn exec(&mut self, sql: &str) {
        if let Err(failure) = self.try_exec(sql) {
            panic!("{sql}\n  {failure}");
        }
    }

    /// Runs what must fail.
    #[track_caller]
    pub fn fails(&mut self, sql: &str) -> Failure {
        match self.try_exec(sql) {
            Ok(()) => panic!("this should have failed: {sql}"),
            Err(failure) => failure,
        }
    }

    /// Runs what must fail with the given SQLSTATE.
    #[track_caller]
    pub fn fails_with(&mut self, code: &str, sql: &str) -> Failure {
        let failure = self.fails(sql);
        assert_eq!(failure.code, code, "{sql}\n  {failure}");
        failure
    }

    /// All rows in text form.
    pub fn try_rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>, Failure> {
        let mut rows = Vec::new();
        for message in self.client.simple_query(sql)? {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push(
                    (0..row.len())
                        .map(|column| row.get(column).unwrap_or(NULL).to_owned())
                        .collect(),
                );
            }
        }
        Ok(rows)
    }

    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        self.try_rows(sql)
            .unwrap_or_else(|failure| panic!("{sql}\n  {failure}"))
    }

    /// The first column of all rows.
    #[track_caller]
    pub fn column(&mut self, sql: &str) -> Vec<String> {
        self.rows(sql)
            .into_iter()
            .map(|mut row| row.swap_remove(0))
            .collect()
    }

    /// The only value of the only row.
    #[track_caller]
    pub fn text(&mut self, sql: &str) -> String {
        let mut rows = self.rows(sql);
        assert!(
            rows.len() == 1 && rows[0].len() == 1,
            "one value expected from {sql}, not {rows:?}"
        );
        rows.swap_remove(0).swap_remove(0)
    }

    #[track_caller]
    pub fn number(&mut self, sql: &str) -> i64 {
        let text = self.text(sql);
        text.parse()
            .unwrap_or_else(|_| panic!("a whole number expected from {sql}, not {text:?}"))
    }

    #[track_caller]
    pub fn is_true(&mut self, sql: &str) -> bool {
        match self.text(sql).as_str() {
            "t" => true,
            "f" => false,
            other => panic!("a boolean expected from {sql}, not {other:?}"),
        }
    }

    /// COPY … FROM STDIN with the given lines in COPY's text format; how many rows were taken.
    pub fn try_copy(&mut self, target: &str, lines: &str) -> Result<u64, Failure> {
        let mut writer = self.client.copy_in(&format!("COPY {target} FROM STDIN"))?;
        // The server's own words about a bad line come from finish(), not from a broken pipe here.
        let _ = writer.write_all(lines.as_bytes());
        let rows = writer.finish()?;
        // That was the end of the command. The commit comes after it, and only the next answer says that it is done.
        self.try_exec("")?;
        Ok(rows)
    }

    #[track_caller]
    pub fn copy(&mut self, target: &str, lines: &str) -> u64 {
        self.try_copy(target, lines)
            .unwrap_or_else(|failure| panic!("COPY {target}\n  {failure}"))
    }
}
