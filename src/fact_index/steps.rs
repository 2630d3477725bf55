//! What is left to do for the indexes of facts: read from the catalogs, then decided (pure).

use std::collections::HashMap;

use pgrx::pg_sys;

use super::rebuild::{self, Rebuild};
use crate::error::Error;
use crate::installed::{Installed, Table};
use crate::pg::partitions::to_read;
use crate::sql::{argument, read};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// What an interrupted statement left behind.
    DropLeftover,
    Attach,
    Build,
    Rebuild,
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::DropLeftover => "drop leftover",
            Action::Attach => "attach",
            Action::Build => "build",
            Action::Rebuild => "rebuild",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub action: Action,
    /// The index of the parent, or the leftover.
    pub index: String,
    pub leaf: pg_sys::Oid,
    pub partition: String,
    pub reason: &'static str,
    /// Attaching may be done in a transaction; everything else is a statement of its own.
    pub statement: String,
    /// Somebody works on the partition: an index, a vacuum.
    pub busy: bool,
}

/// An index of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    pub name: String,
    pub is_valid: bool,
    pub is_attached: bool,
}

/// An index of the parent in one partition.
#[derive(Debug, Clone)]
pub struct Place {
    pub index: pg_sys::Oid,
    pub index_name: String,
    pub index_is_valid: bool,
    pub leaf: pg_sys::Oid,
    pub partition: String,
    pub busy: bool,
    /// The one that belongs to it, or could.
    pub own: Option<Own>,
    pub build: String,
}

#[derive(Debug, Clone)]
pub struct Leftover {
    name: String,
    leaf: pg_sys::Oid,
    partition: String,
    busy: bool,
}

/// All that is left to do, in the order in which to do it.
pub fn steps(installed: &Installed) -> Result<Vec<Step>, Error> {
    let facts = installed.require_table(Table::Facts)?;
    let (_, complete) = complete(facts)?;
    let places = places(facts, complete)?;
    Ok(decide(
        &places,
        &leftovers(facts)?,
        &rebuild::wanted(installed, facts)?,
    ))
}

/// The newest partitions first: an index answers queries of its partition before it is attached, and most are about today.
fn decide(places: &[Place], leftovers: &[Leftover], rebuilds: &[Rebuild]) -> Vec<Step> {
    let mut found: Vec<Step> = leftovers
        .iter()
        .map(|leftover| Step {
            action: Action::DropLeftover,
            index: leftover.name.clone(),
            leaf: leftover.leaf,
            partition: leftover.partition.clone(),
            reason: "a REINDEX CONCURRENTLY was interrupted",
            statement: format!("DROP INDEX CONCURRENTLY {}", leftover.name),
            busy: leftover.busy,
        })
        .collect();
    let (mut attach, mut build, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for place in places {
        let step = |action, reason, statement: String| Step {
            action,
            index: place.index_name.clone(),
            leaf: place.leaf,
            partition: place.partition.clone(),
            reason,
            statement,
            busy: place.busy,
        };
        match &place.own {
            Some(own) if own.is_attached && own.is_valid => {}
            Some(own) if own.is_attached => again.push(step(
                Action::Rebuild,
                "the index of this partition is invalid",
                format!("REINDEX INDEX CONCURRENTLY {}", own.name),
            )),
            Some(own) if own.is_valid => attach.push(step(
                Action::Attach,
                "the index of this partition is complete",
                attachment(place, own),
            )),
            Some(own) => found.push(step(
                Action::DropLeftover,
                "a CREATE INDEX CONCURRENTLY was interrupted",
                format!("DROP INDEX CONCURRENTLY {}", own.name),
            )),
            None => build.push(step(
                Action::Build,
                "the partition has no such index yet",
                place.build.clone(),
            )),
        }
    }
    // The last partition without it was removed: attached ones are looked at again when one is attached again.
    for place in places {
        let mut all = places.iter().filter(|other| other.index == place.index);
        let is_first = all.clone().next().is_some_and(|first| first.leaf == place.leaf);
        let complete = |other: &Place| matches!(&other.own, Some(own) if own.is_attached && own.is_valid);
        if is_first && !place.index_is_valid && all.all(complete) {
            attach.extend(place.own.as_ref().map(|own| Step {
                action: Action::Attach,
                index: place.index_name.clone(),
                leaf: place.leaf,
                partition: place.partition.clone(),
                reason: "every partition has its index, and the parent has not noticed",
                statement: attachment(place, own),
                busy: false,
            }));
        }
    }
    again.extend(rebuilds.iter().map(|rebuild| Step {
        action: Action::Rebuild,
        index: rebuild.index.clone(),
        leaf: rebuild.leaf,
        partition: rebuild.partition.clone(),
        reason: "reindex_facts() was called",
        statement: format!("REINDEX INDEX CONCURRENTLY {}", rebuild.name),
        busy: rebuild.busy,
    }));
    found.extend(attach);
    found.extend(build);
    found.extend(again);
    found
}

fn attachment(place: &Place, own: &Own) -> String {
    format!("ALTER INDEX {} ATTACH PARTITION {}", place.index_name, own.name)
}

/// Who holds the lock that CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY hold all the time. Others do as well, and soon let
/// go of it; starting a second one beside somebody's first would build the same index twice.
pub const BUSY: &str = "EXISTS (SELECT FROM pg_locks k
     WHERE k.locktype = 'relation' AND k.relation = l.oid AND k.mode = 'ShareUpdateExclusiveLock' AND k.granted
       AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
       AND k.pid IS DISTINCT FROM pg_backend_pid())";

