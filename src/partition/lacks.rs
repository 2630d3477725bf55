//! What partitions lack against their parent: `lacks(parent, …)` gives one `Lack { leaf, kind, what, remedy }` for each thing that a
//! partition made today would have and that one has not. Reads catalogs only, needs no rights, works on a standby.

use pgrx::pg_sys;

use crate::error::Error;
use crate::sql::{argument, read};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The parent has an index, and this partition none that belongs to it.
    MissingIndex,
    /// It is kept up to date, if that, and answers no query.
    InvalidIndex,
    /// Of columns, statistics or replication.
    Setting,
    /// Somebody who reads the partition itself sees more than by way of the parent.
    Privilege,
}

#[derive(Debug, Clone)]
pub struct Lack {
    pub leaf: pg_sys::Oid,
    pub kind: Kind,
    pub what: String,
    /// The statement that puts it right. None where it takes several: those of `fact_index_plan()`.
    pub remedy: Option<String>,
}

/// For all partitions of the table. A detachment that is under way is none. Those of columns are many to compare, so they can be
/// left out.
pub fn lacks(parent: pg_sys::Oid, with_columns: bool) -> Result<Vec<Lack>, Error> {
    let mut found = Vec::new();
    let arguments = vec![argument(parent), argument(with_columns)];
    read(TEXT, arguments, |rows| {
        for row in rows {
            let kind: Option<String> = row.get(2)?;
            let kind = match kind.as_deref() {
                Some("missing index") => Kind::MissingIndex,
                Some("invalid index") => Kind::InvalidIndex,
                Some("privilege") => Kind::Privilege,
                _ => Kind::Setting,
            };
            found.push(Lack {
                leaf: row.get(1)?.unwrap_or(pg_sys::InvalidOid),
                kind,
                what: row.get(3)?.unwrap_or_default(),
                remedy: row.get(4)?,
            });
        }
        Ok(())
    })?;
    Ok(found)
}

