-- Jobs and the transactions of their leader: what each sees of the other, and what survives the end of which.
\set VERBOSITY terse
-- An audit row that survives the rollback of the change that it records.
CREATE TABLE tx_audit (id serial PRIMARY KEY, what text NOT NULL, who text NOT NULL DEFAULT current_user);
CREATE TABLE tx_account (id int4 PRIMARY KEY, balance int4 CHECK (balance >= 0));
INSERT INTO tx_account VALUES (1, 100);
CREATE FUNCTION tx_log(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM * FROM pg_background_result(pg_background_launch(format('INSERT INTO tx_audit (what) VALUES (%L)', what))) AS (result text);
END
$$;
CREATE FUNCTION tx_withdraw(amount int4) RETURNS int4 LANGUAGE plpgsql AS $$
DECLARE
    new_balance int4;
BEGIN
    PERFORM tx_log(format('withdraw %s', amount));
    UPDATE tx_account SET balance = balance - amount WHERE id = 1 RETURNING balance INTO new_balance;
    RETURN new_balance;
END
$$;
SELECT tx_withdraw(30);
SELECT tx_withdraw(300);
BEGIN;
SELECT tx_withdraw(5);
ROLLBACK;
SELECT what FROM tx_audit ORDER BY id;
SELECT balance FROM tx_account;
-- From a trigger.
CREATE FUNCTION tx_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tx_log(TG_OP || ' ' || coalesce(NEW.id, OLD.id));
    RETURN coalesce(NEW, OLD);
END
$$;
CREATE TRIGGER audit BEFORE INSERT OR DELETE ON tx_account FOR EACH ROW EXECUTE FUNCTION tx_trigger();
BEGIN;
INSERT INTO tx_account VALUES (2, 0), (3, 0);
ROLLBACK;
SELECT what FROM tx_audit WHERE what ~ 'INSERT' ORDER BY id;
DROP TRIGGER audit ON tx_account;

-- A handle survives the rollback of the subtransaction it was launched in, and so does the job.
CREATE TABLE tx_kept (n int4);
DO $$
DECLARE
    h pg_background_handle;
BEGIN
    BEGIN
        h := pg_background_launch_v2('INSERT INTO tx_kept VALUES (1) RETURNING n');
        RAISE EXCEPTION 'rolled back';
    EXCEPTION
        WHEN raise_exception THEN NULL;
    END;
    RAISE NOTICE 'kept: %', (SELECT n FROM pg_background_result_v2(h.pid, h.cookie) AS (n int4));
END
$$;
SELECT * FROM tx_kept;
-- And that of its transaction.
BEGIN;
SELECT * FROM pg_background_launch_v2('INSERT INTO tx_kept VALUES (2) RETURNING n') \gset
ROLLBACK;
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (n int4);
-- In one transaction a READ COMMITTED leader sees what the job committed.
BEGIN;
SELECT * FROM pg_background_launch_v2('INSERT INTO tx_kept VALUES (3)') \gset
SELECT * FROM pg_background_result_v2(:pid, :cookie) AS (tag text);
SELECT * FROM tx_kept ORDER BY n;
COMMIT;
-- A procedure that commits between launch and read.
CREATE PROCEDURE tx_commits() LANGUAGE plpgsql AS $$
DECLARE
    h pg_background_handle;
BEGIN
    h := pg_background_launch_v2('INSERT INTO tx_kept VALUES (4) RETURNING n');
    COMMIT;
    RAISE NOTICE 'after commit: %', (SELECT n FROM pg_background_result_v2(h.pid, h.cookie) AS (n int4));
    h := pg_background_launch_v2('INSERT INTO tx_kept VALUES (5) RETURNING n');
    ROLLBACK;
    RAISE NOTICE 'after rollback: %', (SELECT n FROM pg_background_result_v2(h.pid, h.cookie) AS (n int4));
END
$$;
CALL tx_commits();
-- Jobs that launch jobs.
SELECT r.* FROM pg_background_launch_v2($$SELECT r.n + 1 FROM pg_background_launch_v2('SELECT 1') h, pg_background_result_v2(h.pid, h.cookie) AS r (n int4)$$) h,
    pg_background_result_v2(h.pid, h.cookie) AS r (n int4);
-- As dynamic SQL and in a view, and through a SQL function.
CREATE FUNCTION tx_run(sql text) RETURNS SETOF text LANGUAGE sql AS
$$SELECT r.v FROM pg_background_launch_v2(sql) h, pg_background_result_v2(h.pid, h.cookie) AS r (v text)$$;
CREATE VIEW tx_view AS SELECT * FROM tx_run('SELECT ''from a view''');
SELECT * FROM tx_view;
SELECT tx_run(format('SELECT %L', 'it''s')), tx_run('SELECT 1::text');

SELECT count(*) FROM jobs;
DROP VIEW tx_view;
DROP TABLE tx_audit, tx_account, tx_kept;
DROP FUNCTION tx_log, tx_withdraw, tx_trigger, tx_run;
DROP PROCEDURE tx_commits;
