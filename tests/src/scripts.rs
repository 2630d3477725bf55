//! Extension scripts that exist for the time of one test.

use std::path::PathBuf;

use crate::Installation;

/// A script in the extension folder of the installation under test, removed when dropped.
pub struct Script(PathBuf);

impl Script {
    /// An upgrade that does nothing, for a version that exists nowhere else.
    pub fn empty_upgrade(from: &str, to: &str) -> Script {
        Script::named(&format!("pg_telemetry--{from}--{to}.sql"), "-- nothing\n")
    }

    fn named(name: &str, text: &str) -> Script {
        let path = Installation::current().extension_dir().join(name);
        assert!(!path.exists(), "{} is there already", path.display());
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Script(path)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
