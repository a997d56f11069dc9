-- The settings: defaults, units, ranges, who may set them.
\set VERBOSITY sqlstate
LOAD 'pg_background';
SELECT name, boot_val, unit, context, vartype, min_val, max_val, enumvals
FROM pg_settings WHERE name LIKE 'pg\_background.%' ORDER BY name COLLATE "C";
SELECT count(*) FROM pg_settings WHERE name LIKE 'pg\_background.%' AND (short_desc IS NULL OR short_desc = '');
SET pg_background.max_workers = 0;
SET pg_background.max_workers = 1001;
SET pg_background.default_queue_size = 1;
SET pg_background.default_queue_size = '257MB';
SET pg_background.default_queue_size = '1MB';
SHOW pg_background.default_queue_size;
RESET pg_background.default_queue_size;
SET pg_background.worker_timeout = -1;
SET pg_background.on_exhaustion = maybe;
SET pg_background.enabled = off;
SET pg_background.worker_idle_timeout = 0;
-- Since 15 the server can refuse a setting of the prefix that does not exist.
SELECT sqlstate_of('SET pg_background.no_such_setting = 1')
     = CASE WHEN current_setting('server_version_num')::int4 >= 150000 THEN '42602' ELSE '00000' END AS as_the_server_can;
CREATE ROLE regress_pgb_setter;
SET ROLE regress_pgb_setter;
SET pg_background.spin = 0;
SET pg_background.keep_workers = 1;
SET pg_background.max_workers = 5;
RESET ROLE;
DROP ROLE regress_pgb_setter;
RESET pg_background.max_workers;
-- max_workers counts what the session tracks, finished and submitted jobs included.
SET pg_background.max_workers = 2;
SELECT pid AS pid1, cookie AS cookie1 FROM pg_background_launch_v2('SELECT 1') \gset
SELECT pid AS pid2, cookie AS cookie2 FROM pg_background_submit_v2('SELECT 2') \gset
SELECT pg_background_wait_v2(:pid2, :cookie2);
SELECT sqlstate_of($$SELECT pg_background_launch_v2('SELECT 3')$$), sqlstate_of($$SELECT pg_background_launch('SELECT 3')$$), sqlstate_of($$SELECT pg_background_submit_v2('SELECT 3')$$);
SELECT pg_background_detach_v2(:pid2, :cookie2);
SELECT pid AS pid2, cookie AS cookie2 FROM pg_background_launch_v2('SELECT 3') \gset
SELECT * FROM pg_background_result_v2(:pid1, :cookie1) AS (n int4);
SELECT * FROM pg_background_result_v2(:pid2, :cookie2) AS (n int4);
RESET pg_background.max_workers;
-- The queue size of a launch.
SET pg_background.default_queue_size = '128kB';
SELECT count(h) FROM (VALUES (0), (-1), (1000000)) s (size), LATERAL pg_background_launch_v2('SELECT 1', s.size) h;
SELECT queue_size FROM jobs ORDER BY queue_size;
SELECT count(pg_background_detach_v2(pid, cookie)) FROM jobs;
RESET pg_background.default_queue_size;
-- Switched off for the cluster.
ALTER SYSTEM SET pg_background.enabled = off;
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SHOW pg_background.enabled;
SELECT sqlstate_of($$SELECT pg_background_launch_v2('SELECT 1')$$), sqlstate_of($$SELECT pg_background_launch('SELECT 1')$$), sqlstate_of($$SELECT pg_background_submit_v2('SELECT 1')$$);
ALTER SYSTEM RESET pg_background.enabled;
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SHOW pg_background.enabled;
SELECT outcome_of('SELECT 1');
-- One process per job.
ALTER SYSTEM SET pg_background.worker_idle_timeout = 0;
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SHOW pg_background.worker_idle_timeout;
SELECT pg_background_retire_idle() >= 0;
CREATE FUNCTION pid_of_job() RETURNS int4 LANGUAGE sql VOLATILE AS $$
    SELECT r.pid FROM pg_background_launch_v2('SELECT pg_backend_pid()') h, pg_background_result_v2(h.pid, h.cookie) AS r (pid int4)
$$;
CREATE TEMP TABLE pids (pid int4);
INSERT INTO pids VALUES (pid_of_job());
INSERT INTO pids VALUES (pid_of_job());
INSERT INTO pids VALUES (pid_of_job());
SELECT count(DISTINCT pid) FROM pids;
ALTER SYSTEM RESET pg_background.worker_idle_timeout;
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SHOW pg_background.worker_idle_timeout;
-- A worker retires after so many jobs.
ALTER SYSTEM SET pg_background.worker_max_jobs = 2;
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
SHOW pg_background.worker_max_jobs;
SELECT pg_background_retire_idle() >= 0;
SELECT eventually('(SELECT workers_idle + workers_busy = 0 FROM pg_background_resources())');
TRUNCATE pids;
INSERT INTO pids VALUES (pid_of_job());
INSERT INTO pids VALUES (pid_of_job());
INSERT INTO pids VALUES (pid_of_job());
INSERT INTO pids VALUES (pid_of_job());
SELECT count(DISTINCT pid) FROM pids;
ALTER SYSTEM RESET pg_background.worker_max_jobs;
SELECT pg_reload_conf();
SELECT FROM pg_sleep(0.3);
DROP FUNCTION pid_of_job;
