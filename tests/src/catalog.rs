//! What an installation consists of, as sorted lines of text that can be compared.
//!
//! The schema's name is written as `$schema`, so that installations in different schemas compare equal.

use crate::session::Session;

/// Every property of every object in a schema that a user could notice.
///
/// Partitions that belong to a day are left out: which ones there are depends on the day.
pub fn objects(session: &mut Session, schema: &str) -> Vec<String> {
    describe(session, schema, "p.partstrat IS DISTINCT FROM 'r'")
}

/// The same with every partition.
pub fn objects_with_all_partitions(session: &mut Session, schema: &str) -> Vec<String> {
    describe(session, schema, "true")
}

/// Without what is written differently once it went through a dump: nested conditions come back flat.
pub fn as_dumped(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| line.replace(['(', ')'], "")).collect()
}

fn describe(session: &mut Session, schema: &str, which: &str) -> Vec<String> {
    // Definitions are printed with names qualified by what is not on the search_path.
    let path = session.text("SHOW search_path");
    session.exec("SET search_path = pg_catalog");
    let mut lines = Vec::new();
    for query in OBJECT_QUERIES {
        lines.extend(session.column(&in_schema(query, schema).replace("$WHICH", which)));
    }
    lines.extend(session.column(&in_schema(PRIVILEGES, schema)));
    session.exec(&format!("SET search_path = {path}"));
    normalise(lines, schema)
}

/// What there is, by name, kind and type: short enough for a person to review a change of it.
pub fn inventory(session: &mut Session, schema: &str) -> Vec<String> {
    let lines = INVENTORY_QUERIES
        .iter()
        .flat_map(|query| session.column(&in_schema(query, schema)))
        .collect();
    normalise(lines, schema)
}

/// Who may do what with every object in a schema, owners included, one privilege a line.
pub fn privileges(session: &mut Session, schema: &str) -> Vec<String> {
    let lines = session.column(&in_schema(PRIVILEGES, schema));
    normalise(lines, schema)
}

/// What is in `left` but not in `right`, and the other way round; empty when they are equal.
pub fn difference(left: &[String], right: &[String]) -> Vec<String> {
    let missing = |from: &[String], sign, other: &[String]| -> Vec<String> {
        from.iter()
            .filter(|line| !other.contains(line))
            .map(|line| format!("{sign} {line}"))
            .collect()
    };
    [missing(left, '-', right), missing(right, '+', left)].concat()
}

fn in_schema(query: &str, schema: &str) -> String {
    query.replace("$SCHEMA", &format!("'{}'", schema.replace('\'', "''")))
}

fn normalise(lines: Vec<String>, schema: &str) -> Vec<String> {
    let quoted = format!("\"{}\".", schema.replace('"', "\"\""));
    let plain = format!("{schema}.");
    let mut lines: Vec<String> = lines
        .into_iter()
        // Statements of several lines (view definitions) become one, so that lines can be compared one by one.
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|line| line.replace(&quoted, "$schema.").replace(&plain, "$schema."))
        .collect();
    lines.sort();
    lines
}

/// Relations of the schema, with the table that each is a partition of.
macro_rules! relations {
    () => {
        "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $SCHEMA
         LEFT JOIN pg_inherits i ON i.inhrelid = coalesce(
             (SELECT x.indrelid FROM pg_index x WHERE x.indexrelid = c.oid), c.oid)
         LEFT JOIN pg_partitioned_table p ON p.partrelid = i.inhparent"
    };
}

