//! Postmasters as child processes that cannot outlive us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

type Request = (Command, Sender<io::Result<Child>>);

/// Starts a server that is told to quit when this process dies, however it dies.
///
/// The kernel ties that to the *thread* that forked, and test threads end long before a shared server does. So one
/// thread, which lives as long as the process, starts them all.
pub(crate) fn spawn_server(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, incoming) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in incoming {
                // The one who asked may have panicked meanwhile; the server then goes with the process.
                let _ = answer.send(command.spawn());
            }
        });
        requests
    });
    // SAFETY: the closure makes one system call and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGQUIT) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let (answer, spawned) = channel();
    spawner.send((command, answer)).map_err(io::Error::other)?;
    spawned.recv().map_err(io::Error::other)?
}

/// False when there is no such process any more.
pub(crate) fn signal(pid: u32, signal: i32) -> bool {
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(pid as i32, signal) == 0 }
}

/// Holds a process where it is, and returns when it does nothing any more.
pub(crate) fn stop(pid: u32) {
    signal(pid, libc::SIGSTOP);
    while stat(pid).is_some_and(|stat| !["T", "Z"].contains(&stat.state.as_str())) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// None when it still runs after the timeout.
pub(crate) fn wait_for_exit(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait().expect("a child can be waited for") {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            status => return status,
        }
    }
}

/// A zombie counts as dead: it only waits for a parent that may never ask.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat.state != "Z")
}

pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc can be listed");
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|stat| stat.parent == parent))
        .collect()
}

struct Stat {
    state: String,
    parent: u32,
}

fn stat(pid: u32) -> Option<Stat> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name is in parentheses and may contain anything; the other fields follow the last one.
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    Some(Stat {
        state: fields.next()?.to_owned(),
        parent: fields.next()?.parse().ok()?,
    })
}
