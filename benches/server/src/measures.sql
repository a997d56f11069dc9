-- What is timed runs inside the server, between two calls of clock_timestamp(), so that the
-- benchmark's own round trips do not count. A measure is a function that returns an array: of a
-- latency the microseconds of each of its rounds, of a rate one element, so much a second. The names
-- of the extension's functions are found by search_path.

DROP SCHEMA IF EXISTS pgbackground_bench CASCADE;
CREATE SCHEMA pgbackground_bench;

CREATE FUNCTION pgbackground_bench.micros(started timestamptz, ended timestamptz) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$ SELECT (1e6 * extract(epoch FROM ended - started))::float8 $$;

CREATE FUNCTION pgbackground_bench.address() RETURNS text
LANGUAGE sql AS $$
    SELECT format('host=%s port=%s dbname=%s user=%s',
                  split_part(current_setting('unix_socket_directories'), ',', 1),
                  current_setting('port'), current_database(), current_user)
$$;

-- The frames: there is one for latencies and one for rates. They write the function that holds the
-- measure's own statements, so that those are planned once, as in anybody's function; EXECUTE would
-- plan them anew in every round.

-- Defines NAME(rounds). Of each round `timed` counts; `before` and `after` do not.
CREATE FUNCTION pgbackground_bench.latency(
    name text, timed text, before text DEFAULT '', after text DEFAULT '') RETURNS void
LANGUAGE plpgsql AS $frame$
BEGIN
    EXECUTE format($create$
        CREATE FUNCTION pgbackground_bench.%I(rounds int) RETURNS float8[]
        LANGUAGE plpgsql AS $body$
        DECLARE
            address text := pgbackground_bench.address();
            taken float8[];
            job pg_background_handle;
            one int;
            seen timestamptz;
            started timestamptz;
            ended timestamptz;
        BEGIN
            FOR i IN 1 .. rounds LOOP
                %s
                started := clock_timestamp();
                %s
                ended := clock_timestamp();
                %s
                taken[i] := pgbackground_bench.micros(started, ended);
            END LOOP;
            RETURN taken;
        END $body$ $create$, name, before, timed, after);
END $frame$;

-- Defines NAME(amount, wide): `work` is done once, and what counts is `amount` by the time it took.
-- `wide` is how many go on side by side, or how many bytes a row has.
CREATE FUNCTION pgbackground_bench.rate(name text, work text) RETURNS void
LANGUAGE plpgsql AS $frame$
BEGIN
    EXECUTE format($create$
        CREATE FUNCTION pgbackground_bench.%I(amount int, wide int DEFAULT 16) RETURNS float8[]
        LANGUAGE plpgsql AS $body$
        DECLARE
            jobs pg_background_handle[];
            job pg_background_handle;
            connection text;
            connections text[] := pgbackground_bench.wave_connections(wide);
            one int;
            done bigint := amount;
            started timestamptz := clock_timestamp();
        BEGIN
            %s
            ASSERT done = amount, format('%%s of %%s', done, amount);
            RETURN ARRAY[amount * 1e6 / pgbackground_bench.micros(started, clock_timestamp())];
        END $body$ $create$, name, work);
END $frame$;

-- The peer's connections, opened once: dblink at its best -----------------------------------------

CREATE FUNCTION pgbackground_bench.wave_connections(wide int) RETURNS text[]
LANGUAGE sql IMMUTABLE AS $$ SELECT array_agg('wave' || i) FROM generate_series(1, least(wide, 16)) AS i $$;

CREATE FUNCTION pgbackground_bench.connect() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    connection text;
BEGIN
    FOREACH connection IN ARRAY ARRAY['warm'] || pgbackground_bench.wave_connections(16) LOOP
        PERFORM dblink_connect(connection, pgbackground_bench.address());
    END LOOP;
    PERFORM dblink_exec('warm', 'PREPARE constant AS SELECT 1');
    PERFORM dblink_exec('warm', 'PREPARE bound AS INSERT INTO pgbackground_bench.inserted (number, note, size) VALUES ($1, $2, $3)');
    PERFORM dblink_exec('warm', 'PREPARE joined (int) AS ' || pgbackground_bench.joined('$1'));
END $$;

-- Launch and read one row ---------------------------------------------------------------------
-- Without a pause the worker of the round before may still spin, and nobody has to be woken. A pause
-- longer than the spin makes each round begin with the other side asleep.

SELECT pgbackground_bench.latency('ours_round_trip',
    timed => $$
        job := pg_background_launch_v2('SELECT 1');
        SELECT a INTO one FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);
    $$);