const OBJECT_QUERIES: &[&str] = &[
    concat!(
        "SELECT concat_ws(' ', 'relation', c.relname, 'kind', c.relkind, 'persistence', c.relpersistence,
                'owner', pg_get_userbyid(c.relowner), 'options', c.reloptions, 'am', am.amname,
                'rls', c.relrowsecurity, c.relforcerowsecurity, 'replica identity', c.relreplident,
                'partition key', pg_get_partkeydef(c.oid), 'bounds', pg_get_expr(c.relpartbound, c.oid),
                'member', EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid
                                  AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'),
                'comment', obj_description(c.oid, 'pg_class'))
         FROM ",
        relations!(),
        " LEFT JOIN pg_am am ON am.oid = c.relam
         WHERE $WHICH"
    ),
    concat!(
        "SELECT concat_ws(' ', 'column', c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attnotnull THEN 'not null' END, 'identity', a.attidentity, a.attgenerated,
                'storage', a.attstorage, a.attcompression, 'options',
                -- Recent minor releases stamp each column with a version of its own, which no two tables share.
                (SELECT array_agg(o ORDER BY o) FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg\\_attver=%'),
                'statistics', nullif(a.attstattarget, -1), 'default', pg_get_expr(d.adbin, d.adrelid), 'comment', col_description(c.oid, a.attnum))
         FROM ",
        relations!(),
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE $WHICH AND c.relkind <> 'i'"
    ),
    // PostgreSQL 18 lists NOT NULL as constraints; the columns above show it on every major.
    concat!(
        "SELECT concat_ws(' ', 'constraint', c.relname, k.conname, pg_get_constraintdef(k.oid),
                'comment', obj_description(k.oid, 'pg_constraint'))
         FROM ",
        relations!(),
        " JOIN pg_constraint k ON k.conrelid = c.oid
         WHERE $WHICH AND k.contype <> 'n'"
    ),
    concat!(
        "SELECT concat_ws(' ', 'index', pg_get_indexdef(c.oid), x.indisvalid, x.indisreplident)
         FROM ",
        relations!(),
        " JOIN pg_index x ON x.indexrelid = c.oid
         WHERE $WHICH"
    ),
    concat!(
        "SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(t.oid), t.tgenabled)
         FROM ",
        relations!(),
        " JOIN pg_trigger t ON t.tgrelid = c.oid
         WHERE $WHICH AND NOT t.tgisinternal"
    ),
    concat!(
        "SELECT concat_ws(' ', 'policy', c.relname, y.polname, y.polcmd, y.polpermissive,
                y.polroles::regrole[], pg_get_expr(y.polqual, c.oid), pg_get_expr(y.polwithcheck, c.oid))
         FROM ",
        relations!(),
        " JOIN pg_policy y ON y.polrelid = c.oid
         WHERE $WHICH"
    ),
    "SELECT concat_ws(' ', 'statistics', pg_get_statisticsobjdef(x.oid))
     FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace AND n.nspname = $SCHEMA",
    "SELECT concat_ws(' ', 'view', v.viewname, v.definition) FROM pg_views v WHERE v.schemaname = $SCHEMA",
    "SELECT concat_ws(' ', 'sequence', s.sequencename, s.data_type, s.start_value, s.increment_by, s.cycle,
            s.cache_size)
     FROM pg_sequences s WHERE s.schemaname = $SCHEMA",
    "SELECT concat_ws(' ', 'function', f.proname, '(', pg_get_function_arguments(f.oid), ')',
            'returns', pg_get_function_result(f.oid), 'kind', f.prokind, 'language', l.lanname,
            'owner', pg_get_userbyid(f.proowner), 'definer', f.prosecdef, 'volatile', f.provolatile,
            'parallel', f.proparallel, 'strict', f.proisstrict, 'leakproof', f.proleakproof,
            'cost', f.procost, f.prorows, 'settings', f.proconfig, 'source', f.prosrc, f.probin,
            'member', EXISTS (SELECT FROM pg_depend d WHERE d.objid = f.oid
                              AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'),
            'comment', obj_description(f.oid, 'pg_proc'))
     FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace AND n.nspname = $SCHEMA
     JOIN pg_language l ON l.oid = f.prolang",
    "SELECT concat_ws(' ', 'type', t.typname, t.typtype, pg_get_userbyid(t.typowner),
            obj_description(t.oid, 'pg_type'))
     FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND n.nspname = $SCHEMA
     WHERE t.typrelid = 0 AND t.typelem = 0",
    "SELECT concat_ws(' ', 'operator', o.oid::regoperator)
     FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace AND n.nspname = $SCHEMA",
    "SELECT concat_ws(' ', 'cast', k.castsource::regtype, k.casttarget::regtype)
     FROM pg_cast k JOIN pg_depend d ON d.objid = k.oid AND d.classid = 'pg_cast'::regclass AND d.deptype = 'e'
     JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'pg_telemetry'",
    "SELECT concat_ws(' ', 'event trigger', e.evtname, e.evtevent, e.evtfoid::regproc) FROM pg_event_trigger e",
    "SELECT concat_ws(' ', 'role', r.rolname, 'login', r.rolcanlogin, 'super', r.rolsuper, 'inherit', r.rolinherit,
            'createrole', r.rolcreaterole, 'createdb', r.rolcreatedb, 'replication', r.rolreplication,
            'bypassrls', r.rolbypassrls, 'comment', shobj_description(r.oid, 'pg_authid'))
     FROM pg_roles r WHERE r.rolname LIKE 'telemetry\\_%'",
    "SELECT concat_ws(' ', 'role', m.member::regrole, 'is in', m.roleid::regrole, 'admin', m.admin_option)
     FROM pg_auth_members m
     WHERE m.member::regrole::text LIKE 'telemetry\\_%' OR m.roleid::regrole::text LIKE 'telemetry\\_%'",
    "SELECT concat_ws(' ', 'default privileges', d.defaclrole::regrole, d.defaclobjtype, d.defaclacl)
     FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace AND n.nspname = $SCHEMA",
];