/// Names that REINDEX CONCURRENTLY gives to what it has not finished.
pub const UNFINISHED: &str = "'_cc(new|old)[0-9]*$'";

const LEAVES: &str = "leaves AS (
     SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, n.nspname
     FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE h.inhparent = $1 AND NOT h.inhdetachpending AND c.relkind = 'r')";

/// How many partitions there are, and the indexes of the parent that are complete: valid, with a valid part in each of them.
pub fn complete(facts: pg_sys::Oid) -> Result<(i64, Vec<pg_sys::Oid>), Error> {
    let text = "
        WITH leaves AS (
            SELECT count(*) AS count FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
            WHERE h.inhparent = $1 AND NOT h.inhdetachpending AND c.relkind = 'r')
        SELECT l.count, ARRAY(
            SELECT i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE i.indrelid = $1 AND i.indisvalid AND NOT i.indisunique AND c.relkind = 'I'
              AND l.count = (SELECT count(*) FROM pg_inherits p JOIN pg_index x ON x.indexrelid = p.inhrelid AND x.indisvalid
                             WHERE p.inhparent = i.indexrelid))
        FROM leaves l";
    read(text, vec![argument(facts)], |rows| {
        let (leaves, indexes) = rows.first().get_two()?;
        Ok((leaves.unwrap_or(0), indexes.unwrap_or_default()))
    })
}

/// Every index of the parent in every partition, newest partitions first, but for those that are `complete`. Constraints and unique
/// indexes are left alone.
pub fn places(facts: pg_sys::Oid, complete: Vec<pg_sys::Oid>) -> Result<Vec<Place>, Error> {
    let text = format!(
        "WITH {LEAVES},
         -- Their definitions are put together once, not for each partition.
         parents AS MATERIALIZED (
             SELECT i.indexrelid AS oid, format('%I.%I', n.nspname, c.relname) AS name, i.indisvalid,
                    substr(d.definition, length(d.start) + 1) AS rest,
                    coalesce(' WHERE ' || pg_get_expr(i.indpred, i.indrelid), '') AS condition,
                    (SELECT format(' TABLESPACE %I', s.spcname) FROM pg_tablespace s, pg_database b
                     WHERE b.datname = current_database()
                       AND s.oid = CASE WHEN c.reltablespace <> 0
                                             AND has_tablespace_privilege(c.relowner, c.reltablespace, 'CREATE')
                                        THEN c.reltablespace ELSE b.dattablespace END) AS tablespace
             FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
                  JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_namespace u ON u.oid = t.relnamespace,
                  LATERAL (SELECT pg_get_indexdef(i.indexrelid) AS definition,
                                  format('CREATE INDEX %I ON ONLY %I.%I', c.relname, u.nspname, t.relname) AS start) AS d
             WHERE i.indrelid = $1 AND c.relkind = 'I' AND starts_with(d.definition, d.start) AND NOT i.indexrelid = ANY ($2)),
         own AS MATERIALIZED (
             SELECT i.indexrelid AS oid, i.indrelid AS leaf, i.indisvalid, h.inhparent AS parent,
                    format('%I.%I', n.nspname, c.relname) AS name,
                    CASE WHEN h.inhparent IS NULL AND c.relname !~ {UNFINISHED} THEN
                        substr(pg_get_indexdef(i.indexrelid), length(format('CREATE INDEX %I ON %s', c.relname, l.name)) + 1) END AS rest
             FROM leaves l JOIN pg_index i ON i.indrelid = l.oid AND NOT i.indisunique
                  JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
                  LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid)
         SELECT p.oid, p.name, p.indisvalid, l.oid, l.name, {BUSY},
                coalesce(a.name, o.name), coalesce(a.indisvalid, o.indisvalid), a.oid IS NOT NULL,
                'CREATE INDEX CONCURRENTLY ON ' || l.name || left(p.rest, length(p.rest) - length(p.condition)) || p.tablespace || p.condition
         FROM parents p CROSS JOIN leaves l
              LEFT JOIN own a ON a.leaf = l.oid AND a.parent = p.oid
              LEFT JOIN LATERAL (SELECT * FROM own WHERE a.oid IS NULL AND own.leaf = l.oid AND own.rest = p.rest
                                 ORDER BY own.indisvalid DESC, own.oid LIMIT 1) AS o ON true
         ORDER BY p.indisvalid, p.oid"
    );
    let mut found = Vec::new();
    read(&text, vec![argument(facts), argument(complete)], |rows| {
        for row in rows {
            let own = match (row.get(7)?, row.get(8)?, row.get(9)?) {
                (Some(name), Some(is_valid), Some(is_attached)) => Some(Own {
                    name,
                    is_valid,
                    is_attached,
                }),
                _ => None,
            };
            found.push(Place {
                index: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
                index_name: row.get(2)?.unwrap_or_default(),
                index_is_valid: row.get(3)?.unwrap_or(true),
                leaf: row.get(4)?.unwrap_or(pg_sys::InvalidOid),
                partition: row.get(5)?.unwrap_or_default(),
                busy: row.get(6)?.unwrap_or(false),
                own,
                build: row.get(10)?.unwrap_or_default(),
            });
        }
        Ok(())
    })?;
    let newest_first = to_read(facts).into_iter().rev().enumerate();
    let order: HashMap<u32, usize> = newest_first.map(|(at, leaf)| (leaf.oid.to_u32(), at)).collect();
    found.sort_by_key(|place| order.get(&place.leaf.to_u32()).copied());
    Ok(found)
}