SELECT pgbackground_bench.latency('ours_after_pause',
    before => 'PERFORM pg_sleep(0.002);',
    timed => $$
        job := pg_background_launch_v2('SELECT 1');
        SELECT a INTO one FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);
    $$);
SELECT pgbackground_bench.latency('dblink_round_trip',
    timed => $$ SELECT a INTO one FROM dblink('warm', 'SELECT 1') AS r(a int); $$);
SELECT pgbackground_bench.latency('dblink_after_pause',
    before => 'PERFORM pg_sleep(0.002);',
    timed => $$ SELECT a INTO one FROM dblink('warm', 'SELECT 1') AS r(a int); $$);
SELECT pgbackground_bench.latency('dblink_new_connection',
    timed => $$ SELECT a INTO one FROM dblink(address, 'SELECT 1') AS r(a int); $$);

-- Launch alone --------------------------------------------------------------------------------

SELECT pgbackground_bench.latency('ours_launch',
    timed => $$ job := pg_background_launch_v2('SELECT 1'); $$,
    after => 'SELECT a INTO one FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);');
-- The second read, which is empty, makes the connection free again.
SELECT pgbackground_bench.latency('dblink_send',
    timed => $$ PERFORM dblink_send_query('warm', 'SELECT 1'); $$,
    after => $$
        SELECT a INTO one FROM dblink_get_result('warm') AS r(a int);
        PERFORM a FROM dblink_get_result('warm') AS r(a int);
    $$);

-- Waves, and fan-out ----------------------------------------------------------------------------

SELECT pgbackground_bench.rate('ours_waves', $$
    FOR i IN 1 .. amount / wide LOOP
        FOR j IN 1 .. wide LOOP
            jobs[j] := pg_background_launch_v2('SELECT 1');
        END LOOP;
        FOREACH job IN ARRAY jobs LOOP
            SELECT a INTO one FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);
        END LOOP;
    END LOOP;
$$);
SELECT pgbackground_bench.rate('dblink_waves', $$
    FOR i IN 1 .. amount / wide LOOP
        FOREACH connection IN ARRAY connections LOOP
            PERFORM dblink_send_query(connection, 'SELECT 1');
        END LOOP;
        FOREACH connection IN ARRAY connections LOOP
            SELECT a INTO one FROM dblink_get_result(connection) AS r(a int);
            PERFORM a FROM dblink_get_result(connection) AS r(a int);
        END LOOP;
    END LOOP;
$$);
SELECT pgbackground_bench.rate('ours_fanout', $$
    SELECT count(*) FILTER (WHERE ok) INTO done
    FROM pg_background_fanout(array_fill('SELECT 1'::text, ARRAY[amount]), max_parallel => wide);
$$);

-- Late return of wait: from the job's own last clock reading to the waiter's first ---------------

SELECT pgbackground_bench.latency('ours_late_return',
    before => $$ job := pg_background_launch_v2('SELECT clock_timestamp() FROM pg_sleep(0.1)'); $$,
    timed => 'PERFORM pg_background_wait_v2(job.pid, job.cookie);',
    after => $$
        SELECT a INTO started FROM pg_background_result_v2(job.pid, job.cookie) AS r(a timestamptz);
    $$);
SELECT pgbackground_bench.latency('dblink_late_return',
    timed => $$
        SELECT a INTO seen
        FROM dblink('warm', 'SELECT clock_timestamp() FROM pg_sleep(0.1)') AS r(a timestamptz);
    $$,
    after => 'started := seen;');

-- Cancel of a sleeping job; the pause before is for it to fall asleep -----------------------------

SELECT pgbackground_bench.latency('ours_cancel',
    before => $$
        job := pg_background_launch_v2('SELECT pg_sleep(60)');
        PERFORM pg_sleep(0.02);
    $$,
    timed => $$
        PERFORM pg_background_cancel_v2(job.pid, job.cookie);
        PERFORM pg_background_wait_v2(job.pid, job.cookie);
    $$,
    after => 'PERFORM pg_background_detach_v2(job.pid, job.cookie);');
SELECT pgbackground_bench.latency('dblink_cancel',
    before => $$
        PERFORM set_config('client_min_messages', 'error', true);
        PERFORM dblink_send_query('warm', 'SELECT pg_sleep(60)');
        PERFORM pg_sleep(0.02);
    $$,
    timed => $$
        PERFORM dblink_cancel_query('warm');
        PERFORM a FROM dblink_get_result('warm', false) AS r(a text);
    $$,
    after => $$ PERFORM a FROM dblink_get_result('warm', false) AS r(a text); $$);

-- Streams: rows a second ------------------------------------------------------------------------

