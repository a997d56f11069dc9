/*
 * What a job may leave in its process and no part of the server removes: names of settings, the state of libraries, the
 * seed of random().
 *
 * In C because pgrx does not bind the hooks, and because catalog rows are read with macros.
 *
 * Names of settings
 *
 *	A job may have created placeholders (placeholders.c). From 16 on, a look at all settings takes longer than a small
 *	job. So hooks note whether the job can have named a setting: by a statement, by set_config(), or by a function with
 *	SET.
 *
 * Libraries
 *
 *	Some libraries keep what their user has created until the session ends: open connections under a name, variables of
 *	a language. Nothing in the server tells them that a session is over. So the process exits after a job that looked up
 *	a function of such a library, or a function in such a language.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "commands/defrem.h"
#include "commands/proclang.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "port.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#include "shim.h"

/*
 * Libraries that keep state of a session, by the name of the file (some have a version after it), and which of their
 * functions do; NULL: all. postgres_fdw is not among them: its connections belong to a user mapping, and can be named
 * and used only through it.
 */
typedef struct Stateful
{
	const char *library;
	const char *function;		/* how its name in the library begins */
} Stateful;

static const Stateful stateful[] = {
	{"dblink", "dblink_connect"},
	{"libpljava", NULL},
	{"orafce", "dbms_alert"},
	{"orafce", "dbms_output"},
	{"orafce", "dbms_random"},
	{"orafce", "dbms_sql"},
	{"orafce", "plvsubst"},
	{"orafce", "utl_file"},
	{"pg_variables", NULL},
	{"pljava", NULL},
	{"pllua", NULL},
	{"plperl", NULL},
	{"plpython", NULL},
	{"plr", NULL},
	{"pltcl", NULL},
	{"plv8", NULL},
	{"sepgsql", "sepgsql_setcon"},
	{"session_variable", NULL}
};

static object_access_hook_type next_object_access_hook;
static needs_fmgr_hook_type next_needs_fmgr_hook;
static fmgr_hook_type next_fmgr_hook;

/* The job can have named a setting. */
static bool may_have_named;

static bool has_set_seed;

/* A function that keeps state was looked up. */
static bool has_kept_state;

static bool
keeps_state(const char *path, const char *function)
{
	const char *name = last_dir_separator(path);

	name = name == NULL ? path : name + 1;
	for (int i = 0; i < lengthof(stateful); i++)
	{
		const Stateful *one = &stateful[i];
		Size		len = strlen(one->library);

		if (strncmp(name, one->library, len) == 0 && !isalpha((unsigned char) name[len]) && name[len] != '_' &&
			(one->function == NULL || strncmp(function, one->function, strlen(one->function)) == 0))
			return true;
	}
	return false;
}

static bool
is_stateful_in_c(HeapTuple function)
{
	bool		has_no_library;
	bool		has_no_name;
	Datum		library = SysCacheGetAttr(PROCOID, function, Anum_pg_proc_probin, &has_no_library);
	Datum		name = SysCacheGetAttr(PROCOID, function, Anum_pg_proc_prosrc, &has_no_name);
	char	   *path;
	char	   *symbol;
	bool		found;

	if (has_no_library || has_no_name)
		return false;
	path = TextDatumGetCString(library);
	symbol = TextDatumGetCString(name);
	found = keeps_state(path, symbol);
	pfree(path);
	pfree(symbol);
	return found;
}

static Oid
handler_of(Oid language)
{
	HeapTuple	tuple = SearchSysCache1(LANGOID, ObjectIdGetDatum(language));
	Oid			handler = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		handler = ((Form_pg_language) GETSTRUCT(tuple))->lanplcallfoid;
		ReleaseSysCache(tuple);
	}
	return handler;
}

static bool is_stateful(Oid function);

