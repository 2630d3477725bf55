//! The processes that serve one database, and where each has its place on the board. Pure.

use crate::guc::MAX_FLUSH_WORKERS;

/// Places for the tasks of a keeper and of a janitor; a flusher has a single task.
pub const KEEPER_TASKS: usize = 16;
pub const JANITOR_TASKS: usize = 12;
pub const TASKS: usize = MAX_FLUSH_WORKERS + KEEPER_TASKS + JANITOR_TASKS;

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
    pub fn place(self, task: usize) -> Option<usize> {
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
}
