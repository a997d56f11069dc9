-- What is timed runs inside the server, between two calls of clock_timestamp(), so that the
-- benchmark's own round trips do not count. Each function returns the times of its rounds in
-- microseconds; those of the waves return jobs a second.

DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;

CREATE FUNCTION bench.micros(started timestamptz, ended timestamptz) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$ SELECT (1e6 * extract(epoch FROM ended - started))::float8 $$;

CREATE FUNCTION bench.address() RETURNS text
LANGUAGE sql AS $$
    SELECT format('host=%s port=%s dbname=%s user=%s',
                  split_part(current_setting('unix_socket_directories'), ',', 1),
                  current_setting('port'), current_database(), current_user)
$$;

CREATE FUNCTION bench.wave_connections() RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$ SELECT array_agg('wave' || i) FROM generate_series(1, 16) AS i $$;

-- Opened once: dblink at its best.
CREATE FUNCTION bench.connect() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    connection text;
BEGIN
    FOREACH connection IN ARRAY ARRAY['warm'] || bench.wave_connections() LOOP
        PERFORM dblink_connect(connection, bench.address());
    END LOOP;
END $$;

-- Launch and read one row ---------------------------------------------------------------------
-- Without a pause the worker of the round before may still spin, and nobody has to be woken. A pause
-- (seconds) longer than the spin makes each round begin with the other side asleep.

CREATE FUNCTION bench.ours_round_trip(rounds int, pause float8 DEFAULT 0) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    taken float8[];
    job pg_background_handle;
    one int;
    started timestamptz;
    ended timestamptz;
BEGIN
    FOR i IN 1 .. rounds LOOP
        IF pause > 0 THEN
            PERFORM pg_sleep(pause);
        END IF;
        started := clock_timestamp();
        job := pg_background_launch_v2('SELECT 1');
        SELECT a INTO one FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);
        ended := clock_timestamp();
        taken[i] := bench.micros(started, ended);
    END LOOP;
    RETURN taken;
END $$;

CREATE FUNCTION bench.dblink_round_trip(rounds int, pause float8 DEFAULT 0) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    taken float8[];
    one int;
    started timestamptz;
    ended timestamptz;
BEGIN
    FOR i IN 1 .. rounds LOOP
        IF pause > 0 THEN
            PERFORM pg_sleep(pause);
        END IF;
        started := clock_timestamp();
        SELECT a INTO one FROM dblink('warm', 'SELECT 1') AS r(a int);
        ended := clock_timestamp();
        taken[i] := bench.micros(started, ended);
    END LOOP;
    RETURN taken;
END $$;

