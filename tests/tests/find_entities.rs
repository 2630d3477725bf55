//! find_entities_by_attributes(): the same answer wherever values are kept, and what is said of a search that makes no sense.

use cluster_tests::readings::{Ready, attribute, build_attributes, ready};
use cluster_tests::{Cluster, Failure, Session, shared};
use std::collections::BTreeMap;

/// Numbers that look random, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// Values of each type in their order, as COPY takes them and as JSON writes them.
fn values(value_type: &str) -> Vec<(String, String)> {
    let plain = |values: &[&str]| {
        values
            .iter()
            .map(|value| (value.to_string(), value.to_string()))
            .collect()
    };
    // Texts that differ behind the part that is indexed.
    let long = "x".repeat(250);
    match value_type {
        "number" => vec![
            ("-1.5".into(), "-1.5".into()),
            ("0".into(), "0".into()),
            ("0.30000000000000004".into(), "0.30000000000000004".into()),
            ("7".into(), "7.0".into()),
            ("1e300".into(), "1e300".into()),
            ("NaN".into(), "\"NaN\"".into()),
        ],
        "integer" => plain(&["-9223372036854775808", "-1", "0", "3", "9223372036854775807"]),
        "boolean" => vec![("0".into(), "false".into()), ("1".into(), "true".into())],
        "timestamp" => vec![
            ("0".into(), "\"1970-01-01T00:00:00Z\"".into()),
            ("1500000".into(), "\"1970-01-01T01:00:01.5+01:00\"".into()),
            ("1795255200000000".into(), "1795255200000000".into()),
        ],
        "text" => [
            "",
            "Auto",
            "auto",
            "größe",
            &long,
            &format!("{long}y"),
            &format!("{long}z"),
        ]
        .iter()
        .map(|text| (text.to_string(), format!("\"{text}\"")))
        .collect(),
        _ => vec![("{\"a\": 1}".into(), "{}".into())],
    }
}

const TYPES: [&str; 6] = ["number", "integer", "boolean", "timestamp", "text", "json"];

/// The latest value of each attribute of each entity: when it was observed, in steps before now, and its place among the values.
type Model = BTreeMap<i64, BTreeMap<usize, (i64, usize)>>;

/// Ten minutes.
const STEP: i64 = 600;

struct World {
    session: Session,
    ids: Vec<i64>,
    model: Model,
}

/// Random readings of six days, stored, and what is the latest of them.
fn world(random: &mut Random) -> World {
    let Ready { mut session, .. } = ready();
    let ids: Vec<i64> = TYPES
        .iter()
        .map(|value_type| attribute(&mut session, &format!("a_{value_type}"), value_type))
        .collect();
    let base = session.number("SELECT extract(epoch FROM now())::bigint");
    let mut newest: BTreeMap<(i64, usize), (i64, i64, usize)> = BTreeMap::new();
    let mut lines = String::new();
    for _ in 0..1500 {
        let entity = random.below(60) as i64 - 5;
        let kind = random.below(TYPES.len());
        let came_in = base - STEP * random.below(6 * 144) as i64;
        let observed = match random.below(4) {
            0 => None,
            1 => Some(came_in + STEP * random.below(20) as i64),
            _ => Some(came_in - STEP * random.below(300) as i64),
        };
        let all = values(TYPES[kind]);
        let value = random.below(all.len());
        let (number, whole, text) = match TYPES[kind] {
            "number" => (all[value].0.as_str(), "\\N", "\\N"),
            "text" | "json" => ("\\N", "\\N", all[value].0.as_str()),
            _ => ("\\N", all[value].0.as_str(), "\\N"),
        };
        let moment = |time: i64| format!("@{time}@");
        lines.push_str(&format!(
            "1\t{entity}\t{}\t{}\t{number}\t{whole}\t{}\t{text}\n",
            moment(came_in),
            observed.map_or("\\N".into(), moment),
            ids[kind]
        ));
        let stamp = (observed.unwrap_or(came_in).min(came_in), came_in, value);
        let known = newest.entry((entity, kind)).or_insert(stamp);
        *known = (*known).max(stamp);
    }
    store(&mut session, &lines);
    let mut model = Model::new();
    for ((entity, kind), (event, _, value)) in newest {
        let steps = (base - event) / STEP;
        model.entry(entity).or_default().insert(kind, (steps, value));
    }
    World { session, ids, model }
}

