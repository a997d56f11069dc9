-- What a database that uses the extension may contain.
CREATE ROLE clerk;
CREATE ROLE outsider;
CREATE SCHEMA tools;
CREATE EXTENSION pg_background SCHEMA tools;
SET search_path = public, tools;

GRANT USAGE ON SCHEMA tools TO clerk, outsider;
GRANT EXECUTE ON FUNCTION pg_background_launch(text, int4), pg_background_result(int4, int8) TO clerk;
REVOKE EXECUTE ON FUNCTION pg_background_submit(text, int4) FROM pgbackground_role;
GRANT SELECT ON pg_background_list TO clerk;
COMMENT ON FUNCTION pg_background_launch(text, int4) IS 'ours';

CREATE TABLE audit (what text);
CREATE TABLE orders (id int4 PRIMARY KEY, job pg_background_handle DEFAULT pg_background_submit('SELECT 1'));
CREATE FUNCTION audited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM tools.pg_background_run(format('INSERT INTO public.audit VALUES (%L)', 'order ' || NEW.id), label => 'audit');
    RETURN NEW;
END
$$;
CREATE TRIGGER audited AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION audited();

CREATE FUNCTION in_background(sql text) RETURNS pg_background_handle
BEGIN ATOMIC
    SELECT pg_background_launch(sql);
END;
CREATE FUNCTION text_of(h pg_background_handle) RETURNS SETOF text
BEGIN ATOMIC
    SELECT r.t FROM pg_background_result(h.pid, h.cookie) AS r (t text);
END;
CREATE FUNCTION finished(h pg_background_handle) RETURNS bool
BEGIN ATOMIC
    SELECT pg_background_wait(h.pid, h.cookie) AND pg_background_wait_v2(h.pid, h.cookie, 10);
END;
CREATE FUNCTION outcomes_of(handles pg_background_handle[]) RETURNS SETOF pg_background_outcome
BEGIN ATOMIC
    SELECT * FROM pg_background_drain(handles);
END;

CREATE VIEW running AS SELECT pid, cookie, label, state FROM pg_background_list;
CREATE VIEW seen AS SELECT a.label, a.pgbg_state, a.backend_state FROM pg_background_activity a;
CREATE VIEW counts AS SELECT * FROM pg_background_stats();
CREATE VIEW launched AS SELECT h.pid, h.cookie FROM pg_background_launch('SELECT 42') h;
CREATE VIEW ran AS SELECT r.state, r.row_count, r.timed_out FROM pg_background_run('SELECT 1') r;
CREATE VIEW progress AS SELECT (pg_background_get_progress_v2(pid, cookie)).progress_pct FROM pg_background_list;

CREATE DOMAIN live_handle AS pg_background_handle CHECK ((VALUE).pid IS NOT NULL);
CREATE TABLE kept (job live_handle, jobs pg_background_handle[], stats pg_background_stats, progress pg_background_progress_info,
    info pg_background_result_info, error pg_background_error, outcome pg_background_outcome, result pg_background_run_result);
INSERT INTO kept VALUES ((1, 2), ARRAY[(3, 4)]::pg_background_handle[], (1, 2, 3, 4, 5, 6, 7.5, 8), (9, 'ten'),
    (11, 'SELECT', true, false, 'epoch', 'epoch'), ('22012', 'm', 'd', 'h', 'c', 's', 't', 'o', 'k'),
    (12, 13, 'stopped', true, true, false, 14, 'INSERT', NULL, NULL, 'l', 'epoch'),
    (15, 16, 'stopped', true, true, false, 17, 'UPDATE', NULL, NULL, 'l', 'epoch', true, 18));
CREATE TABLE history OF pg_background_outcome (PRIMARY KEY (cookie));
INSERT INTO history SELECT (outcome).* FROM kept;
