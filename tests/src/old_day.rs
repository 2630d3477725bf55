//! Readings of forty days ago, of tenants that keep them for different times.

use std::sync::Arc;

use crate::cluster::{Builder, Cluster};
use crate::database::Database;
use crate::readings::attribute;
use crate::session::Session;
use crate::wait::{SOON, eventually};

/// Readings of each of the two tenants.
pub const EACH: i64 = 15_000;

/// A database with a sealed partition that holds the readings of two tenants, one after another in turn.
pub struct OldDay {
    pub cluster: Arc<Cluster>,
    pub database: Database,
    pub session: Session,
    pub partition: String,
    attribute: i64,
    each: i64,
}

impl OldDay {
    /// On a server of its own, with EACH readings of each tenant.
    pub fn new(builder: Builder) -> OldDay {
        let cluster = builder.set("pg_telemetry.accept_past", "1h").start();
        let database = cluster.create_database("old_day");
        database.install();
        OldDay::in_database(database, EACH)
    }

    /// In a database that has the extension already.
    pub fn in_database(database: Database, each: i64) -> OldDay {
        let mut session = database.connect();
        session.exec("SET timezone = UTC");
        let attribute = attribute(&mut session, "temperature", "number");
        let partition = session.text(
            "SELECT 'entity_values_ts_p' || to_char((now() AT TIME ZONE 'UTC')::date - 40, 'YYYYMMDD')",
        );
        session.exec(&format!(
            "CREATE TABLE telemetry.{partition} (LIKE telemetry.entity_values_ts INCLUDING DEFAULTS);
             ALTER TABLE telemetry.{partition} OWNER TO telemetry_owner;
             DO $$ BEGIN EXECUTE format('ALTER TABLE telemetry.entity_values_ts
                 ATTACH PARTITION telemetry.{partition} FOR VALUES FROM (%L) TO (%L)',
                 (now() AT TIME ZONE 'UTC')::date - 40, (now() AT TIME ZONE 'UTC')::date - 39); END $$"
        ));
        let mut day = OldDay {
            cluster: Arc::clone(database.cluster()),
            database,
            session,
            partition,
            attribute,
            each,
        };
        day.fill(1);
        day.fill(2);
        day.session.exec("SELECT rotate_partitions()");
        day.seal();
        // It was made by us just now, and late for all that anybody knows.
        day.session.exec("UPDATE partition_state SET made_late = false");
        day
    }

    /// Readings of a tenant, some of them large.
    pub fn fill(&mut self, tenant: i64) {
        let (id, each) = (self.attribute, self.each);
        self.session.exec(&format!(
            "INSERT INTO entity_values_ts (tenant_id, entity_id, ingested_at, attribute_id, value_num, value_text)
             SELECT {tenant}, n, (now() AT TIME ZONE 'UTC')::date - 40 + n * interval '1 ms', {id}, n,
                    CASE WHEN n % 1000 = 0 THEN (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 200) i) END
             FROM generate_series(1, {each}) n"
        ));
    }

    /// As the janitor does it, at once.
    pub fn seal(&mut self) {
        let partition = self.partition.clone();
        self.session
            .exec(&format!("VACUUM (FREEZE, ANALYZE) {partition}"));
        self.session.exec(&format!(
            "UPDATE partition_state SET seal = 'sealed', sealed_at = now() WHERE partition = '{partition}'"
        ));
    }

    /// Readings of a tenant in the partition, by its heap and by its index.
    pub fn of_tenant(&mut self, tenant: i64) -> i64 {
        let count = format!("SELECT count(*) FROM entity_values_ts WHERE tenant_id = {tenant}");
        let [heap, index] = [
            "enable_indexscan, enable_bitmapscan, enable_indexonlyscan",
            "enable_seqscan",
        ]
        .map(|off| {
            off.split(", ")
                .for_each(|off| self.session.exec(&format!("SET {off} = off")));
            let found = self.session.number(&count);
            off.split(", ")
                .for_each(|off| self.session.exec(&format!("RESET {off}")));
            found
        });
        assert_eq!(heap, index, "heap and index of tenant {tenant}");
        heap
    }

    /// What the rewrite looks at.
    pub fn state(&mut self, column: &str) -> String {
        self.session.text(&format!(
            "SELECT coalesce(({column})::text, '') FROM partition_state WHERE partition = '{}'",
            self.partition
        ))
    }

    /// Has the workers rewrite the partition although nothing was deleted from it.
    pub fn ask_for_rewrite(&mut self) {
        self.session.exec(&format!(
            "UPDATE partition_state SET removed_rows = 1000000000 WHERE partition = '{}'",
            self.partition
        ));
        self.cluster.reload();
    }

    /// Waits for what the workers do. Nobody waits here for the next minute, nor for the next try after a failure.
    #[track_caller]
    pub fn wait_for<E: std::fmt::Debug>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut OldDay) -> Result<(), E>,
    ) {
        let mut looks = 0;
        eventually(SOON, what, || {
            if looks % 10 == 0 {
                self.session.exec("UPDATE partition_state SET next_try_at = NULL");
                self.cluster.reload();
            }
            looks += 1;
            let worker = "SELECT task, state, last_error, detail FROM worker_status
                          WHERE worker = 'janitor' AND (last_error IS NOT NULL OR detail IS NOT NULL)";
            look(self).map_err(|seen| (seen, self.session.rows(worker)))
        });
    }

    /// Until the workers have done all that the plan says about it.
    #[track_caller]
    pub fn wait_until_done(&mut self) {
        self.wait_for("nothing is left to do", |day| {
            let left = day.session.rows(
                "SELECT action, partition, reason FROM partition_plan() WHERE action IN ('delete', 'rewrite')
                 UNION ALL SELECT 'left over', relname, '' FROM pg_class WHERE relname LIKE 'pg\\_temp\\_%'",
            );
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    }

    /// Until the partition has been rewritten once more than it was at that time.
    #[track_caller]
    pub fn wait_for_rewrite(&mut self, before: &str) {
        self.wait_for("a rewrite", |day| match day.state("rewritten_at") {
            at if at == before => Err(()),
            _ => Ok(()),
        });
    }

    /// Indexes, and what lies outside of the rows.
    #[track_caller]
    pub fn holds_together(&mut self) {
        let wrong = self.session.rows(
            "SELECT c.relname, i.indexrelid::regclass FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid
             WHERE c.relispartition AND NOT i.indisvalid
             UNION ALL
             SELECT c.relname, t.oid::regclass FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid
             WHERE c.relispartition AND t.relname <> 'pg_toast_' || c.oid",
        );
        assert!(wrong.is_empty(), "{wrong:?}");
        // Large values lie outside of their rows, and are all still there.
        let broken = format!(
            "SELECT count(*) FROM {} WHERE value_text IS NOT NULL
             AND value_text <> (SELECT string_agg(md5(entity_id::text || i), '') FROM generate_series(1, 200) i)",
            self.partition
        );
        assert_eq!(self.session.number(&broken), 0);
    }
}
