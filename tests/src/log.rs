//! The server's log: for assertions, and for the reader of a failing test.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const TAIL_LINES: usize = 120;

/// Further lines of one entry begin with a tab; a statement of hundreds of lines would hide all else.
const LINES_OF_ENTRY: usize = 8;

thread_local! {
    /// Logs that this test has printed: several handles of one server are dropped when it fails.
    static SHOWN: RefCell<HashSet<PathBuf>> = RefCell::default();
}

/// A place in a server's log; what follows it was written later.
#[derive(Clone, Debug)]
pub struct LogMark {
    path: PathBuf,
    offset: u64,
}

impl LogMark {
    pub(crate) fn start_of(path: &Path) -> LogMark {
        LogMark {
            path: path.to_owned(),
            offset: 0,
        }
    }

    pub(crate) fn end_of(path: &Path) -> LogMark {
        LogMark {
            path: path.to_owned(),
            offset: path.metadata().map_or(0, |log| log.len()),
        }
    }

    /// Everything the server wrote since.
    pub fn text(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.offset))?;
            log.read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("({}: {error})", self.path.display()),
        }
    }

    /// The lines written since that contain `part`.
    pub fn lines_with(&self, part: &str) -> Vec<String> {
        self.text()
            .lines()
            .filter(|line| line.contains(part))
            .map(str::to_owned)
            .collect()
    }

    /// To be called when dropping what a test used: a failing test shows what the server had to say.
    pub(crate) fn print_if_panicking(&self) {
        let first_time = || SHOWN.with_borrow_mut(|shown| shown.insert(self.path.clone()));
        if !std::thread::panicking() || !first_time() {
            return;
        }
        let text = self.text();
        let lines = without_long_statements(&text);
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        eprintln!("--- server log, last {} of {} lines ---", tail.len(), lines.len());
        for line in tail {
            eprintln!("{line}");
        }
        eprintln!("--- end of server log ---");
    }
}

fn without_long_statements(text: &str) -> Vec<&str> {
    let mut continued = 0;
    let short = |line: &&str| {
        continued = if line.starts_with('\t') { continued + 1 } else { 0 };
        continued < LINES_OF_ENTRY
    };
    text.lines().filter(short).collect()
}
