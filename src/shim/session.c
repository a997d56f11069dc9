/*
 * A leader's session: put on in the worker, taken off after the job.
 *
 * In C because most of it is in headers that pgrx does not bind (commands/sequence.h, replication/origin.h), in macros
 * and in the structs of settings, and because an error here shall reach the leader with all its fields.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "storage/bufmgr.h"
#include "storage/sinval.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "shim.h"

static ProcessUtility_hook_type next_utility_hook;

/* The running process has loaded a library, which nothing can undo. */
static bool has_loaded;

/* The login role was a superuser when the process ran its first job, and is none now; or the other way round. */
static bool superuser_has_changed;

static GucStringCheckHook check_authorization;

/* Whether the database takes connections at all; not even a superuser's, if it does not. */
static bool
takes_connections(void)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	bool		takes = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datallowconn;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return takes;
}

static bool
may_connect(Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(DatabaseRelationId, MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK;
#else
	return pg_database_aclcheck(MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK;
#endif
}

/* As SET ROLE asks: since 16 a membership may be without that right. */
static bool
may_set_role(Oid member, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return member_can_set_role(member, role);
#else
	return is_member_of_role(member, role);
#endif
}

/*
 * Whether code of the user can do no more once it has become the role. A superuser can do all; whoever inherits
 * all the role's rights, and could become it, has them already.
 */
static bool
gains_nothing_as(Oid user, Oid role)
{
	return superuser_arg(user) || (has_privs_of_role(user, role) && may_set_role(user, role));
}

/*
 * Whether the job may run without its security context: nothing would be gained by what the context forbids,
 * going back to one of the users that the session has besides the current one. By the rights as they are now.
 */
bool
pgb_may_go_back(const PgbIdentity *identity)
{
	return gains_nothing_as(identity->current, identity->authenticated) &&
		gains_nothing_as(identity->current, identity->session) &&
		gains_nothing_as(identity->current, identity->outer);
}

/* Whether the role may (still) log in to this database and play the parts that the job asks for. */
void
pgb_check_rights(const PgbIdentity *identity)
{
	static int	superuser_at_first = -1;
	HeapTuple	tuple;
	Form_pg_authid role;
	bool		is_super;

	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(identity->authenticated));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role with OID %u does not exist", identity->authenticated)));
	role = (Form_pg_authid) GETSTRUCT(tuple);
	is_super = role->rolsuper;
	if (superuser_at_first < 0)
		superuser_at_first = is_super;
	superuser_has_changed = is_super != superuser_at_first;
	if (!role->rolcanlogin)
	{
		char	   *name = pstrdup(NameStr(role->rolname));

		ReleaseSysCache(tuple);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" is not permitted to log in", name),
				 errdetail("A background job runs with the login rights of the session that launched it.")));
	}
	ReleaseSysCache(tuple);

	if (!takes_connections())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("database \"%s\" is not currently accepting connections",
						get_database_name(MyDatabaseId))));
	if (!is_super && !may_connect(identity->authenticated))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for database \"%s\"", get_database_name(MyDatabaseId)),
				 errdetail("User does not have CONNECT privilege.")));
	if (identity->session != identity->authenticated && !is_super)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set session authorization")));
	if (identity->role_active && !may_set_role(identity->session, identity->outer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set role \"%s\"",
						GetUserNameFromId(identity->outer, false))));
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(identity->current)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", identity->current)));
}

/*
 * Loads what session_preload_libraries and local_preload_libraries name in the leader's session. The server
 * loads them for clients only; but what such a library forbids a user must be forbidden in his jobs as well.
 * A process that has loaded those of another session cannot be rid of them and leaves after the job.
 */
static void
load_preload_libraries(void)
{
	static char *loaded;		/* NULL: nothing was asked for yet */
	char	   *wanted = psprintf("%s\n%s", session_preload_libraries_string, local_preload_libraries_string);

	if (loaded != NULL && strcmp(loaded, wanted) == 0)
		return;
	if (loaded != NULL)
		has_loaded = true;
	process_session_preload_libraries();
	loaded = MemoryContextStrdup(TopMemoryContext, wanted);
}

