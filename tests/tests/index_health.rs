//! Advice about indexes, and where it is refused.

use cluster_tests::{Cluster, NULL, Session, shared};

/// As after two weeks of watching, with sizes that matter.
fn watch_for_weeks(session: &mut Session, days: i64) {
    session.exec("SELECT telemetry.take_samples(); SELECT pg_stat_force_next_flush()");
    session.exec("SELECT telemetry.take_samples()");
    session.exec(&format!(
        "UPDATE telemetry.index_use SET idle_seconds = {days} * 86400, bytes = 200 * 1048576"
    ));
}

/// Issue, advice and what speaks against it, of one index.
fn advice(session: &mut Session, index: &str) -> Vec<Vec<String>> {
    session.rows(&format!(
        "SELECT issue, advice, coalesce(why_not, ''), remedy FROM telemetry.index_health WHERE index_name = '{index}' ORDER BY issue"
    ))
}

fn only(rows: Vec<Vec<String>>, issue: &str) -> Vec<String> {
    let mut found: Vec<_> = rows.into_iter().filter(|row| row[0] == issue).collect();
    assert_eq!(found.len(), 1, "{issue}: {found:?}");
    found.swap_remove(0)
}

#[test]
fn nothing_is_wrong_with_a_fresh_installation() {
    let database = shared::database();
    let mut session = database.install();
    watch_for_weeks(&mut session, 20);
    let rows = session.rows("SELECT issue, index_name, advice FROM index_health WHERE advice <> 'none'");
    assert!(rows.is_empty(), "{rows:?}");
    // What is ours and could be said to be unused says why it stays.
    let row = only(
        advice(&mut session, "telemetry.entity_values_ts_series_idx"),
        "unused",
    );
    assert_eq!(row[1], "none");
    assert!(row[2].contains("readings()"), "{row:?}");
    assert_eq!(
        row[3],
        "SELECT telemetry.drop_fact_index('entity_values_ts_series_idx');"
    );
}

#[test]
fn an_unused_index_goes_only_after_long_watching_and_never_when_something_rests_on_it() {
    let database = shared::database();
    let mut session = database.install();
    session.exec(
        "CREATE TABLE public.other (id integer PRIMARY KEY);
         CREATE TABLE public.\"T 1\" (id integer PRIMARY KEY, a integer, b integer, c integer UNIQUE, d text, e integer NOT NULL,
                              f integer REFERENCES public.other);
         CREATE INDEX \"by a\" ON public.\"T 1\" (a); CREATE UNIQUE INDEX by_b ON public.\"T 1\" (b);
         CREATE INDEX by_term ON public.\"T 1\" (lower(d)); CREATE UNIQUE INDEX by_e ON public.\"T 1\" (e);
         ALTER TABLE public.\"T 1\" REPLICA IDENTITY USING INDEX by_e; CREATE INDEX by_f ON public.\"T 1\" (f);
         CREATE INDEX used ON public.\"T 1\" (e, a);
         INSERT INTO public.\"T 1\" (id, e) SELECT n, n FROM generate_series(1, 1000) n",
    );
    let index = "public.\"by a\"";
    // Not before the index was watched at all.
    assert!(advice(&mut session, index).is_empty());
    watch_for_weeks(&mut session, 3);
    let row = only(advice(&mut session, index), "unused");
    assert_eq!(
        (&*row[1], &*row[2]),
        ("none", "it has been watched for less than 14 days")
    );

    watch_for_weeks(&mut session, 15);
    let row = only(advice(&mut session, index), "unused");
    assert_eq!(
        row[1..],
        ["drop", "", "DROP INDEX CONCURRENTLY public.\"by a\";"].map(str::to_owned)
    );
    for (index, reason) in [
        ("public.\"T 1_pkey\"", "the constraint \"T 1_pkey\" rests on it"),
        ("public.\"T 1_c_key\"", "the constraint \"T 1_c_key\" rests on it"),
        ("public.by_b", "it keeps values unique"),
        (
            "public.by_term",
            "plans may go by the statistics of its expression",
        ),
        ("public.by_f", "a foreign key of the table"),
        ("public.by_e", "it is the replica identity of the table"),
    ] {
        let index = index.replace('\'', "''");
        let row = only(advice(&mut session, &index), "unused");
        assert_eq!(row[1], "none", "{row:?}");
        assert!(row[2].contains(reason), "{row:?}");
    }
    session.exec("UPDATE index_use SET bytes = 5 * 1048576");
    let row = only(advice(&mut session, index), "unused");
    assert!(row[2].contains("10 MB"), "{row:?}");

    // A scan begins the watching anew, and so does another definition.
    session.exec(
        "SET enable_seqscan = off; SELECT count(*) FROM public.\"T 1\" WHERE a = 7; RESET enable_seqscan",
    );
    session.exec("SELECT pg_stat_force_next_flush()");
    session.exec("SELECT take_samples()");
    assert_eq!(
        session.rows(&format!(
            "SELECT idle_seconds, scans > 0, last_scan_at IS NULL FROM index_use WHERE index_name = '{index}'"
        )),
        [["0", "t", "f"].map(str::to_owned)]
    );
    let idle = "SELECT idle_seconds > 1000 FROM index_use WHERE index_name = 'public.used'";
    assert!(session.is_true(idle));
    session.exec("DROP INDEX public.used; CREATE INDEX used ON public.\"T 1\" (e, b)");
    session.exec("SELECT take_samples()");
    assert!(!session.is_true(idle));
    session.exec("DROP INDEX public.used");
    session.exec("SELECT take_samples()");
    assert_eq!(
        session.number("SELECT count(*) FROM index_use WHERE index_name = 'public.used'"),
        0
    );
}

