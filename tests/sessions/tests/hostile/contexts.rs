//! The contexts from which a job can be launched, and what they need.

/// Roles, functions and tables of the role `plain`.
pub const OBJECTS: &str = r"
    CREATE ROLE plain LOGIN; CREATE ROLE other LOGIN;
    GRANT pgbackground_role TO plain, other;
    CREATE SCHEMA h; CREATE SCHEMA h2;
    GRANT ALL ON SCHEMA h, h2, public TO PUBLIC;
    GRANT CREATE ON DATABASE postgres TO plain, other;

    -- Who one is: current, session and login user, whether that is a superuser, and the role that was set.
    CREATE FUNCTION h.who() RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
        RETURN concat_ws(' ', current_user, session_user,
                         (SELECT usesysid::regrole FROM pg_stat_get_activity(pg_backend_pid())),
                         current_setting('is_superuser'), current_setting('role'));
    END $$;

    -- In a job: one is who has launched it, or the owner of a table whose maintenance evaluates this. And stays it,
    -- if one is confined.
    CREATE FUNCTION h.check() RETURNS int4 LANGUAGE plpgsql AS $$
    DECLARE
        expected text := current_setting('h.expected', true);
        found text;
    BEGIN
        IF current_setting('h.armed', true) IS DISTINCT FROM 'job' THEN
            RETURN 1;
        END IF;
        found := h.who();
        IF found <> expected AND found <> regexp_replace(expected, '^\w+', 'plain') THEN
            RAISE EXCEPTION '% instead of %', found, expected USING ERRCODE = 'H0001';
        END IF;
        IF current_setting('h.confined', true) = 'on' THEN
            BEGIN
                PERFORM set_config('role', 'none', true);
                RAISE EXCEPTION '% became %', found, h.who() USING ERRCODE = 'H0001';
            EXCEPTION WHEN insufficient_privilege THEN
                NULL;
            END;
            BEGIN
                PERFORM set_config('session_authorization', session_user, true);
                RAISE EXCEPTION '% became %', found, h.who() USING ERRCODE = 'H0001';
            EXCEPTION WHEN insufficient_privilege THEN
                NULL;
            END;
        END IF;
        RETURN 1;
    END $$;
    CREATE FUNCTION h.checks() RETURNS int4 LANGUAGE sql AS 'SELECT h.check()';
    CREATE FUNCTION h.evaluated(n int4) RETURNS int4 LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN PERFORM h.check(); RETURN n; END $$;
    CREATE FUNCTION h.evaluated_sum(a int4, b int4) RETURNS int4 LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN PERFORM h.check(); RETURN a + b; END $$;

    -- Launches what the session has prepared, once, and notes who it was launched by.
    CREATE FUNCTION h.launch() RETURNS int4 LANGUAGE plpgsql AS $$
    DECLARE
        handle public.pg_background_handle;
    BEGIN
        IF current_setting('h.armed', true) IS DISTINCT FROM 'on' THEN
            RETURN 1;
        END IF;
        PERFORM set_config('h.armed', 'job', false), set_config('h.expected', h.who(), false);
        handle := public.pg_background_launch_v2(current_setting('h.job'));
        PERFORM set_config('h.armed', 'off', false), set_config('h.pid', handle.pid::text, false),
                set_config('h.cookie', handle.cookie::text, false);
        RETURN 1;
    END $$;
    CREATE FUNCTION h.launch_immutable(n int4) RETURNS int4 LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN PERFORM h.launch(); RETURN n; END $$;
    CREATE FUNCTION h.on_row() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM h.launch(), h.check();
        IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
        RETURN NEW;
    END $$;
    CREATE FUNCTION h.on_event() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM h.launch(), h.check(); END $$;

    -- The state of the job, for its launcher; NULL: it runs.
    CREATE FUNCTION h.outcome(pid int4, cookie int8) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
        SELECT concat_ws(' ', o.state, o.sqlstate, o.error_message)
        FROM public.pg_background_outcome_v2(pid, cookie) o WHERE o.completed
    $$;
    CREATE FUNCTION h.wait(pid int4, cookie int8) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
        SELECT public.pg_background_wait_v2(pid, cookie)
    $$;
    -- The next job on the same worker, by the session itself.
    CREATE FUNCTION h.next_job() RETURNS int4 LANGUAGE plpgsql AS $$
    DECLARE
        handle public.pg_background_handle;
        confined text := current_setting('h.confined', true);
        n int4;
    BEGIN
        PERFORM set_config('h.armed', 'job', false), set_config('h.expected', h.who(), false),
                set_config('h.confined', 'off', false);
        handle := public.pg_background_launch_v2('SELECT h.check()');
        PERFORM set_config('h.armed', 'off', false), set_config('h.confined', confined, false);
        SELECT r.n INTO n FROM public.pg_background_result_v2(handle.pid, handle.cookie) AS r (n int4);
        RETURN n;
    END $$;

    CREATE FUNCTION h.as_superuser(sql text) RETURNS int4 LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN EXECUTE sql; RETURN 1; END $$;
    CREATE FUNCTION h.as_plain(sql text) RETURNS int4 LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN EXECUTE sql; RETURN 1; END $$;
    ALTER FUNCTION h.as_plain(text) OWNER TO plain;

    CREATE PROCEDURE h.launches() LANGUAGE plpgsql AS 'BEGIN PERFORM h.launch(); END';
    CREATE PROCEDURE h.launches_after_commit() LANGUAGE plpgsql AS
        'BEGIN PERFORM set_config(''h.armed'', ''on'', false); COMMIT; PERFORM h.launch(); END';
    CREATE PROCEDURE h.launches_after_rollback() LANGUAGE plpgsql AS
        'BEGIN ROLLBACK; PERFORM set_config(''h.armed'', ''on'', false); PERFORM h.launch(); END';
    CREATE PROCEDURE h.commits() LANGUAGE plpgsql AS
        'BEGIN PERFORM h.check(); COMMIT; PERFORM h.check(); COMMIT; PERFORM h.check(); END';
    CREATE PROCEDURE h.rolls_back() LANGUAGE plpgsql AS
        'BEGIN PERFORM h.check(); ROLLBACK; PERFORM h.check(); COMMIT; PERFORM h.check(); END';
    CREATE PROCEDURE h.catches() LANGUAGE plpgsql AS $$
    BEGIN
        BEGIN
            RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN
            PERFORM h.check();
        END;
        PERFORM h.check();
        ROLLBACK;
        PERFORM h.check();
    END $$;

    CREATE TYPE h.base;
    CREATE FUNCTION h.base_in(cstring) RETURNS h.base LANGUAGE internal IMMUTABLE STRICT AS 'textin';
    CREATE FUNCTION h.base_out(h.base) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
    CREATE TYPE h.base (INPUT = h.base_in, OUTPUT = h.base_out, STORAGE = plain);

    SET ROLE plain;
    CREATE FUNCTION h.compare(a int4, b int4) RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN PERFORM h.launch(), h.check(); RETURN a = b; END $$;
    CREATE OPERATOR h.=== (LEFTARG = int4, RIGHTARG = int4, FUNCTION = h.compare);
    CREATE TYPE h.castee AS (n int4);
    CREATE FUNCTION h.cast_it(h.castee) RETURNS int4 LANGUAGE plpgsql AS $$
    BEGIN PERFORM h.launch(), h.check(); RETURN ($1).n; END $$;
    CREATE CAST (h.castee AS int4) WITH FUNCTION h.cast_it(h.castee);
    CREATE DOMAIN h.checked AS int4 CHECK (h.evaluated(VALUE) > 0);
    CREATE DOMAIN h.launching AS int4 CHECK (h.launch_immutable(VALUE) > 0);
    CREATE TABLE h.base_table (n int4); INSERT INTO h.base_table VALUES (1);
    CREATE INDEX ON h.base_table (h.evaluated(n));
    CREATE TABLE h.secured (n int4); INSERT INTO h.secured VALUES (1);
    ALTER TABLE h.secured ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY p ON h.secured USING (h.evaluated(n) > 0);
    CREATE TABLE h.policed (n int4); INSERT INTO h.policed VALUES (1);
    ALTER TABLE h.policed ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY p ON h.policed USING (h.launch_immutable(n) > 0);
    GRANT ALL ON h.base_table, h.secured, h.policed TO PUBLIC;
    CREATE TABLE h.triggered (n int4);
    CREATE TRIGGER t BEFORE INSERT ON h.triggered FOR EACH ROW EXECUTE FUNCTION h.on_row();
    CREATE TABLE h.deferred (n int4);
    CREATE CONSTRAINT TRIGGER t AFTER INSERT ON h.deferred DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION h.on_row();
    CREATE TABLE h.parent (n int4 PRIMARY KEY);
    CREATE TABLE h.child (n int4 REFERENCES h.parent ON DELETE CASCADE);
    CREATE TRIGGER t BEFORE DELETE ON h.child FOR EACH ROW EXECUTE FUNCTION h.on_row();
    CREATE TABLE h.defaulted (n int4 DEFAULT h.launch());
    CREATE TABLE h.generated (n int4, g int4 GENERATED ALWAYS AS (h.launch_immutable(n)) STORED);
    CREATE TABLE h.indexed (n int4);
    CREATE INDEX ON h.indexed (h.launch_immutable(n));
    CREATE TABLE h.trapped (n int4); INSERT INTO h.trapped VALUES (1);
    CREATE INDEX ON h.trapped (h.launch_immutable(n));
    CREATE MATERIALIZED VIEW h.trapped_view AS SELECT h.launch() AS n;
    RESET ROLE;
    CREATE EVENT TRIGGER launching ON ddl_command_end WHEN TAG IN ('SECURITY LABEL', 'COMMENT')
        EXECUTE FUNCTION h.on_event();
