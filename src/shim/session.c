/*
 * The session of a worker: it adopts the leader's identity and settings, and is reset after the job.
 *
 * In C because most of it uses headers that pgrx does not bind (commands/sequence.h, replication/origin.h), macros and
 * the structs of settings, and because an error here has to reach the leader with all its fields.
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
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "shim.h"

static ProcessUtility_hook_type next_utility_hook;

/* The process has loaded a library for one job or leader, and a library cannot be unloaded. */
static bool has_loaded;

/* The login role has become a superuser since the process ran its first job, or is no longer one. */
static bool superuser_has_changed;

static GucStringCheckHook check_authorization;

/* Whether the database accepts connections at all. If not, it refuses those of superusers too. */
static bool
accepts_connections(void)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	bool		accepts = HeapTupleIsValid(tuple) && ((Form_pg_database) GETSTRUCT(tuple))->datallowconn;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return accepts;
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

/* The check of SET ROLE. Since 16 a membership may exclude it. */
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
 * Whether code of the user can do no more after it has become the role. A superuser can do everything. A user who
 * inherits all privileges of the role, and may become it, has them already.
 */
static bool
gains_nothing_as(Oid user, Oid role)
{
	return superuser_arg(user) || (has_privs_of_role(user, role) && may_set_role(user, role));
}

/*
 * Whether the job may run without its security context. It may if its current user gains nothing by what the context
 * forbids: switching back to another user of the session. The privileges are checked as they are now.
 */
bool
pgb_may_switch_back(const PgbIdentity *identity)
{
	return gains_nothing_as(identity->current, identity->authenticated) &&
		gains_nothing_as(identity->current, identity->session) &&
		gains_nothing_as(identity->current, identity->outer);
}

/* Raises an error unless the login role may (still) log in to this database and become the users of the job. */
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
				 errdetail("A background job runs with the login privileges of the session that launched it.")));
	}
	ReleaseSysCache(tuple);

	if (!accepts_connections())
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
 * Loads the libraries of session_preload_libraries and local_preload_libraries of the leader's session. The server loads
 * them for clients only, but whatever such a library forbids a user has to be forbidden in the user's jobs as well. A
 * process that has loaded libraries for another session cannot unload them, and exits after the job.
 */
static void
load_preload_libraries(void)
{
	static char *loaded;		/* NULL: no job has run yet */
	char	   *wanted = psprintf("%s\n%s", session_preload_libraries_string, local_preload_libraries_string);

	if (loaded != NULL && strcmp(loaded, wanted) == 0)
		return;
	if (loaded != NULL)
		has_loaded = true;
	process_session_preload_libraries();
	loaded = MemoryContextStrdup(TopMemoryContext, wanted);
}

/* Sets the role as SET ROLE does, or to none. The caller sets its setting after that. */
static void
install_role(const PgbIdentity *identity)
{
	if (identity->role_active)
		SetCurrentRoleId(identity->outer, superuser_arg(identity->outer));
	else
		SetCurrentRoleId(InvalidOid, false);
}

/* Sets the users of the process's own session: the login role, and no other role. In a transaction. */
static void
install_own_users(void)
{
	Oid			login = GetAuthenticatedUserId();

	SetSessionAuthorization(login, superuser_arg(login));
	SetCurrentRoleId(InvalidOid, false);
}

/* Sets their settings to the values of a new connection. A RESET goes back to these. */
static void
make_own_user_settings(void)
{
	pgb_make_user_setting("session_authorization", GetUserNameFromId(GetAuthenticatedUserId(), false),
						  PGC_S_OVERRIDE, NULL);
	pgb_make_user_setting("role", "none", PGC_S_DYNAMIC_DEFAULT, NULL);
}

/*
 * Sets the role that RESET ROLE goes back to in the leader, from ALTER ROLE or ALTER DATABASE SET or the client's
 * options. As for a new connection, a role that cannot be set is skipped.
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
 * Sets session user and role, each with its setting. A user that does not match its setting would be lost when the
 * setting is restored, at the end of a function with SET or of a transaction with SET LOCAL. Setting the session user
 * ends SET ROLE, so the role is set after it.
 */
