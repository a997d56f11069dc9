-- What version 1.8 added, with the form that it has in every later one of 1.x.
DO $$
DECLARE
    h pg_background_handle;
    progress pg_background_progress;
    stats pg_background_stats;
BEGIN
    h := pg_background_launch_v2('SELECT pg_background_progress(50, ''half'')');
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    progress := pg_background_get_progress_v2(h.pid, h.cookie);
    ASSERT progress = (50, 'half')::pg_background_progress, progress;
    PERFORM pg_background_detach_v2(h.pid, h.cookie);

    SET LOCAL pg_background.max_workers = 7;
    stats := pg_background_stats_v2();
    ASSERT stats.workers_launched > 0 AND stats.workers_completed > 0 AND stats.workers_active = 0
        AND stats.avg_execution_ms >= 0 AND stats.max_workers = 7, stats;
END $$;