";

/// A context from which a job is launched.
pub struct Context {
    pub name: &'static str,
    /// Who has connected, and what the session does first.
    pub login: &'static str,
    pub first: &'static str,
    /// Launches the prepared job.
    pub launch: &'static str,
    /// Whom the job runs as.
    pub user: &'static str,
    /// It cannot switch back to another user.
    pub confined: bool,
    /// Nothing is launched.
    pub refused: bool,
}

const fn c(
    name: &'static str,
    first: &'static str,
    launch: &'static str,
    user: &'static str,
) -> Context {
    Context {
        name,
        login: "postgres",
        first,
        launch,
        user,
        confined: false,
        refused: false,
    }
}

impl Context {
    const fn of(mut self, login: &'static str) -> Self {
        self.login = login;
        self
    }

    const fn refused(mut self) -> Self {
        self.refused = true;
        self
    }
}

/// Evaluated within a security-definer function of `plain`.
const fn confined(name: &'static str, launch: &'static str) -> Context {
    let mut context = c(name, "", launch, "plain");
    context.confined = true;
    context
}

pub const CONTEXTS: &[Context] = &[
    c("a superuser", "", "SELECT h.launch()", "postgres"),
    c("an ordinary user", "", "SELECT h.launch()", "plain").of("plain"),
    c("SET ROLE", "SET ROLE plain", "SELECT h.launch()", "plain"),
    c(
        "SET SESSION AUTHORIZATION",
        "SET SESSION AUTHORIZATION plain",
        "SELECT h.launch()",
        "plain",
    ),
    c(
        "a procedure",
        "SET ROLE plain",
        "CALL h.launches()",
        "plain",
    ),
    c(
        "a procedure, after COMMIT",
        "SET ROLE plain",
        "CALL h.launches_after_commit()",
        "plain",
    ),
    c(
        "a procedure, after ROLLBACK",
        "SET ROLE plain",
        "CALL h.launches_after_rollback()",
        "plain",
    ),
    c(
        "a deferred trigger",
        "SET ROLE plain",
        "BEGIN; INSERT INTO h.deferred VALUES (1); COMMIT",
        "plain",
    ),
    confined(
        "a definer's function",
        "SELECT h.as_plain('SELECT h.launch()')",
    ),
    Context {
        login: "plain",
        user: "postgres",
        ..confined(
            "a superuser's function",
            "SELECT h.as_superuser('SELECT h.launch()')",
        )
    },
    Context {
        first: "SET ROLE other",
        ..confined(
            "a definer's function under SET ROLE",
            "SELECT h.as_plain('SELECT h.launch()')",
        )
    },
    confined(
        "a trigger",
        "SELECT h.as_plain('INSERT INTO h.triggered VALUES (1)')",
    ),
    confined(
        "a trigger of a cascade",
        "INSERT INTO h.parent VALUES (1); INSERT INTO h.child VALUES (1); DELETE FROM h.parent",
    ),
    confined("a policy", "SELECT h.as_plain('SELECT FROM h.policed')"),
    confined(
        "an index expression",
        "SELECT h.as_plain('INSERT INTO h.indexed VALUES (1)')",
    ),
    confined(
        "a domain's check",
        "SELECT h.as_plain('SELECT ''1''::h.launching')",
    ),
    confined(
        "a cast",
        "SELECT h.as_plain('SELECT (ROW(1)::h.castee)::int4')",
    ),
    confined(
        "an operator",
        "SELECT h.as_plain('SELECT 1 OPERATOR(h.===) 1')",
    ),
    confined(
        "a default",
        "SELECT h.as_plain('INSERT INTO h.defaulted DEFAULT VALUES')",
    ),
    confined(
        "a generated column",
        "SELECT h.as_plain('INSERT INTO h.generated VALUES (1)')",
    ),
    confined(
        "an event trigger",
        "SELECT h.as_plain('COMMENT ON TABLE h.triggered IS NULL')",
    ),
    c("ANALYZE", "", "ANALYZE h.trapped", "").refused(),
    c("REINDEX", "", "REINDEX TABLE h.trapped", "").refused(),
    c(
        "REFRESH MATERIALIZED VIEW",
        "",
        "REFRESH MATERIALIZED VIEW h.trapped_view",
        "",
    )
    .refused(),
];
