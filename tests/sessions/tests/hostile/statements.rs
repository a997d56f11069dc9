//! One statement at least of each kind that the grammar knows.

/// A statement, and what it needs. `{n}` stands for a number of its own, `{me}` for the user of the job.
#[derive(Clone, Copy)]
pub struct Statement {
    /// As `stmt` in the server's grammar calls it.
    pub kind: &'static str,
    pub sql: &'static str,
    /// Made before by the user of the job.
    pub before: &'static str,
    /// Made before by a superuser, and taken away by one.
    pub admin: &'static str,
    pub after: &'static str,
    /// The SQLSTATE with which it fails even as a superuser's job; empty: it succeeds.
    pub fails: &'static str,
    /// It cannot be one of several.
    pub alone: bool,
    /// It is there to change who the users are.
    pub users: bool,
    /// From this version on.
    pub since: i32,
}

const fn s(kind: &'static str, sql: &'static str) -> Statement {
    Statement {
        kind,
        sql,
        before: "",
        admin: "",
        after: "",
        fails: "",
        alone: false,
        users: false,
        since: 14,
    }
}

impl Statement {
    const fn before(mut self, sql: &'static str) -> Self {
        self.before = sql;
        self
    }

    const fn admin(mut self, sql: &'static str, after: &'static str) -> Self {
        self.admin = sql;
        self.after = after;
        self
    }

    const fn after(mut self, sql: &'static str) -> Self {
        self.after = sql;
        self
    }

    const fn fails(mut self, state: &'static str) -> Self {
        self.fails = state;
        self
    }

    const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    const fn users(mut self) -> Self {
        self.users = true;
        self
    }

    const fn since(mut self, version: i32) -> Self {
        self.since = version;
        self
    }
}

const TABLE: &str = "CREATE TABLE h.t{n} (n int4 PRIMARY KEY); INSERT INTO h.t{n} VALUES (1), (2);
    CREATE INDEX i{n} ON h.t{n} (h.evaluated(n))";
const FUNCTION: &str = "CREATE FUNCTION h.f{n}(int4) RETURNS int4 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN h.evaluated($1); END'";
const PARTITIONED: &str =
    "CREATE TABLE h.p{n} (n int4 CHECK (h.evaluated(n) > 0)) PARTITION BY LIST (n);
    CREATE TABLE h.p{n}_1 PARTITION OF h.p{n} FOR VALUES IN (1); INSERT INTO h.p{n} VALUES (1)";
const WRAPPER: &str =
    "CREATE FOREIGN DATA WRAPPER w{n}; GRANT USAGE ON FOREIGN DATA WRAPPER w{n} TO PUBLIC;
    CREATE SERVER s{n} FOREIGN DATA WRAPPER w{n}; ALTER SERVER s{n} OWNER TO {me};
    ALTER FOREIGN DATA WRAPPER w{n} OWNER TO postgres";
const NO_WRAPPER: &str = "DROP FOREIGN DATA WRAPPER IF EXISTS w{n} CASCADE";
const ROLE: &str = "CREATE ROLE r{n}; GRANT r{n} TO {me} WITH ADMIN OPTION";
const NO_ROLE: &str = "DROP OWNED BY r{n}; DROP ROLE IF EXISTS r{n}";
const SUBSCRIPTION: &str = "CREATE SUBSCRIPTION u{n} CONNECTION 'dbname=nowhere' PUBLICATION x
    WITH (connect = false, slot_name = NONE)";
const NO_SUBSCRIPTION: &str = "DROP SUBSCRIPTION IF EXISTS u{n}";
const EVENT_TRIGGER: &str =
    "CREATE EVENT TRIGGER e{n} ON ddl_command_start WHEN TAG IN ('CREATE CAST')
    EXECUTE FUNCTION h.on_event()";
const NO_EVENT_TRIGGER: &str = "DROP EVENT TRIGGER IF EXISTS e{n}";

