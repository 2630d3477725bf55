//! The private PostgreSQL installation under test, as the environment names it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const BINDIR: &str = "PG_TELEMETRY_BINDIR";
const RUN_DIR: &str = "PG_TELEMETRY_RUN_DIR";
const OLD_BINDIR: &str = "PG_TELEMETRY_OLD_BINDIR";
const FAULT_BINDIR: &str = "PG_TELEMETRY_FAULT_BINDIR";

/// One PostgreSQL tree with pg_telemetry in it. Several can be looked at in one run (pg_upgrade needs two).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    bindir: PathBuf,
    version: String,
}

impl Installation {
    /// The installation that the whole run tests.
    pub fn current() -> &'static Installation {
        static CURRENT: OnceLock<Installation> = OnceLock::new();
        CURRENT
            .get_or_init(|| Installation::at(&required(BINDIR, "the bin folder of a private installation")))
    }

    /// An installation of an older major, when the environment offers one.
    pub fn old() -> Option<Installation> {
        std::env::var_os(OLD_BINDIR)
            .filter(|dir| !dir.is_empty())
            .map(|dir| Installation::at(Path::new(&dir)))
    }

    /// The same major with a library in which faults can be armed.
    pub fn with_fault_points() -> Installation {
        Installation::at(&required(
            FAULT_BINDIR,
            "the bin folder of an installation whose library has fault points",
        ))
    }

    fn at(bindir: &Path) -> Installation {
        let postgres = bindir.join("postgres");
        let output = Command::new(&postgres)
            .arg("--version")
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "{}: {error}: {BINDIR} must name the bin folder of a PostgreSQL installation",
                    postgres.display()
                )
            });
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text
            .split_whitespace()
            .nth(2)
            .unwrap_or_else(|| panic!("no version in {text:?}"));
        Installation {
            bindir: bindir.to_owned(),
            version: version.to_owned(),
        }
    }

    /// Like "15.14", or "18beta1".
    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn major(&self) -> u32 {
        let digits: String = self.version.chars().take_while(char::is_ascii_digit).collect();
        digits
            .parse()
            .unwrap_or_else(|_| panic!("no major version in {:?}", self.version))
    }

    pub fn bindir(&self) -> &Path {
        &self.bindir
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    /// Where the control file and the SQL scripts of this installation are.
    pub fn extension_dir(&self) -> PathBuf {
        self.pg_config("--sharedir").join("extension")
    }

    /// Where the library of the extension is.
    pub fn library(&self) -> PathBuf {
        self.pg_config("--pkglibdir").join("pg_telemetry.so")
    }

    fn pg_config(&self, what: &str) -> PathBuf {
        let output = Command::new(self.program("pg_config"))
            .arg(what)
            .output()
            .expect("pg_config runs");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
    }
}

/// The folder below which every server process of the run lives.
pub(crate) fn run_dir() -> PathBuf {
    required(RUN_DIR, "a folder that the user running the servers can write")
}

fn required(variable: &str, meaning: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(value) if !value.is_empty() => PathBuf::from(value),
        _ => panic!("{variable} is not set: it names {meaning}; `make test` sets it"),
    }
}
