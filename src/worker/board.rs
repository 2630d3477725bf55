//! The board in shared memory on which launcher and workers write what they do, and from which `worker_status` reads.
//! Plain data without pointers: it is shared between processes. Times are PostgreSQL timestamps; 0 is "never".

use super::role::TASKS;

pub use super::role::{ROLES, Role};
pub use super::task_state::{TaskState, Text};

/// Databases of one cluster that can have workers at the same time.
pub const DATABASES: usize = 64;

/// Jobs that can wait for one janitor.
const JOBS: usize = 16;

#[derive(Debug, Clone, Copy)]
pub struct Process {
    pub pid: i32,
    pub started_at: i64,
    pub starts: u32,
    /// It ended because there was nothing left for it to do, not by a fault.
    pub done: bool,
}

impl Process {
    const NONE: Self = Process {
        pid: 0,
        started_at: 0,
        starts: 0,
        done: false,
    };

    pub fn start(&mut self, pid: i32, now: i64) {
        *self = Process {
            pid,
            started_at: now,
            starts: self.starts.saturating_add(1),
            done: false,
        };
    }
}

/// What the launcher knows about a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Somebody has to look.
    Unknown,
    Absent,
    Installed,
}

/// A request for the janitor: which of its tasks, on which relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    pub task: u8,
    pub relation: u32,
}

#[derive(Debug, Clone, Copy)]
pub struct Database {
    /// 0: a free place.
    pub oid: u32,
    pub presence: Presence,
    /// Counts the times that somebody said "look again"; what was seen before the last of them does not count.
    pub notices: u32,
    /// The backend that is about to drop, rename or copy the database; no worker runs meanwhile.
    pub held_by: i32,
    /// The launcher could not start a worker, for lack of slots.
    pub short_of_workers: bool,
    /// When a flush last left nothing behind.
    pub nothing_waited_at: i64,
    pub workers: [Process; ROLES],
    tasks: [TaskState; TASKS],
    jobs: [Option<Job>; JOBS],
}

impl Database {
    const FREE: Self = Database {
        oid: 0,
        presence: Presence::Unknown,
        notices: 0,
        held_by: 0,
        short_of_workers: false,
        nothing_waited_at: 0,
        workers: [Process::NONE; ROLES],
        tasks: [TaskState::NONE; TASKS],
        jobs: [None; JOBS],
    };

    pub fn task(&self, role: Role, task: usize) -> Option<&TaskState> {
        self.tasks.get(role.place(task)?)
    }

    pub fn task_mut(&mut self, role: Role, task: usize) -> Option<&mut TaskState> {
        self.tasks.get_mut(role.place(task)?)
    }

    pub fn pids(&self) -> impl Iterator<Item = i32> + '_ {
        self.workers
            .iter()
            .map(|worker| worker.pid)
            .filter(|pid| *pid != 0)
    }

    pub fn has_jobs(&self) -> bool {
        self.jobs.iter().any(Option::is_some)
    }

    /// False when the job waits already or there is no place for it; whoever asked asks again later.
    pub fn request(&mut self, job: Job) -> bool {
        if self.jobs.contains(&Some(job)) {
            return false;
        }
        match self.jobs.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(job);
                true
            }
            None => false,
        }
    }

    /// The next job, the oldest first. It leaves the board before it runs: one that crashes the server is not repeated.
    pub fn take_job(&mut self) -> Option<Job> {
        let job = self.jobs[0].take();
        self.jobs.rotate_left(1);
        job
    }
}

pub struct Board {
    pub launcher: Process,
    /// Databases with the extension beyond the number of places.
    pub overflow: u32,
    databases: [Database; DATABASES],
}

impl Board {
    pub const fn new() -> Self {
        Board {
            launcher: Process::NONE,
            overflow: 0,
            databases: [Database::FREE; DATABASES],
        }
    }

    pub fn databases(&self) -> impl Iterator<Item = &Database> {
        self.databases.iter().filter(|database| database.oid != 0)
    }

    pub fn databases_mut(&mut self) -> impl Iterator<Item = &mut Database> {
        self.databases.iter_mut().filter(|database| database.oid != 0)
    }

    pub fn database(&self, oid: u32) -> Option<&Database> {
        self.databases().find(|database| database.oid == oid)
    }

    pub fn database_mut(&mut self, oid: u32) -> Option<&mut Database> {
        self.databases
            .iter_mut()
            .find(|database| database.oid == oid && oid != 0)
    }

    /// The place of a database, taken if it is new; None when all are taken. One without the extension gives way.
    pub fn enter(&mut self, oid: u32) -> Option<&mut Database> {
        let place = self
            .databases
            .iter()
            .position(|database| database.oid == oid)
            .or_else(|| self.databases.iter().position(|database| database.oid == 0))
            .or_else(|| {
                self.databases
                    .iter()
                    .position(|database| database.presence == Presence::Absent)
            })?;
        let database = &mut self.databases[place];
        if database.oid != oid {
            *database = Database {
                oid,
                ..Database::FREE
            };
        }
        Some(database)
    }

    /// Forget databases that are no more.
    pub fn retain(&mut self, exists: impl Fn(u32) -> bool) {
        for database in &mut self.databases {
            if database.oid != 0 && !exists(database.oid) {
                *database = Database::FREE;
            }
        }
    }

    /// Somebody created the extension, or may have: look again.
    pub fn notice(&mut self, oid: u32) {
        if let Some(database) = self.enter(oid) {
            database.notices = database.notices.wrapping_add(1);
            database.presence = Presence::Unknown;
        }
    }

    /// What somebody saw, unless it was overtaken by a notice.
    pub fn saw(&mut self, oid: u32, notices: u32, presence: Presence) {
        if let Some(database) = self.database_mut(oid)
            && database.notices == notices
        {
            database.presence = presence;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_before_a_notice_does_not_count() {
        let mut board = Board::new();
        board.notice(7);
        let seen = board.database(7).unwrap().notices;
        board.notice(7);
        board.saw(7, seen, Presence::Absent);
        assert_eq!(board.database(7).unwrap().presence, Presence::Unknown);
        board.saw(7, seen.wrapping_add(1), Presence::Installed);
        assert_eq!(board.database(7).unwrap().presence, Presence::Installed);
    }

    #[test]
    fn a_full_board_makes_room_only_by_databases_without_the_extension() {
        let mut board = Board::new();
        for oid in 1..=DATABASES as u32 {
            board.enter(oid).unwrap().presence = Presence::Installed;
        }
        assert!(board.enter(1000).is_none());
        board.database_mut(5).unwrap().presence = Presence::Absent;
        assert_eq!(board.enter(1000).unwrap().oid, 1000);
        assert!(board.database(5).is_none());
        board.retain(|oid| oid != 1000);
        assert!(board.database(1000).is_none());
    }

    #[test]
    fn a_job_waits_once_and_is_taken_once() {
        let mut database = Database::FREE;
        let job = Job {
            task: 0,
            relation: 42,
        };
        assert!(database.request(job));
        assert!(!database.request(job));
        assert!(database.has_jobs());
        assert_eq!(database.take_job(), Some(job));
        assert_eq!(database.take_job(), None);
    }
}
