//! What statements of this database do, from pg_stat_statements in whatever schema it is. It is never reset: what was evicted from it
//! and comes back counts from nothing again, as it does there. What such a statement did between the look before and its eviction nobody
//! knows, so how often that happened is written down with the samples.

use super::baseline::{begin, changes};
use super::task::longest_gap;
use super::turn::{Outcome, Turn};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::{handover, identity, process, xact};
use crate::sql::{argument, each, read, time, value, write};

/// Statements that get a row of their own in a sample.
const KEPT: i64 = 500;

/// The view as it is installed.
struct Found {
    schema: String,
    /// Older versions of it do not tell these.
    has_toplevel: bool,
    has_since: bool,
    has_evictions: bool,
}

/// Statements, one after the other in each column.
#[derive(Default)]
struct Statements {
    ids: Vec<i64>,
    users: Vec<i64>,
    toplevel: Vec<bool>,
    /// COUNTERS of each.
    counters: [Vec<f64>; COUNTERS],
    /// Of others, which we may not look at.
    hidden: i64,
    /// How often it made room for others, since it was last reset.
    evictions: Option<f64>,
}

/// What is written down, and last what goes back when an entry was evicted and is a new one.
const COUNTERS: usize = 10;

/// Where the server does not tell since when it has counted: the longest time of all calls never gets shorter.
const LONGEST: &str = "s.max_exec_time";

/// Seconds from then to a time that nobody will see.
const SINCE: &str = "(4102444800 - extract(epoch FROM s.stats_since))::double precision";

pub fn sample(turn: &Turn) -> Result<Outcome, Error> {
    let Some(found) = find()? else {
        return Ok(Outcome::without(
            "not installed",
            "pg_stat_statements is not installed in this database: CREATE EXTENSION pg_stat_statements"
                .to_owned(),
        ));
    };
    // As somebody who may see the statistics of all, and nothing else.
    let statements = match xact::subtransaction(|| identity::as_statistics_reader(|| look(&found))) {
        Ok(statements) => statements,
        Err(failure) => {
            let (state, remedy) = match failure.sqlstate.as_str() {
                "55000" => (
                    "not loaded",
                    "add it to shared_preload_libraries and restart".to_owned(),
                ),
                "42501" => (
                    "not readable",
                    format!("GRANT USAGE ON SCHEMA {} TO pg_read_all_stats", found.schema),
                ),
                _ => ("failed", failure.sqlstate),
            };
            return Ok(Outcome::without(state, format!("{}: {remedy}", failure.message)));
        }
    };
    let hidden = statements.hidden;
    let mut outcome = write_down(turn, statements)?;
    if outcome.samples > 0 {
        keep_texts(turn, &found)?;
    }
    if hidden > 0 {
        outcome.message = Some(format!("{hidden} statements cannot be read"));
    }
    Ok(outcome)
}

fn find() -> Result<Option<Found>, Error> {
    read(
        "SELECT quote_ident(n.nspname),
                'toplevel' = ANY (c.columns), 'stats_since' = ANY (c.columns),
                EXISTS (SELECT FROM pg_class i WHERE i.relnamespace = n.oid AND i.relname = 'pg_stat_statements_info')
         FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
              CROSS JOIN LATERAL (
                  SELECT coalesce(array_agg(a.attname::text), '{}') AS columns
                  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                  WHERE c.relnamespace = n.oid AND c.relname = 'pg_stat_statements') AS c
         WHERE e.extname = 'pg_stat_statements'",
        vec![],
        |rows| {
            if rows.is_empty() {
                return Ok(None);
            }
            let row = rows.first();
            Ok(Some(Found {
                schema: row.get(1)?.unwrap_or_default(),
                has_toplevel: row.get(2)?.unwrap_or_default(),
                has_since: row.get(3)?.unwrap_or_default(),
                has_evictions: row.get(4)?.unwrap_or_default(),
            }))
        },
    )
}

