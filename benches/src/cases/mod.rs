//! All cases. One file each, one line here.

mod backlog;
mod burden;
mod copy_into_staging;
mod expiry;
mod find;
mod flush;
mod held_staging;
mod hot;
mod hot_calls;
mod idle_flusher;
mod index_under_writers;
mod ingest;
mod latest;
mod least_loop;
mod planning;
mod readings_planning;
mod rejects;
mod replication;
mod rotation;
mod sampling;
mod scraped;
mod sustained;
mod views;
mod visible_latency;

use crate::case::Case;

const ALL: &[&dyn Case] = &[
    &copy_into_staging::BINARY,
    &copy_into_staging::TEXT,
    &flush::BRIN_10K,
    &flush::BRIN_100K,
    &flush::DEFAULT_10K,
    &flush::DEFAULT_100K,
    &flush::DURABLE_BRIN_10K,
    &flush::DURABLE_DEFAULT_100K,
    &least_loop::ROWS_10K,
    &least_loop::ROWS_100K,
    &held_staging::SIZE,
    &held_staging::COPY,
    &burden::HELD_SNAPSHOT,
    &burden::FACTS_BRIN,
    &burden::FACTS_DEFAULT,
    &burden::PARTITIONS,
    &planning::WINDOW,
    &planning::RELATIVE,
    &views::Views,
    &idle_flusher::IdleFlusher,
    &index_under_writers::IndexUnderWriters,
    &rejects::STORM,
    &rejects::FEW,
    &hot::ONE,
    &hot::TEN,
    &hot::FIFTY,
    &hot::SEARCHABLE,
    &hot::HELD,
    &hot_calls::UPSERT,
    &hot_calls::UPSERT_8,
    &hot_calls::LATEST,
    &find::ONE,
    &find::PAGE,
    &find::EQUALITY,
    &find::RANGE,
    &find::AND,
    &latest::LATEST,
    &latest::LATEST_LONG,
    &readings_planning::Readings,
    &replication::FRESHNESS,
    &replication::CAN_SERVE,
    &replication::Heartbeat,
    &replication::Token,
    &rotation::Rotation,
    &sampling::FEW,
    &sampling::MANY,
    &scraped::Scraped,
    &expiry::Expiry,
    &ingest::ONE,
    &ingest::FIFTY,
    &visible_latency::MODEST,
    &visible_latency::FAST,
    &backlog::BRIN,
    &backlog::DEFAULT,
    &sustained::BRIN,
    &sustained::DEFAULT,
];

/// The cases whose names begin with one of these; all of them when none is given.
pub fn find(names: &[String]) -> Result<Vec<&'static dyn Case>, String> {
    let begins = |case: &dyn Case, name: &String| case.name().starts_with(name.as_str());
    if let Some(name) = names
        .iter()
        .find(|name| !ALL.iter().any(|case| begins(*case, name)))
    {
        return Err(unknown(name));
    }
    let wanted = |case: &dyn Case| names.is_empty() || names.iter().any(|name| begins(case, name));
    Ok(ALL.iter().copied().filter(|case| wanted(*case)).collect())
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
        let found = find(&["idle_flusher".into()]).expect("there is one");
        assert_eq!(found[0].name(), "idle_flusher");
        assert_eq!(find(&[]).expect("all").len(), ALL.len());
    }

    #[test]
    fn the_beginning_of_a_name_finds_all_that_begin_so_once() {
        let found = find(&["copy_into".into(), "copy_into_staging_text".into()]).expect("there are two");
        let names: Vec<_> = found.iter().map(|case| case.name()).collect();
        assert_eq!(names, ["copy_into_staging", "copy_into_staging_text"]);
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
