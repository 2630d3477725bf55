//! Sizes of tables and of their indexes, partitions added up. The files are looked at, so nothing is locked; the keeper does so many
//! tables at a time, and writes down the sums when it has been through all of them.

use std::cell::RefCell;
use std::collections::HashMap;

use pgrx::pg_sys::Oid;

use super::turn::{Outcome, Turn};
use crate::error::Error;
use crate::installed::Table;
use crate::pg::{files, handover};
use crate::sql::{argument, read, time, write};

/// Tables of one piece: some 20 ms.
const PIECE: i64 = 500;

#[derive(Debug, Default, Clone, Copy)]
struct Size {
    bytes: i64,
    index_bytes: i64,
    rows: Option<i64>,
    tables: i32,
}

/// What was added up so far.
#[derive(Default)]
struct Pass {
    after: i64,
    tables: HashMap<u32, Size>,
    indexes: HashMap<u32, i64>,
}

thread_local! {
    static PASS: RefCell<Pass> = RefCell::default();
}

pub fn sample(turn: &Turn) -> Result<Outcome, Error> {
    let mut pass = if turn.at_once {
        Pass::default()
    } else {
        PASS.take()
    };
    while pass.look_at_some()? {
        if !turn.at_once {
            PASS.set(pass);
            return Ok(Outcome::piece());
        }
    }
    let samples = pass.write_down(turn)?;
    Ok(Outcome {
        state: "sampled",
        ..Outcome::sampled(None, samples)
    })
}

impl Pass {
    /// False when there are no more.
    fn look_at_some(&mut self) -> Result<bool, Error> {
        let text = "SELECT c.oid::bigint, c.root, p.index_root, pg_relation_filepath(p.oid), p.kind, c.rows
                    FROM (SELECT c.oid, c.reltoastrelid,
                                 CASE WHEN c.relispartition THEN coalesce(pg_partition_root(c.oid)::oid, c.oid) ELSE c.oid END AS root,
                                 coalesce(nullif(pg_stat_get_live_tuples(c.oid), 0), nullif(c.reltuples, -1)::bigint) AS rows
                          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                          WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid > $1::oid
                            AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_(catalog|toast|temp_)'
                          ORDER BY c.oid LIMIT $2) AS c,
                         LATERAL (
                             SELECT c.oid, 'table', 0::oid UNION ALL
                             SELECT c.reltoastrelid, 'toast', 0::oid WHERE c.reltoastrelid <> 0 UNION ALL
                             SELECT i.indexrelid, 'toast', 0::oid FROM pg_index i WHERE i.indrelid = nullif(c.reltoastrelid, 0) UNION ALL
                             SELECT i.indexrelid, 'index', coalesce(CASE WHEN x.relispartition THEN pg_partition_root(x.oid)::oid END, x.oid)
                             FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid
                         ) AS p (oid, kind, index_root)";
        let mut more = 0;
        read(text, vec![argument(self.after), argument(PIECE)], |rows| {
            for row in rows {
                let (Some(oid), Some(root), Some(index), Some(kind)) = (
                    row.get::<i64>(1)?,
                    row.get::<Oid>(2)?,
                    row.get::<Oid>(3)?,
                    row.get::<String>(5)?,
                ) else {
                    continue;
                };
                if kind == "table" {
                    more += 1;
                    self.after = self.after.max(oid);
                }
                // Dropped meanwhile.
                let Some(path) = row.get::<String>(4)? else {
                    continue;
                };
                let bytes = files::bytes(&path);
                let size = self.tables.entry(root.to_u32()).or_default();
                if kind == "index" {
                    size.index_bytes += bytes;
                    *self.indexes.entry(index.to_u32()).or_default() += bytes;
                } else {
                    size.bytes += bytes;
                }
                if kind == "table" {
                    size.tables += 1;
                    if let Some(rows) = row.get::<i64>(6)? {
                        size.rows = Some(size.rows.unwrap_or(0) + rows);
                    }
                }
            }
            Ok(())
        })?;
        Ok(more == PIECE)
    }

    fn write_down(self, turn: &Turn) -> Result<i64, Error> {
        let tables: Vec<(Oid, Size)> = self
            .tables
            .into_iter()
            .map(|(oid, size)| (Oid::from(oid), size))
            .collect();
        let column = |of: fn(&Size) -> i64| tables.iter().map(|(_, size)| of(size)).collect::<Vec<i64>>();
        let text = format!(
            "INSERT INTO {} (sampled_at, bytes, index_bytes, rows_estimate, partitions, relation)
             SELECT $1, s.bytes, s.index_bytes, s.rows, s.tables, format('%I.%I', n.nspname, c.relname)
             FROM unnest($2::oid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) AS s (oid, bytes, index_bytes, rows, tables)
                  JOIN pg_class c ON c.oid = s.oid JOIN pg_namespace n ON n.oid = c.relnamespace",
            turn.installed.qualified(Table::SizeSamples)
        );
        let arguments = vec![
            time(turn.now),
            argument(tables.iter().map(|(oid, _)| *oid).collect::<Vec<Oid>>()),
            argument(column(|size| size.bytes)),
            argument(column(|size| size.index_bytes)),
            argument(
                tables
                    .iter()
                    .map(|(_, size)| size.rows)
                    .collect::<Vec<Option<i64>>>(),
            ),
            argument(column(|size| i64::from(size.tables))),
        ];
        let samples = write(&text, arguments, |_| Ok(handover::processed()))?;
        let text = format!(
            "UPDATE {} AS u SET bytes = s.bytes
             FROM unnest($1::oid[], $2::bigint[]) AS s (oid, bytes)
                  JOIN pg_class c ON c.oid = s.oid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE u.index_name = format('%I.%I', n.nspname, c.relname) AND u.bytes IS DISTINCT FROM s.bytes",
            turn.installed.qualified(Table::IndexUse)
        );
        let (oids, bytes): (Vec<Oid>, Vec<i64>) = self
            .indexes
            .into_iter()
            .map(|(oid, bytes)| (Oid::from(oid), bytes))
            .unzip();
        write(&text, vec![argument(oids), argument(bytes)], |_| Ok(()))?;
        Ok(samples)
    }
}