static bool
is_stateful_language(Oid language)
{
	static Oid	harmless;		/* the last one that keeps no state */
	Oid			handler;

	if (language == INTERNALlanguageId || language == SQLlanguageId || language == harmless)
		return false;
	handler = handler_of(language);
	if (OidIsValid(handler) && is_stateful(handler))
		return true;
	harmless = language;
	return false;
}

static bool
is_stateful(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			language;
	bool		found;

	if (!HeapTupleIsValid(tuple))
		return false;
	language = ((Form_pg_proc) GETSTRUCT(tuple))->prolang;
	if (language == ClanguageId)
		found = is_stateful_in_c(tuple);
	else
		found = is_stateful_language(language);
	ReleaseSysCache(tuple);
	return found;
}

/* The server's own functions are skipped. */
static void
note_function(Oid function)
{
	if (!has_kept_state && function >= FirstNormalObjectId && is_stateful(function))
		has_kept_state = true;
}

/* Called for each function that is looked up to be called or inlined, except for those that fmgr_hook gets. */
static bool
watch_functions(Oid function)
{
	note_function(function);
	if (function >= FirstNormalObjectId)
		pgb_note_function_of_plan(function);
	return next_needs_fmgr_hook != NULL && next_needs_fmgr_hook(function);
}

/* Called around each function with SET, and each SECURITY DEFINER function. */
static void
watch_settings_of_functions(FmgrHookEventType event, FmgrInfo *flinfo, Datum *arg)
{
	if (event == FHET_START)
	{
		may_have_named = true;
		note_function(flinfo->fn_oid);
	}
	if (next_fmgr_hook != NULL)
		next_fmgr_hook(event, flinfo, arg);
}

static void
watch_objects(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (access == OAT_FUNCTION_EXECUTE)
	{
		if (object == F_SET_CONFIG)
			may_have_named = true;
		else if (object == F_SETSEED)
			has_set_seed = true;
	}
	if (next_object_access_hook != NULL)
		next_object_access_hook(access, class, object, sub, arg);
}

static void
note_do(const DoStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->args)
	{
		DefElem    *item = lfirst_node(DefElem, cell);

		if (strcmp(item->defname, "language") == 0)
			note_function(handler_of(get_language_oid(strVal(item->arg), true)));
	}
}

/* A utility statement is about to be executed. */
void
pgb_watch_statement(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_VariableSetStmt:
			{
				const char *name = ((const VariableSetStmt *) statement)->name;

				if (name != NULL && strchr(name, GUC_QUALIFIER_SEPARATOR) != NULL)
					may_have_named = true;
				break;
			}
			/* To check the setting, the server creates a placeholder. */
		case T_AlterRoleSetStmt:
		case T_AlterDatabaseSetStmt:
		case T_AlterFunctionStmt:
		case T_CreateFunctionStmt:
			may_have_named = true;
			break;
		case T_DoStmt:
			note_do((const DoStmt *) statement);
			break;
		default:
			break;
	}
}

/* Installs the hooks, in a worker that has connected. */
void
pgb_watch_leftovers(void)
{
	next_object_access_hook = object_access_hook;
	object_access_hook = watch_objects;
	next_needs_fmgr_hook = needs_fmgr_hook;
	needs_fmgr_hook = watch_functions;
	next_fmgr_hook = fmgr_hook;
	fmgr_hook = watch_settings_of_functions;
}

static void
forget_seed(void)
{
	uint32		bits;

	has_set_seed = false;
	if (pg_strong_random(&bits, sizeof(bits)))
		(void) DirectFunctionCall1(setseed, Float8GetDatum((double) bits / PG_UINT32_MAX));
}

/* Removes what the job left. False: something cannot be removed, and the process must not run another job. */
bool
pgb_remove_leftovers(void)
{
	bool		clean = !has_kept_state;

	if (has_set_seed)
		forget_seed();
	if (may_have_named)
	{
		may_have_named = false;
		clean = pgb_hide_names_of_job() && clean;
	}
	return clean && !pgb_has_hidden_too_many();
}
