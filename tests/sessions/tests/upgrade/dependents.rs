//! What depends on the extension.

/// What depends on the extension, in every version: made before the update.
pub const DEPENDENTS: &str = "
    CREATE VIEW dependent_view AS SELECT pid, cookie FROM pg_background_launch_v2('SELECT 46');
    CREATE TABLE dependent_table (job pg_background_handle);
    INSERT INTO dependent_table VALUES ((1, 2)::pg_background_handle);
    CREATE FUNCTION dependent_function(sql text) RETURNS pg_background_handle
        BEGIN ATOMIC SELECT pg_background_launch_v2(sql); END;";

/// They still do what they did.
pub const DEPENDENTS_WORK: &str = "DO $$
    DECLARE
        h pg_background_handle;
    BEGIN
        SELECT * INTO h FROM dependent_view;
        ASSERT (SELECT n FROM pg_background_result_v2(h.pid, h.cookie) AS (n int4)) = 46;
        h := dependent_function('SELECT 47');
        ASSERT (SELECT n FROM pg_background_result_v2(h.pid, h.cookie) AS (n int4)) = 47;
        ASSERT (SELECT job FROM dependent_table) = (1, 2)::pg_background_handle;
    END $$";

/// What depends on the forms of 1.8, and of 2.0.
pub const DEPENDENTS_OF_1_8: &str = "
    CREATE TABLE dependent_stats (s pg_background_stats);
    INSERT INTO dependent_stats SELECT pg_background_stats_v2();
    CREATE FUNCTION dependent_wait(pid int4, cookie int8) RETURNS void
        BEGIN ATOMIC SELECT pg_background_wait_v2(pid, cookie); END;
    CREATE VIEW dependent_form AS SELECT pg_background_launch('SELECT 48') AS pid, pg_background_stats_v2() AS stats;";
pub const DEPENDENTS_OF_1_8_WORK: &str = "DO $$
    DECLARE
        worker int4;
    BEGIN
        SELECT pid INTO worker FROM dependent_form;
        ASSERT (SELECT n FROM pg_background_result(worker) AS (n int4)) = 48;
        ASSERT (SELECT (stats).max_workers FROM dependent_form) = (SELECT (s).max_workers FROM dependent_stats);
        PERFORM dependent_wait(h.pid, h.cookie) FROM pg_background_launch_v2('SELECT 1') h;
    END $$";
pub const DEPENDENTS_OF_2_0: &str = "
    CREATE TABLE dependent_stats (s pg_background_stats);
    INSERT INTO dependent_stats SELECT pg_background_stats();
    CREATE FUNCTION dependent_wait(pid int4, cookie int8) RETURNS bool
        BEGIN ATOMIC SELECT pg_background_wait_v2(pid, cookie); END;
    CREATE VIEW dependent_form AS
        SELECT h.pid, h.cookie, s AS stats FROM pg_background_launch('SELECT 48') h, pg_background_stats() s;";
pub const DEPENDENTS_OF_2_0_WORK: &str = "DO $$
    DECLARE
        job record;
    BEGIN
        SELECT * INTO job FROM dependent_form;
        ASSERT dependent_wait(job.pid, job.cookie);
        ASSERT (SELECT n FROM pg_background_result(job.pid, job.cookie) AS (n int4)) = 48;
        ASSERT (job.stats).max_workers = (SELECT (s).max_workers FROM dependent_stats);
    END $$";
