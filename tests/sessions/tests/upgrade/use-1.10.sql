-- What version 1.10 added, and 2.0 has too.
DO $$
DECLARE
    h pg_background_handle;
    outcome pg_background_outcome;
    ran pg_background_run_result;
    number int4;
BEGIN
    h := pg_background_launch_v2('SELECT 1/0', 0, 'labelled');
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    outcome := pg_background_outcome_v2(p_pid => h.pid, p_cookie => h.cookie);
    ASSERT outcome.pid = h.pid AND outcome.state = 'error' AND outcome.sqlstate = '22012'
        AND outcome.label = 'labelled', outcome;
    ASSERT pg_background_full_sql_v2(h.pid, h.cookie) = 'SELECT 1/0';
    ASSERT (SELECT label FROM pg_background_list WHERE cookie = h.cookie) = 'labelled';
    ASSERT (SELECT pgbg_state FROM pg_background_activity WHERE cookie = h.cookie) = 'error';
    ASSERT (pg_background_wait_any_v2(ARRAY[h], 60000)).cookie = h.cookie;
    ASSERT (SELECT count(*) FROM pg_background_drain_v2(ARRAY[h], 60000)) = 1;
    PERFORM pg_background_detach_all_v2();

    ran := pg_background_run_v2('SELECT 1 UNION SELECT 2', timeout_ms => 60000);
    ASSERT ran.pid > 0 AND ran.completed AND NOT ran.timed_out AND NOT ran.has_error AND ran.row_count = 2
        AND ran.command_tag = 'SELECT' AND ran.sqlstate IS NULL AND ran.elapsed_ms >= 0, ran;
    SELECT r.n INTO number FROM pg_background_run_query_v2('SELECT 43', col_def => 'n int4') AS r (n int4);
    ASSERT number = 43;
    PERFORM pg_background_detach_all_v2();

    h := pg_background_launch_v2('SELECT 1', 0, NULL);
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    ASSERT pg_background_purge_v2() = 1;
    h := pg_background_launch_v2('SELECT pg_sleep(600)', 0, 'to cancel');
    ASSERT pg_background_cancel_by_label_v2('to %', 60000) = 1;
    PERFORM pg_background_detach_all_v2();
END $$;
