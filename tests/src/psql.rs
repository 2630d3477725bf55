//! Client programs (psql, pg_dump, pg_restore, …), run as the server account.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::cluster::PORT;
use crate::{Installation, account};

/// What a program wrote, and whether it was content.
#[derive(Debug)]
pub struct ToolOutput {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl ToolOutput {
    /// Fails the test when the program failed; otherwise what it wrote to stdout.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.ok, "the program failed\n{}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

impl From<Output> for ToolOutput {
    fn from(output: Output) -> ToolOutput {
        ToolOutput {
            ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A client program that finds the server by its environment.
pub(crate) fn client(installation: &Installation, program: &str, socket_dir: &Path) -> Command {
    let mut command = account::command(&installation.program(program));
    command
        .env("PGHOST", socket_dir)
        .env("PGPORT", PORT.to_string())
        .env("PGUSER", "postgres");
    command
}

/// Runs a program to its end with the given standard input.
pub(crate) fn run(mut command: Command, input: &str) -> ToolOutput {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stdin = child.stdin.take().expect("stdin is piped");
    std::thread::scope(|scope| {
        // Written from beside, so that neither side waits for the other when both have much to say.
        scope.spawn(move || {
            use std::io::Write;
            // A program that stops reading early says why in its own words.
            let _ = { stdin }.write_all(input.as_bytes());
        });
        child
            .wait_with_output()
            .expect("a child can be waited for")
            .into()
    })
}
