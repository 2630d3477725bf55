//! A file system of a few megabytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Cluster;

/// Taken away when dropped; the server must be stopped before.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// A folder for a tablespace of this server. None where mounting is not possible; says why.
    pub fn mount(cluster: &Cluster, megabytes: u32) -> Option<SmallDisk> {
        let path = cluster.scratch_dir().join("small");
        std::fs::create_dir(&path).expect("a folder of our own");
        let owner = std::fs::metadata(cluster.data_dir()).expect("the data folder is there");
        use std::os::unix::fs::MetadataExt;
        let options = format!(
            "size={megabytes}m,uid={},gid={},mode=0700",
            owner.uid(),
            owner.gid()
        );
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path)
            .output();
        let why = match mounted {
            Ok(output) if output.status.success() => return Some(SmallDisk { path }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        println!("SKIPPED: no small file system: {why}");
        None
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