#[test]
fn standbys_are_to_be_asked() {
    let primary = Cluster::builder().start();
    let database = primary.create_database("asked");
    let mut session = database.install();
    session.exec(
        "CREATE TABLE public.t (a integer, b integer); CREATE INDEX by_a ON public.t (a);
         INSERT INTO public.t SELECT n, n FROM generate_series(1, 10000) n; ANALYZE public.t",
    );
    watch_for_weeks(&mut session, 15);
    let standby = primary.standby();
    let row = only(advice(&mut session, "public.by_a"), "unused");
    assert_eq!(row[1], "ask the standbys, then drop");
    let mut replica = standby.connect("asked");
    standby.catch_up_with(&primary);
    let row = only(advice(&mut replica, "public.by_a"), "unused");
    assert_eq!(row[1], "drop");
    replica.exec("SELECT count(*) FROM public.t WHERE a = 7");
    replica.exec("SELECT pg_stat_force_next_flush()");
    let row = only(advice(&mut replica, "public.by_a"), "unused");
    assert_eq!((&*row[1], &*row[2]), ("none", "this standby has used it"));
}

#[test]
fn duplicates_and_prefixes_are_told_by_the_catalogs_and_not_by_text() {
    let database = shared::database();
    let mut session = database.install();
    session.exec(
        "CREATE TABLE public.t (a integer, b text, c integer PRIMARY KEY);
         CREATE INDEX one ON public.t (a); CREATE INDEX two ON public.t USING btree (a ASC);
         CREATE INDEX down ON public.t (a DESC); CREATE INDEX partial ON public.t (a) WHERE a > 0;
         CREATE INDEX \"some too\" ON public.t (a) WHERE a > 0;
         CREATE INDEX text_ops ON public.t (b); CREATE INDEX pattern ON public.t (b text_pattern_ops);
         CREATE INDEX wide ON public.t (a, b); CREATE INDEX by_hash ON public.t USING hash (a);
         CREATE UNIQUE INDEX again ON public.t (c); CREATE INDEX included ON public.t (c) INCLUDE (b)",
    );
    let found = session.rows(
        "SELECT issue, index_name, covered_by, advice, why_not FROM index_health WHERE table_name = 'public.t' ORDER BY issue, index_name",
    );
    let row = |values: [&str; 5]| values.map(str::to_owned).to_vec();
    assert_eq!(
        found,
        [
            row(["duplicate", "public.\"some too\"", "public.partial", "drop", NULL]),
            row([
                "duplicate",
                "public.again",
                "public.t_pkey",
                "none",
                "it keeps values unique"
            ]),
            row(["duplicate", "public.two", "public.one", "drop", NULL]),
            row(["redundant", "public.one", "public.wide", "drop", NULL]),
            row(["redundant", "public.two", "public.wide", "drop", NULL]),
        ]
    );
    // What does the work of another is not to go together with that.
    session.exec("DROP INDEX public.two");
    watch_for_weeks(&mut session, 20);
    session.exec("UPDATE index_use SET idle_seconds = 60 WHERE index_name = 'public.one'");
    let row = only(advice(&mut session, "public.wide"), "unused");
    assert_eq!(row[1], "none");
    assert!(row[2].contains("does the work of public.one"), "{row:?}");
}

