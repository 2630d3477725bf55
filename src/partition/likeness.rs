//! What a new partition takes after. Indexes, triggers and constraints of the parent come by ATTACH; this is the rest.

use pgrx::pg_sys;

use crate::error::Error;
use crate::sql::{argument, read};

#[derive(Debug, Default)]
pub struct Likeness {
    /// For CREATE TABLE: WITH (…) TABLESPACE ….
    pub options: String,
    /// For ALTER TABLE; None when there is nothing to alter.
    pub changes: Option<String>,
}

/// Storage parameters come from the partition that was made last, as the server takes none on a partitioned table. The
/// tablespace, statistics targets and the replica identity are the parent's. A tablespace in which we may not create
/// anything is passed over: a reading without a place to go to is worse than one in the wrong place.
pub fn likeness(parent: pg_sys::Oid) -> Result<Likeness, Error> {
    let text = "
        SELECT (SELECT format('WITH (%s)', string_agg(
                           format('%s%s = %L', o.prefix, split_part(o.option, '=', 1), substr(o.option, strpos(o.option, '=') + 1)),
                           ', '))
                FROM (SELECT c.reloptions, t.reloptions AS toast
                      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                           LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
                      WHERE i.inhparent = p.oid AND c.relkind = 'r' ORDER BY c.oid DESC LIMIT 1) AS last,
                     LATERAL (SELECT '' AS prefix, unnest(last.reloptions) AS option
                              UNION ALL SELECT 'toast.', unnest(last.toast)) AS o
                HAVING count(*) > 0),
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
                    WHERE a.attrelid = p.oid AND a.attnum > 0 AND NOT a.attisdropped AND option LIKE 'n\\_distinct%'
                    UNION ALL
                    SELECT CASE p.relreplident WHEN 'f' THEN 'REPLICA IDENTITY FULL'
                                               WHEN 'n' THEN 'REPLICA IDENTITY NOTHING' END
                    WHERE p.relreplident IN ('f', 'n')) AS c (change))
        FROM pg_class p, pg_database d
        WHERE p.oid = $1 AND d.datname = current_database()";
    read(text, vec![argument(parent)], |rows| {
        if rows.is_empty() {
            return Ok(Likeness::default());
        }
        let (with, tablespace, changes) = rows.first().get_three::<String, String, String>()?;
        Ok(Likeness {
            options: [with, tablespace]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" "),
            changes,
        })
    })
}
