-- Waiting for many jobs, and functions on all of them.
\c -
\set VERBOSITY sqlstate
CREATE FUNCTION launch_many(sql text, VARIADIC labels text[]) RETURNS pg_background_handle[] LANGUAGE sql AS
$$ SELECT array_agg(pg_background_launch(sql, 0, label) ORDER BY n) FROM unnest(labels) WITH ORDINALITY l (label, n) $$;

-- All.
SELECT pg_background_wait_all(launch_many('SELECT 1', 'a', 'b', 'c'));
SELECT pg_background_wait_all(ARRAY[]::pg_background_handle[]);
SELECT pg_background_wait_all(NULL);
SELECT pg_background_wait_all(ARRAY[NULL]::pg_background_handle[]);
SELECT pg_background_wait_all(ARRAY[(1, NULL)]::pg_background_handle[]);
SELECT pg_background_wait_all(ARRAY[(1, 1)]::pg_background_handle[]);
SELECT pg_background_purge();
-- The time limit is for all together; what has finished by then counts.
SELECT launch_many('SELECT pg_sleep(600)', 'slow', 'slower') || launch_many('SELECT 1', 'fast') AS handles \gset
SELECT clock_timestamp() AS before \gset
SELECT pg_background_wait_all(:'handles', 300);
SELECT clock_timestamp() - :'before' BETWEEN '0.3 s' AND '10 s' AS once;

-- Any: the one that has finished, at any position; NULL at the time limit.
SELECT (pg_background_wait_any(:'handles')).cookie = ((:'handles')::pg_background_handle[])[3].cookie AS the_fast_one;
SELECT pg_background_wait_any((:'handles'::pg_background_handle[])[1:2], 100) IS NULL AS none;
SELECT pg_background_wait_any(ARRAY[]::pg_background_handle[]) IS NULL AS nothing_to_wait_for;
-- Handles that are stale or NULL are skipped, however many the others are.
SELECT pg_background_wait_any_v2(ARRAY[(1, 1)]::pg_background_handle[]) IS NULL AS stale,
       pg_background_wait_any(ARRAY[NULL, (1, NULL), (NULL, 1)]::pg_background_handle[]) IS NULL AS nulls,
       pg_background_wait_any(NULL) IS NULL AS no_array;
SELECT (pg_background_wait_any(ARRAY[NULL, (1, 1), (fast.pid, NULL), (fast.pid, 1), fast]::pg_background_handle[], NULL)).cookie = fast.cookie AS the_fast_one
FROM (SELECT h.* FROM unnest((:'handles'::pg_background_handle[])[3:3]) h) fast;

-- Outcomes in the order of the array. What has finished is detached, and so is the job that it waits for at the time
-- limit; what comes after it and has not finished is kept.
SELECT launch_many('SELECT pg_sleep(1)', 'waited for') || :'handles'::pg_background_handle[] AS with_slow \gset
SELECT label, state, completed, has_error FROM pg_background_drain(:'with_slow', 100);
SELECT label, state FROM pg_background_list ORDER BY label;
-- Handles that are stale: unknown, and not as if the jobs had succeeded; with a part that is NULL: NULLs; NULL: none.
SELECT pid, cookie, state, completed, has_error, sqlstate, error_message
FROM pg_background_drain(ARRAY[NULL, (1, 1), (1, NULL), (NULL, 1), (NULL, NULL)]::pg_background_handle[], NULL);
SELECT count(*) FROM pg_background_drain(NULL);

-- By label, with a grace: they have ended when it returns.
SELECT pg_background_cancel_by_label('none%'), pg_background_cancel_by_label(NULL), pg_background_cancel_by_label('slo_er', 10000);
SELECT label, state FROM pg_background_list WHERE label = 'slower';
SELECT pg_background_cancel_by_label('slo%', 10000), pg_background_cancel_by_label('slo%');
SELECT label, state, sqlstate FROM pg_background_drain(:'handles') WHERE label IS NOT NULL;

-- All of them: how many there were.
SELECT cardinality(launch_many('SELECT pg_sleep(600)', 'a', 'b')) + cardinality(launch_many('SELECT 1', 'c')) AS launched;
SELECT eventually('(SELECT count(*) = 1 FROM pg_background_list WHERE state = ''stopped'')');
SELECT pg_background_purge(), pg_background_purge_v2();
SELECT label FROM pg_background_list ORDER BY label;
SELECT pg_background_cancel_all();
SELECT label, state FROM pg_background_drain_v2((SELECT array_agg((pid, cookie)::pg_background_handle ORDER BY label) FROM pg_background_list));
SELECT pg_background_cancel_all_v2(), pg_background_detach_all_v2();

-- Only what the current role may manage.
CREATE ROLE regress_pgb_other;
GRANT pgbackground_role TO regress_pgb_other;
SELECT cardinality(launch_many('SELECT pg_sleep(600)', 'mine')) AS launched;
SET ROLE regress_pgb_other;
SELECT pg_background_cancel_all(), pg_background_purge(), pg_background_cancel_by_label('%');
SELECT count(*) FROM pg_background_list;
RESET ROLE;
SELECT (pid, cookie)::pg_background_handle AS mine FROM pg_background_list \gset
SET ROLE regress_pgb_other;
SELECT pg_background_wait_all(ARRAY[:'mine']::pg_background_handle[]);
SELECT pg_background_wait_any(ARRAY[:'mine']::pg_background_handle[]);
SELECT state FROM pg_background_drain(ARRAY[:'mine']::pg_background_handle[]);
SELECT (pg_background_outcome((:'mine'::pg_background_handle).pid, (:'mine'::pg_background_handle).cookie)).state;
RESET ROLE;
SELECT state IN ('starting', 'running') AS goes_on FROM pg_background_list;
SELECT pg_background_cancel_all();
SELECT state FROM pg_background_drain(ARRAY[:'mine']::pg_background_handle[]);
REVOKE pgbackground_role FROM regress_pgb_other;
DROP ROLE regress_pgb_other;
DROP FUNCTION launch_many;
SELECT eventually('(SELECT slots_used = 0 AND arena_bytes = 0 FROM pg_background_resources())');
