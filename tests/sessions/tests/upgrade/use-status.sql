-- What only version 1.10 has; an update leaves it there.
DO $$
DECLARE
    h pg_background_handle := pg_background_launch_v2('SELECT 1', 0, 'labelled');
BEGIN
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    ASSERT pg_background_status_v2(h.pid, h.cookie) ->> 'label' = 'labelled';
    PERFORM pg_background_detach_all_v2();
END $$;