static void
set_users(const PgbIdentity *identity, const PgbSettings *settings)
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
 * Gives this session the leader's identity and settings. Called inside a transaction, as the authenticated user, with no
 * security context.
 *
 * The users come last: the settings are those of the login role, and are set with the privileges of their setters.
 */
void
pgb_adopt_session(const PgbIdentity *identity, const PgbSettings *settings)
{
	pgb_check_rights(identity);
	install_own_users();
	pgb_make_settings(settings);
	make_own_user_settings();
	set_users(identity, settings);
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
 * Frames and messages carry text in the server's encoding, whatever encoding the leader's client uses or a job sets. As
 * in a parallel worker, the setting shows the value that was set, and has no effect.
 */
static void
fix_client_encoding(void)
{
	PGB_STRING_SETTING(pgb_find_setting("client_encoding"))->assign_hook = assign_nothing;
	SetClientEncoding(GetDatabaseEncoding());
}

static bool
accept_any(int *newval, void **extra, GucSource source)
{
	return true;
}

/*
 * The server refuses to change temp_buffers after a session has used temporary tables. But a worker runs jobs of many
 * leaders and has to accept the value of each. The number of existing buffers does not change, and the process exits
 * after a job that should have had another number.
 */
static void
unlock_temp_buffers(void)
{
	PGB_INT_SETTING(pgb_find_setting("temp_buffers"))->check_hook = accept_any;
}

static bool
has_other_temp_buffers(void)
{
	return NLocBuffer != 0 && NLocBuffer != num_temp_buffers;
}

/*
 * Before 17 SET SESSION AUTHORIZATION checks whether the login role was a superuser when the process connected. For a
 * worker that may have been long before the launch of the job. A job checks what the role is now.
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
replace_authorization_check(void)
{
	struct config_string *setting = PGB_STRING_SETTING(pgb_find_setting("session_authorization"));

	check_authorization = setting->check_hook;
	setting->check_hook = check_authorization_now;
}

/* Called in a worker that has connected. */
void
pgb_session_init(void)
{
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
	fix_client_encoding();
	unlock_temp_buffers();
	replace_authorization_check();
	pgb_watch_leftovers();
	pgb_plans_init();
}

/* Drops the session's temporary replication slots. Reads the server's table of slots, which is short. */
void
pgb_drop_replication_slots(void)
{
#if PG_VERSION_NUM >= 170000
	ReplicationSlotCleanup(false);
#else
	ReplicationSlotCleanup();
#endif
}

/* Whether the session replays what another server has sent (pg_replication_origin_session_setup). */
static bool
has_origin(void)
{
#if PG_VERSION_NUM >= 190000
	return replorigin_xact_state.origin != InvalidReplOriginId;
#else
	return replorigin_session_origin != InvalidRepOriginId;
#endif
}

/*
 * Removes what the job left, as DISCARD ALL does, each part only if there is something to remove. Settings and users stay
 * until the next job is adopted, unless the removal needs a transaction. (PostgreSQL refuses LISTEN in a background
 * process, so there is nothing to unlisten.) Called outside a transaction. False: something cannot be removed, and the
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
	pgb_drop_replication_slots();

	GetTempNamespaceState(&temp_namespace, &temp_toast_namespace);
	if (OidIsValid(temp_namespace))
	{
		/* Without the settings of the job and its leader, which say how long a transaction waits, and for whom. */
		StartTransactionCommand();
		install_own_users();
		pgb_restore_configuration();
		CommitTransactionCommand();
		StartTransactionCommand();
		XactIsoLevel = XACT_READ_COMMITTED;
		XactReadOnly = false;
		XactDeferrable = false;
		/* The catalog rows that are deleted may have values that are stored out of line. */
		PushActiveSnapshot(GetTransactionSnapshot());
		ResetTempTableNamespace();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	clean = pgb_remove_leftovers();
	return clean && !has_loaded && !superuser_has_changed && !other_buffers &&
		!has_origin() && get_backup_status() == SESSION_BACKUP_NONE;
}

/*
 * Processes what an idle backend processes besides CHECK_FOR_INTERRUPTS: the server does this only in PostgresMain.
 * True: the configuration was read again.
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

/* Reports that the worker is idle, when it is about to sleep. Called outside a transaction. */
void
pgb_report_idle(void)
{
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	pgstat_report_appname(application_name);
	set_ps_display("idle");
}