/// The alternatives of the rule `stmt` of the grammar, without the empty one.
pub const KINDS: &[&str] = &[
    "AlterEventTrigStmt",
    "AlterCollationStmt",
    "AlterDatabaseStmt",
    "AlterDatabaseSetStmt",
    "AlterDefaultPrivilegesStmt",
    "AlterDomainStmt",
    "AlterEnumStmt",
    "AlterExtensionStmt",
    "AlterExtensionContentsStmt",
    "AlterFdwStmt",
    "AlterForeignServerStmt",
    "AlterFunctionStmt",
    "AlterGroupStmt",
    "AlterObjectDependsStmt",
    "AlterObjectSchemaStmt",
    "AlterOwnerStmt",
    "AlterOperatorStmt",
    "AlterTypeStmt",
    "AlterPolicyStmt",
    "AlterSeqStmt",
    "AlterSystemStmt",
    "AlterTableStmt",
    "AlterTblSpcStmt",
    "AlterCompositeTypeStmt",
    "AlterPublicationStmt",
    "AlterRoleSetStmt",
    "AlterRoleStmt",
    "AlterSubscriptionStmt",
    "AlterStatsStmt",
    "AlterTSConfigurationStmt",
    "AlterTSDictionaryStmt",
    "AlterUserMappingStmt",
    "AnalyzeStmt",
    "CallStmt",
    "CheckPointStmt",
    "ClosePortalStmt",
    "ClusterStmt",
    "CommentStmt",
    "ConstraintsSetStmt",
    "CopyStmt",
    "CreateAmStmt",
    "CreateAsStmt",
    "CreateAssertionStmt",
    "CreateCastStmt",
    "CreateConversionStmt",
    "CreateDomainStmt",
    "CreateExtensionStmt",
    "CreateFdwStmt",
    "CreateForeignServerStmt",
    "CreateForeignTableStmt",
    "CreateFunctionStmt",
    "CreateGroupStmt",
    "CreateMatViewStmt",
    "CreateOpClassStmt",
    "CreateOpFamilyStmt",
    "CreatePublicationStmt",
    "AlterOpFamilyStmt",
    "CreatePolicyStmt",
    "CreatePLangStmt",
    "CreateSchemaStmt",
    "CreateSeqStmt",
    "CreateStmt",
    "CreateSubscriptionStmt",
    "CreateStatsStmt",
    "CreateTableSpaceStmt",
    "CreateTransformStmt",
    "CreateTrigStmt",
    "CreateEventTrigStmt",
    "CreateRoleStmt",
    "CreateUserStmt",
    "CreateUserMappingStmt",
    "CreatedbStmt",
    "DeallocateStmt",
    "DeclareCursorStmt",
    "DefineStmt",
    "DeleteStmt",
    "DiscardStmt",
    "DoStmt",
    "DropCastStmt",
    "DropOpClassStmt",
    "DropOpFamilyStmt",
    "DropOwnedStmt",
    "DropStmt",
    "DropSubscriptionStmt",
    "DropTableSpaceStmt",
    "DropTransformStmt",
    "DropRoleStmt",
    "DropUserMappingStmt",
    "DropdbStmt",
    "ExecuteStmt",
    "ExplainStmt",
    "FetchStmt",
    "GrantStmt",
    "GrantRoleStmt",
    "ImportForeignSchemaStmt",
    "IndexStmt",
    "InsertStmt",
    "ListenStmt",
    "RefreshMatViewStmt",
    "LoadStmt",
    "LockStmt",
    "MergeStmt",
    "NotifyStmt",
    "PrepareStmt",
    "ReassignOwnedStmt",
    "ReindexStmt",
    "RemoveAggrStmt",
    "RemoveFuncStmt",
    "RemoveOperStmt",
    "RenameStmt",
    "RepackStmt",
    "RevokeStmt",
    "RevokeRoleStmt",
    "RuleStmt",
    "SecLabelStmt",
    "SelectStmt",
    "TransactionStmt",
    "TruncateStmt",
    "UnlistenStmt",
    "UpdateStmt",
    "VacuumStmt",
    "VariableResetStmt",
    "VariableSetStmt",
    "VariableShowStmt",
    "ViewStmt",
    "WaitStmt",
];

