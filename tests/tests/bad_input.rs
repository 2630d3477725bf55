//! Every kind of bad input has the answer that docs/ingest.md gives, at each way in, and never takes other rows with it.

use cluster_tests::readings::{DOORS, Ready, ready};
use cluster_tests::{Cluster, Session};

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Accepted,
    /// It goes to entity_values_rejected; the rows beside it to facts.
    Rejected(&'static str),
    /// COPY itself cannot read it, and stages none of its rows.
    Fails(&'static str),
}

use Answer::{Accepted, Fails, Rejected};

/// Shared attributes, so that every tenant has them, and their ids.
fn shared_attributes(session: &mut Session) -> [(&'static str, String); 6] {
    ["number", "integer", "boolean", "timestamp", "text", "json"].map(|value_type| {
        let id = session.text(&format!(
            "SELECT register_attribute(0, 'shared_{value_type}', '{value_type}')"
        ));
        (value_type, id)
    })
}

struct Row {
    tenant: &'static str,
    entity: &'static str,
    ingested_at: &'static str,
    observed_at: &'static str,
    value_type: &'static str,
    value: String,
    answer: Answer,
}

fn row(value_type: &'static str, value: impl Into<String>, answer: Answer) -> Row {
    Row {
        tenant: "1",
        entity: "1",
        ingested_at: "now",
        observed_at: "\\N",
        value_type,
        value: value.into(),
        answer,
    }
}

impl Row {
    fn tenant(answer: Answer, tenant: &'static str) -> Row {
        Row {
            tenant,
            ..row("number", "1", answer)
        }
    }

    fn entity(answer: Answer, entity: &'static str) -> Row {
        Row {
            entity,
            ..row("number", "1", answer)
        }
    }

    fn ingested_at(answer: Answer, ingested_at: &'static str) -> Row {
        Row {
            ingested_at,
            ..row("number", "1", answer)
        }
    }

    fn observed_at(answer: Answer, observed_at: &'static str) -> Row {
        Row {
            observed_at,
            ..row("number", "1", answer)
        }
    }

    /// As a line of COPY.
    fn line(&self, attributes: &[(&str, String)]) -> String {
        let (_, id) = attributes
            .iter()
            .find(|(name, _)| *name == self.value_type)
            .expect("one of the six");
        let place = match self.value_type {
            "number" => 0,
            "text" | "json" => 2,
            _ => 1,
        };
        let mut values = ["\\N"; 3];
        values[place] = &self.value;
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{id}\t{}\n",
            self.tenant, self.entity, self.ingested_at, self.observed_at, values[0], values[1], values[2]
        )
    }
}

/// The row of an INSERT with the same values as that line.
fn values(line: &str) -> String {
    let literal = |value: &str| match value {
        "\\N" => "NULL".to_owned(),
        value => format!("E'{value}'"),
    };
    let values: Vec<String> = line.trim_end_matches('\n').split('\t').map(literal).collect();
    format!("({})", values.join(", "))
}

#[test]
fn each_row_of_a_copy_or_insert_has_its_answer() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    let attributes = shared_attributes(&mut session);
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let rows = [
        Row::tenant(Rejected("23502"), "\\N"),
        Row::tenant(Rejected("22003"), "0"),
        Row::tenant(Rejected("22003"), "-1"),
        Row::tenant(Accepted, "9223372036854775807"),
        Row::tenant(Fails("22003"), "9223372036854775808"),
        Row::entity(Rejected("23502"), "\\N"),
        Row::entity(Accepted, "-9223372036854775808"),
        Row::entity(Accepted, "9223372036854775807"),
        Row::entity(Fails("22003"), "-9223372036854775809"),
        Row::ingested_at(Rejected("23502"), "\\N"),
        Row::ingested_at(Rejected("22008"), "infinity"),
        Row::ingested_at(Rejected("22008"), "-infinity"),
        Row::ingested_at(Rejected("22008"), "4713-01-01 BC"),
        Row::ingested_at(Rejected("22008"), "294276-12-31"),
        Row::ingested_at(Fails("22008"), "294277-01-01"),
        Row::ingested_at(Fails("22007"), "yesterdays"),
        Row::observed_at(Rejected("22008"), "infinity"),
        Row::observed_at(Rejected("22008"), "-infinity"),
        Row::observed_at(Rejected("22008"), "4713-01-01 BC"),
        Row::observed_at(Rejected("22008"), "294276-12-31"),
        row("number", "1e400", Fails("22003")),
        row("number", "1e-400", Fails("22003")),
        row("number", "1e-320", Accepted),
        row("number", "NaN", Accepted),
        row("number", "Infinity", Accepted),
        row("number", "-Infinity", Accepted),
        row("number", "\\N", Rejected("22023")),
        row("number", "{}", Fails("22P02")),
        row("integer", "-9223372036854775808", Accepted),
        row("integer", "9223372036854775808", Fails("22003")),
        row("integer", "1.5", Fails("22P02")),
        row("boolean", "2", Rejected("22003")),
        row("boolean", "-1", Rejected("22003")),
        row("timestamp", "-9223372036854775808", Accepted),
        row("text", "", Accepted),
        row("text", "\\001\\n\\177", Accepted),
        row("text", "\\u0000", Accepted), // COPY makes u0000 of it: its own escapes come first.
        row("text", "a\\000b", Fails("22021")),
        row("text", "\\xff", Fails("22021")),
        row("json", "null", Accepted),
        row("json", "{\"a\": [1, 2.50, {\"a\": 1, \"a\": 2}]}", Accepted),
        row("json", "", Rejected("22P02")),
        row("json", "{\"a\": }", Rejected("22P02")),
        row("json", "NaN", Rejected("22P02")),
        row("json", "\"\\\\ud800\"", Rejected("22P02")),
        row("json", "\"\\\\u0000\"", Rejected("22P05")),
        row("json", "1e131071", Accepted),
        row("json", "1e131072", Rejected("22003")),
        row("json", "1e400", Accepted),
        row("json", deep(200), Accepted),
        row("json", deep(201), Rejected("54001")),
        row("json", deep(100_000), Rejected("54001")),
        // Long enough that the server packs it.
        row(
            "json",
            format!("{{\"a\": \"{}\"}}", "x".repeat(100_000)),
            Accepted,
        ),
        row(
            "json",
            format!("{{\"a\": \"{}\"", "x".repeat(100_000)),
            Rejected("22P02"),
        ),
    ];
    let ways = DOORS.into_iter().flat_map(|door| [(door, true), (door, false)]);
    for (door, copies) in ways {
        for row in &rows {
            // In a literal it is the character zero.
            if !copies && row.value == "\\u0000" {
                continue;
            }
            let good = |entity| format!("1\t{entity}\tnow\t\\N\t1\t\\N\t{temperature}\t\\N\n");
            let line = row.line(&attributes);
            let shown: String = line.chars().take(100).collect();
            session.exec("BEGIN; SAVEPOINT copy");
            let lines = [good(1), line, good(2)];
            let staged = if copies {
                session.try_copy(door, &lines.concat()).map(drop)
            } else {
                let rows = lines.map(|line| values(&line)).join(", ");
                session.try_exec(&format!("INSERT INTO {door} VALUES {rows}"))
            };
            match (staged, row.answer) {
                (Err(failure), Fails(code)) => {
                    assert_eq!(failure.code, code, "{shown} {failure}");
                    session.exec("ROLLBACK TO copy");
                    assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
                }
                (Err(failure), _) => panic!("{shown} {failure}"),
                (Ok(_), answer) => {
                    let stored = session.number("SELECT stage_flush()");
                    let rejected = session.column("SELECT sqlstate FROM entity_values_rejected");
                    let expected: &[&str] = match answer {
                        Rejected(code) => &[code],
                        Accepted => &[],
                        Fails(_) => panic!("{shown} was taken"),
                    };
                    assert_eq!(rejected, expected, "{shown}");
                    assert_eq!(stored, 3 - rejected.len() as i64, "{shown}");
                }
            }
            session.exec("ROLLBACK");
        }
    }
}