CREATE TABLE pgbackground_bench.ints AS SELECT g AS a FROM generate_series(1, 1000000) AS g;
CREATE TABLE pgbackground_bench.mixed AS
SELECT g AS a, 'name ' || g AS b, md5(g::text) AS c,
       timestamptz '2020-01-01' + g * interval '1 s' AS d, (g * 1.25)::numeric AS e
FROM generate_series(1, 300000) AS g;
ANALYZE pgbackground_bench.ints, pgbackground_bench.mixed;

-- Not IMMUTABLE, which would keep them from being inlined: what a function returns by way of a tuple has a
-- short header, which the C extension does not understand.
CREATE FUNCTION pgbackground_bench.some_ints(amount int) RETURNS text
LANGUAGE sql STABLE AS $$ SELECT 'SELECT a FROM pgbackground_bench.ints LIMIT ' || amount $$;
CREATE FUNCTION pgbackground_bench.some_mixed(amount int) RETURNS text
LANGUAGE sql STABLE AS $$ SELECT 'SELECT * FROM pgbackground_bench.mixed LIMIT ' || amount $$;
CREATE FUNCTION pgbackground_bench.some_text(amount int, wide int) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT format('SELECT repeat(''x'', %s) FROM pgbackground_bench.ints LIMIT %s', wide, amount)
$$;

SELECT pgbackground_bench.rate('ours_ints', $$
    job := pg_background_launch_v2(pgbackground_bench.some_ints(amount));
    SELECT count(*) INTO done FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);
$$);
SELECT pgbackground_bench.rate('dblink_ints', $$
    SELECT count(*) INTO done
    FROM dblink('warm', pgbackground_bench.some_ints(amount)) AS r(a int);
$$);
SELECT pgbackground_bench.rate('ours_mixed', $$
    job := pg_background_launch_v2(pgbackground_bench.some_mixed(amount));
    SELECT count(*) INTO done FROM pg_background_result_v2(job.pid, job.cookie)
        AS r(a int, b text, c text, d timestamptz, e numeric);
$$);
SELECT pgbackground_bench.rate('dblink_mixed', $$
    SELECT count(*) INTO done FROM dblink('warm', pgbackground_bench.some_mixed(amount))
        AS r(a int, b text, c text, d timestamptz, e numeric);
$$);
SELECT pgbackground_bench.rate('ours_text', $$
    job := pg_background_launch_v2(pgbackground_bench.some_text(amount, wide));
    SELECT count(*) INTO done FROM pg_background_result_v2(job.pid, job.cookie) AS r(a text);
$$);
SELECT pgbackground_bench.rate('dblink_text', $$
    SELECT count(*) INTO done
    FROM dblink('warm', pgbackground_bench.some_text(amount, wide)) AS r(a text);
$$);

-- One row after another, as a cursor takes them: nothing is stored in between.
SELECT pgbackground_bench.rate('ours_ints_one_by_one', $$
    job := pg_background_launch_v2(pgbackground_bench.some_ints(amount));
    SELECT count(a) INTO done
    FROM (SELECT pg_background_result(job.pid, job.cookie, NULL::int) AS a) AS s;
$$);
SELECT pgbackground_bench.rate('ours_text_one_by_one', $$
    job := pg_background_launch_v2(pgbackground_bench.some_text(amount, wide));
    SELECT count(a) INTO done
    FROM (SELECT pg_background_result(job.pid, job.cookie, NULL::text) AS a) AS s;
$$);

-- One statement from launch to end, called by pgbench ----------------------------------------------------
-- The peer's connection is called `c`; each client opens its own.

CREATE TABLE pgbackground_bench.inserted (id bigserial PRIMARY KEY, number int, note text, size float8);

CREATE FUNCTION pgbackground_bench.launch_and_read() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    job pg_background_handle;
    one int;
BEGIN
    job := pg_background_launch_v2('SELECT 1');
    SELECT a INTO one FROM pg_background_result_v2(job.pid, job.cookie) AS r(a int);
    RETURN one;
END $$;
CREATE FUNCTION pgbackground_bench.call() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN pg_background_call('SELECT 1', NULL::int);
END $$;
CREATE FUNCTION pgbackground_bench.dblink_read() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    one int;
BEGIN
    SELECT a INTO one FROM dblink('c', 'SELECT 1') AS r(a int);
    RETURN one;
END $$;
CREATE FUNCTION pgbackground_bench.insert_bound() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_background_exec('INSERT INTO pgbackground_bench.inserted (number, note, size) VALUES ($1, $2, $3)',
                               42, 'a note'::text, 1.5::float8);
END $$;
CREATE FUNCTION pgbackground_bench.dblink_insert() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dblink_exec('c', 'INSERT INTO pgbackground_bench.inserted (number, note, size) VALUES (42, ''a note'', 1.5)');
END $$;