/// Partitions look like their parent, and which ones there are depends on the day.
const INVENTORY_QUERIES: &[&str] = &[
    "SELECT concat_ws(' ',
            CASE c.relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index'
                           WHEN 'p' THEN 'partitioned table' WHEN 'r' THEN 'table' ELSE c.relkind::text END,
            c.relname, CASE c.relpersistence WHEN 'u' THEN 'unlogged' END, 'of', pg_get_userbyid(c.relowner),
            CASE WHEN EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass
                              AND d.deptype = 'e') THEN '(member)' END)
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $SCHEMA
     WHERE NOT c.relispartition",
    "SELECT concat_ws(' ', 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attnotnull THEN 'not null' END)
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $SCHEMA
     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE NOT c.relispartition AND c.relkind IN ('r', 'p', 'v')",
    "SELECT concat_ws(' ', 'constraint', c.relname || '.' || k.conname, k.contype)
     FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $SCHEMA
     WHERE NOT c.relispartition AND k.contype <> 'n'",
    "SELECT concat_ws(' ', 'trigger', c.relname || '.' || t.tgname)
     FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $SCHEMA
     WHERE NOT c.relispartition AND NOT t.tgisinternal",
    "SELECT concat_ws(' ', 'function', f.proname || '(' || pg_get_function_arguments(f.oid) || ')',
            'returns', pg_get_function_result(f.oid), 'of', pg_get_userbyid(f.proowner),
            CASE WHEN f.prosecdef THEN 'security definer' END,
            CASE WHEN EXISTS (SELECT FROM pg_depend d WHERE d.objid = f.oid AND d.classid = 'pg_proc'::regclass
                              AND d.deptype = 'e') THEN '(member)' END)
     FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace AND n.nspname = $SCHEMA",
    "SELECT concat_ws(' ', 'type', t.typname, t.typtype)
     FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND n.nspname = $SCHEMA
     WHERE t.typrelid = 0 AND t.typelem = 0",
    "SELECT concat_ws(' ', 'role', r.rolname) FROM pg_roles r WHERE r.rolname LIKE 'telemetry\\_%'",
];

/// All that an owner may do is one line: PostgreSQL 17 added a privilege that owners have as well.
const PRIVILEGES: &str = "
    SELECT concat_ws(' ', what, name, ':', grantee, privilege, CASE WHEN grantable THEN 'with grant option' END)
     FROM (
         SELECT what, name, x.is_grantable AS grantable,
                CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(x.grantee)::text END AS grantee,
                CASE WHEN x.grantee = owner THEN 'owns' ELSE x.privilege_type END AS privilege
         FROM (
             SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' ELSE 'table' END AS what,
                    c.relname::text AS name, c.relowner AS owner,
                    coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END,
                                                  c.relowner)) AS acl
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $SCHEMA
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT c.relispartition
             UNION ALL
             SELECT 'column', c.relname || '.' || a.attname, c.relowner, a.attacl
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $SCHEMA
             WHERE a.attacl IS NOT NULL
             UNION ALL
             SELECT 'function', f.proname || '(' || pg_get_function_identity_arguments(f.oid) || ')', f.proowner,
                    coalesce(f.proacl, acldefault('f', f.proowner))
             FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace AND n.nspname = $SCHEMA
             UNION ALL
             SELECT 'type', t.typname::text, t.typowner, coalesce(t.typacl, acldefault('T', t.typowner))
             FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND n.nspname = $SCHEMA
             WHERE t.typrelid = 0 AND t.typelem = 0
             UNION ALL
             SELECT 'schema', '$schema', n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner))
             FROM pg_namespace n WHERE n.nspname = $SCHEMA
         ) object, aclexplode(acl) x
     ) line
     GROUP BY what, name, grantee, privilege, grantable";