/// Times in the lines are seconds since 1970 between two signs.
fn store(session: &mut Session, lines: &str) {
    let readable: String = lines
        .lines()
        .map(|line| {
            let fields: Vec<String> = line
                .split('\t')
                .map(
                    |field| match field.strip_prefix('@').and_then(|rest| rest.strip_suffix('@')) {
                        Some(seconds) => utc(seconds.parse().unwrap()),
                        None => field.to_owned(),
                    },
                )
                .collect();
            fields.join("\t") + "\n"
        })
        .collect();
    session.copy("entity_values_ingest", &readable);
    let rows = lines.lines().count() as i64;
    let mut stored = 0;
    while stored < rows {
        let more = session.number("SELECT stage_flush()");
        assert!(more > 0, "{stored} of {rows} rows were stored");
        stored += more;
    }
}

fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    // Good for the years around now.
    let mut year = 1970;
    let mut left = days;
    let leap = |year: i64| year % 4 == 0;
    while left >= if leap(year) { 366 } else { 365 } {
        left -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let lengths = [
        31,
        if leap(year) { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    format!(
        "{year}-{:02}-{:02} {:02}:{:02}:{:02}+00",
        month + 1,
        left + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// One filter as JSON, and which places among the values it accepts.
fn filter(random: &mut Random, kind: usize) -> (String, Vec<bool>) {
    let all = values(TYPES[kind]);
    let json = |place: usize| all[place].1.clone();
    let accepts = |test: &dyn Fn(usize) -> bool| (0..all.len()).map(test).collect::<Vec<bool>>();
    let exists = || ("{\"exists\": true}".to_owned(), accepts(&|_| true));
    if TYPES[kind] == "json" {
        return exists();
    }
    let (low, high) = (random.below(all.len()), random.below(all.len()));
    let ordered = TYPES[kind] != "boolean";
    match random.below(if ordered { 9 } else { 4 }) {
        0 => (json(low), accepts(&|place| place == low)),
        1 => (
            format!("{{\"eq\": {}}}", json(low)),
            accepts(&|place| place == low),
        ),
        2 => exists(),
        3 => (
            format!("{{\"in\": [{}, {}]}}", json(low), json(high)),
            accepts(&|place| place == low || place == high),
        ),
        4 => (
            format!("{{\"gt\": {}}}", json(low)),
            accepts(&|place| place > low),
        ),
        5 => (
            format!("{{\"gte\": {}}}", json(low)),
            accepts(&|place| place >= low),
        ),
        6 => (
            format!("{{\"lt\": {}}}", json(low)),
            accepts(&|place| place < low),
        ),
        7 => (
            format!("{{\"gte\": {}, \"lte\": {}}}", json(low), json(high)),
            accepts(&|place| place >= low && place <= high),
        ),
        _ => (
            format!("{{\"between\": [{}, {}]}}", json(low), json(high)),
            accepts(&|place| place >= low && place <= high),
        ),
    }
}

struct Question {
    filters: String,
    /// In steps.
    within: i64,
    expected: Vec<Vec<String>>,
}

fn questions(random: &mut Random, world: &World, count: usize) -> Vec<Question> {
    let one = |random: &mut Random| {
        let mut kinds: Vec<usize> = (0..1 + random.below(3))
            .map(|_| random.below(TYPES.len()))
            .collect();
        kinds.sort();
        kinds.dedup();
        let parts: Vec<(usize, String, Vec<bool>)> = kinds
            .into_iter()
            .map(|kind| {
                let (json, accepted) = filter(random, kind);
                (kind, json, accepted)
            })
            .collect();
        let within = random.below(7 * 144) as i64;
        let members: Vec<String> = parts
            .iter()
            .map(|(kind, json, _)| format!("\"a_{}\": {json}", TYPES[*kind]))
            .collect();
        let mut expected = Vec::new();
        for (entity, latest) in &world.model {
            let mut newest = i64::MAX;
            let all = parts.iter().all(|(kind, _, accepted)| match latest.get(kind) {
                Some((steps, value)) if *steps <= within && accepted[*value] => {
                    newest = newest.min(*steps);
                    true
                }
                _ => false,
            });
            if all {
                expected.push(vec![entity.to_string(), newest.to_string()]);
            }
        }
        Question {
            filters: format!("{{{}}}", members.join(", ")),
            within,
            expected,
        }
    };
    (0..count).map(|_| one(random)).collect()
}

fn answer(session: &mut Session, question: &Question, more: &str) -> Vec<Vec<String>> {
    session.rows(&format!(
        "SELECT entity_id, round(extract(epoch FROM now() - last_observed_at) / {STEP} - 0.49)
         FROM find_entities_by_attributes(1, '{}', interval '{} seconds'{more})",
        question.filters.replace('\'', "''"),
        question.within * STEP + STEP / 2
    ))
}

fn ask_all(world: &mut World, questions: &[Question], how: &str, seed: u64) {
    for question in questions {
        let found = answer(&mut world.session, question, "");
        assert_eq!(
            found, question.expected,
            "{how}, seed {seed}: {} within {} steps",
            question.filters, question.within
        );
        // The same in pages.
        let mut paged = Vec::new();
        let mut after = "NULL".to_owned();
        loop {
            let page = answer(&mut world.session, question, &format!(", 7, {after}"));
            let Some(last) = page.last() else { break };
            after = last[0].clone();
            paged.extend(page);
        }
        assert_eq!(
            paged, question.expected,
            "{how}, seed {seed}: {}",
            question.filters
        );
    }
}

#[test]
fn the_answer_does_not_depend_on_where_values_are_kept() {
    for seed in [1, 20] {
        let random = &mut Random(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut world = world(random);
        let questions = questions(random, &world, 30);
        assert!(
            questions
                .iter()
                .filter(|question| !question.expected.is_empty())
                .count()
                > 8
        );
        ask_all(&mut world, &questions, "cold", seed);
        for value_type in TYPES {
            world
                .session
                .exec(&format!("SELECT promote_attribute(1, 'a_{value_type}')"));
        }
        ask_all(&mut world, &questions, "promoted, not built", seed);
        build_attributes(&mut world.session, 17);
        ask_all(&mut world, &questions, "hot", seed);
        for value_type in &TYPES[..5] {
            world
                .session
                .exec(&format!("SELECT promote_attribute(1, 'a_{value_type}', true)"));
        }
        ask_all(&mut world, &questions, "searchable, not built", seed);
        build_attributes(&mut world.session, 17);
        ask_all(&mut world, &questions, "searchable", seed);
        // Some of each.
        world.session.exec(
            "SELECT demote_attribute(1, 'a_text'); SELECT demote_attribute(1, 'a_boolean');
             SELECT promote_attribute(1, 'a_integer')",
        );
        ask_all(&mut world, &questions, "mixed, not built", seed);
        build_attributes(&mut world.session, 17);
        ask_all(&mut world, &questions, "mixed", seed);
        let left = world.session.number(&format!(
            "SELECT count(*) FROM entity_search WHERE attribute_id = ANY (ARRAY[{}, {}, {}])",
            world.ids[1], world.ids[2], world.ids[4]
        ));
        assert_eq!(left, 0);
        let keys = "SELECT count(*) FROM entity_jsonb WHERE hot_attrs ?| ARRAY['a_text', 'a_boolean']";
        assert_eq!(world.session.number(keys), 0);
    }
}

/// More entities than are looked at one by one: lists of several attributes are compared, those of one value are read page by page.
#[test]
fn long_lists_and_their_pages_are_complete() {
    let database = shared::database();
    let mut session = database.install();
    session.exec(
        "SELECT register_attribute(1, n, 'integer', is_hot => true) FROM unnest('{a,b,c}'::text[]) n;
         UPDATE attributes SET is_searchable = true; UPDATE attribute_builds SET search_ready = true, finished_at = now()",
    );
    const ENTITIES: i64 = 30_000;
    let mut stage = |add: i64| {
        session.exec(&format!(
            "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_int)
             SELECT 1, e, attribute_id, (e + {add}) % CASE name WHEN 'a' THEN 2 WHEN 'b' THEN 3 ELSE 50 END
             FROM generate_series(1, {ENTITIES}) e, attributes; SELECT stage_flush(1000000)"
        ));
    };
    // The second leaves an old entry of each in the index.
    stage(1);
    stage(0);
    for (filters, condition) in [
        (r#"{"a": 1}"#, "e % 2 = 1"),
        (r#"{"a": 1, "b": 2}"#, "e % 2 = 1 AND e % 3 = 2"),
        (
            r#"{"a": 0, "b": {"gte": 1}, "c": {"gt": 4, "lte": 30}}"#,
            "e % 2 = 0 AND e % 3 >= 1 AND e % 50 > 4 AND e % 50 <= 30",
        ),
        (
            r#"{"c": {"in": [7, 8, 9, 7]}, "b": {"lt": 2}}"#,
            "e % 50 IN (7, 8, 9) AND e % 3 < 2",
        ),
        (r#"{"a": {"exists": true}, "c": 49}"#, "e % 50 = 49"),
    ] {
        let expected = session.column(&format!(
            "SELECT e FROM generate_series(1, {ENTITIES}) e WHERE {condition} ORDER BY e"
        ));
        let all = session.column(&format!(
            "SELECT entity_id FROM find_entities_by_attributes(1, '{filters}', NULL, 100000)"
        ));
        assert_eq!(all, expected, "{filters}");
        for page in [1, 7, 997] {
            let (mut after, mut found) = ("NULL".to_owned(), Vec::new());
            // Some pages, and not thousands.
            while found.len() < expected.len().min(20 * page) {
                let next = session.column(&format!(
                    "SELECT entity_id FROM find_entities_by_attributes(1, '{filters}', NULL, {page}, {after})"
                ));
                after = next.last().expect("there are more").clone();
                found.extend(next);
            }
            assert_eq!(found, expected[..found.len()], "{filters} by {page}");
        }
        let last = expected.last().expect("some are found");
        let behind =
            format!("SELECT count(*) FROM find_entities_by_attributes(1, '{filters}', NULL, 5, {last})");
        assert_eq!(session.number(&behind), 0);
    }
}

#[test]
fn what_is_wrong_with_a_search_is_said() {
    let Ready { mut session, .. } = ready();
    attribute(&mut session, "mode", "text");
    attribute(&mut session, "on", "boolean");
    attribute(&mut session, "blob", "json");
    attribute(&mut session, "count", "integer");
    let long = format!(r#"{{"mode": {{"in": [{}]}}}}"#, vec!["\"x\""; 10_001].join(","));
    let wide = format!(
        "{{{}}}",
        (0..65)
            .map(|n| format!("\"a{n}\": 1"))
            .collect::<Vec<_>>()
            .join(",")
    );
    for (filters, code, message) in [
        ("{}", "22023", "there is none"),
        ("[]", "22023", "must be a JSON object, not an array"),
        ("null", "22023", "must be a JSON object, not null"),
        ("5", "22023", "must be a JSON object, not a number"),
        (
            r#"{"mod": "auto"}"#,
            "42704",
            "attribute \"mod\" is not registered for tenant 1",
        ),
        (r#"{"": 1}"#, "42704", "attribute \"\" is not registered"),
        (
            r#"{"mode": 5}"#,
            "42804",
            "attribute is text, the value is a number",
        ),
        (r#"{"mode": null}"#, "22023", "null says nothing"),
        (r#"{"mode": ["a"]}"#, "22023", "write {\"in\": […]}"),
        (r#"{"mode": {}}"#, "22023", "no operator"),
        (
            r#"{"mode": {"like": "a%"}}"#,
            "22023",
            "there is no operator \"like\"",
        ),
        (r#"{"mode": {"in": "a"}}"#, "22023", "\"in\" takes an array"),
        (r#"{"mode": {"in": [["a"]]}}"#, "42804", "the value is an array"),
        (
            r#"{"mode": {"eq": {"a": {"b": {"c": {"d": 1}}}}}}"#,
            "42804",
            "the value is an object",
        ),
        (r#"{"mode": {"between": ["a"]}}"#, "22023", "array of two values"),
        (r#"{"mode": {"exists": false}}"#, "22023", "\"exists\" takes true"),
        (r#"{"on": {"gt": false}}"#, "22023", "a boolean has no order"),
        (r#"{"blob": {"a": 1}}"#, "22023", "there is no operator \"a\""),
        (r#"{"blob": "x"}"#, "22023", "only be asked whether they exist"),
        (r#"{"count": 1.5}"#, "42804", "the value has a fraction"),
        (r#"{"count": 1e30}"#, "22003", "out of range of bigint"),
        (r#"{"temperature": "warm"}"#, "42804", "the value is a string"),
        (&long, "54000", "values in filters: 10001, allowed are 10000"),
        (&wide, "54000", "attributes in filters: 65, allowed are 64"),
    ] {
        for function in ["find_entities_by_attributes", "explain_find"] {
            let failure = session.fails_with(code, &format!("SELECT * FROM {function}(1, '{filters}')"));
            assert!(failure.message.contains(message), "{filters:.80}: {failure}");
            assert!(!failure.hint.is_empty(), "{filters:.80}");
        }
    }
    for (arguments, code, message) in [
        ("NULL, '{\"mode\": \"a\"}'", "22004", "tenant_id"),
        ("0, '{\"mode\": \"a\"}'", "22003", "tenant_id"),
        ("1, NULL", "22004", "filters"),
        (
            "1, '{\"mode\": \"a\"}', '-1 day'",
            "22023",
            "within must be positive",
        ),
        ("1, '{\"mode\": \"a\"}', max_results => 0", "22003", "max_results"),
        (
            "1, '{\"mode\": \"a\"}', max_results => NULL",
            "22004",
            "max_results",
        ),
    ] {
        let failure = session.fails_with(
            code,
            &format!("SELECT * FROM find_entities_by_attributes({arguments})"),
        );
        assert!(failure.message.contains(message), "{arguments}: {failure}");
    }
    let nothing: Vec<String> = Vec::new();
    for filters in [
        r#"{"mode": "a"}"#,
        r#"{"mode": {"in": []}}"#,
        r#"{"count": {"gt": 5, "lt": 5}}"#,
    ] {
        let sql = format!("SELECT entity_id FROM find_entities_by_attributes(1, '{filters}', NULL)");
        assert_eq!(session.column(&sql), nothing);
    }
}

#[test]
fn names_with_odd_letters_are_found() {
    let Ready { mut session, .. } = ready();
    session.exec("SET pg_telemetry.auto_register = on");
    for (number, name) in ["a.b", "it's", "größe \\\" x", "{}", "$1", "select"]
        .iter()
        .enumerate()
    {
        let json = name.replace('\'', "''");
        session.exec(&format!(
            "SELECT ingest(1, {number}, E'{{\"{}\": \"v{number}\"}}'); SELECT stage_flush()",
            json.replace('\\', "\\\\")
        ));
        let sql = format!(
            "SELECT entity_id FROM find_entities_by_attributes(1, E'{{\"{}\": \"v{number}\"}}')",
            json.replace('\\', "\\\\")
        );
        assert_eq!(session.column(&sql), [number.to_string()], "{name}");
        let plain = name.replace("\\\"", "\"").replace('\'', "''");
        session.exec(&format!("SELECT promote_attribute(1, '{plain}', true)"));
        build_attributes(&mut session, 17);
        assert_eq!(session.column(&sql), [number.to_string()], "{name}");
    }
}

#[test]
fn a_search_that_would_read_too_much_is_refused() {
    let Ready {
        mut session,
        temperature,
        ..
    } = ready();
    attribute(&mut session, "mode", "text");
    session.exec(&format!(
        "INSERT INTO entity_values_ingest (tenant_id, entity_id, attribute_id, value_num)
         SELECT 1, entity, {temperature}, 1 FROM generate_series(1, 2000) entity, generate_series(1, 3);
         SELECT stage_flush(); ANALYZE entity_values_ts; SET pg_telemetry.find_max_readings = 1000"
    ));
    let find =
        "SELECT count(*) FROM find_entities_by_attributes(1, '{\"temperature\": 1}', max_results => 5000)";
    let refused = |failure: Failure| {
        assert!(
            failure.hint.contains("promote_attribute(tenant, 'temperature'"),
            "{failure}"
        );
        failure.message
    };
    let message = refused(session.fails_with("53400", find));
    assert!(
        message.contains("would read about ") && message.contains("allowed are 1000"),
        "{message}"
    );
    let notes = session.column("SELECT note FROM explain_find(1, '{\"temperature\": 1}')");
    assert!(notes[0].starts_with("refused"), "{notes:?}");
    // Where the planner has no idea, it ends when that many were read.
    session.exec("DELETE FROM pg_statistic");
    session.exec("SET pg_telemetry.find_max_readings = 5000");
    session.exec("UPDATE pg_class SET reltuples = 10 WHERE relname LIKE 'entity\\_values\\_ts\\_p%'");
    session.exec("SELECT pg_stat_reset()");
    if let Err(failure) = session.try_rows(find) {
        refused(failure);
    }
    session.exec("SET pg_telemetry.find_max_readings = 7000; ANALYZE entity_values_ts");
    assert_eq!(session.number(find), 2000);
    // Hot, it costs nothing of that.
    session.exec("SET pg_telemetry.find_max_readings = 1000; SELECT promote_attribute(1, 'temperature')");
    session.fails_with("53400", find);
    build_attributes(&mut session, 17);
    assert_eq!(session.number(find), 2000);
    let reads = session.column("SELECT reads FROM explain_find(1, '{\"temperature\": 1, \"mode\": \"x\"}')");
    assert_eq!(reads, ["projection", "facts", "projection"]);
}

#[test]
fn deleted_entities_are_not_found() {
    let Ready { mut session, .. } = ready();
    session.exec("SELECT ingest(1, entity, '{\"temperature\": 1}') FROM generate_series(1, 3) entity; SELECT stage_flush()");
    session.exec("SELECT promote_attribute(1, 'temperature')");
    build_attributes(&mut session, 17);
    session.exec("UPDATE entity_jsonb SET deleted_at = now() WHERE entity_id = 2");
    let find = "SELECT entity_id FROM find_entities_by_attributes(1, '{\"temperature\": 1}')";
    for change in [
        "SELECT promote_attribute(1, 'temperature', true)",
        "SELECT demote_attribute(1, 'temperature')",
    ] {
        assert_eq!(session.column(find), ["1", "3"]);
        session.exec(change);
        build_attributes(&mut session, 17);
    }
    assert_eq!(session.column(find), ["1", "3"]);
}

#[test]
fn the_rights_and_policies_of_the_caller_count() {
    let Ready {
        mut session,
        database,
        ..
    } = ready();
    session.exec("SELECT ingest(1, entity, '{\"temperature\": 1}') FROM generate_series(1, 4) entity; SELECT stage_flush()");
    let reader = database.create_login(Some("telemetry_reader"));
    session.exec(&format!("GRANT USAGE ON SCHEMA telemetry TO {reader}"));
    session.exec("SELECT promote_attribute(1, 'temperature', true)");
    build_attributes(&mut session, 17);
    for table in ["entity_jsonb", "entity_values_ts"] {
        session.exec(&format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
             CREATE POLICY even ON {table} FOR SELECT TO telemetry_reader USING (entity_id % 2 = 0)"
        ));
    }
    let mut reader = database.connect_as(&reader);
    let find = "SELECT entity_id FROM find_entities_by_attributes(1, '{\"temperature\": 1}')";
    assert_eq!(reader.column(find), ["2", "4"]);
    reader.fails_with("42501", "SELECT * FROM entity_search");
    reader.fails_with("42501", "SELECT promote_attribute(1, 'temperature')");
    session.exec("SELECT promote_attribute(1, 'temperature')");
    build_attributes(&mut session, 17);
    assert_eq!(reader.column(find), ["2", "4"]);
    session.exec("SELECT demote_attribute(1, 'temperature')");
    build_attributes(&mut session, 17);
    assert_eq!(reader.column(find), ["2", "4"]);
}

#[test]
fn a_standby_answers_the_same_and_changes_nothing() {
    let primary = Cluster::builder().start();
    let database = primary.create_database("find");
    let mut session = database.install();
    attribute(&mut session, "temperature", "number");
    attribute(&mut session, "mode", "text");
    session.exec("SELECT ingest(1, 7, '{\"temperature\": 21.5, \"mode\": \"auto\"}'); SELECT stage_flush()");
    session.exec("SELECT promote_attribute(1, 'temperature', true)");
    build_attributes(&mut session, 17);
    let standby = primary.standby();
    standby.catch_up_with(&primary);
    let mut replica = standby.connect("find");
    let find = "SELECT entity_id, hot_attrs FROM find_entities_by_attributes(1, '{\"temperature\": {\"gt\": 20}, \"mode\": \"auto\"}')";
    assert_eq!(replica.rows(find), [["7", "{\"temperature\": 21.5}"]]);
    for write in [
        "SELECT promote_attribute(1, 'mode')",
        "SELECT demote_attribute(1, 'temperature')",
        "SELECT build_attributes()",
    ] {
        replica.fails_with("25006", write);
    }
}
