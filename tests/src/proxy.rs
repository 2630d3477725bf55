//! A wire between two servers that can be cut without either of them being told, as a network is.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cluster::{Cluster, PORT};

/// Listens in a folder of its own for a server; ends with the process.
pub struct Proxy {
    dir: PathBuf,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    pub fn to(cluster: &Cluster) -> Proxy {
        let dir = cluster.scratch_dir().join("wire");
        fs::create_dir(&dir).expect("a folder in our own");
        let socket = dir.join(format!(".s.PGSQL.{PORT}"));
        let listener = UnixListener::bind(&socket).expect("a socket in our own folder");
        fs::set_permissions(&socket, Permissions::from_mode(0o777)).expect("our own socket");
        let target = cluster.socket_dir().join(format!(".s.PGSQL.{PORT}"));
        let cut = Arc::new(AtomicBool::new(false));
        let flag = cut.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // A server that is down refuses; so does the wire, by hanging up.
                if let Ok(far) = UnixStream::connect(&target) {
                    let [near_too, far_too] =
                        [&near, &far].map(|end| end.try_clone().expect("a second handle"));
                    let [flag, flag_too] = [flag.clone(), flag.clone()];
                    std::thread::spawn(move || carry(near, far, &flag));
                    std::thread::spawn(move || carry(far_too, near_too, &flag_too));
                }
            }
        });
        Proxy { dir, cut }
    }

    /// The host of a connection string.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// From now on nothing comes through, and nobody is told.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, cut: &AtomicBool) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        while cut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
