//! Which versions of the SQL objects this library can serve.

use crate::error::Error;

/// The version of the shared library.
pub const LIBRARY: &str = env!("CARGO_PKG_VERSION");

/// How the SQL objects in a database relate to this library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    Same,
    /// The library runs with every older SQL version, so that ingest never stops for ALTER EXTENSION UPDATE.
    SqlOlder,
    SqlNewer,
}

pub fn compare(sql: &str) -> Match {
    match parse(sql).cmp(&parse(LIBRARY)) {
        std::cmp::Ordering::Equal => Match::Same,
        std::cmp::Ordering::Less => Match::SqlOlder,
        std::cmp::Ordering::Greater => Match::SqlNewer,
    }
}

/// Refuse to work on objects that this library does not know.
pub fn check(sql: &str) -> Result<(), Error> {
    match compare(sql) {
        Match::SqlNewer => Err(Error::LibraryTooOld {
            library: LIBRARY,
            sql: sql.to_owned(),
        }),
        Match::Same | Match::SqlOlder => Ok(()),
    }
}

/// Numbers in order; a part that is no number counts as larger than all, so that an unknown form is refused.
fn parse(version: &str) -> Vec<u64> {
    version
        .split('.')
        .map(|part| part.parse().unwrap_or(u64::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_sql_is_served_and_newer_is_refused() {
        assert_eq!(compare(LIBRARY), Match::Same);
        assert_eq!(compare("0.0.9"), Match::SqlOlder);
        assert_eq!(compare("9.9.9"), Match::SqlNewer);
        assert_eq!(compare("next"), Match::SqlNewer);
        assert!(check("0.0.9").is_ok());
        assert!(check("9.9.9").is_err());
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(parse("0.10.0") > parse("0.9.0"));
    }
}
