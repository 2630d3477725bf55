//! What a new partition takes after. Indexes, triggers and constraints of the parent come by ATTACH; this is the rest.

use pgrx::pg_sys;

use super::create::Parent;
use super::storage::first_options;
use crate::error::Error;
use crate::pg::partitions::to_read;
use crate::sql::{argument, read, run, value};

#[derive(Debug, Default)]
pub struct Likeness {
    /// For CREATE TABLE: USING … WITH (…) TABLESPACE ….
    pub options: String,
    /// For ALTER TABLE; None when there is nothing to alter.
    pub changes: Option<String>,
}

/// Storage parameters come from the partition that reaches farthest ahead, as the server takes none on a partitioned table: it
/// is never a sealed one, and whoever changed it meant those to come as well. The first partition of all has ours. Everything
/// else is the parent's, and nothing is the calling session's. A tablespace in which we may not create anything is passed over: a
/// reading without a place to go to is worse than one in the wrong place.
pub fn likeness(parent: Parent, relation: pg_sys::Oid) -> Result<Likeness, Error> {
    let text = "
        SELECT (SELECT string_agg(
                           format('%s%s = %L', o.prefix, split_part(o.option, '=', 1), substr(o.option, strpos(o.option, '=') + 1)),
                           ', ')
                FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid,
                     LATERAL (SELECT '' AS prefix, unnest(c.reloptions) AS option
                              UNION ALL SELECT 'toast.', unnest(t.reloptions)) AS o
                WHERE c.oid = $2),
               (SELECT format('TABLESPACE %I', s.spcname) FROM pg_tablespace s
                WHERE s.oid = CASE WHEN p.reltablespace <> 0
                                        AND has_tablespace_privilege(current_user, p.reltablespace, 'CREATE')
                                   THEN p.reltablespace ELSE d.dattablespace END),
               (SELECT string_agg(change, ', ') FROM (
                    SELECT format('ALTER COLUMN %I SET STATISTICS %s', a.attname, a.attstattarget)
                    FROM pg_attribute a
                    WHERE a.attrelid = p.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0
                    UNION ALL
                    SELECT format('ALTER COLUMN %I SET (%s)', a.attname, option)
                    FROM pg_attribute a, unnest(a.attoptions) AS option
                    WHERE a.attrelid = p.oid AND a.attnum > 0 AND NOT a.attisdropped AND option LIKE 'n\\_distinct=%'
                    UNION ALL
                    SELECT CASE p.relreplident WHEN 'f' THEN 'REPLICA IDENTITY FULL'
                                               WHEN 'n' THEN 'REPLICA IDENTITY NOTHING' END
                    WHERE p.relreplident IN ('f', 'n')
                    UNION ALL
                    -- Without policies of its own: whoever reads it by itself sees nothing. Those of the parent count through it.
                    SELECT 'ENABLE ROW LEVEL SECURITY' WHERE p.relrowsecurity) AS c (change)),
               (SELECT format('USING %I', m.amname) FROM pg_am m
                WHERE m.oid = p.relam OR p.relam = 0 AND m.amname = 'heap')
        FROM pg_class p, pg_database d
        WHERE p.oid = $1 AND d.datname = current_database()";
    let last = to_read(relation).last().map(|partition| partition.oid);
    let first = last.is_none().then(|| first_options(parent));
    read(text, vec![argument(relation), argument(last)], |rows| {
        if rows.is_empty() {
            return Ok(Likeness::default());
        }
        let row = rows.first();
        let with = row.get::<String>(1)?.or(first.map(str::to_owned));
        let options = [
            row.get::<String>(4)?,
            with.map(|with| format!("WITH ({with})")),
            row.get(2)?,
        ];
        Ok(Likeness {
            options: options.into_iter().flatten().collect::<Vec<_>>().join(" "),
            changes: row.get(3)?,
        })
    })
}

/// Takes from a new partition what ALTER DEFAULT PRIVILEGES gave to others and the parent does not: they would get around it.
pub fn withhold_rights(parent: pg_sys::Oid, child: &str) -> Result<(), Error> {
    let revoke: Option<String> = read(
        "SELECT string_agg(format('REVOKE %s ON TABLE %s FROM %s', a.privilege_type, $2, coalesce(quote_ident(r.rolname), 'PUBLIC')), '; ')
         FROM pg_class c, LATERAL aclexplode(c.relacl) AS a LEFT JOIN pg_roles r ON r.oid = a.grantee
         WHERE c.oid = $2::regclass AND a.grantee <> c.relowner
           AND NOT EXISTS (SELECT FROM pg_class p, LATERAL aclexplode(p.relacl) AS g
                           WHERE p.oid = $1 AND g.grantee = a.grantee AND g.privilege_type = a.privilege_type)",
        vec![argument(parent), argument(child.to_owned())],
        value,
    )?;
    revoke.map_or(Ok(()), |revoke| run(&revoke))
}
