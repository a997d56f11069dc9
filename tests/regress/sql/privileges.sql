-- Privileges: who may launch, whose jobs one may manage, and what a job may do.
\set VERBOSITY sqlstate
CREATE ROLE regress_pgb_user;
CREATE ROLE regress_pgb_other;
CREATE ROLE regress_pgb_outsider;
GRANT pgbackground_role TO regress_pgb_user, regress_pgb_other;
CREATE TABLE secret (n int4);
GRANT CREATE ON SCHEMA public TO regress_pgb_user, regress_pgb_other;
-- Without the role: nothing.
SET ROLE regress_pgb_outsider;
SELECT sqlstate_of(s) FROM unnest(ARRAY['SELECT pg_background_launch_v2(''SELECT 1'')', 'SELECT pg_background_launch(''SELECT 1'')',
    'SELECT pg_background_submit_v2(''SELECT 1'')', 'SELECT pg_background_wait_v2(1, 1)', 'SELECT pg_background_stats_v2()',
    'SELECT pg_background_resources()', 'SELECT pg_background_retire_idle()',
    'SELECT grant_pg_background_privileges(''regress_pgb_outsider'')', 'SELECT pg_background_drop_executor_role()']) s;
-- With it: as oneself.
SET ROLE regress_pgb_user;
SELECT r.* FROM pg_background_launch_v2('SELECT current_user, session_user') h, pg_background_result_v2(h.pid, h.cookie) AS r (c text, s text);
SELECT outcome_of('SELECT * FROM secret'), outcome_of('CREATE ROLE regress_pgb_no'), sqlstate_of('SELECT pg_background_retire_idle()');
-- Another's job.
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
SET ROLE regress_pgb_other;
SELECT count(*) FROM jobs;
SELECT sqlstate_of(format(s, :pid, :cookie)) FROM unnest(ARRAY['SELECT pg_background_wait_v2_timeout(%s, %s, 1)', 'SELECT pg_background_cancel_v2(%s, %s)',
    'SELECT pg_background_cancel_v2_grace(%s, %s, 1)', 'SELECT * FROM pg_background_result_v2(%s, %s) AS (v text)']) s;
SELECT pg_background_get_progress_v2(:pid, :cookie) IS NULL AS no_progress;
RESET ROLE;
GRANT regress_pgb_user TO regress_pgb_other;
SET ROLE regress_pgb_other;
SELECT state IN ('starting', 'running') AS goes_on FROM jobs;
SELECT pg_background_cancel_v2(:pid, :cookie);
RESET ROLE;
REVOKE regress_pgb_user FROM regress_pgb_other;
SELECT pg_background_wait_v2(:pid, :cookie);
SELECT pg_background_detach_v2(:pid, :cookie);
-- SECURITY DEFINER: the job runs as the definer to its end.
SET ROLE regress_pgb_other;
CREATE TABLE others (n int4);
CREATE FUNCTION as_other(sql text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    h pg_background_handle := public.pg_background_launch_v2(sql);
    value text;
BEGIN
    SELECT r.t INTO value FROM public.pg_background_result_v2(h.pid, h.cookie) AS r (t text);
    RETURN value;
END
$$;
RESET ROLE;
SELECT as_other('SELECT current_user');
SELECT as_other('INSERT INTO others VALUES (1)');
SELECT sqlstate_of($$SELECT as_other('SELECT * FROM secret')$$);
SELECT sqlstate_of($$SELECT as_other('SET ROLE postgres')$$), sqlstate_of($$SELECT as_other('RESET ROLE')$$),
       sqlstate_of($$SELECT as_other('SET SESSION AUTHORIZATION postgres')$$), sqlstate_of($$SELECT as_other('RESET SESSION AUTHORIZATION')$$);
SELECT as_other('SELECT set_config(''role'', ''none'', false)') IS NULL;
-- A procedure's ROLLBACK must not switch back to the superuser that has called the function.
SET ROLE regress_pgb_other;
CREATE PROCEDURE evil() LANGUAGE plpgsql AS $$
BEGIN
    ROLLBACK;
    CREATE ROLE regress_pgb_evil SUPERUSER;
END
$$;
CREATE PROCEDURE evil_commit() LANGUAGE plpgsql AS $$
BEGIN
    COMMIT;
    CREATE ROLE regress_pgb_evil SUPERUSER;
END
$$;
RESET ROLE;
SELECT sqlstate_of($$SELECT as_other('CALL public.evil()')$$), sqlstate_of($$SELECT as_other('CALL public.evil_commit()')$$),
       sqlstate_of($$SELECT as_other('DO ''BEGIN ROLLBACK; CREATE ROLE regress_pgb_evil SUPERUSER; END''')$$);
SELECT count(*) FROM pg_roles WHERE rolname = 'regress_pgb_evil';
-- Nor when the role was set, where the procedure may roll back.
SET ROLE regress_pgb_other;
SELECT outcome_of('CALL evil()'), outcome_of('CALL evil_commit()');
RESET ROLE;
SELECT count(*) FROM pg_roles WHERE rolname = 'regress_pgb_evil';
-- A statement that starts transactions of its own runs only where there is no other user to switch back to.
SELECT sqlstate_of($$SELECT as_other('VACUUM others')$$);
CREATE FUNCTION as_superuser(sql text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    h pg_background_handle := public.pg_background_launch_v2(sql);
    value text;
BEGIN
    SELECT r.t INTO value FROM public.pg_background_result_v2(h.pid, h.cookie) AS r (t text);
    RETURN value;
END
$$;
SET ROLE regress_pgb_other;
SELECT as_superuser('VACUUM others');
RESET ROLE;
DROP FUNCTION as_superuser;
-- Maintenance gives no access to the session's privileges: functions run as the owner of the table, restricted.
SET ROLE regress_pgb_other;
CREATE FUNCTION evil_index(n int4) RETURNS int4 IMMUTABLE LANGUAGE sql AS 'SELECT n';
CREATE INDEX ON others (evil_index(n));
CREATE OR REPLACE FUNCTION evil_index(n int4) RETURNS int4 IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('role', 'none', false);
    RETURN n;
END
$$;
RESET ROLE;
SELECT sqlstate_of($$SELECT as_other('ANALYZE others')$$);
-- The next job of the session has the session's own privileges again.
SELECT r.* FROM pg_background_launch_v2('SELECT current_user, session_user') h, pg_background_result_v2(h.pid, h.cookie) AS r (c text, s text);
-- SET SESSION AUTHORIZATION and SET ROLE hold in the job, and not after it.
SET SESSION AUTHORIZATION regress_pgb_user;
SELECT r.* FROM pg_background_launch_v2('SELECT current_user, session_user') h, pg_background_result_v2(h.pid, h.cookie) AS r (c text, s text);
RESET SESSION AUTHORIZATION;
SELECT r.* FROM pg_background_launch_v2('SELECT current_user, session_user, current_setting(''role'')') h, pg_background_result_v2(h.pid, h.cookie) AS r (c text, s text, r text);
DROP FUNCTION as_other;
DROP PROCEDURE evil, evil_commit;
DROP TABLE secret, others;
DROP FUNCTION evil_index;
REVOKE CREATE ON SCHEMA public FROM regress_pgb_user, regress_pgb_other;
DROP ROLE regress_pgb_user, regress_pgb_other, regress_pgb_outsider;
SELECT count(*) FROM jobs;