/// Without the texts, which would have it read a file.
fn look(found: &Found) -> Result<Statements, Error> {
    let toplevel = if found.has_toplevel { "s.toplevel" } else { "true" };
    let life = if found.has_since { SINCE } else { LONGEST };
    let text = format!(
        "SELECT s.queryid, s.userid::bigint, {toplevel}, s.calls::double precision, s.rows::double precision, s.total_exec_time,
                s.total_plan_time, s.shared_blks_hit::double precision, s.shared_blks_read::double precision,
                (s.temp_blks_read + s.temp_blks_written)::double precision, s.wal_bytes::double precision,
                s.calls * (s.stddev_exec_time ^ 2 + s.mean_exec_time ^ 2), {life}
         FROM {}.pg_stat_statements(false) AS s WHERE s.dbid = $1::oid",
        found.schema
    );
    let mut statements = Statements::default();
    each(&text, vec![argument(i64::from(process::my_database()))], |row| {
        let Some(id) = row.long(0) else {
            statements.hidden += 1;
            return Ok(true);
        };
        statements.ids.push(id);
        statements.users.push(row.long(1).unwrap_or(0));
        statements.toplevel.push(row.boolean(2));
        for (place, counters) in statements.counters.iter_mut().enumerate() {
            counters.push(row.double(3 + place).unwrap_or(0.0));
        }
        Ok(true)
    })?;
    // Afterwards, so that none is missed which the look above has not seen any more.
    if found.has_evictions {
        let text = format!(
            "SELECT dealloc::double precision FROM {}.pg_stat_statements_info",
            found.schema
        );
        each(&text, vec![], |row| {
            statements.evictions = row.double(0);
            Ok(true)
        })?;
    }
    Ok(statements)
}

fn write_down(turn: &Turn, statements: Statements) -> Result<Outcome, Error> {
    let installed = turn.installed;
    let covers_from = begin(installed, "statements", turn.now, longest_gap())?;
    let evictions = evictions_since(installed, statements.evictions)?.filter(|_| covers_from.is_some());
    let now = "SELECT s.a, s.user_id * 2 + s.toplevel::integer AS b, s.user_id, s.toplevel,
                      ARRAY[s.c1, s.c2, s.c3, s.c4, s.c5, s.c6, s.c7, s.c8, s.c9, s.c10] AS counters
               FROM unnest($5::bigint[], $6::bigint[], $7::boolean[], $8::double precision[], $9::double precision[],
                           $10::double precision[], $11::double precision[], $12::double precision[], $13::double precision[],
                           $14::double precision[], $15::double precision[], $16::double precision[], $17::double precision[])
                    AS s (a, user_id, toplevel, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10)";
    let text = format!(
        "{},
         ranked AS (
             SELECT d.*, row_number() OVER (ORDER BY d.delta[3] DESC) AS place
             FROM changed d WHERE $3 AND d.delta[1] > 0)
         INSERT INTO {} (sampled_at, queryid, user_oid, toplevel, calls, rows, exec_ms, plan_ms, blocks_hit, blocks_read, temp_bytes,
                         wal_bytes, exec_ms_squared)
         SELECT $2, a, user_id::oid, toplevel, delta[1], delta[2], delta[3], delta[4], delta[5], delta[6],
                delta[7] * current_setting('block_size')::bigint, delta[8], delta[9]
         FROM ranked WHERE place <= $4
         UNION ALL
         SELECT $2, NULL, NULL, NULL, sum(delta[1]), sum(delta[2]), sum(delta[3]), sum(delta[4]), sum(delta[5]), sum(delta[6]),
                sum(delta[7]) * current_setting('block_size')::bigint, sum(delta[8]), sum(delta[9])
         FROM ranked WHERE place > $4 HAVING count(*) > 0",
        changes(installed, now),
        installed.qualified(Table::StatementSamples)
    );
    let mut arguments = vec![
        argument("statements".to_owned()),
        time(turn.now),
        argument(covers_from.is_some()),
        argument(KEPT),
        argument(statements.ids),
        argument(statements.users),
        argument(statements.toplevel),
    ];
    arguments.extend(statements.counters.into_iter().map(argument));
    let samples = write(&text, arguments, |_| Ok(handover::processed()))?;
    Ok(Outcome {
        evictions,
        ..Outcome::sampled(covers_from, samples)
    })
}

