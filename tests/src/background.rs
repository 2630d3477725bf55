//! Work of a second session while the test goes on.

use std::thread::JoinHandle;

use crate::session::{Failure, Session};

/// A thread with a session of its own.
pub struct Background<T> {
    pid: i32,
    thread: JoinHandle<T>,
}

/// A statement that runs in the background; it may be expected to fail.
pub type SqlInBackground = Background<Result<(), Failure>>;

impl<T: Send + 'static> Background<T> {
    pub(crate) fn start(mut session: Session, work: impl FnOnce(&mut Session) -> T + Send + 'static) -> Self {
        Background {
            pid: session.pid(),
            thread: std::thread::spawn(move || work(&mut session)),
        }
    }

    /// The server process that does the work.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the work; a panic in it becomes the test's own.
    pub fn join(self) -> T {
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