CREATE FUNCTION bench.dblink_new_connection(rounds int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    taken float8[];
    address text := bench.address();
    one int;
    started timestamptz;
    ended timestamptz;
BEGIN
    FOR i IN 1 .. rounds LOOP
        started := clock_timestamp();
        SELECT a INTO one FROM dblink(address, 'SELECT 1') AS r(a int);
        ended := clock_timestamp();
        taken[i] := bench.micros(started, ended);
    END LOOP;
    RETURN taken;
END $$;

-- Launch alone --------------------------------------------------------------------------------

CREATE FUNCTION bench.ours_launch(rounds int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    taken float8[];
    job pg_background_handle;
    one int;
    started timestamptz;
    ended timestamptz;
BEGIN
    FOR i IN 1 .. rounds LOOP
        started := clock_timestamp();
        job := pg_background_launch_v2('SELECT 1');
        ended := clock_timestamp();
        SELECT a INTO one FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);
        taken[i] := bench.micros(started, ended);
    END LOOP;
    RETURN taken;
END $$;

CREATE FUNCTION bench.dblink_send(rounds int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    taken float8[];
    one int;
    started timestamptz;
    ended timestamptz;
BEGIN
    FOR i IN 1 .. rounds LOOP
        started := clock_timestamp();
        PERFORM dblink_send_query('warm', 'SELECT 1');
        ended := clock_timestamp();
        SELECT a INTO one FROM dblink_get_result('warm') AS r(a int);
        -- The second read, which is empty, makes the connection free again.
        PERFORM a FROM dblink_get_result('warm') AS r(a int);
        taken[i] := bench.micros(started, ended);
    END LOOP;
    RETURN taken;
END $$;

-- Waves of 16 ---------------------------------------------------------------------------------

CREATE FUNCTION bench.ours_waves(jobs int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    wave pg_background_handle[];
    job pg_background_handle;
    one int;
    started timestamptz := clock_timestamp();
BEGIN
    FOR i IN 1 .. jobs / 16 LOOP
        FOR j IN 1 .. 16 LOOP
            wave[j] := pg_background_launch_v2('SELECT 1');
        END LOOP;
        FOREACH job IN ARRAY wave LOOP
            SELECT a INTO one FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);
        END LOOP;
    END LOOP;
    RETURN ARRAY[jobs * 1e6 / bench.micros(started, clock_timestamp())];
END $$;

CREATE FUNCTION bench.dblink_waves(jobs int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    connections text[] := bench.wave_connections();
    connection text;
    one int;
    started timestamptz := clock_timestamp();
BEGIN
    FOR i IN 1 .. jobs / 16 LOOP
        FOREACH connection IN ARRAY connections LOOP
            PERFORM dblink_send_query(connection, 'SELECT 1');
        END LOOP;
        FOREACH connection IN ARRAY connections LOOP
            SELECT a INTO one FROM dblink_get_result(connection) AS r(a int);
            PERFORM a FROM dblink_get_result(connection) AS r(a int);
        END LOOP;
    END LOOP;
    RETURN ARRAY[jobs * 1e6 / bench.micros(started, clock_timestamp())];
END $$;

-- Late return of wait: from the job's own last clock reading to the waiter's first ---------------

CREATE FUNCTION bench.ours_late_return(rounds int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    taken float8[];
    job pg_background_handle;
    slept timestamptz;
    returned timestamptz;
BEGIN
    FOR i IN 1 .. rounds LOOP
        job := pg_background_launch_v2('SELECT clock_timestamp() FROM pg_sleep(0.1)');
        PERFORM pg_background_wait_v2(job.pid, job.cookie);
        returned := clock_timestamp();
        SELECT a INTO slept
            FROM pg_background_result_v2(job.pid, job.cookie) AS r(a timestamptz);
        taken[i] := bench.micros(slept, returned);
    END LOOP;
    RETURN taken;
END $$;

CREATE FUNCTION bench.dblink_late_return(rounds int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    taken float8[];
    slept timestamptz;
BEGIN
    FOR i IN 1 .. rounds LOOP
        SELECT a INTO slept
            FROM dblink('warm', 'SELECT clock_timestamp() FROM pg_sleep(0.1)')
                AS r(a timestamptz);
        taken[i] := bench.micros(slept, clock_timestamp());
    END LOOP;
    RETURN taken;
END $$;

-- Cancel of a sleeping job ----------------------------------------------------------------------

CREATE FUNCTION bench.ours_cancel(rounds int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    taken float8[];
    job pg_background_handle;
    started timestamptz;
    ended timestamptz;
BEGIN
    FOR i IN 1 .. rounds LOOP
        job := pg_background_launch_v2('SELECT pg_sleep(60)');
        PERFORM pg_sleep(0.02); -- until it sleeps
        started := clock_timestamp();
        PERFORM pg_background_cancel_v2(job.pid, job.cookie);
        PERFORM pg_background_wait_v2(job.pid, job.cookie);
        ended := clock_timestamp();
        PERFORM pg_background_detach_v2(job.pid, job.cookie);
        taken[i] := bench.micros(started, ended);
    END LOOP;
    RETURN taken;
END $$;

CREATE FUNCTION bench.dblink_cancel(rounds int) RETURNS float8[]
LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
    taken float8[];
    started timestamptz;
    ended timestamptz;
BEGIN
    FOR i IN 1 .. rounds LOOP
        PERFORM dblink_send_query('warm', 'SELECT pg_sleep(60)');
        PERFORM pg_sleep(0.02);
        started := clock_timestamp();
        PERFORM dblink_cancel_query('warm');
        PERFORM a FROM dblink_get_result('warm', false) AS r(a text);
        ended := clock_timestamp();
        PERFORM a FROM dblink_get_result('warm', false) AS r(a text);
        taken[i] := bench.micros(started, ended);
    END LOOP;
    RETURN taken;
END $$;

CREATE FUNCTION bench.ours_after_pause(rounds int) RETURNS float8[]
LANGUAGE sql AS $$ SELECT bench.ours_round_trip(rounds, 0.002) $$;

CREATE FUNCTION bench.dblink_after_pause(rounds int) RETURNS float8[]
LANGUAGE sql AS $$ SELECT bench.dblink_round_trip(rounds, 0.002) $$;

-- Streams: rows a second, megabytes a second ----------------------------------------------------

CREATE TABLE bench.ints AS SELECT g AS a FROM generate_series(1, 1000000) AS g;
CREATE TABLE bench.wide AS
SELECT g AS a, 'name ' || g AS b, md5(g::text) AS c,
       timestamptz '2020-01-01' + g * interval '1 s' AS d, (g * 1.25)::numeric AS e
FROM generate_series(1, 300000) AS g;
ANALYZE bench.ints, bench.wide;

CREATE FUNCTION bench.ours_ints(rows int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
    job pg_background_handle := pg_background_launch_v2('SELECT a FROM bench.ints LIMIT ' || rows);
    read bigint;
BEGIN
    SELECT count(*) INTO read FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);
    RETURN ARRAY[read * 1e6 / bench.micros(started, clock_timestamp())];
END $$;

CREATE FUNCTION bench.dblink_ints(rows int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
    read bigint;
BEGIN
    SELECT count(*) INTO read FROM dblink('warm', 'SELECT a FROM bench.ints LIMIT ' || rows) AS r(a int);
    RETURN ARRAY[read * 1e6 / bench.micros(started, clock_timestamp())];
END $$;

CREATE FUNCTION bench.ours_wide(rows int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
    job pg_background_handle := pg_background_launch_v2('SELECT * FROM bench.wide LIMIT ' || rows);
    read bigint;
BEGIN
    SELECT count(*) INTO read FROM pg_background_result_v2(job.pid, job.cookie)
        AS r(a int, b text, c text, d timestamptz, e numeric);
    RETURN ARRAY[read * 1e6 / bench.micros(started, clock_timestamp())];
END $$;

CREATE FUNCTION bench.dblink_wide(rows int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
    read bigint;
BEGIN
    SELECT count(*) INTO read FROM dblink('warm', 'SELECT * FROM bench.wide LIMIT ' || rows)
        AS r(a int, b text, c text, d timestamptz, e numeric);
    RETURN ARRAY[read * 1e6 / bench.micros(started, clock_timestamp())];
END $$;

CREATE FUNCTION bench.large_values(count int) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT 'SELECT repeat(''x'', 100000) FROM generate_series(1, ' || count || ')'
$$;

CREATE FUNCTION bench.ours_large(count int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
    job pg_background_handle := pg_background_launch_v2(bench.large_values(count));
    read bigint;
BEGIN
    SELECT sum(octet_length(a)) INTO read FROM pg_background_result_v2(job.pid, job.cookie) AS r(a text);
    RETURN ARRAY[read / bench.micros(started, clock_timestamp())];
END $$;

CREATE FUNCTION bench.dblink_large(count int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
    read bigint;
BEGIN
    SELECT sum(octet_length(a)) INTO read FROM dblink('warm', bench.large_values(count)) AS r(a text);
    RETURN ARRAY[read / bench.micros(started, clock_timestamp())];
END $$;

-- One row after another, as a cursor takes them: nothing is stored in between.
CREATE FUNCTION bench.ours_large_one_by_one(count int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
    job pg_background_handle := pg_background_launch_v2(bench.large_values(count));
    read bigint;
BEGIN
    SELECT sum(octet_length(a)) INTO read
    FROM (SELECT pg_background_result(job.pid, job.cookie, NULL::text) AS a) AS s;
    RETURN ARRAY[read / bench.micros(started, clock_timestamp())];
END $$;

-- Fan-out: the peer does it in waves -----------------------------------------------------------------

CREATE FUNCTION bench.ours_fanout(jobs int) RETURNS float8[]
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz := clock_timestamp();
    good int;
BEGIN
    SELECT count(*) FILTER (WHERE ok) INTO good
        FROM pg_background_fanout(array_fill('SELECT 1'::text, ARRAY[jobs]));
    ASSERT good = jobs;
    RETURN ARRAY[jobs * 1e6 / bench.micros(started, clock_timestamp())];
END $$;
