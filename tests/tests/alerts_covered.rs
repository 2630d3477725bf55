//! Every rule fires in some test because of what it is about, and not because a row of a table says so.

use cluster_tests::project;

/// Each rule, and where that is: the file and the test. A rule that is new belongs here with its test.
const PLACES: &[(&str, &str, &str)] = &[
    (
        "worker_missing",
        "alerts_conditions",
        "a_worker_for_which_there_is_no_slot",
    ),
    (
        "task_late",
        "alerts_conditions",
        "a_worker_that_is_stopped_is_late",
    ),
    ("task_failing", "alerts_upkeep", "workers_whose_tasks_fail"),
    (
        "extension_outdated",
        "alerts_age",
        "sql_objects_that_nobody_updated",
    ),
    ("flush_failing", "alerts_upkeep", "workers_whose_tasks_fail"),
    (
        "flush_held_back",
        "alerts_upkeep",
        "readings_that_somebody_has_locked",
    ),
    ("flush_paused", "alerts_upkeep", "what_time_alone_makes_bad"),
    (
        "staging_old",
        "alerts_conditions",
        "a_backlog_that_nobody_flushes",
    ),
    (
        "staging_behind",
        "alerts_upkeep",
        "staging_that_fills_faster_than_it_empties",
    ),
    (
        "volatile_exposed",
        "alerts",
        "it_waits_fires_and_ends_with_hysteresis",
    ),
    (
        "reject_storm",
        "alerts_conditions",
        "a_storm_of_rejected_readings",
    ),
    (
        "projection_late",
        "alerts_upkeep",
        "a_projection_that_waits_for_whoever_holds_its_row",
    ),
    (
        "crash_lost_readings",
        "alerts_upkeep",
        "a_crash_that_took_readings",
    ),
    (
        "partition_coverage",
        "alerts_upkeep",
        "partitions_that_are_missing_ahead_and_a_gap_between_them",
    ),
    (
        "partition_gap",
        "alerts_upkeep",
        "partitions_that_are_missing_ahead_and_a_gap_between_them",
    ),
    (
        "partition_default",
        "alerts_upkeep",
        "readings_in_a_default_partition",
    ),
    (
        "partition_stuck",
        "alerts_upkeep",
        "an_index_that_nobody_builds_and_a_partition_that_cannot_be_sealed",
    ),
    (
        "partition_locks",
        "alerts_upkeep",
        "locks_and_connections_that_run_out",
    ),
    (
        "fact_index_incomplete",
        "alerts_upkeep",
        "an_index_that_nobody_builds_and_a_partition_that_cannot_be_sealed",
    ),
    (
        "autovacuum_behind",
        "alerts_upkeep",
        "autovacuum_that_is_held_back_by_an_open_transaction",
    ),
    (
        "sequence_near_end",
        "alerts_conditions",
        "a_sequence_near_its_end",
    ),
    (
        "horizon_held",
        "alerts_upkeep",
        "autovacuum_that_is_held_back_by_an_open_transaction",
    ),
    ("replica_cut", "alerts_replication", "a_replica_that_is_cut_off"),
    (
        "slot_behind",
        "alerts_replication",
        "a_logical_slot_that_was_left_behind",
    ),
    (
        "slot_room",
        "alerts_replication",
        "a_slot_that_runs_out_of_room_and_is_lost",
    ),
    (
        "slot_lost",
        "alerts_replication",
        "a_slot_that_runs_out_of_room_and_is_lost",
    ),
    (
        "replica_behind",
        "alerts_replication",
        "a_replica_whose_replay_is_paused",
    ),
    (
        "sync_standby_missing",
        "alerts_replication",
        "commits_that_wait_for_a_standby_that_is_not_there",
    ),
    (
        "replica_disconnected",
        "alerts_replication",
        "a_replica_that_is_cut_off",
    ),
    (
        "replica_stale",
        "alerts_replication",
        "a_replica_that_was_told_to_lag",
    ),
    (
        "replay_paused",
        "alerts_replication",
        "a_replica_whose_replay_is_paused",
    ),
    (
        "archiver_failing",
        "alerts_replication",
        "an_archive_that_takes_nothing_and_one_that_is_slow",
    ),
    (
        "archiver_behind",
        "alerts_replication",
        "an_archive_that_takes_nothing_and_one_that_is_slow",
    ),
    (
        "blocking",
        "alerts_conditions",
        "sessions_behind_a_forgotten_transaction",
    ),
    (
        "idle_in_transaction",
        "alerts_upkeep",
        "autovacuum_that_is_held_back_by_an_open_transaction",
    ),
    (
        "connections_used",
        "alerts_upkeep",
        "locks_and_connections_that_run_out",
    ),
    ("wraparound_near", "alerts_age", "transaction_ids_that_run_out"),
    (
        "freeze_overdue",
        "alerts_age",
        "a_snapshot_that_is_old_and_a_database_that_cannot_be_frozen_for_it",
    ),
    (
        "horizon_old",
        "alerts_age",
        "a_snapshot_that_is_old_and_a_database_that_cannot_be_frozen_for_it",
    ),
    ("disk_full", "alerts_conditions", "a_disk_that_is_nearly_full"),
    ("settings_pending", "alerts_upkeep", "what_time_alone_makes_bad"),
    ("clock_jumped", "alerts_upkeep", "what_time_alone_makes_bad"),
];

/// The rules, which a unit test compares with this page.
fn rules() -> Vec<String> {
    let page = project::read("docs/alerts.md");
    let sections = page.lines().filter_map(|line| line.strip_prefix("### "));
    sections.map(str::to_owned).collect()
}

/// The text of a test in a file; None when it is not there, or is no test.
fn test<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = file.split_once(&format!("#[test]\nfn {name}() {{\n"))?;
    Some(rest.split("\n}\n").next().unwrap_or(rest))
}

/// What is wrong with what is said of a rule.
fn fault(rule: &str, file: &str, name: &str) -> Option<String> {
    let Some(text) = test(file, name) else {
        return Some(format!("{rule}: there is no test {name}"));
    };
    [rule, "\"firing\""]
        .into_iter()
        .find(|word| !text.contains(word))
        .map(|word| format!("{rule}: {name} does not speak of {word}"))
}

#[test]
fn every_rule_has_a_test_in_which_it_fires() {
    let known: Vec<&str> = PLACES.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(known, rules(), "in the order of docs/alerts.md");
    let faults: Vec<String> = PLACES
        .iter()
        .filter_map(|(rule, file, name)| fault(rule, &project::read(&format!("tests/tests/{file}.rs")), name))
        .collect();
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn a_place_that_is_none_is_seen() {
    let file = "#[test]\nfn one() {\n    wait(\"blocking\", \"firing\");\n}\n\n#[test]\nfn other() {\n    \"disk_full\"\n}\n";
    assert_eq!(fault("blocking", file, "one"), None);
    for (rule, name) in [("disk_full", "one"), ("disk_full", "other"), ("blocking", "gone")] {
        assert!(fault(rule, file, name).is_some(), "{rule} in {name}");
    }
}