/// How often statements were evicted since the last look; None where that is not known.
fn evictions_since(installed: &Installed, now: Option<f64>) -> Result<Option<i64>, Error> {
    let Some(now) = now else {
        return Ok(None);
    };
    let base = installed.qualified(Table::SampleBaseline);
    let before: Option<f64> = write(
        &format!("SELECT counters[1] FROM {base} WHERE source = 'statements' AND a = 0 AND b = 1"),
        vec![],
        value,
    )?;
    write(
        &format!(
            "INSERT INTO {base} AS o (source, a, b, counters) VALUES ('statements', 0, 1, $1)
             ON CONFLICT (source, a, b) DO UPDATE SET counters = excluded.counters WHERE o.counters <> excluded.counters"
        ),
        vec![argument(vec![now])],
        |_| Ok(()),
    )?;
    // One that went back was reset with the statements.
    Ok(before.map(|before| (if now < before { now } else { now - before }) as i64))
}

/// Texts are asked for only when there is a statement whose text is not known.
fn keep_texts(turn: &Turn, found: &Found) -> Result<(), Error> {
    let installed = turn.installed;
    let (samples, texts) = (
        installed.qualified(Table::StatementSamples),
        installed.qualified(Table::StatementTexts),
    );
    write(
        &format!(
            "UPDATE {texts} AS t SET last_seen_at = $1
             WHERE t.last_seen_at < $1 - interval '1 day'
               AND EXISTS (SELECT FROM {samples} s WHERE s.sampled_at = $1 AND s.queryid = t.queryid)"
        ),
        vec![time(turn.now)],
        |_| Ok(()),
    )?;
    let missing: Option<Vec<i64>> = write(
        &format!(
            "SELECT array_agg(DISTINCT s.queryid) FROM {samples} s
             WHERE s.sampled_at = $1 AND s.queryid IS NOT NULL
               AND NOT EXISTS (SELECT FROM {texts} t WHERE t.queryid = s.queryid)"
        ),
        vec![time(turn.now)],
        value,
    )?;
    let Some(missing) = missing else {
        return Ok(());
    };
    // A statement that sets a password or names a key has it in its text, which would outlive it here.
    let text = format!(
        "SELECT DISTINCT ON (s.queryid) s.queryid, CASE WHEN s.query !~* '(passw|secret|(auth|access)_?token|credential|(api|access)_?key|://[^/@[:space:]]*:[^@[:space:]]*@)' THEN left(s.query, 4000) END
         FROM {}.pg_stat_statements(true) AS s
         WHERE s.dbid = $2::oid AND s.queryid = ANY ($1) ORDER BY s.queryid",
        found.schema
    );
    let mut ids = Vec::new();
    let mut queries: Vec<Option<String>> = Vec::new();
    identity::as_statistics_reader(|| {
        each(
            &text,
            vec![argument(missing), argument(i64::from(process::my_database()))],
            |row| {
                if let Some(id) = row.long(0) {
                    ids.push(id);
                    queries.push(row.text(1).map(|text| text.into_owned()));
                }
                Ok(true)
            },
        )
    })?;
    write(
        &format!(
            "INSERT INTO {texts} (queryid, first_seen_at, last_seen_at, query)
             SELECT t.queryid, $1, $1, t.query FROM unnest($2::bigint[], $3::text[]) AS t (queryid, query) ON CONFLICT DO NOTHING"
        ),
        vec![time(turn.now), argument(ids), argument(queries)],
        |_| Ok(()),
    )
}