/// JSON that was let pass can be shown as such.
#[test]
fn the_server_takes_as_jsonb_what_passed_and_not_what_was_rejected() {
    let Ready { mut session, .. } = ready();
    let id = session.number("SELECT register_attribute(1, 'j', 'json')");
    let texts = [
        "1",
        "-0",
        "1.5e-3",
        "1E+5",
        "01",
        "1.",
        ".5",
        "+1",
        "0e1",
        "\"\"",
        "\"\\u00e4\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\u0000\"",
        "\"\\x\"",
        "\"\t\"",
        "[]",
        "[1,]",
        "[,]",
        "{}",
        "{\"a\":1}",
        "{\"a\"}",
        "{a:1}",
        "{\"a\":1,}",
        "true",
        "tru",
        "nulls",
        " [1 , 2 ] ",
        "1 2",
        "",
        "\u{a0}1",
        "\"\u{7f}\"",
        "1e131071",
        "1e131072",
        "1e-16383",
        "1e-16384",
        "{\"\":1}",
        "[[[]]]",
        "[1}",
        "NaN",
        "\"größe\"",
    ];
    for (n, text) in texts.iter().enumerate() {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_text) VALUES (1, {n}, {id}, $json${text}$json$)"
        ));
        let stored = session.number("SELECT stage_flush()") == 1;
        let jsonb = session.try_rows(&format!("SELECT $json${text}$json$::jsonb"));
        assert_eq!(stored, jsonb.is_ok(), "{text}: {jsonb:?}");
        if let Err(failure) = jsonb {
            let code = session.text(&format!(
                "SELECT sqlstate FROM entity_values_rejected WHERE entity_id = {n}"
            ));
            assert_eq!(code, failure.code, "{text}");
        }
    }
    // All of it at once, as the projection will.
    let shown = "SELECT count(value_text::jsonb) FROM entity_values_ts";
    assert!(session.number(shown) > 15);
}

