//! The extension in the catalog.

use session_tests::*;
use std::collections::BTreeMap;

/// Everything that the catalog says of the members, a line for each aspect.
const CATALOG: &str = "
    WITH member AS (
        SELECT p, y, c
        FROM pg_extension e
        JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
        LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
        LEFT JOIN pg_type y ON d.classid = 'pg_type'::regclass AND y.oid = d.objid
        LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
        WHERE e.extname = 'pg_background'
    ), line AS (
        SELECT format('function %s(%s)', (p).proname, oidvectortypes((p).proargtypes)) AS member, a.aspect, a.value
        FROM member, LATERAL (VALUES
            ('arguments', pg_get_function_arguments((p).oid)),
            ('result', pg_get_function_result((p).oid)),
            ('body', format('%s: %s', (SELECT lanname FROM pg_language WHERE oid = (p).prolang), (p).prosrc)),
            ('properties', concat_ws(', ', CASE (p).provolatile WHEN 'v' THEN 'volatile' ELSE 'other' END,
                CASE WHEN (p).proisstrict THEN 'strict' ELSE 'null input' END,
                CASE WHEN (p).prosecdef THEN 'definer' END, (p).proconfig::text)),
            ('comment', obj_description((p).oid, 'pg_proc')),
            ('rights', (SELECT string_agg(format('%s=%s', a.grantee::regrole, a.privilege_type),
                    ', ' ORDER BY a.grantee::regrole::text, a.privilege_type) FROM aclexplode(coalesce((p).proacl, acldefault('f', (p).proowner))) a
                    ))) a (aspect, value)
        WHERE (p).oid IS NOT NULL
        UNION ALL
        SELECT format('type %s', (y).typname), a.aspect, a.value
        FROM member, LATERAL (VALUES
            ('attributes', (SELECT string_agg(format('%s %s', attname, atttypid::regtype), ', ' ORDER BY attnum)
                FROM pg_attribute WHERE attrelid = (y).typrelid)),
            ('comment', obj_description((y).oid, 'pg_type')),
            ('rights', (SELECT string_agg(format('%s=%s', a.grantee::regrole, a.privilege_type),
                    ', ' ORDER BY a.grantee::regrole::text, a.privilege_type) FROM aclexplode(coalesce((y).typacl, acldefault('T', (y).typowner))) a
                    ))) a (aspect, value)
        -- Since 17 array types and the row types of views are members as well; they have no rights of their own.
        WHERE (y).oid IS NOT NULL AND (y).typcategory <> 'A'
            AND NOT EXISTS (SELECT FROM pg_class v WHERE v.oid = (y).typrelid AND v.relkind = 'v')
        UNION ALL
        SELECT format('view %s', (c).relname), a.aspect, a.value
        FROM member, LATERAL (VALUES
            ('definition', pg_get_viewdef((c).oid)),
            ('comment', obj_description((c).oid, 'pg_class')),
            ('rights', (SELECT string_agg(format('%s=%s', a.grantee::regrole, a.privilege_type),
                    ', ' ORDER BY a.grantee::regrole::text, a.privilege_type) FROM aclexplode(coalesce((c).relacl, acldefault('r', (c).relowner))) a
                    ))) a (aspect, value)
        WHERE (c).oid IS NOT NULL
    )
    SELECT member || ': ' || aspect, value FROM line WHERE value IS NOT NULL";

/// By aspect.
pub fn catalog(database: &Database) -> BTreeMap<String, String> {
    database
        .session()
        .query(CATALOG, &[])
        .expect("the catalog can be read")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

/// The members, as the catalog knows them.
pub const MEMBERS: &str = "SELECT array_agg((classid, objid)::text) FROM pg_depend
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
      AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_background')";
