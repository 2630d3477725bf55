//! All cases. One file each, one line here.

mod copy_into_staging;
mod flush;
mod idle_flusher;
mod ingest;
mod visible_latency;

use crate::case::Case;

const ALL: &[&dyn Case] = &[
    &copy_into_staging::BINARY,
    &copy_into_staging::TEXT,
    &flush::BRIN_10K,
    &flush::BRIN_100K,
    &flush::DEFAULT_10K,
    &flush::DEFAULT_100K,
    &idle_flusher::IdleFlusher,
    &ingest::ONE,
    &ingest::FIFTY,
    &visible_latency::MODEST,
];

/// The cases of these names; all of them when none is given.
pub fn find(names: &[String]) -> Result<Vec<&'static dyn Case>, String> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    names
        .iter()
        .map(|name| {
            let found = ALL.iter().find(|case| case.name() == name);
            found.copied().ok_or_else(|| unknown(name))
        })
        .collect()
}

fn unknown(name: &str) -> String {
    let list: String = ALL
        .iter()
        .map(|case| format!("\n  {:<26} {}", case.name(), case.shows()))
        .collect();
    format!("no case is called {name:?}; there are:{list}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_its_name() {
        let found = find(&["copy_into_staging".into()]).expect("there is one");
        assert_eq!(found[0].name(), "copy_into_staging");
        assert_eq!(find(&[]).expect("all").len(), ALL.len());
    }

    #[test]
    fn whoever_asks_for_an_unknown_case_is_told_all_names() {
        let message = find(&["fast".into()]).err().expect("there is none");
        assert!(ALL.iter().all(|case| message.contains(case.name())), "{message}");
    }

    #[test]
    fn names_are_different_and_fit_into_a_file_name() {
        let mut names: Vec<_> = ALL.iter().map(|case| case.name()).collect();
        assert!(names.iter().all(|name| {
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        }));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn every_case_has_something_to_compare() {
        for case in ALL {
            assert!(!case.metrics().is_empty(), "{}", case.name());
            assert!(!case.baselines().is_empty(), "{}", case.name());
            assert!(case.rounds(1) >= 1, "{}", case.name());
        }
    }
}