#[test]
fn each_document_has_its_answer() {
    let Ready { mut session, .. } = ready();
    for value_type in ["number", "integer", "boolean", "timestamp", "text", "json"] {
        session.exec(&format!(
            "SELECT register_attribute(1, 'a_{value_type}', '{value_type}')"
        ));
    }
    let value = |name: &str, value: &str| format!("1, 1, jsonb_build_object('{name}', $v${value}$v$::jsonb)");
    let good = r#"{"temperature": 1}"#;
    let arguments = [
        ("22004", format!("NULL, 1, '{good}'")),
        ("22004", format!("1, NULL, '{good}'")),
        ("22004", "1, 1, NULL".to_owned()),
        ("22004", format!("1, 1, '{good}', NULL, NULL")),
        ("22003", format!("0, 1, '{good}'")),
        ("22003", format!("-9223372036854775808, 1, '{good}'")),
        (
            "22003",
            format!("1, 9223372036854775808::numeric::bigint, '{good}'"),
        ),
        ("22008", format!("1, 1, '{good}', 'infinity'")),
        ("22008", format!("1, 1, '{good}', '-infinity'")),
        ("22023", "1, 1, 'null'".to_owned()),
        ("22023", "1, 1, '[]'".to_owned()),
        ("22023", "1, 1, '\"x\"'".to_owned()),
        ("22023", "1, 1, '{\"\": 1}'".to_owned()),
        ("22023", format!("1, 1, '{{\"{}\": 1}}'", "n".repeat(64))),
        ("22023", format!("1, 1, '{{\"{}\": 1}}'", "ä".repeat(32))),
        ("22023", "1, 1, '{\"a\\u0001b\": 1}'".to_owned()),
        ("22023", "1, 1, '{\"a\\u0085b\": 1}'".to_owned()),
        ("42804", value("temperature", "{}")),
        ("42804", value("temperature", "[1]")),
        ("42804", value("temperature", "true")),
        ("42804", value("temperature", "\"21.5\"")),
        ("22003", value("temperature", "1e400")),
        ("22003", value("temperature", "-1e400")),
        ("22003", value("temperature", "1e-400")),
        ("22P02", value("temperature", "NaN")),
        ("22003", value("temperature", "1e131072")),
        ("42804", value("a_integer", "1.5")),
        ("42804", value("a_integer", "\"1\"")),
        ("22003", value("a_integer", "9223372036854775808")),
        ("22003", value("a_integer", "1e400")),
        ("42804", value("a_boolean", "1")),
        ("42804", value("a_boolean", "\"true\"")),
        ("22007", value("a_timestamp", "\"2026-11-21T10:00:00\"")),
        ("22007", value("a_timestamp", "\"0044-03-15 BC\"")),
        ("22007", value("a_timestamp", "\"294276-12-31T00:00:00Z\"")),
        ("22008", value("a_timestamp", "\"infinity\"")),
        ("42804", value("a_timestamp", "{}")),
        ("42804", value("a_text", "1")),
        ("22P05", value("a_text", "\"\\u0000\"")),
        ("22P02", value("a_text", "\"\\ud800\"")),
        (
            "54001",
            value("a_json", &format!("{}1{}", "[".repeat(201), "]".repeat(201))),
        ),
        ("42704", value("other", "1")),
    ];
    for (code, arguments) in arguments {
        let failure = session.fails_with(code, &format!("SELECT ingest({arguments})"));
        // What is wrong with the document itself is wrong with it at every way in.
        if let Some(document) = arguments.strip_prefix("1, 1, ")
            && !["NULL", "infinity"]
                .iter()
                .any(|other| document.contains(other) && !document.contains("a_timestamp"))
        {
            let beside = r#"'{"entity_id": 2, "readings": {"temperature": 1}}'::jsonb"#;
            for call in [
                format!("ingest_external(1, 'robot', {document}, durable => false)"),
                format!(
                    "ingest_many(1, jsonb_build_array({beside}, jsonb_build_object('entity_id', 1, 'readings', ({document})::jsonb)))"
                ),
            ] {
                let failure = session.fails_with(code, &format!("SELECT {call}"));
                assert!(failure.message.len() < 400, "{failure}");
            }
        }
        // The server has no hint for what it refuses itself, nor is there one for NULL.
        let ours = !["22004", "22P02", "22P05"].contains(&code)
            && !["131072", "numeric", "0, 1,", "-9223372036854775808, 1"]
                .iter()
                .any(|own| arguments.contains(own));
        assert!(!ours || !failure.hint.is_empty(), "{arguments}\n  {failure}");
        assert!(failure.message.len() < 400, "{failure}");
    }
    for door in DOORS {
        assert_eq!(session.number(&format!("SELECT count(*) FROM {door}")), 0);
    }
    assert_eq!(session.number("SELECT count(*) FROM entities"), 0);
    for accepted in [
        value("a_json", &format!("{}1{}", "[".repeat(200), "]".repeat(200))),
        value("temperature", "1e-320"),
        value("a_text", "\"\\u0001\""),
        "9223372036854775807, 1, '{}'".to_owned(),
        format!("1, -9223372036854775808, '{good}'"),
        format!("1, 9223372036854775807, '{good}'"),
    ] {
        session.exec(&format!("SELECT ingest({accepted})"));
    }
    assert_eq!(session.number("SELECT stage_flush()"), 5);
    assert_eq!(session.number("SELECT count(*) FROM entity_values_rejected"), 0);
}