#[test]
fn what_is_invalid_or_missing_can_be_made_by_what_is_said() {
    let database = shared::database();
    let mut session = database.install();
    session.exec("CREATE TABLE public.t (a integer); INSERT INTO public.t VALUES (1), (1)");
    session.fails("CREATE UNIQUE INDEX CONCURRENTLY broken ON public.t (a)");
    let row = only(advice(&mut session, "public.broken"), "invalid");
    assert_eq!(
        row[1..],
        ["rebuild", "", "REINDEX INDEX CONCURRENTLY public.broken;"].map(str::to_owned)
    );
    session.exec("TRUNCATE public.t");
    session.exec(&row[3]);
    assert!(
        advice(&mut session, "public.broken")
            .iter()
            .all(|row| row[0] != "invalid")
    );

    session.exec(
        "CREATE TABLE public.parts (k integer, a integer) PARTITION BY LIST (k);
         CREATE TABLE public.p1 PARTITION OF public.parts FOR VALUES IN (1);
         CREATE TABLE public.p2 PARTITION OF public.parts FOR VALUES IN (2);
         CREATE TABLE public.p3 PARTITION OF public.parts FOR VALUES IN (3);
         CREATE INDEX on_all ON ONLY public.parts (a)",
    );
    let row = only(advice(&mut session, "public.on_all"), "missing");
    assert_eq!(row[1], "build");
    let statement = row[3].split("; then").next().expect("a statement");
    assert_eq!(
        statement,
        "CREATE INDEX CONCURRENTLY ON public.p3 USING btree (a)"
    );
    session.exec(statement);
    session.exec("CREATE INDEX ON public.p1 (k, a); CREATE INDEX ON public.p2 (k, a)");
    let found = session
        .rows("SELECT why, remedy FROM index_health WHERE issue = 'missing' AND advice = 'build for all'");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0][0].starts_with("2 of 3 partitions"), "{found:?}");

    // Of facts, by our own means.
    session.exec("DO $$ DECLARE leaf regclass; BEGIN
                      FOR leaf IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'telemetry.entity_values_ts'::regclass LIMIT 2
                      LOOP EXECUTE format('CREATE INDEX ON %s (entity_id, ingested_at)', leaf); END LOOP; END $$");
    let remedy = session.text(
        "SELECT remedy FROM index_health WHERE issue = 'missing' AND table_name = 'telemetry.entity_values_ts'",
    );
    assert_eq!(
        remedy,
        "SELECT telemetry.add_fact_index(ARRAY['entity_id', 'ingested_at'], 'btree');"
    );
    session.exec(&remedy);
}

#[test]
fn brin_is_for_what_is_large_in_order_and_only_added_to() {
    let database = shared::database();
    let mut session = database.install();
    // Only its own tables' statistics are known to telemetry_owner.
    session.exec(
        "CREATE TABLE public.log (at timestamptz, n integer, v text); ALTER TABLE public.log OWNER TO telemetry_owner;
         CREATE INDEX by_at ON public.log (at); CREATE INDEX by_n ON public.log (n);
         INSERT INTO public.log SELECT '2026-01-01'::timestamptz + n * interval '1 s', hashint4(n), '' FROM generate_series(1, 20000) n;
         GRANT USAGE ON SCHEMA public TO telemetry_owner; ANALYZE public.log",
    );
    session.exec("CREATE TABLE public.theirs (at timestamptz); CREATE INDEX by_theirs ON public.theirs (at)");
    session.exec("SET enable_seqscan = off; SELECT count(*) FROM public.log WHERE at > '2020-01-01'; RESET enable_seqscan");
    watch_for_weeks(&mut session, 1);
    let row = only(advice(&mut session, "public.by_at"), "brin");
    assert_eq!((&*row[1], &*row[2]), ("replace", ""));
    assert_eq!(
        row[3],
        "CREATE INDEX CONCURRENTLY ON public.log USING brin (at); DROP INDEX CONCURRENTLY public.by_at;"
    );
    let row = only(advice(&mut session, "public.by_n"), "brin");
    assert!(row[2].contains("do not lie in its order"), "{row:?}");
    let row = only(advice(&mut session, "public.by_theirs"), "brin");
    assert!(row[2].contains("is not known"), "{row:?}");
    session.exec("UPDATE public.log SET v = 'x' WHERE n % 3 = 0");
    session.exec("SELECT pg_stat_force_next_flush()");
    session.exec("SELECT 1");
    let row = only(advice(&mut session, "public.by_at"), "brin");
    assert!(row[2].contains("updated or deleted"), "{row:?}");
    session.exec("UPDATE index_use SET bytes = 1048576");
    assert!(
        advice(&mut session, "public.by_at")
            .iter()
            .all(|row| row[0] != "brin")
    );
}
