-- What version 2.0 has, in its own form.
DO $$
DECLARE
    h pg_background_handle;
    progress pg_background_progress_info;
    stats pg_background_stats;
    info pg_background_result_info;
    number int4;
BEGIN
    h := pg_background_launch('SELECT 42');
    ASSERT pg_background_wait(h.pid, h.cookie);
    SELECT r.n INTO number FROM pg_background_result(h.pid, h.cookie) AS r (n int4);
    ASSERT number = 42;

    h := pg_background_launch_v2('SELECT pg_background_report_progress(50, ''half'')');
    ASSERT pg_background_wait_v2(h.pid, h.cookie);
    progress := pg_background_get_progress(h.pid, h.cookie);
    ASSERT progress = (50, 'half')::pg_background_progress_info, progress;
    progress := pg_background_get_progress_v2(h.pid, h.cookie);
    ASSERT progress = (50, 'half')::pg_background_progress_info, progress;
    info := pg_background_result_info(h.pid, h.cookie);
    ASSERT info.row_count = 1 AND info.finished_at >= info.started_at, info;
    ASSERT pg_background_error_info(h.pid, h.cookie) IS NULL;
    PERFORM pg_background_detach(h.pid, h.cookie);

    h := pg_background_submit('SELECT pg_sleep(600)', 0, 'labelled');
    ASSERT NOT pg_background_wait_v2(h.pid, h.cookie, 1);
    PERFORM pg_background_cancel_v2(h.pid, h.cookie);
    PERFORM pg_background_cancel(h.pid, h.cookie, 60000);
    ASSERT (pg_background_outcome(p_pid => h.pid, p_cookie => h.cookie)).state = 'canceled';
    ASSERT pg_background_full_sql(h.pid, h.cookie) = 'SELECT pg_sleep(600)';
    ASSERT pg_background_cancel_all() = 0;
    ASSERT pg_background_detach_all() = 1;

    PERFORM pg_background_record_timeout();
    SET LOCAL pg_background.max_workers = 7;
    FOREACH stats IN ARRAY ARRAY[pg_background_stats(), pg_background_stats_v2()] LOOP
        ASSERT stats.workers_launched > 0 AND stats.workers_completed > 0 AND stats.workers_canceled > 0
            AND stats.workers_timed_out > 0 AND stats.workers_active = 0 AND stats.avg_execution_ms >= 0
            AND stats.max_workers = 7, stats;
    END LOOP;
END $$;
