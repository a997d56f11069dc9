-- What version 1.9 added.
DO $$
DECLARE
    h pg_background_handle;
    info pg_background_result_info;
    error pg_background_error;
BEGIN
    h := pg_background_launch_v2('VALUES (1), (2)', 0, 'labelled');
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    info := pg_background_result_info_v2(h.pid, h.cookie);
    ASSERT info.row_count = 2 AND info.command_tag = 'SELECT' AND info.completed AND NOT info.has_error, info;
    ASSERT pg_background_error_info_v2(h.pid, h.cookie) IS NULL;

    h := pg_background_launch_v2('DO ''BEGIN RAISE ''''no'''' USING ERRCODE = 22012, HINT = ''''hint'''', DETAIL = ''''detail''''; END''');
    PERFORM pg_background_wait_v2(h.pid, h.cookie);
    error := pg_background_error_info_v2(h.pid, h.cookie);
    ASSERT error.sqlstate = '22012' AND error.message = 'no' AND error.detail = 'detail' AND error.hint = 'hint'
        AND error.context LIKE 'PL/pgSQL%', error;
    h := pg_background_submit_v2('SELECT pg_sleep(600)', 0, NULL);
    ASSERT pg_background_cancel_all_v2() = 1;
    ASSERT pg_background_detach_all_v2() = 3;
END $$;