/* Installs the role, as SET ROLE would, or none; its setting has to follow. */
static void
install_role(const PgbIdentity *identity)
{
	if (identity->role_active)
		SetCurrentRoleId(identity->outer, superuser_arg(identity->outer));
	else
		SetCurrentRoleId(InvalidOid, false);
}

/* The users of the process's own session: who logged in, and no role. In a transaction. */
static void
install_own_users(void)
{
	Oid			login = GetAuthenticatedUserId();

	SetSessionAuthorization(login, superuser_arg(login));
	SetCurrentRoleId(InvalidOid, false);
}

/* Their settings, as a connection has them: a RESET goes back to these. */
static void
make_own_user_settings(void)
{
	pgb_make_user_setting("session_authorization", GetUserNameFromId(GetAuthenticatedUserId(), false),
						  PGC_S_OVERRIDE, NULL);
	pgb_make_user_setting("role", "none", PGC_S_DYNAMIC_DEFAULT, NULL);
}

/*
 * The role that RESET ROLE goes back to in the leader, from ALTER ROLE or ALTER DATABASE SET or the client's
 * options: tried as it would be for a connection.
 */
static void
make_reset_role(const PgbSettings *settings)
{
	int			source;
	const char *name = pgb_reset_value_of("role", settings, &source);
	Oid			role;

	if (name == NULL || strcmp(name, "none") == 0)
		return;
	role = get_role_oid(name, true);
	if (!OidIsValid(role) || !may_set_role(GetSessionUserId(), role))
		return;
	SetCurrentRoleId(role, superuser_arg(role));
	pgb_make_user_setting("role", name, source, NULL);
}

/*
 * Session user and role, each with its setting: one without the other would be undone by whatever takes the
 * setting back, the end of a function with SET, or of a transaction with SET LOCAL. Setting the session user
 * ends SET ROLE, so that the role comes after it.
 */
static void
make_users(const PgbIdentity *identity, const PgbSettings *settings)
{
	make_reset_role(settings);
	if (identity->session != identity->authenticated)
	{
		SetSessionAuthorization(identity->session, superuser_arg(identity->session));
		pgb_make_user_setting("session_authorization", GetUserNameFromId(identity->session, false),
							  PGC_S_SESSION, settings);
	}
	if (identity->role_active || OidIsValid(GetCurrentRoleId()) || identity->session != identity->authenticated)
	{
		install_role(identity);
		pgb_make_user_setting("role", identity->role_active ? GetUserNameFromId(identity->outer, false) : "none",
							  PGC_S_SESSION, settings);
	}
}

/*
 * Makes this session the leader's. Inside a transaction, as the authenticated user, with no security context.
 *
 * The users come last: the settings are those of who logged in, and are made with the rights that their setters
 * had.
 */
void
pgb_adopt_session(const PgbIdentity *identity, const PgbSettings *settings)
{
	pgb_check_rights(identity);
	install_own_users();
	pgb_make_settings(settings);
	make_own_user_settings();
	make_users(identity, settings);
	load_preload_libraries();
}