#[test]
fn a_value_may_be_as_large_as_the_setting_says() {
    // Of its own, because of the setting.
    let cluster = Cluster::builder()
        .set("pg_telemetry.max_value_size", "100kB")
        .start();
    let database = cluster.create_database("large");
    let mut session = database.install();
    let text = session.number("SELECT register_attribute(1, 't', 'text')");
    let json = session.number("SELECT register_attribute(1, 'j', 'json')");
    let size = 100 << 10;
    for door in DOORS {
        session.exec(&format!(
            "INSERT INTO {door} (tenant_id, entity_id, attribute_id, value_text) VALUES
             (1, 1, {text}, repeat('x', {size})), (1, 2, {text}, repeat('x', {size} + 1)),
             (1, 3, {json}, '\"' || repeat('x', {size} - 2) || '\"'), (1, 4, {json}, '\"' || repeat('x', {size} - 1) || '\"')"
        ));
    }
    assert_eq!(session.number("SELECT stage_flush()"), 4);
    assert_eq!(
        session.rows("SELECT sqlstate, count(*) FROM entity_values_rejected GROUP BY 1"),
        [["54000", "4"]]
    );
    for name in ["t", "j"] {
        let fits = if name == "t" { size } else { size - 2 };
        let call =
            |bytes: usize| format!("SELECT ingest(1, 1, jsonb_build_object('{name}', repeat('x', {bytes})))");
        assert_eq!(session.number(&call(fits)), 1);
        let failure = session.fails_with("54000", &call(fits + 1));
        assert!(
            failure.message.contains("102401 bytes, allowed are 102400"),
            "{failure}"
        );
        assert!(failure.hint.contains("max_value_size"), "{failure}");
    }
}

/// In memory, at its greatest, in MB.
fn peak_memory(session: &Session) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", session.pid())).expect("the session is there");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .expect("Linux says so");
    let kilobytes: String = line.chars().filter(char::is_ascii_digit).collect();
    kilobytes.parse::<u64>().expect("a number") / 1024
}

