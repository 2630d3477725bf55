//! What the board says of one task. Plain data without pointers: it is shared between processes.

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
    pub const NONE: Self = TaskState {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(Text::<5>::new("naïve").get().unwrap(), "naïv");
        assert_eq!(Text::<3>::new("naï").get().unwrap(), "na");
        assert_eq!(Text::<3>::new("").get(), None);
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