fn leftovers(facts: pg_sys::Oid) -> Result<Vec<Leftover>, Error> {
    let text = format!(
        "WITH {LEAVES}
         SELECT format('%I.%I', n.nspname, c.relname), l.oid, l.name, {BUSY}
         FROM leaves l JOIN pg_index i ON i.indrelid = l.oid AND NOT i.indisvalid
              JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname ~ {UNFINISHED} AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid)"
    );
    let mut found = Vec::new();
    read(&text, vec![argument(facts)], |rows| {
        for row in rows {
            found.push(Leftover {
                name: row.get(1)?.unwrap_or_default(),
                leaf: row.get(2)?.unwrap_or(pg_sys::InvalidOid),
                partition: row.get(3)?.unwrap_or_default(),
                busy: row.get(4)?.unwrap_or(false),
            });
        }
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(leaf: u32, index_is_valid: bool, own: Option<(bool, bool)>) -> Place {
        Place {
            index: pg_sys::Oid::from(7),
            index_name: "s.x".to_owned(),
            index_is_valid,
            leaf: pg_sys::Oid::from(leaf),
            partition: format!("s.p{leaf}"),
            busy: false,
            own: own.map(|(is_valid, is_attached)| Own {
                name: format!("s.x{leaf}"),
                is_valid,
                is_attached,
            }),
            build: format!("build {leaf}"),
        }
    }

    fn statements(places: &[Place]) -> Vec<String> {
        decide(places, &[], &[])
            .into_iter()
            .map(|step| step.statement)
            .collect()
    }

    #[test]
    fn each_partition_gets_what_its_index_lacks() {
        let places = [
            place(1, false, None),
            place(2, false, Some((true, true))),
            place(3, false, Some((true, false))),
            place(4, false, Some((false, false))),
            place(5, false, Some((false, true))),
        ];
        assert_eq!(
            statements(&places),
            [
                "DROP INDEX CONCURRENTLY s.x4",
                "ALTER INDEX s.x ATTACH PARTITION s.x3",
                "build 1",
                "REINDEX INDEX CONCURRENTLY s.x5",
            ]
        );
    }

    #[test]
    fn a_parent_that_has_not_noticed_is_told() {
        let complete = [
            place(1, false, Some((true, true))),
            place(2, false, Some((true, true))),
        ];
        assert_eq!(statements(&complete), ["ALTER INDEX s.x ATTACH PARTITION s.x1"]);
        let valid = [place(1, true, Some((true, true)))];
        assert!(statements(&valid).is_empty());
    }
}
