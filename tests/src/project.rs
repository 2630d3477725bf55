//! Files of the project that tests check.

use std::path::{Path, PathBuf};

/// A path below the project's root.
pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(relative)
}

/// The text of a file that must be there.
#[track_caller]
pub fn read(relative: &str) -> String {
    let path = path(relative);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The version under development.
pub fn version() -> String {
    let manifest = read("Cargo.toml");
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    line.expect("Cargo.toml has a version")
        .trim_matches('"')
        .to_owned()
}

/// Compares with a file under `tests/golden`, or writes it anew when PG_TELEMETRY_UPDATE_GOLDEN is set.
#[track_caller]
pub fn assert_golden(name: &str, lines: &[String]) {
    let file = format!("tests/golden/{name}");
    if std::env::var_os("PG_TELEMETRY_UPDATE_GOLDEN").is_some() {
        std::fs::write(path(&file), lines.join("\n") + "\n")
            .expect("the project's own folder can be written");
    }
    let golden: Vec<String> = read(&file).lines().map(str::to_owned).collect();
    let difference = crate::catalog::difference(&golden, lines);
    assert!(
        difference.is_empty(),
        "{file} and the installation differ (- only in the file, + only installed):\n{}\n\
         If this is meant, run the test again with PG_TELEMETRY_UPDATE_GOLDEN=1 and review the change.",
        difference.join("\n")
    );
}
