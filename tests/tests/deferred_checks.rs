//! Constraints of facts that wait for the commit elsewhere: the flush checks them with its own statement, so that a bad row is
//! told from the good ones.

use cluster_tests::readings::{DOORS, Ready, attribute, facts, ready, stage};
use cluster_tests::{SOON, Session, eventually, workers};

const ROWS: i64 = 2_000;

/// What the caller has left to its commit is not the fault of what is staged.
#[test]
fn a_check_that_the_caller_has_not_satisfied_yet_rejects_nothing() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec(
        "CREATE TABLE known (entity_id bigint PRIMARY KEY);
         INSERT INTO known SELECT generate_series(1, 10);
         GRANT SELECT, UPDATE ON known TO telemetry_owner;
         ALTER TABLE entity_values_ts ADD FOREIGN KEY (entity_id) REFERENCES known DEFERRABLE INITIALLY DEFERRED",
    );
    stage(&mut session, DOORS[0], temperature, 1, 10);
    let own = format!(
        "BEGIN; INSERT INTO entity_values_ts (tenant_id, entity_id, attribute_id, value_num) VALUES (1, 11, {temperature}, 1)"
    );
    session.exec(&own);
    let failure = session.fails_with("55006", "SELECT stage_flush()");
    assert!(
        failure.message.contains("deferred") && !failure.hint.is_empty(),
        "{failure}"
    );
    session.exec("ROLLBACK");
    session.exec(&own);
    session.exec("INSERT INTO known VALUES (11)");
    assert_eq!(session.number("SELECT stage_flush()"), 10);
    session.exec("COMMIT");
    assert_eq!(facts(&mut session), (11, 11));
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

/// Each refuses the row of entity 678.
const KINDS: [(&str, &str, &str); 4] = [
    (
        "a foreign key",
        "23503",
        "CREATE TABLE known (entity_id bigint PRIMARY KEY);
         INSERT INTO known SELECT n FROM generate_series(1, 10000) n WHERE n <> 678;
         GRANT SELECT, UPDATE ON known TO telemetry_owner;
         ALTER TABLE entity_values_ts ADD FOREIGN KEY (entity_id) REFERENCES known DEFERRABLE INITIALLY DEFERRED",
    ),
    (
        "a trigger",
        "P0001",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.entity_id = 678 THEN RAISE 'not this one'; END IF; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON entity_values_ts DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION refuse()",
    ),
    (
        "a trigger that looks at some rows only",
        "P0001",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.entity_id = 678 THEN RAISE 'not this one'; END IF; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON entity_values_ts DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.entity_id % 100 = 78) EXECUTE FUNCTION refuse()",
    ),
    (
        "a unique constraint",
        "23505",
        "ALTER TABLE entity_values_ts ADD CONSTRAINT \"Only once\" UNIQUE (entity_id, ingested_at) DEFERRABLE INITIALLY DEFERRED;
         INSERT INTO entity_values_ts (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         VALUES (1, 678, date_trunc('day', now()), 1, 0)",
    ),
];

fn stage_today(session: &mut Session, door: &str, id: i64) {
    session.exec(&format!(
        "INSERT INTO {door} (tenant_id, entity_id, ingested_at, attribute_id, value_num)
         SELECT 1, n, date_trunc('day', now()), {id}, 1 FROM generate_series(1, {ROWS}) n"
    ));
}

#[test]
fn one_row_that_a_deferred_check_refuses_is_rejected_alone() {
    for (number, (kind, sqlstate, sql)) in KINDS.into_iter().enumerate() {
        let Ready {
            mut session,
            temperature,
            ..
        } = ready();
        session.exec(sql);
        let before = facts(&mut session).0;
        let door = DOORS[number % 2];
        stage_today(&mut session, door, temperature);
        assert_eq!(session.number("SELECT stage_flush()"), ROWS - 1, "{kind}");
        assert_eq!(facts(&mut session).0, before + ROWS - 1, "{kind}");
        assert_eq!(
            session.rows("SELECT entity_id, sqlstate FROM entity_values_rejected"),
            [["678", sqlstate]],
            "{kind}"
        );
    }
}

#[test]
fn it_is_the_same_with_workers_and_whatever_the_caller_has_deferred() {
    let (_database, mut session) = workers::running();
    let id = attribute(&mut session, "temperature", "number");
    session.exec(KINDS[2].2);
    stage_today(&mut session, DOORS[1], id);
    eventually(SOON, "the good rows are stored, the bad one rejected", || {
        let found = (
            facts(&mut session).0,
            session.number("SELECT count(*) FROM entity_values_rejected"),
        );
        if found == (ROWS - 1, 1) {
            Ok(())
        } else {
            Err(found)
        }
    });

    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    session.exec(
        "CREATE TABLE known (entity_id bigint PRIMARY KEY);
         INSERT INTO known SELECT generate_series(1, 9);
         GRANT SELECT, UPDATE ON known TO telemetry_owner;
         ALTER TABLE entity_values_ts ADD FOREIGN KEY (entity_id) REFERENCES known DEFERRABLE",
    );
    stage(&mut session, DOORS[0], temperature, 1, 10);
    session.exec("BEGIN; SET CONSTRAINTS ALL DEFERRED");
    assert_eq!(session.number("SELECT stage_flush()"), 9);
    session.exec("COMMIT");
    assert_eq!(
        session.rows("SELECT entity_id, sqlstate FROM entity_values_rejected"),
        [["10", "23503"]]
    );
}