static void
watch_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (IsA(pstmt->utilityStmt, LoadStmt))
		has_loaded = true;
	pgb_watch_statement(pstmt->utilityStmt);

	if (next_utility_hook)
		next_utility_hook(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
assign_nothing(const char *newval, void *extra)
{
}

/*
 * Frames and messages carry text in the server's encoding, whatever the leader's client speaks and whatever
 * a job sets: the setting shows what it was set to and has no effect, as in a parallel worker.
 */
static void
fix_client_encoding(void)
{
	((struct config_string *) pgb_find_setting("client_encoding"))->assign_hook = assign_nothing;
	SetClientEncoding(GetDatabaseEncoding());
}

static bool
accept_any(int *newval, void **extra, GucSource source)
{
	return true;
}

/*
 * temp_buffers cannot change once a session has used temporary tables; one that runs the jobs of many must
 * take each leader's. Buffers that are there stay as many as they are, and the process leaves after a job
 * that should have had another number of them.
 */
static void
unfix_temp_buffers(void)
{
	((struct config_int *) pgb_find_setting("temp_buffers"))->check_hook = accept_any;
}

static bool
has_other_temp_buffers(void)
{
	return NLocBuffer != 0 && NLocBuffer != num_temp_buffers;
}

/*
 * Before 17 SET SESSION AUTHORIZATION asks whether the login role was a superuser when the process connected,
 * which is for the session to say that launches the job, and may be long ago. A job asks what it is now.
 */
static bool
check_authorization_now(char **newval, void **extra, GucSource source)
{
	Oid			login = GetAuthenticatedUserId();

	if (!check_authorization(newval, extra, source))
		return false;
	if (*newval == NULL || InitializingParallelWorker || !IsTransactionState() ||
		superuser_arg(login) || get_role_oid(*newval, true) == login)
		return true;
	GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
	GUC_check_errmsg("permission denied to set session authorization");
	return false;
}

static void
fix_session_authorization(void)
{
	struct config_string *setting = (struct config_string *) pgb_find_setting("session_authorization");

	check_authorization = setting->check_hook;
	setting->check_hook = check_authorization_now;
}

/* In a worker, once it is connected. */
void
pgb_session_init(void)
{
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
	fix_client_encoding();
	unfix_temp_buffers();
	fix_session_authorization();
	pgb_watch_leftovers();
}

/* The session's temporary replication slots. Reads the server's table of slots, which is short. */
void
pgb_drop_replication_slots(void)
{
#if PG_VERSION_NUM >= 170000
	ReplicationSlotCleanup(false);
#else
	ReplicationSlotCleanup();
#endif
}

/*
 * Takes off what the job left, as DISCARD ALL would, each part only if there is something; settings and
 * users are the next job's business, unless there is something that takes a transaction. (LISTEN is refused by
 * PostgreSQL in a background process, so there is nothing to unlisten.) Outside a transaction. False: something cannot be taken off, the
 * process must not run another job.
 */
bool
pgb_reset_session(void)
{
	bool		other_buffers = has_other_temp_buffers();
	bool		clean;
	Oid			temp_namespace;
	Oid			temp_toast_namespace;

	SetUserIdAndSecContext(GetSessionUserId(), 0);
	DropAllPreparedStatements();
	ResetSequenceCaches();
	PortalHashTableDeleteAll();
	/* Temporary ones, which belong to the session. */
	pgb_drop_replication_slots();

	GetTempNamespaceState(&temp_namespace, &temp_toast_namespace);
	if (OidIsValid(temp_namespace))
	{
		/* Not under what the job or its session has set, which says how long a transaction waits, and for whom. */
		StartTransactionCommand();
		install_own_users();
		pgb_own_configuration();
		CommitTransactionCommand();
		StartTransactionCommand();
		XactIsoLevel = XACT_READ_COMMITTED;
		XactReadOnly = false;
		XactDeferrable = false;
		/* Deletes rows of the catalogs, whose values may be stored out of line. */
		PushActiveSnapshot(GetTransactionSnapshot());
		ResetTempTableNamespace();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	clean = pgb_take_off_leftovers();
	return clean && !has_loaded && !superuser_has_changed && !other_buffers &&
		replorigin_session_origin == InvalidRepOriginId && get_backup_status() == SESSION_BACKUP_NONE;
}

/*
 * What an idle backend absorbs besides CHECK_FOR_INTERRUPTS: only PostgresMain does this by itself. True:
 * the configuration was read again.
 */
bool
pgb_idle_interrupts(void)
{
	if (catchupInterruptPending)
		ProcessCatchupInterrupt();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		pgb_reload_configuration();
		return true;
	}
	return false;
}

/* What is put off until the worker really sleeps. Outside a transaction. */
void
pgb_report_idle(void)
{
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	set_ps_display("idle");
}
