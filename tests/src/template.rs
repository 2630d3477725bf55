//! initdb takes a second or two, a copy of its result a tenth: it runs once per version and run folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Installation, account, cluster_dir};

pub(crate) fn copy_to(installation: &Installation, data: &Path) {
    let template = template(installation);
    let mut copy = account::command(Path::new("cp"));
    let status = copy
        .arg("-a")
        .arg("--reflink=auto")
        .arg(&template)
        .arg(data)
        .status()
        .expect("cp runs");
    assert!(
        status.success(),
        "cannot copy {} to {}",
        template.display(),
        data.display()
    );
}

fn template(installation: &Installation) -> PathBuf {
    let base = cluster_dir::base();
    let template = base.join(format!("template_{}", installation.version()));
    // Several test processes may come here at the same time; the lock goes with the file handle.
    let lock = File::create(base.join("template.lock")).expect("a lock file in our own folder");
    lock.lock().expect("a lock on our own file");
    if !template.exists() {
        let unfinished = base.join("template_unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        initdb(installation, &unfinished);
        fs::rename(&unfinished, &template).expect("a rename within our own folder");
    }
    template
}

fn initdb(installation: &Installation, data: &Path) {
    // The C locale is on every machine and makes sorted output the same everywhere. Checksums are off or on by default,
    // depending on the major, and pg_upgrade wants them equal.
    let output = account::command(&installation.program("initdb"))
        .args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ])
        .args(["--data-checksums", "--no-sync", "-D"])
        .arg(data)
        .output()
        .expect("initdb runs");
    assert!(
        output.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
