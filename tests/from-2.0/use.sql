-- What dependents.sql has made works, and has kept its values and rights.
SET search_path = public, tools;
DO $$
DECLARE
    h pg_background_handle;
    k kept;
BEGIN
    h := in_background('SELECT ''done''');
    ASSERT finished(h);
    ASSERT (SELECT count(*) FROM running) = 1 AND (SELECT count(*) FROM seen) = 1 AND (SELECT count(*) FROM progress) = 1;
    ASSERT (SELECT max_workers FROM counts) = 16 AND (SELECT workers_timed_out FROM counts) = 0;
    ASSERT text_of(h) = 'done';
    SELECT l.pid, l.cookie INTO h FROM launched l;
    ASSERT h.cookie IS NOT NULL AND (SELECT r.n FROM pg_background_result(h.pid, h.cookie) AS r (n int4)) = 42;
    ASSERT (SELECT row_count FROM ran) = 1;
    ASSERT (SELECT bool_and(completed) FROM outcomes_of(ARRAY[in_background('SELECT 1'), in_background('SELECT 2')]));

    INSERT INTO orders VALUES (1);
    ASSERT (SELECT (job).cookie IS NOT NULL FROM orders);
    ASSERT (SELECT what FROM audit) = 'order 1';
    DELETE FROM orders;

    SELECT * INTO k FROM kept;
    ASSERT (k.job).cookie = 2 AND (k.jobs[1]).cookie = 4 AND (k.stats).workers_timed_out = 5 AND (k.stats).max_workers = 8;
    ASSERT (k.progress).progress_msg = 'ten' AND (k.info).finished_at = 'epoch' AND (k.error).constraint_name = 'k';
    ASSERT (k.outcome).label = 'l' AND (k.result).elapsed_ms = 18;
    ASSERT (SELECT row_count FROM history) = 14;
    BEGIN
        INSERT INTO kept (job) VALUES ((NULL, 1));
        ASSERT false, 'the domain has let it in';
    EXCEPTION WHEN check_violation THEN
    END;

    ASSERT has_function_privilege('clerk', 'pg_background_launch(text, int4)', 'EXECUTE');
    ASSERT NOT has_function_privilege('clerk', 'pg_background_run(text, int4, int4, text)', 'EXECUTE');
    ASSERT NOT has_function_privilege('outsider', 'pg_background_launch(text, int4)', 'EXECUTE');
    ASSERT has_function_privilege('pgbackground_role', 'pg_background_launch(text, int4)', 'EXECUTE');
    ASSERT NOT has_function_privilege('pgbackground_role', 'pg_background_submit(text, int4)', 'EXECUTE');
    ASSERT has_table_privilege('clerk', 'pg_background_list', 'SELECT');
    PERFORM pg_background_detach_all();
END
$$;
-- Outside of the block, which would hold the lock that the job needs.
TRUNCATE audit;
SET ROLE clerk;
SELECT pid, cookie FROM pg_background_launch('SELECT current_user::text') \gset
SELECT * FROM pg_background_result(:pid, :cookie) AS (t text);
