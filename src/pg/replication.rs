//! Where this server is in the WAL: as a primary its position, as a standby what it received and replayed.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::disk;

/// A position in the WAL, as `pg_lsn` counts.
pub type Position = u64;

/// Where the next record goes. Not in recovery.
pub fn insert_position() -> Position {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::GetXLogInsertRecPtr() }
}

/// The size of a page and of a segment of the WAL.
pub fn sizes() -> (u64, u64) {
    // SAFETY: a constant of this cluster.
    let segment = unsafe { pg_sys::wal_segment_size };
    (
        u64::from(pg_sys::XLOG_BLCKSZ),
        u64::try_from(segment).unwrap_or(1 << 24),
    )
}

/// Which timelines came before this one, as the server wrote it down. None for the first, and when it cannot be read.
pub fn timeline_history(timeline: u32) -> Option<String> {
    // Servers run in their data folder.
    std::fs::read_to_string(format!("pg_wal/{timeline:08X}.history")).ok()
}

/// The timeline that is being written. Not in recovery.
pub fn timeline() -> u32 {
    // SAFETY: reads shared memory; the callers have seen that recovery is over.
    unsafe { pg_sys::GetWALInsertionTimeLine() }
}

/// What was replayed last, and its timeline.
pub fn replayed() -> (Position, u32) {
    let mut timeline = 0;
    // SAFETY: reads shared memory; the timeline is written.
    let position = unsafe { pg_sys::GetXLogReplayRecPtr(&mut timeline) };
    (position, timeline)
}

/// Whether replay is paused, or was asked to pause.
pub fn is_replay_paused() -> bool {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::GetRecoveryPauseState() != pg_sys::RecoveryPauseState::RECOVERY_NOT_PAUSED }
}

/// What the WAL receiver of this server says. It keeps its last words when it ends.
#[derive(Debug, Clone, Copy)]
pub struct Receiver {
    pub running: bool,
    pub streaming: bool,
    /// Flushed here.
    pub received: Position,
    /// The end of the WAL of the sender, as the sender said last.
    pub sender_end: Position,
    /// By the clock of the sender.
    pub last_sent_at: i64,
    /// By the clock of this server.
    pub last_received_at: i64,
}

pub fn receiver() -> Receiver {
    // SAFETY: shared memory that exists in every server process; plain fields are copied under their spinlock.
    unsafe {
        let shared = pg_sys::WalRcv;
        let lock = &raw mut (*shared).mutex;
        pg_sys::SpinLockAcquire(lock);
        let receiver = Receiver {
            running: (*shared).pid != 0,
            streaming: (*shared).walRcvState == pg_sys::WalRcvState::WALRCV_STREAMING,
            received: (*shared).flushedUpto,
            sender_end: (*shared).latestWalEnd,
            last_sent_at: (*shared).lastMsgSendTime,
            last_received_at: (*shared).lastMsgReceiptTime,
        };
        pg_sys::SpinLockRelease(lock);
        receiver
    }
}

/// The number that initdb gave the cluster; physical copies share it.
pub fn system_identifier() -> u64 {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::GetSystemIdentifier() }
}

/// A setting of the server as text, empty where it has none.
fn setting(name: &CStr) -> String {
    // SAFETY: a static C string; the value is copied before anything else can change it.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        if value.is_null() {
            return String::new();
        }
        CStr::from_ptr(value).to_string_lossy().into_owned()
    }
}

/// Whether this standby is meant to stream, rather than to read an archive only.
pub fn is_receiver_wanted() -> bool {
    // SAFETY: a setting of this process, null or a C string.
    unsafe { !pg_sys::PrimaryConnInfo.is_null() && *pg_sys::PrimaryConnInfo != 0 }
}

/// What people call this server: `cluster_name`, or host and port.
pub fn node_name() -> String {
    let name = setting(c"cluster_name");
    if !name.is_empty() {
        return name;
    }
    let mut host = [0u8; 256];
    // SAFETY: the buffer has this length; the last byte stays zero.
    unsafe { libc::gethostname(host.as_mut_ptr().cast(), host.len() - 1) };
    let host = CStr::from_bytes_until_nul(&host)
        .map(CStr::to_string_lossy)
        .unwrap_or_default();
    format!("{host}:{}", setting(c"port"))
}

/// Free bytes of the disk that holds the WAL; None when the system does not say.
pub fn free_bytes_for_wal() -> Option<u64> {
    disk::room("pg_wal").ok().map(|room| room.free)
}
