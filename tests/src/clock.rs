//! A server whose clock can be set: a library that is loaded before libc adds an offset to what the clock says.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long long *offset;
__attribute__((constructor)) static void find_offset(void) {
    const char *path = getenv("TEST_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) offset = page;
    close(file);
}
int clock_gettime(clockid_t id, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, id, time);
    if (result == 0 && id == CLOCK_REALTIME && offset) time->tv_sec += *offset;
    return result;
}
int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"#;

/// The clock of one server.
pub struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// In a folder that the server account can read.
    pub(crate) fn in_dir(dir: &Path) -> Clock {
        let [source, library, offset] = ["clock.c", "clock.so", "clock"].map(|name| dir.join(name));
        fs::write(&source, SOURCE).expect("a file in our own folder");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source)
            .status()
            .expect("a C compiler");
        assert!(compiled.success(), "the clock was not compiled");
        fs::write(&offset, 0i64.to_ne_bytes()).expect("a file in our own folder");
        account::give(&offset);
        Clock { library, offset }
    }

    pub(crate) fn environment(&self) -> [(&'static str, &Path); 2] {
        [("LD_PRELOAD", &self.library), ("TEST_CLOCK", &self.offset)]
    }

    /// Sets the clock of the running server so many seconds ahead of the true time.
    pub fn set_ahead(&self, seconds: i64) {
        let file = File::options()
            .write(true)
            .open(&self.offset)
            .expect("our own file");
        file.write_all_at(&seconds.to_ne_bytes(), 0)
            .expect("our own file");
    }
}