-- What a statement costs in a transaction of its own, and in the session ----------------------------------

CREATE FUNCTION pgbackground_bench.joined(id text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'SELECT count(*)::int FROM pgbackground_bench.j1 JOIN pgbackground_bench.j2 USING (id) '
        'JOIN pgbackground_bench.j3 USING (id) JOIN pgbackground_bench.j4 USING (id) '
        'JOIN pgbackground_bench.j5 USING (id) WHERE id = ' || id
$$;
DO $$ BEGIN
    FOR i IN 1 .. 5 LOOP
        EXECUTE format('CREATE TABLE pgbackground_bench.j%s AS SELECT g AS id, g %% %s AS v%s FROM generate_series(1, 10000) g',
                       i, i + 1, i);
        EXECUTE format('ALTER TABLE pgbackground_bench.j%s ADD PRIMARY KEY (id)', i);
        EXECUTE format('ANALYZE pgbackground_bench.j%s', i);
    END LOOP;
END $$;

SELECT pgbackground_bench.latency('ours_constant', $$ one := pg_background_call('SELECT 1', NULL::int); $$);
SELECT pgbackground_bench.latency('dblink_constant', $$ SELECT a INTO one FROM dblink('warm', 'SELECT 1') AS r(a int); $$);
SELECT pgbackground_bench.latency('prepared_constant',
    $$ SELECT a INTO one FROM dblink('warm', 'EXECUTE constant') AS r(a int); $$);
SELECT pgbackground_bench.latency('own_constant', $$ SELECT 1 INTO one FROM generate_series(1, 1); $$);

SELECT pgbackground_bench.latency('ours_bound', $$
    PERFORM pg_background_exec('INSERT INTO pgbackground_bench.inserted (number, note, size) VALUES ($1, $2, $3)',
                               i, 'a note'::text, 1.5::float8);
$$);
SELECT pgbackground_bench.latency('dblink_bound', $$
    PERFORM dblink_exec('warm', format('INSERT INTO pgbackground_bench.inserted (number, note, size) VALUES (%s, %L, %s)',
                                       i, 'a note', 1.5));
$$);
SELECT pgbackground_bench.latency('prepared_bound',
    $$ PERFORM dblink_exec('warm', format('EXECUTE bound(%s, %L, %s)', i, 'a note', 1.5)); $$);
SELECT pgbackground_bench.latency('own_bound',
    $$ INSERT INTO pgbackground_bench.inserted (number, note, size) VALUES (i, 'a note', 1.5); $$);

SELECT pgbackground_bench.latency('ours_joined',
    $$ one := pg_background_call(pgbackground_bench.joined('$1'), NULL::int, i); $$);
SELECT pgbackground_bench.latency('dblink_joined',
    $$ SELECT a INTO one FROM dblink('warm', pgbackground_bench.joined(i::text)) AS r(a int); $$);
SELECT pgbackground_bench.latency('prepared_joined',
    $$ SELECT a INTO one FROM dblink('warm', format('EXECUTE joined(%s)', i)) AS r(a int); $$);
SELECT pgbackground_bench.latency('own_joined', $$
    SELECT count(*)::int INTO one FROM pgbackground_bench.j1 JOIN pgbackground_bench.j2 USING (id)
        JOIN pgbackground_bench.j3 USING (id) JOIN pgbackground_bench.j4 USING (id)
        JOIN pgbackground_bench.j5 USING (id) WHERE id = i;
$$);

-- Jobs of all kinds in a worker, ten in each round --------------------------------------------------------

CREATE FUNCTION pgbackground_bench.mixed_jobs(rounds int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. rounds LOOP
        PERFORM pg_background_call('SELECT 1', NULL::int);
        PERFORM pg_background_call('SELECT $1 + 1', NULL::int, i);
        PERFORM pg_background_call(pgbackground_bench.joined('$1'), NULL::int, i);
        PERFORM pg_background_exec(format('SELECT id + %s FROM pgbackground_bench.j1 WHERE id = %s', i, i))
        FROM generate_series(1, 3);
        PERFORM pg_background_exec('SELECT 1; SELECT 2');
        PERFORM pg_background_exec('SET application_name = changed');
        PERFORM pg_background_exec(CASE WHEN i % 1000 = 0 THEN 'CREATE TEMP TABLE passing AS SELECT 1 AS n'
                                        ELSE 'DO $d$BEGIN PERFORM 1; END$d$' END);
        BEGIN
            PERFORM pg_background_exec('SELECT 1 / id FROM pgbackground_bench.j1, generate_series(0, 0) WHERE id = 1 AND 1 / generate_series = 1');
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
END $$;
