//! The clocks of servers: a library that is loaded before libc adds an offset to what the clock says.
//!
//! A test is to do the same at any time of the day. "An hour ago" is yesterday just after midnight, and a day that ends while a
//! test runs takes "today" with it. So at the start of a run it is noon on every server, of the next noon that comes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::account;

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/clock.so"));

/// Another time to begin at than noon, in seconds of a day (UTC), to see what depends on it; beyond a day, so many days later.
const BEGIN: &str = "PG_TELEMETRY_TEST_TIME";

const DAY: i64 = 24 * 60 * 60;

/// The clock of one server.
pub struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// In a folder that the server account can read.
    pub(crate) fn in_dir(dir: &Path) -> Clock {
        let [library, offset] = ["clock.so", "clock"].map(|name| dir.join(name));
        fs::write(&library, LIBRARY).expect("a file in our own folder");
        fs::write(&offset, begins_ahead().to_ne_bytes()).expect("a file in our own folder");
        account::give(&offset);
        Clock { library, offset }
    }

    pub(crate) fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("TEST_CLOCK", &self.offset)]
    }

    /// Sets the clock of the server so many seconds ahead of those of the others.
    pub fn set_ahead(&self, seconds: i64) {
        self.set_offset(begins_ahead() + seconds);
    }

    /// Sets it ahead to so many seconds after the last full minute, if it is not as far yet.
    pub fn set_to_second_of_minute(&self, second: i64) {
        let offset = self.offset();
        let now = (true_seconds() + offset) % 60;
        self.set_offset(offset + (second - now).max(0));
    }

    fn offset(&self) -> i64 {
        let bytes = fs::read(&self.offset).expect("our own file");
        i64::from_ne_bytes(bytes.try_into().expect("as it was written"))
    }

    fn set_offset(&self, seconds: i64) {
        let file = File::options()
            .write(true)
            .open(&self.offset)
            .expect("our own file");
        file.write_all_at(&seconds.to_ne_bytes(), 0)
            .expect("our own file");
    }
}

/// What all servers of this run are ahead of the true time.
fn begins_ahead() -> i64 {
    static AHEAD: OnceLock<i64> = OnceLock::new();
    *AHEAD.get_or_init(|| {
        let begin = match std::env::var(BEGIN) {
            Ok(seconds) => seconds.parse().expect("seconds of a day"),
            Err(_) => DAY / 2,
        };
        begin.div_euclid(DAY) * DAY + (begin - true_seconds()).rem_euclid(DAY)
    })
}

fn true_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.as_secs() as i64
}
