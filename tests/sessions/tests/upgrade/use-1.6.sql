-- What works with version 1.6 and every later one of 1.x.
DO $$
DECLARE
    h pg_background_handle;
    worker int4;
    number int4;
    state text;
BEGIN
    worker := pg_background_launch('SELECT 41');
    SELECT r.n INTO number FROM pg_background_result(worker) AS r (n int4);
    ASSERT number = 41;
    PERFORM pg_background_detach(pg_background_launch('SELECT 1'));

    h := pg_background_launch_v2('SELECT 42', 65536);
    ASSERT pg_typeof(pg_background_wait_v2(h.pid, h.cookie)) = 'void'::regtype;
    ASSERT pg_background_wait_v2_timeout(h.pid, h.cookie, 0);
    SELECT l.state INTO state
    FROM pg_background_list_v2() AS l (pid int4, cookie int8, launched_at timestamptz, user_id oid, queue_size int4,
        state text, sql_preview text, last_error text, consumed bool)
    WHERE l.cookie = h.cookie;
    ASSERT state = 'stopped', state;
    SELECT r.n INTO number FROM pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
    ASSERT number = 42;

    h := pg_background_submit_v2('SELECT pg_sleep(600)');
    PERFORM pg_background_cancel_v2(h.pid, h.cookie);
    PERFORM pg_background_cancel_v2_grace(h.pid, h.cookie, 60000);
    PERFORM pg_background_detach_v2(h.pid, h.cookie);
END $$;
