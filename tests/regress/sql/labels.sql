-- Labels by a setting.
\set VERBOSITY terse
LOAD 'pg_background';
CREATE FUNCTION label_in_job() RETURNS text LANGUAGE sql AS
$$ SELECT regexp_replace(application_name, '[0-9]+$', 'PID') FROM pg_stat_activity WHERE pid = pg_backend_pid() $$;
SHOW pg_background.label;
SELECT pg_background_call('SELECT label_in_job()', NULL::text);

-- Whatever launches them; a label that is given comes first, an empty one is none.
SET pg_background.label = 'all of them';
SELECT FROM pg_background_launch_v2('SELECT 1');
SELECT pg_background_launch('SELECT 2') > 0 AS by_pid;
SELECT FROM pg_background_submit_v2('SELECT 3');
SELECT FROM pg_background_launch_params('SELECT $1', 4);
SELECT FROM pg_background_submit_params('SELECT $1 + 1', 4);
SELECT FROM pg_background_launch('SELECT 6', 0, 'its own');
SELECT FROM pg_background_launch('SELECT 7', 0, '');
SELECT FROM pg_background_launch('SELECT 8', 0, NULL);
SELECT sql_preview, label FROM pg_background_list ORDER BY launched_at;
SELECT pg_background_detach_all();
SELECT label FROM pg_background_run('SELECT 1') UNION ALL SELECT label FROM pg_background_run('SELECT 1', label => 'run');
SELECT * FROM pg_background_run_query('SELECT label_in_job()') AS (t text);
SELECT pg_background_call('SELECT label_in_job()', NULL::text);
SELECT result->0->>'label_in_job' FROM pg_background_fanout(ARRAY['SELECT label_in_job()']);
SELECT pg_background_detach_all();
-- A job sees it, and passes it on.
SELECT pg_background_call($$SELECT current_setting('pg_background.label') || ', ' || pg_background_call('SELECT label_in_job()', NULL::text)$$, NULL::text);
SELECT pg_background_call($$SELECT set_config('pg_background.label', 'deeper', false) || ', ' || pg_background_call('SELECT label_in_job()', NULL::text)$$, NULL::text);
-- It is that of the launch.
BEGIN;
SET LOCAL pg_background.label = 'in here';
SELECT * FROM pg_background_launch_v2('SELECT pg_sleep(600)') \gset
COMMIT;
SHOW pg_background.label;
SELECT label FROM pg_background_outcome(:pid, :cookie);
SELECT pg_background_cancel_by_label('in %', 10000);
SELECT state, label FROM pg_background_drain(ARRAY[(:pid, :cookie)]::pg_background_handle[]);

-- At most 64 bytes, in characters of the database.
SELECT length(set_config('pg_background.label', repeat('x', 64), false));
SELECT octet_length(label) FROM pg_background_run('SELECT 1');
SELECT octet_length(set_config('pg_background.label', repeat(U&'\20ac', 21) || 'x', false));
SELECT label = repeat(U&'\20ac', 21) || 'x' AS whole FROM pg_background_run('SELECT 1');
SELECT set_config('pg_background.label', repeat('x', 65), false);
SELECT sqlstate_of(format('SET pg_background.label = %L', repeat(U&'\20ac', 22)));
RESET pg_background.label;
-- Before the library is loaded any text is accepted, and one that is none is dropped with a warning.
\c -
SET pg_background.label = '0123456789012345678901234567890123456789012345678901234567890123456789';
SELECT label FROM pg_background_run('SELECT 1');
SHOW pg_background.label;
\c -
SET pg_background.label = 'before';
SELECT label FROM pg_background_run('SELECT 1');

SELECT pg_background_detach_all();
DROP FUNCTION label_in_job;
SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 FROM pg_background_resources())');