const TEXT: &str = r"
    WITH parent AS (
        SELECT c.oid, c.relowner, c.relrowsecurity, c.relreplident, c.relacl FROM pg_class c WHERE c.oid = $1),
    leaf AS (
        SELECT c.oid, n.nspname, c.relname, c.relowner, c.relrowsecurity, c.relreplident, c.relacl
        FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE h.inhparent = $1 AND NOT h.inhdetachpending AND c.relkind IN ('r', 'p')),
    -- Where an index has as many parts as there are partitions, nobody lacks it; that is soon counted.
    lacking AS MATERIALIZED (
        SELECT p.indexrelid FROM pg_index p
        WHERE p.indrelid = $1
          AND (SELECT count(*) FROM pg_inherits h WHERE h.inhparent = p.indexrelid)
              IS DISTINCT FROM (SELECT count(*) FROM pg_inherits h WHERE h.inhparent = $1)),
    both_columns AS (
        SELECT l.oid, format('%I.%I', l.nspname, l.relname) AS name, p.attname, p.attstattarget AS target, p.attstorage AS storage, p.attcompression AS compression,
               p.attoptions AS options, o.attstattarget AS own_target, o.attstorage AS own_storage,
               o.attcompression AS own_compression, o.attoptions AS own_options
        FROM leaf l JOIN pg_attribute p ON p.attrelid = $1 AND p.attnum > 0 AND NOT p.attisdropped
             JOIN pg_attribute o ON o.attrelid = l.oid AND o.attname = p.attname AND NOT o.attisdropped
        -- Most have nothing that differs.
        WHERE $2 AND (p.attstattarget, p.attstorage, p.attcompression, p.attoptions)
                     IS DISTINCT FROM (o.attstattarget, o.attstorage, o.attcompression, o.attoptions)),
    extended AS (
        SELECT s.oid, s.stxrelid, s.stxname, s.stxkind, pg_get_expr(s.stxexprs, s.stxrelid) AS expressions,
               ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = s.stxrelid AND a.attnum = ANY (s.stxkeys)
                     ORDER BY 1) AS columns
        FROM pg_statistic_ext s WHERE s.stxrelid = $1 OR s.stxrelid IN (SELECT oid FROM leaf))
    SELECT m.leaf, 'missing index', format('index %s', c.relname), NULL
    FROM (SELECT l.oid AS leaf, p.indexrelid FROM lacking p CROSS JOIN leaf l
          EXCEPT
          SELECT i.indrelid, h.inhparent FROM pg_inherits h JOIN pg_index i ON i.indexrelid = h.inhrelid
          WHERE h.inhparent = ANY (ARRAY(SELECT indexrelid FROM lacking))) AS m
         JOIN pg_class c ON c.oid = m.indexrelid AND c.relkind = 'I'
    UNION ALL
    SELECT l.oid, 'invalid index', format('index %s is invalid', c.relname), NULL
    FROM leaf l JOIN pg_index i ON i.indrelid = l.oid JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT i.indisvalid
    UNION ALL
    SELECT oid, 'setting', format('statistics target %s of column %s', target, attname),
           format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', name, attname, target)
    FROM both_columns WHERE coalesce(target, -1) >= 0 AND own_target IS DISTINCT FROM target
    UNION ALL
    SELECT b.oid, 'setting', format('%s of column %s', o.option, b.attname),
           format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', b.name, b.attname, o.option)
    FROM both_columns b, unnest(b.options) AS o (option)
    WHERE b.options IS NOT NULL AND o.option LIKE 'n\_distinct=%' AND NOT o.option = ANY (coalesce(b.own_options, '{}'))
    UNION ALL
    SELECT oid, 'setting', format('storage of column %s', attname),
           format('ALTER TABLE %s ALTER COLUMN %I SET STORAGE %s', name, attname,
                  CASE storage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
    FROM both_columns WHERE own_storage <> storage
    UNION ALL
    SELECT oid, 'setting', format('compression of column %s', attname),
           format('ALTER TABLE %s ALTER COLUMN %I SET COMPRESSION %s', name, attname,
                  CASE compression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'default' END)
    FROM both_columns WHERE own_compression <> compression
    UNION ALL
    SELECT l.oid, 'setting', format('extended statistics %s', s.stxname), NULL
    FROM leaf l CROSS JOIN extended s
    WHERE s.stxrelid = $1
      AND NOT EXISTS (SELECT FROM extended o
                      WHERE o.stxrelid = l.oid AND o.columns = s.columns AND o.stxkind @> s.stxkind
                        AND o.expressions IS NOT DISTINCT FROM s.expressions)
    UNION ALL
    SELECT l.oid, 'setting', 'replica identity',
           format('ALTER TABLE %I.%I REPLICA IDENTITY %s', l.nspname, l.relname,
                  CASE p.relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
    FROM leaf l, parent p WHERE p.relreplident IN ('f', 'n') AND l.relreplident <> p.relreplident
    UNION ALL
    SELECT l.oid, 'privilege', 'row level security', format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', l.nspname, l.relname)
    FROM leaf l, parent p WHERE p.relrowsecurity AND NOT l.relrowsecurity
    UNION ALL
    SELECT l.oid, 'privilege',
           format('%s of %s, which the parent does not grant', string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type),
                  coalesce(r.rolname, 'PUBLIC')),
           format('REVOKE %s ON %I.%I FROM %s', string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), l.nspname, l.relname,
                  coalesce(quote_ident(r.rolname), 'PUBLIC'))
    FROM parent p, leaf l, LATERAL aclexplode(l.relacl) AS a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE l.relacl IS NOT NULL AND a.grantee NOT IN (l.relowner, p.relowner)
      AND NOT EXISTS (SELECT FROM aclexplode(p.relacl) AS g
                      WHERE g.grantee = a.grantee AND g.privilege_type = a.privilege_type)
    GROUP BY l.oid, l.nspname, l.relname, r.rolname, a.grantee";
