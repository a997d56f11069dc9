-- The members of the extension: what each is called, then what a user sees of it. (Whether a function is strict shows in
-- the script.)
CREATE FUNCTION pg_temp.rights(acl aclitem[], kind "char", owner oid) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s=%s', CASE grantee WHEN 0 THEN 'public' ELSE grantee::regrole::text END, privilege_type), ' '
                      ORDER BY 1)
    FROM (SELECT DISTINCT grantee, privilege_type FROM aclexplode(coalesce(acl, acldefault(kind, owner)))) AS each
$$;
SELECT format('%s %s', prokind, oid::regprocedure),
       format('(%s) returns %s, volatile %s, parallel %s, definer %s, settings %s, rights %s',
              pg_get_function_arguments(oid), pg_get_function_result(oid), provolatile, proparallel,
              prosecdef, proconfig, pg_temp.rights(proacl, 'f', proowner))
FROM pg_proc
WHERE oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND deptype = 'e')
  AND oid::regprocedure::text ~ 'pg_background'
UNION ALL
SELECT format('%s %s', c.relkind, c.oid::regclass),
       format('(%s) rights %s', string_agg(format('%s %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum),
              CASE c.relkind WHEN 'c' THEN (SELECT pg_temp.rights(typacl, 'T', typowner) FROM pg_type t WHERE t.oid = c.reltype)
              ELSE pg_temp.rights(c.relacl, 'r', c.relowner) END)
FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0
WHERE c.relname ~ 'pg_background'
GROUP BY c.oid
ORDER BY 1;