pub const STATEMENTS: &[Statement] = &[
    s("AlterEventTrigStmt", "ALTER EVENT TRIGGER e{n} DISABLE").admin(EVENT_TRIGGER, NO_EVENT_TRIGGER),
    s("AlterCollationStmt", "ALTER COLLATION h.c{n} REFRESH VERSION")
        .before("CREATE COLLATION h.c{n} (LOCALE = 'C')"),
    s("AlterDatabaseStmt", "ALTER DATABASE postgres CONNECTION LIMIT -1"),
    s("AlterDatabaseStmt", "ALTER DATABASE postgres SET TABLESPACE pg_default").alone().fails("55006"),
    s("AlterDatabaseStmt", "ALTER DATABASE postgres REFRESH COLLATION VERSION").since(15),
    s("AlterDatabaseSetStmt", "ALTER DATABASE postgres SET h.x = '1'"),
    s("AlterDefaultPrivilegesStmt", "ALTER DEFAULT PRIVILEGES IN SCHEMA h GRANT SELECT ON TABLES TO PUBLIC"),
    s("AlterDomainStmt", "ALTER DOMAIN h.d{n} ADD CHECK (h.evaluated(VALUE) > 0)")
        .before("CREATE DOMAIN h.d{n} AS int4; CREATE TABLE h.t{n} (d h.d{n}); INSERT INTO h.t{n} VALUES (1)"),
    s("AlterEnumStmt", "ALTER TYPE h.e{n} ADD VALUE 'b'").before("CREATE TYPE h.e{n} AS ENUM ('a')"),
    s("AlterExtensionStmt", "ALTER EXTENSION plpgsql UPDATE"),
    s("AlterExtensionContentsStmt", "ALTER EXTENSION plpgsql ADD FUNCTION h.f{n}(int4)")
        .before(FUNCTION)
        .after("DO $$ BEGIN ALTER EXTENSION plpgsql DROP FUNCTION h.f{n}(int4);
                EXCEPTION WHEN OTHERS THEN NULL; END $$"),
    s("AlterFdwStmt", "ALTER FOREIGN DATA WRAPPER w{n} OPTIONS (ADD x '1')").admin(WRAPPER, NO_WRAPPER),
    s("AlterForeignServerStmt", "ALTER SERVER s{n} OPTIONS (ADD x '1')").admin(WRAPPER, NO_WRAPPER),
    s("AlterFunctionStmt", "ALTER FUNCTION h.f{n}(int4) COST 5").before(FUNCTION),
    s("AlterGroupStmt", "ALTER GROUP r{n} ADD USER other").admin(ROLE, NO_ROLE),
    s("AlterObjectDependsStmt", "ALTER FUNCTION h.f{n}(int4) DEPENDS ON EXTENSION plpgsql").before(FUNCTION),
    s("AlterObjectSchemaStmt", "ALTER TABLE h.t{n} SET SCHEMA h2").before(TABLE),
    s("AlterOwnerStmt", "ALTER FUNCTION h.f{n}(int4) OWNER TO CURRENT_USER").before(FUNCTION),
    s("AlterOperatorStmt", "ALTER OPERATOR h.=== (int4, int4) SET (RESTRICT = NONE)"),
    s("AlterTypeStmt", "ALTER TYPE h.base SET (STORAGE = extended)"),
    s("AlterPolicyStmt", "ALTER POLICY p ON h.t{n} USING (h.evaluated(n) > 0)")
        .before("CREATE TABLE h.t{n} (n int4); CREATE POLICY p ON h.t{n} USING (true)"),
    s("AlterSeqStmt", "ALTER SEQUENCE h.s{n} RESTART").before("CREATE SEQUENCE h.s{n}"),
    s("AlterSystemStmt", "ALTER SYSTEM SET log_min_duration_statement = -1").alone().after("ALTER SYSTEM RESET ALL"),
    s("AlterTableStmt", "ALTER TABLE h.t{n} ADD COLUMN m int4 DEFAULT h.evaluated(1)").before(TABLE),
    s("AlterTableStmt", "ALTER TABLE h.t{n} ADD CHECK (h.evaluated(n) > 0)").before(TABLE),
    s("AlterTableStmt", "ALTER TABLE h.t{n} ALTER n TYPE int8 USING h.evaluated(n)")
        .before("CREATE TABLE h.t{n} (n int4); INSERT INTO h.t{n} VALUES (1)"),
    s("AlterTableStmt", "ALTER TABLE h.p{n} ATTACH PARTITION h.t{n} FOR VALUES IN (2)")
        .before("CREATE TABLE h.p{n} (n int4) PARTITION BY LIST (n); CREATE TABLE h.t{n} (n int4)"),
    s("AlterTableStmt", "ALTER TABLE h.p{n} DETACH PARTITION h.p{n}_1").before(PARTITIONED),
    s("AlterTableStmt", "ALTER TABLE h.p{n} DETACH PARTITION h.p{n}_1 CONCURRENTLY").before(PARTITIONED).alone(),
    s("AlterTableStmt", "ALTER INDEX h.i{n} SET (fillfactor = 50)").before(TABLE),
    s("AlterTblSpcStmt", "ALTER TABLESPACE pg_default SET (seq_page_cost = 1)"),
    s("AlterCompositeTypeStmt", "ALTER TYPE h.c{n} ADD ATTRIBUTE b int4").before("CREATE TYPE h.c{n} AS (a int4)"),
    s("AlterPublicationStmt", "ALTER PUBLICATION u{n} SET (publish = 'insert')")
        .admin("CREATE PUBLICATION u{n}; GRANT CREATE ON DATABASE postgres TO {me}; ALTER PUBLICATION u{n} OWNER TO {me}",
               "DROP PUBLICATION IF EXISTS u{n}"),
    s("AlterRoleSetStmt", "ALTER ROLE r{n} SET h.x = '1'").admin(ROLE, NO_ROLE),
    s("AlterRoleStmt", "ALTER ROLE r{n} CONNECTION LIMIT 5").admin(ROLE, NO_ROLE),
    s("AlterSubscriptionStmt", "ALTER SUBSCRIPTION u{n} SET (binary = true)").admin(SUBSCRIPTION, NO_SUBSCRIPTION),
    s("AlterStatsStmt", "ALTER STATISTICS h.x{n} SET STATISTICS 10")
        .before("CREATE TABLE h.t{n} (a int4, b int4); CREATE STATISTICS h.x{n} ON a, b FROM h.t{n}"),
    s("AlterTSConfigurationStmt", "ALTER TEXT SEARCH CONFIGURATION h.x{n} DROP MAPPING FOR word")
        .before("CREATE TEXT SEARCH CONFIGURATION h.x{n} (COPY = simple)"),
    s("AlterTSDictionaryStmt", "ALTER TEXT SEARCH DICTIONARY h.x{n} (ACCEPT = false)")
        .before("CREATE TEXT SEARCH DICTIONARY h.x{n} (TEMPLATE = simple)"),
    s("AlterUserMappingStmt", "ALTER USER MAPPING FOR PUBLIC SERVER s{n} OPTIONS (ADD x '1')")
        .admin(WRAPPER, NO_WRAPPER)
        .before("CREATE USER MAPPING FOR PUBLIC SERVER s{n}"),
    s("AnalyzeStmt", "ANALYZE h.t{n}").before(TABLE),
    s("AnalyzeStmt", "ANALYZE h.t{n}, h.base_table").before(TABLE),
    s("CallStmt", "CALL h.commits()"),
    s("CallStmt", "CALL h.rolls_back()"),
    s("CallStmt", "CALL h.catches()"),
    s("CheckPointStmt", "CHECKPOINT"),
    s("ClosePortalStmt", "CLOSE ALL"),
    s("ClusterStmt", "CLUSTER h.t{n} USING i{n}").before(TABLE).alone(),
    s("ClusterStmt", "CLUSTER").alone(),
    s("RepackStmt", "REPACK h.t{n}").before(TABLE).alone().since(19),
    s("RepackStmt", "REPACK (ANALYZE) h.t{n} USING INDEX i{n}").before(TABLE).alone().since(19),
    s("RepackStmt", "REPACK").alone().since(19),
    s("WaitStmt", "WAIT FOR LSN '0/0' WITH (MODE 'primary_flush')").alone().since(19),
    s("CommentStmt", "COMMENT ON TABLE h.t{n} IS 'x'").before(TABLE),
    s("ConstraintsSetStmt", "SET CONSTRAINTS ALL DEFERRED"),
    s("CopyStmt", "COPY (SELECT h.evaluated(1)) TO '/dev/null'"),
    s("CopyStmt", "COPY h.t{n} FROM '/dev/null'").before(TABLE),
    s("CopyStmt", "COPY (SELECT h.evaluated(1)) TO STDOUT").fails("0A000"),
    s("CreateAmStmt", "CREATE ACCESS METHOD a{n} TYPE INDEX HANDLER bthandler")
        .after("DROP ACCESS METHOD IF EXISTS a{n}"),
    s("CreateAsStmt", "CREATE TABLE h.t{n} AS SELECT h.evaluated(1)"),
    s("CreateAssertionStmt", "CREATE ASSERTION a{n} CHECK (h.evaluated(1) > 0)").fails("0A000"),
    s("CreateCastStmt", "CREATE CAST (h.c{n} AS int4) WITH FUNCTION h.f{n}(h.c{n})")
        .before("CREATE TYPE h.c{n} AS (a int4);
                 CREATE FUNCTION h.f{n}(h.c{n}) RETURNS int4 LANGUAGE sql AS 'SELECT 1'"),
    s("CreateConversionStmt", "CREATE CONVERSION h.c{n} FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1"),
    s("CreateDomainStmt", "CREATE DOMAIN h.d{n} AS int4 DEFAULT h.evaluated(1) CHECK (h.evaluated(VALUE) > 0)"),
    s("CreateExtensionStmt", "CREATE EXTENSION IF NOT EXISTS plpgsql"),
    s("CreateFdwStmt", "CREATE FOREIGN DATA WRAPPER w{n}").after(NO_WRAPPER),
    s("CreateForeignServerStmt", "CREATE SERVER t{n} FOREIGN DATA WRAPPER w{n}").admin(WRAPPER, NO_WRAPPER),
    s("CreateForeignTableStmt", "CREATE FOREIGN TABLE h.t{n} (n int4 DEFAULT h.evaluated(1)) SERVER s{n}")
        .admin(WRAPPER, NO_WRAPPER),
    s("CreateFunctionStmt", FUNCTION),
    s("CreateFunctionStmt", "CREATE PROCEDURE h.f{n}() LANGUAGE sql AS 'SELECT h.evaluated(1)'"),
    s("CreateGroupStmt", "CREATE GROUP r{n}").after("DROP ROLE IF EXISTS r{n}"),
    s("CreateMatViewStmt", "CREATE MATERIALIZED VIEW h.m{n} AS SELECT h.evaluated(1)"),
    s("CreateOpClassStmt", "CREATE OPERATOR CLASS h.o{n} FOR TYPE int4 USING hash AS OPERATOR 1 =, FUNCTION 1 hashint4(int4)"),
    s("CreateOpFamilyStmt", "CREATE OPERATOR FAMILY h.o{n} USING btree"),
    s("CreatePublicationStmt", "CREATE PUBLICATION u{n} FOR TABLE h.t{n}")
        .before(TABLE)
        .after("DROP PUBLICATION IF EXISTS u{n}"),
    s("AlterOpFamilyStmt", "ALTER OPERATOR FAMILY h.o{n} USING btree ADD OPERATOR 1 < (int4, int4)")
        .admin("CREATE OPERATOR FAMILY h.o{n} USING btree", ""),
    s("CreatePolicyStmt", "CREATE POLICY p ON h.t{n} USING (h.evaluated(n) > 0)").before(TABLE),
    s("CreatePLangStmt", "CREATE LANGUAGE l{n} HANDLER plpgsql_call_handler").after("DROP LANGUAGE IF EXISTS l{n}"),
    s("CreateSchemaStmt", "CREATE SCHEMA h{n} CREATE TABLE t (n int4 DEFAULT h.evaluated(1)) CREATE VIEW v AS SELECT n FROM t")
        .after("DROP SCHEMA IF EXISTS h{n} CASCADE"),
    s("CreateSchemaStmt", "CREATE SCHEMA h{n} AUTHORIZATION plain CREATE TABLE t (n int4 CHECK (h.evaluated(n) > 0))")
        .after("DROP SCHEMA IF EXISTS h{n} CASCADE"),
    s("CreateSeqStmt", "CREATE SEQUENCE h.s{n}"),
    s("CreateStmt", "CREATE TABLE h.t{n} (n int4 DEFAULT h.evaluated(1), d h.checked DEFAULT '1', m int4 GENERATED ALWAYS AS (h.evaluated(n)) STORED)"),
    s("CreateStmt", "CREATE TABLE h.t{n} PARTITION OF h.p{n} FOR VALUES IN (h.evaluated(1))")
        .before("CREATE TABLE h.p{n} (n int4) PARTITION BY LIST (n)"),
    s("CreateStmt", "CREATE TEMP TABLE t{n} (n int4 DEFAULT h.evaluated(1)) ON COMMIT DELETE ROWS"),
    s("CreateSubscriptionStmt", "CREATE SUBSCRIPTION u{n} CONNECTION 'dbname=nowhere' PUBLICATION x WITH (connect = false, slot_name = NONE)")
        .after(NO_SUBSCRIPTION),
    s("CreateStatsStmt", "CREATE STATISTICS h.x{n} ON n, (h.evaluated(n)) FROM h.t{n}").before(TABLE),
    s("CreateTableSpaceStmt", "CREATE TABLESPACE t{n} LOCATION '/nowhere'").alone().fails("58P01"),
    s("CreateTransformStmt", "CREATE TRANSFORM FOR h.c{n} LANGUAGE plpgsql (FROM SQL WITH FUNCTION prsd_lextype(internal))")
        .before("CREATE TYPE h.c{n} AS (a int4)"),
    s("CreateTrigStmt", "CREATE TRIGGER t BEFORE INSERT ON h.t{n} FOR EACH ROW WHEN (h.evaluated(NEW.n) > 0) EXECUTE FUNCTION h.on_row()")
        .before(TABLE),
    s("CreateEventTrigStmt", EVENT_TRIGGER).after(NO_EVENT_TRIGGER),
    s("CreateRoleStmt", "CREATE ROLE r{n}").after("DROP ROLE IF EXISTS r{n}"),
    s("CreateUserStmt", "CREATE USER r{n}").after("DROP ROLE IF EXISTS r{n}"),
    s("CreateUserMappingStmt", "CREATE USER MAPPING FOR PUBLIC SERVER s{n}").admin(WRAPPER, NO_WRAPPER),
    s("CreatedbStmt", "CREATE DATABASE postgres").alone().fails("42P04"),
    s("DeallocateStmt", "DEALLOCATE ALL"),
    s("DeclareCursorStmt", "DECLARE c CURSOR WITH HOLD FOR SELECT h.evaluated(1)"),
    s("DefineStmt", "CREATE AGGREGATE h.a{n}(int4) (SFUNC = h.evaluated_sum, STYPE = int4)"),
    s("DefineStmt", "CREATE OPERATOR h2.<~> (LEFTARG = int4, RIGHTARG = int4, FUNCTION = h.evaluated_sum)")
        .after("DROP OPERATOR IF EXISTS h2.<~> (int4, int4)"),
    s("DefineStmt", "CREATE TYPE h.c{n} AS (a int4)"),
    s("DefineStmt", "CREATE TYPE h.c{n} AS ENUM ('a')"),
    s("DefineStmt", "CREATE TYPE h.c{n} AS RANGE (SUBTYPE = int4)"),
    s("DefineStmt", "CREATE TEXT SEARCH DICTIONARY h.x{n} (TEMPLATE = simple)"),
    s("DefineStmt", "CREATE COLLATION h.c{n} (LOCALE = 'C')"),
    s("DeleteStmt", "DELETE FROM h.t{n} WHERE h.evaluated(n) > 0").before(TABLE),
    s("DiscardStmt", "DISCARD ALL").alone(),
    s("DiscardStmt", "DISCARD PLANS"),
    s("DiscardStmt", "DISCARD TEMP"),
    s("DoStmt", "DO 'BEGIN PERFORM h.evaluated(1); END'"),
    s("DoStmt", "DO 'BEGIN COMMIT; PERFORM h.check(); END'"),
    s("DropCastStmt", "DROP CAST IF EXISTS (h.checked AS text)"),
    s("DropOpClassStmt", "DROP OPERATOR CLASS IF EXISTS h.none USING btree"),
    s("DropOpFamilyStmt", "DROP OPERATOR FAMILY IF EXISTS h.none USING btree"),
    s("DropOwnedStmt", "DROP OWNED BY r{n}").admin(ROLE, NO_ROLE),
    s("DropStmt", "DROP TABLE h.t{n}").before(TABLE),
    s("DropStmt", "DROP INDEX h.i{n}").before(TABLE),
    s("DropStmt", "DROP INDEX CONCURRENTLY h.i{n}").before(TABLE).alone(),
    s("DropStmt", "DROP TYPE h.c{n}").before("CREATE TYPE h.c{n} AS (a int4)"),
    s("DropStmt", "DROP SCHEMA IF EXISTS none"),
    s("DropSubscriptionStmt", "DROP SUBSCRIPTION u{n}").admin(SUBSCRIPTION, NO_SUBSCRIPTION),
    s("DropTableSpaceStmt", "DROP TABLESPACE IF EXISTS none").alone(),
    s("DropTransformStmt", "DROP TRANSFORM IF EXISTS FOR int4 LANGUAGE plpgsql"),
    s("DropRoleStmt", "DROP ROLE r{n}").admin(ROLE, "DROP ROLE IF EXISTS r{n}"),
    s("DropUserMappingStmt", "DROP USER MAPPING FOR PUBLIC SERVER s{n}")
        .admin(WRAPPER, NO_WRAPPER)
        .before("CREATE USER MAPPING FOR PUBLIC SERVER s{n}"),
    s("DropdbStmt", "DROP DATABASE IF EXISTS none").alone(),
    s("ExecuteStmt", "EXECUTE none").fails("26000"),
    s("ExecuteStmt", "PREPARE p AS SELECT h.evaluated(1); EXECUTE p"),
    s("ExplainStmt", "EXPLAIN (ANALYZE) SELECT h.evaluated(n) FROM h.base_table"),
    s("ExplainStmt", "EXPLAIN (ANALYZE) CREATE TABLE h.t{n} AS SELECT h.evaluated(1)"),
    s("FetchStmt", "FETCH none").fails("34000"),
    s("FetchStmt", "DECLARE c CURSOR FOR SELECT h.evaluated(1); FETCH c"),
    s("GrantStmt", "GRANT SELECT ON h.t{n} TO PUBLIC").before(TABLE),
    s("GrantRoleStmt", "GRANT r{n} TO other").admin(ROLE, NO_ROLE),
    s("ImportForeignSchemaStmt", "IMPORT FOREIGN SCHEMA x FROM SERVER s{n} INTO h")
        .admin(WRAPPER, NO_WRAPPER)
        .fails("55000"),
    s("IndexStmt", "CREATE INDEX ON h.t{n} (h.evaluated(n), (n = ANY ('{1}'::h.checked[])))").before(TABLE),
    s("IndexStmt", "CREATE INDEX CONCURRENTLY ON h.t{n} (h.evaluated(n), (n = ANY ('{1}'::h.checked[])))").before(TABLE).alone(),
    s("InsertStmt", "INSERT INTO h.t{n} VALUES (h.evaluated(3)) RETURNING h.evaluated(n)").before(TABLE),
    s("ListenStmt", "LISTEN x").fails("0A000"),
    s("RefreshMatViewStmt", "REFRESH MATERIALIZED VIEW h.m{n}")
        .before("CREATE MATERIALIZED VIEW h.m{n} AS SELECT h.evaluated(1) AS n"),
    s("RefreshMatViewStmt", "REFRESH MATERIALIZED VIEW CONCURRENTLY h.m{n}")
        .before("CREATE MATERIALIZED VIEW h.m{n} AS SELECT h.evaluated(1) AS n; CREATE UNIQUE INDEX ON h.m{n} (n)"),
    s("LoadStmt", "LOAD 'plpgsql'"),
    s("LockStmt", "LOCK h.base_table").fails("25P01"),
    s("MergeStmt", "MERGE INTO h.t{n} USING h.base_table b ON t{n}.n = h.evaluated(b.n) WHEN MATCHED THEN DO NOTHING").before(TABLE).since(15),
    s("NotifyStmt", "NOTIFY x"),
    s("PrepareStmt", "PREPARE p AS SELECT h.evaluated(1)"),
    s("ReassignOwnedStmt", "REASSIGN OWNED BY r{n} TO CURRENT_USER").admin(ROLE, NO_ROLE),
    s("ReindexStmt", "REINDEX TABLE h.t{n}").before(TABLE).alone(),
    s("ReindexStmt", "REINDEX INDEX CONCURRENTLY h.i{n}").before(TABLE).alone(),
    s("ReindexStmt", "REINDEX SCHEMA h2").alone(),
    s("RemoveAggrStmt", "DROP AGGREGATE IF EXISTS h.none(int4)"),
    s("RemoveFuncStmt", "DROP FUNCTION h.f{n}(int4)").before(FUNCTION),
    s("RemoveOperStmt", "DROP OPERATOR IF EXISTS h.<==> (int4, int4)"),
    s("RenameStmt", "ALTER TABLE h.t{n} RENAME TO u{n}").before(TABLE),
    s("RevokeStmt", "REVOKE SELECT ON h.t{n} FROM PUBLIC").before(TABLE),
    s("RevokeRoleStmt", "REVOKE r{n} FROM other").admin(ROLE, NO_ROLE),
    s("RuleStmt", "CREATE RULE x AS ON INSERT TO h.t{n} DO ALSO SELECT h.evaluated(1)").before(TABLE),
    s("SecLabelStmt", "SECURITY LABEL ON TABLE h.t{n} IS 'x'").before(TABLE).fails("22023"),
    s("SelectStmt", "SELECT h.evaluated(n), h.checks() FROM h.base_table"),
    s("SelectStmt", "SELECT * FROM h.secured"),
    s("SelectStmt", "SELECT '1'::h.checked, '{1}'::h.checked[], (ROW(1)::h.castee)::int4, 1 OPERATOR(h.===) 1"),
    s("SelectStmt", "SELECT h.as_plain('SELECT 1'), h.check()"),
    s("TransactionStmt", "BEGIN").fails("0A000"),
    s("TransactionStmt", "ROLLBACK").fails("0A000"),
    s("TransactionStmt", "COMMIT").fails("0A000"),
    s("TransactionStmt", "SAVEPOINT s").fails("0A000"),
    s("TransactionStmt", "PREPARE TRANSACTION 'x'").fails("0A000"),
    s("TruncateStmt", "TRUNCATE h.t{n}").before(TABLE),
    s("UnlistenStmt", "UNLISTEN *"),
    s("UpdateStmt", "UPDATE h.t{n} SET n = h.evaluated(n) + 10").before(TABLE),
    s("VacuumStmt", "VACUUM h.t{n}").before(TABLE).alone(),
    s("VacuumStmt", "VACUUM (FULL, ANALYZE) h.t{n}").before(TABLE).alone(),
    s("VariableResetStmt", "RESET work_mem"),
    s("VariableResetStmt", "RESET ROLE").users(),
    s("VariableResetStmt", "RESET SESSION AUTHORIZATION").users(),
    s("VariableSetStmt", "SET work_mem = '1MB'"),
    s("VariableSetStmt", "SET LOCAL work_mem = '1MB'"),
    s("VariableSetStmt", "SET TRANSACTION READ ONLY"),
    s("VariableSetStmt", "SET ROLE NONE").users(),
    s("VariableSetStmt", "SET ROLE other").users(),
    s("VariableSetStmt", "SET LOCAL ROLE plain").users(),
    s("VariableSetStmt", "SET SESSION AUTHORIZATION DEFAULT").users(),
    s("VariableSetStmt", "SET SESSION AUTHORIZATION plain").users(),
    s("VariableShowStmt", "SHOW work_mem"),
    s("ViewStmt", "CREATE VIEW h.v{n} AS SELECT h.evaluated(n) FROM h.base_table"),
    s("empty", ""),
];