#[test]
fn documents_of_256_mib_take_nothing_down() {
    let Ready {
        database,
        mut session,
        temperature,
    } = ready();
    let text = session.number("SELECT register_attribute(1, 't', 'text')");
    let json = session.number("SELECT register_attribute(1, 'j', 'json')");
    let start = session.text("SELECT pg_postmaster_start_time()");
    let size = 256 << 20;
    let mut documents = database.connect();
    for (name, bytes) in [("t", size - 1), ("j", size - 1), ("t", 70 << 20)] {
        let call = format!("ingest(1, 1, jsonb_build_object('{name}', repeat('x', {bytes})))");
        let failure = documents.fails_with("54000", &format!("SELECT {call}"));
        assert!(!failure.message.is_empty());
    }
    let failure = documents.fails_with(
        "54000",
        "SELECT ingest_many(1, jsonb_build_array(jsonb_build_object('entity_id', 1, 'readings', jsonb_build_object('t', repeat('x', 70 << 20)))))",
    );
    assert!(
        failure.message.contains("bytes of the batch") && !failure.hint.is_empty(),
        "{failure}"
    );
    for (door, id) in DOORS.into_iter().zip([text, json]) {
        let mut line = format!("1\t1\tnow\t\\N\t\\N\t\\N\t{id}\t");
        line.push_str(&"x".repeat(size));
        line.push('\n');
        for entity in 2..4 {
            line.push_str(&format!("1\t{entity}\tnow\t\\N\t1\t\\N\t{temperature}\t\\N\n"));
        }
        assert_eq!(database.connect().copy(door, &line), 3);
    }
    let mut flusher = database.connect();
    assert_eq!(flusher.number("SELECT stage_flush()"), 4);
    let kept = "SELECT sqlstate, count(*), min(length(value_text)) FROM entity_values_rejected GROUP BY 1";
    assert_eq!(session.rows(kept), [["54000", "2", &size.to_string()]]);
    assert!(peak_memory(&flusher) < 700, "{} MB", peak_memory(&flusher));
    assert_eq!(session.text("SELECT pg_postmaster_start_time()"), start);
}

#[test]
fn a_call_with_too_many_readings_is_refused() {
    let Ready {
        database,
        mut session,
        ..
    } = ready();
    let call = |count: usize| {
        format!(
            "SELECT ingest_many(1, (SELECT jsonb_agg(jsonb_build_object('entity_id', n, 'readings', '{{\"temperature\": 1}}'::jsonb))
             FROM generate_series(1, {count}) n), durable => false)"
        )
    };
    let names = |count: usize| {
        format!("SELECT ingest(1, 1, (SELECT jsonb_object_agg(n, 1) FROM generate_series(1, {count}) n))")
    };
    let failure = session.fails_with("54000", &names(1_000_001));
    assert!(
        failure.message.contains("1000001, allowed are 1000000"),
        "{failure}"
    );
    let mut large = database.connect();
    assert_eq!(large.number(&call(300_000)), 300_000);
    assert_eq!(
        session.number("SELECT count(*) FROM entity_values_ingest"),
        300_000
    );
    // One object with as many names as fit, none of them known.
    let failure = large.fails_with("42704", &names(200_000));
    assert!(failure.message.contains("199999 others"), "{failure}");
    assert!(peak_memory(&large) < 1000, "{} MB", peak_memory(&large));
}

/// Text of the caller's that would be SQL, or another's format, stays text.
#[test]
fn names_and_texts_are_never_read_as_sql() {
    let Ready { mut session, .. } = ready();
    session.exec("SET pg_telemetry.auto_register = on");
    let nasty = r#"x'); DROP TABLE entities; --"#;
    let other = r#"%s $1 {} \\ \" "#;
    session.exec(&format!("SELECT ingest_external(1, $n${nasty}$n$, jsonb_build_object($n${nasty}$n$, 1, $n${other}$n$, $n${other}$n$))"));
    assert_eq!(session.number("SELECT stage_flush()"), 2);
    let names = session.column("SELECT name FROM attributes WHERE name <> 'temperature' ORDER BY name");
    assert_eq!(names, [other, nasty]);
    assert_eq!(session.text("SELECT external_id FROM entities"), nasty);
}
