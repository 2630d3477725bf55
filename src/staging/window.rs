//! The times that are accepted. Pure.

/// Times that are accepted, in the server's microseconds, `until` not included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: i64,
    pub until: i64,
}

impl Window {
    #[inline]
    pub fn accepts(&self, time: i64) -> bool {
        self.from <= time && time < self.until
    }
}

/// How far `observed_at` may be from the reading's own `ingested_at`, in microseconds; i64::MAX: any time will do. From
/// `ingested_at` and not from the clock of the flush, so that a reading that had to wait is judged as it would have been at
/// once, and the same whenever it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Around {
    pub past: i64,
    pub future: i64,
}

impl Around {
    #[inline]
    pub fn accepts(&self, ingested_at: i64, observed_at: i64) -> bool {
        let ahead = observed_at.saturating_sub(ingested_at);
        let behind = ingested_at.saturating_sub(observed_at);
        ahead <= self.future && behind <= self.past
    }
}

/// The times that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub ingested_at: Window,
    pub observed_at: Around,
}
