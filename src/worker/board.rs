//! The board in shared memory on which launcher and workers write what they do, and from which `worker_status` reads.
//! Plain data without pointers: it is shared between processes. Times are PostgreSQL timestamps; 0 is "never".

use crate::guc::MAX_FLUSH_WORKERS;

/// Databases of one cluster that can have workers at the same time.
pub const DATABASES: usize = 64;

/// Jobs that can wait for one janitor.
const JOBS: usize = 16;

/// Places for the tasks of a keeper and of a janitor; a flusher has a single task.
pub const KEEPER_TASKS: usize = 12;
pub const JANITOR_TASKS: usize = 12;
const TASKS: usize = MAX_FLUSH_WORKERS + KEEPER_TASKS + JANITOR_TASKS;

/// The processes that serve one database. The discriminants are indexes into `Database::workers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Flusher(u8),
    Keeper,
    Janitor,
    /// Looks whether the extension is there, and ends.
    Probe,
}

pub const ROLES: usize = MAX_FLUSH_WORKERS + 3;

impl Role {
    pub fn index(self) -> usize {
        match self {
            Role::Flusher(number) => usize::from(number),
            Role::Keeper => MAX_FLUSH_WORKERS,
            Role::Janitor => MAX_FLUSH_WORKERS + 1,
            Role::Probe => MAX_FLUSH_WORKERS + 2,
        }
    }

    pub fn from_index(index: usize) -> Option<Role> {
        match index {
            MAX_FLUSH_WORKERS => Some(Role::Keeper),
            _ if index == Role::Janitor.index() => Some(Role::Janitor),
            _ if index == Role::Probe.index() => Some(Role::Probe),
            _ => u8::try_from(index)
                .ok()
                .filter(|n| usize::from(*n) < MAX_FLUSH_WORKERS)
                .map(Role::Flusher),
        }
    }

    /// Where the state of a task is kept; None for a task that the role does not have.
    fn place(self, task: usize) -> Option<usize> {
        let (first, count) = match self {
            Role::Flusher(number) => (usize::from(number), 1),
            Role::Keeper => (MAX_FLUSH_WORKERS, KEEPER_TASKS),
            Role::Janitor => (MAX_FLUSH_WORKERS + KEEPER_TASKS, JANITOR_TASKS),
            Role::Probe => return None,
        };
        (task < count).then_some(first + task)
    }

    /// As in `pg_stat_activity.backend_type`, without the prefix.
    pub fn kind(self) -> &'static str {
        match self {
            Role::Flusher(_) => "flusher",
            Role::Keeper => "keeper",
            Role::Janitor => "janitor",
            Role::Probe => "probe",
        }
    }

    /// As in `worker_status.worker`.
    pub fn label(self) -> String {
        match self {
            Role::Flusher(number) => format!("flusher {}", number + 1),
            other => other.kind().to_owned(),
        }
    }
}

/// Text of at most N bytes.
#[derive(Debug, Clone, Copy)]
pub struct Text<const N: usize> {
    length: u16,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    pub const EMPTY: Self = Text {
        length: 0,
        bytes: [0; N],
    };

    /// Cut at a character, so that what is read back is valid.
    pub fn new(text: &str) -> Self {
        let cut = text.floor_char_boundary(N.min(usize::from(u16::MAX)));
        let mut bytes = [0; N];
        bytes[..cut].copy_from_slice(&text.as_bytes()[..cut]);
        Text {
            length: cut as u16,
            bytes,
        }
    }

    /// None when empty.
    pub fn get(&self) -> Option<String> {
        let bytes = self.bytes.get(..usize::from(self.length))?;
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
    }
}

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

#[derive(Debug, Clone, Copy)]
pub struct TaskState {
    pub running: bool,
    pub last_start: i64,
    pub last_success: i64,
    pub last_duration_us: i64,
    pub runs: u64,
    pub errors: u64,
    pub consecutive_errors: u32,
    pub last_error_at: i64,
    pub backoff_until: i64,
    pub sqlstate: Text<5>,
    pub message: Text<200>,
    /// Why the task has nothing to do just now, although something may be waiting.
    pub waiting: Text<160>,
}

impl TaskState {
    const NONE: Self = TaskState {
        running: false,
        last_start: 0,
        last_success: 0,
        last_duration_us: 0,
        runs: 0,
        errors: 0,
        consecutive_errors: 0,
        last_error_at: 0,
        backoff_until: 0,
        sqlstate: Text::EMPTY,
        message: Text::EMPTY,
        waiting: Text::EMPTY,
    };

    pub fn begin(&mut self, now: i64) {
        self.running = true;
        self.last_start = now;
    }

    pub fn succeed(&mut self, now: i64, duration_us: i64, waiting: Option<&str>) {
        self.running = false;
        self.last_success = now;
        self.last_duration_us = duration_us;
        self.runs += 1;
        self.consecutive_errors = 0;
        self.backoff_until = 0;
        self.waiting = waiting.map_or(Text::EMPTY, Text::new);
    }

    /// A run that did what it could, and left alone what is in the way. That this was met is an error, recorded by `fail`.
    pub fn hinder(&mut self, now: i64, duration_us: i64, backoff_us: i64, waiting: &str) {
        self.running = false;
        self.last_success = now;
        self.last_duration_us = duration_us;
        self.runs += 1;
        self.backoff_until = now.saturating_add(backoff_us);
        self.waiting = Text::new(waiting);
    }

    pub fn fail(&mut self, now: i64, duration_us: i64, backoff_us: i64, sqlstate: &str, message: &str) {
        self.running = false;
        self.last_duration_us = duration_us;
        self.errors += 1;
        self.consecutive_errors = self.consecutive_errors.saturating_add(1);
        self.last_error_at = now;
        self.backoff_until = now.saturating_add(backoff_us);
        self.sqlstate = Text::new(sqlstate);
        self.message = Text::new(message);
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
    fn every_role_has_its_own_place() {
        for index in 0..ROLES {
            assert_eq!(Role::from_index(index).unwrap().index(), index);
        }
        assert_eq!(Role::from_index(ROLES), None);
    }

    #[test]
    fn no_two_tasks_share_a_place() {
        let mut places = std::collections::HashSet::new();
        for role in (0..ROLES).filter_map(Role::from_index) {
            for place in (0..TASKS).map_while(|task| role.place(task)) {
                assert!(place < TASKS && places.insert(place), "{role:?}");
            }
        }
        assert_eq!(places.len(), TASKS);
    }

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(Text::<5>::new("naïve").get().unwrap(), "naïv");
        assert_eq!(Text::<3>::new("naï").get().unwrap(), "na");
        assert_eq!(Text::<3>::new("").get(), None);
    }

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

    #[test]
    fn a_success_ends_a_backoff_and_keeps_the_last_error() {
        let mut task = TaskState::NONE;
        task.begin(10);
        task.fail(20, 10, 100, "55P03", "lock timeout");
        assert_eq!((task.consecutive_errors, task.backoff_until), (1, 120));
        task.begin(130);
        task.succeed(140, 10, None);
        assert_eq!(
            (task.consecutive_errors, task.backoff_until, task.errors),
            (0, 0, 1)
        );
        assert_eq!(task.message.get().unwrap(), "lock timeout");
    }
}
