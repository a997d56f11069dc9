-- Stands in for the C extension in the upgrade tests.
-- Version 1.9: labels, how a job ended, all jobs at once.

CREATE TYPE pg_background_result_info AS (row_count int8, command_tag text, completed bool, has_error bool);
CREATE TYPE pg_background_error AS (sqlstate text, message text, detail text, hint text, context text);

CREATE FUNCTION pg_background_launch_v2(sql text, queue_size int4, label text) RETURNS pg_background_handle
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_launch_v2';
CREATE FUNCTION pg_background_submit_v2(sql text, queue_size int4, label text) RETURNS pg_background_handle
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_submit_v2';
CREATE FUNCTION pg_background_result_info_v2(pid int4, cookie int8) RETURNS pg_background_result_info
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_result_info_v2';
CREATE FUNCTION pg_background_error_info_v2(pid int4, cookie int8) RETURNS pg_background_error
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_background_error_info_v2';
CREATE FUNCTION pg_background_detach_all_v2() RETURNS int4
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_detach_all_v2';
CREATE FUNCTION pg_background_cancel_all_v2() RETURNS int4
    LANGUAGE c AS 'MODULE_PATHNAME', 'pg_background_cancel_all_v2';

REVOKE ALL ON TYPE pg_background_result_info FROM PUBLIC;
REVOKE ALL ON TYPE pg_background_error FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_background_launch_v2(text, int4, text), pg_background_submit_v2(text, int4, text),
    pg_background_result_info_v2(int4, int8), pg_background_error_info_v2(int4, int8),
    pg_background_detach_all_v2(), pg_background_cancel_all_v2() FROM PUBLIC;
