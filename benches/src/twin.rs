//! Baseline tables that are the same as those of the extension, but for the extension.

use cluster_tests::{Database, Session};

pub const STAGING: &str = "telemetry.entity_values_ingest";
pub const DURABLE_STAGING: &str = "telemetry.entity_values_ingest_durable";
pub const FACTS: &str = "telemetry.entity_values_ts";

/// Copies of staging and of facts with its partitions and indexes, in a schema of their own.
pub struct Twin {
    pub staging: String,
    pub facts: String,
}

impl Twin {
    /// `door` is the staging table to copy, logged or not.
    pub fn create(database: &Database, schema: &str, door: &str) -> Twin {
        let mut session = database.connect();
        let twin = Twin {
            staging: format!("{schema}.staging"),
            facts: format!("{schema}.facts"),
        };
        let storage = storage(&mut session, door);
        let unlogged = if door == STAGING { "UNLOGGED" } else { "" };
        session.exec(&format!(
            "CREATE SCHEMA {schema};
             CREATE {unlogged} TABLE {} (LIKE {door} INCLUDING ALL) {storage};
             CREATE TABLE {} (LIKE {FACTS} INCLUDING ALL) PARTITION BY RANGE (ingested_at)",
            twin.staging, twin.facts,
        ));
        for leaf in leaves(&mut session) {
            session.exec(&format!(
                "CREATE TABLE {schema}.{} PARTITION OF {} {} {}",
                leaf.name, twin.facts, leaf.bounds, leaf.storage
            ));
        }
        twin
    }
}

struct Leaf {
    name: String,
    bounds: String,
    storage: String,
}

fn leaves(session: &mut Session) -> Vec<Leaf> {
    let rows = session.rows(&format!(
        "SELECT quote_ident(c.relname), pg_get_expr(c.relpartbound, c.oid), {STORAGE}
         FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE i.inhparent = '{FACTS}'::regclass"
    ));
    rows.into_iter()
        .map(|row| {
            let [name, bounds, storage] = row.try_into().expect("three columns");
            Leaf {
                name,
                bounds,
                storage,
            }
        })
        .collect()
}

/// Parameters of the TOAST table are left out: no value is large enough to get there.
const STORAGE: &str = "coalesce('WITH (' || array_to_string(c.reloptions, ', ') || ')', '')";

fn storage(session: &mut Session, table: &str) -> String {
    session.text(&format!(
        "SELECT {STORAGE} FROM pg_class c WHERE c.oid = '{table}'::regclass"
    ))
}
