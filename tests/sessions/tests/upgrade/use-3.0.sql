-- What version 3.0 adds to all of them.
DO $$
DECLARE
    h pg_background_handle;
BEGIN
    ASSERT (SELECT count(*) FROM pg_background_fanout(ARRAY['SELECT 1', 'SELECT 2']) WHERE ok) = 2;
    ASSERT (SELECT count(*) FROM pg_background_fanout_params('SELECT $1', ARRAY[1, 2]) WHERE ok) = 2;
    h := pg_background_launch_params('SELECT $1 AS n', 42);
    ASSERT (SELECT r FROM pg_background_result_json(h.pid, h.cookie) r) = '{"n": 42}';
    h := pg_background_launch('SELECT 44', 0, 'labelled');
    ASSERT pg_background_wait_all(ARRAY[h]) = 1;
    ASSERT (SELECT r FROM pg_background_result(h.pid, h.cookie, NULL::int4) r) = 44;
    ASSERT (pg_background_run('SELECT 1')).row_count = 1;
    ASSERT (pg_background_stats()).workers_launched > 0;
    ASSERT (SELECT slots_total > 0 FROM pg_background_resources());
    h := pg_background_launch_v2('SELECT 45');
    ASSERT (SELECT r.n FROM pg_background_result(h.pid) AS r (n int4)) = 45;
    ASSERT NOT EXISTS (SELECT FROM pg_background_list);
END $$;
