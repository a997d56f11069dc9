\echo '== 7. A thousand statements: with a fan-out, then through sixteen dblink connections in waves'
CREATE EXTENSION dblink;
CREATE FUNCTION lookups(count int) RETURNS text[]
LANGUAGE sql AS $$
    SELECT array_agg(format('SELECT abalance FROM pgbench_accounts WHERE aid = %s', 1 + i * 997 % 1000000))
    FROM generate_series(1, count) AS i
$$;

CREATE FUNCTION through_dblink(statements text[]) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    address text := format('host=%s port=%s dbname=%s user=%s',
                           split_part(current_setting('unix_socket_directories'), ',', 1),
                           current_setting('port'), current_database(), current_user);
    answers int := 0;
    part int;
BEGIN
    FOR c IN 1 .. 16 LOOP
        PERFORM dblink_connect('c' || c, address);
    END LOOP;
    FOR wave IN 1 .. cardinality(statements) BY 16 LOOP
        FOR c IN 1 .. least(16, cardinality(statements) - wave + 1) LOOP
            PERFORM dblink_send_query('c' || c, statements[wave + c - 1]);
        END LOOP;
        FOR c IN 1 .. least(16, cardinality(statements) - wave + 1) LOOP
            SELECT count(*) INTO part FROM dblink_get_result('c' || c) AS r (abalance int);
            answers := answers + part;
            -- The second read is empty and frees the connection.
            PERFORM * FROM dblink_get_result('c' || c) AS r (abalance int);
        END LOOP;
    END LOOP;
    FOR c IN 1 .. 16 LOOP
        PERFORM dblink_disconnect('c' || c);
    END LOOP;
    RETURN answers;
END $$;

\o /dev/null
-- A first round that is not timed reads the table into memory and starts the workers.
SELECT count(*) FROM pg_background_fanout(lookups(1000));
SELECT through_dblink(lookups(1000));
\o
\timing on
SELECT count(*) AS answers, count(*) FILTER (WHERE NOT ok) AS failed FROM pg_background_fanout(lookups(1000));
SELECT through_dblink(lookups(1000)) AS answers;
\timing off
-- The error of a statement is in its row, and does not affect the others.
SELECT idx, ok, result, sqlstate, error_message
FROM pg_background_fanout(ARRAY['SELECT 1 AS n', 'SELECT 1 / 0', 'SELECT * FROM nowhere', 'VACUUM pgbench_tellers'])
ORDER BY idx;
