/*
 * What a job may leave in its process that no part of the server takes off: names of settings, the state of
 * libraries, the seed of random().
 *
 * In C because the structures of settings and the hooks are not bound by pgrx.
 *
 * Names of settings
 *
 *	Whoever sets "app.user" makes it a placeholder, and the server never forgets a placeholder. Without a value it
 *	is shown as an empty text, where a session in which nobody has named it shows NULL (current_setting with
 *	missing_ok) or raises an error. So what has no value any more is hidden: it gets a name that nobody can write.
 *	It is found again by its own name when a leader has a value for it; a job that sets it makes another one. Once
 *	too many are hidden the process leaves.
 *
 *	Before 16 the server's table is sorted by name: the hidden name sorts right behind the own one, of which
 *	it is longer by a character that sorts before all others. From 16 on the table is hashed, and keeps the hash and a
 *	pointer to the name: a name that is changed where it stands is not found by its old hash, and has none
 *	of its own.
 *
 *	To look through all settings after each job would take longer than a small job does (from 16 on). So hooks tell
 *	whether the job can have named one: by a statement, by set_config(), or by a function with SET.
 *
 * Libraries
 *
 *	Some keep what their user has made until the session ends: open connections under a name, variables of a
 *	language. Nothing in the server tells them that a session is over. So the process leaves after a job for which a
 *	function of such a library was looked up, or one in such a language.
 */
#include "postgres.h"

#include <limits.h>

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
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "shim.h"

/*
 * Libraries that keep what a session has made, as their files are called (some have a version behind it), and which
 * functions do; NULL: all. postgres_fdw is none: its connections belong to a user mapping, and nobody can name or use
 * them otherwise.
 */
typedef struct Stateful
{
	const char *library;
	const char *function;		/* beginning of its name in the library */
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

/* Placeholders can be there that have no value, or will have none without the present leader. */
static bool has_named = true;

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
	static Oid	harmless;		/* the last that was found to be */
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

/* The server's own functions are not looked at. */
static void
note_function(Oid function)
{
	if (!has_kept_state && function >= FirstNormalObjectId && is_stateful(function))
		has_kept_state = true;
}

/* Called for each function that is looked up to be called, but for those of the next hook. */
static bool
watch_functions(Oid function)
{
	note_function(function);
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
			/* The server names the setting to check it. */
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

/* In a worker, once it is connected. */
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

/* A process that has hidden more leaves after its job: the server's table is looked through, and sorted. */
#define HIDDEN_LIMIT 128

typedef struct Hidden
{
	struct Hidden *next;
	struct config_generic *setting;
	const char *name;			/* its own */
	char		text[FLEXIBLE_ARRAY_MEMBER];	/* that name; before 16 the one that hides it */
} Hidden;

static Hidden *hidden;
static int	hidden_count;

/* The character that sorts before all others, in the server's order of names. */
#define LEAST ((char) (CHAR_MIN < 0 ? CHAR_MIN : 1))

/* False: there is no memory. */
static bool
hide(struct config_generic *setting)
{
	Size		len = strlen(setting->name);
	Hidden	   *made = MemoryContextAllocExtended(TopMemoryContext, offsetof(Hidden, text) + len + 2, MCXT_ALLOC_NO_OOM);

	if (made == NULL)
		return false;
	memcpy(made->text, setting->name, len + 1);
	made->setting = setting;
#if PG_VERSION_NUM >= 160000
	made->name = made->text;
	*unconstify(char *, setting->name) = LEAST;
#else
	made->name = setting->name;
	made->text[len] = LEAST;
	made->text[len + 1] = '\0';
	setting->name = made->text;
#endif
	/* What a library does with the placeholders of its names when it is loaded is not for this one. */
	setting->flags &= ~GUC_CUSTOM_PLACEHOLDER;
	made->next = hidden;
	hidden = made;
	hidden_count++;
	return true;
}

/* The setting is about to be made, of which there is none: one of that name that is hidden is there again. */
void
pgb_find_hidden(const char *name)
{
	has_named = true;
	for (Hidden **at = &hidden; *at != NULL; at = &(*at)->next)
	{
		Hidden	   *found = *at;

		if (strcmp(found->name, name) != 0)
			continue;
#if PG_VERSION_NUM >= 160000
		*unconstify(char *, found->setting->name) = *found->name;
#else
		found->setting->name = found->name;
#endif
		found->setting->flags |= GUC_CUSTOM_PLACEHOLDER;
		*at = found->next;
		hidden_count--;
		pfree(found);
		return;
	}
}

static bool
has_no_value(const struct config_generic *setting)
{
	const struct config_string *string = (const struct config_string *) setting;

	return setting->source == PGC_S_DEFAULT && setting->reset_source == PGC_S_DEFAULT && setting->stack == NULL &&
		(*string->variable == NULL || **string->variable == '\0');
}

/* Hides what has no value. False: not all of it. */
static bool
hide_names(void)
{
	int			count;
	struct config_generic **settings = pgb_all_settings(&count);
	bool		all = true;

	has_named = false;
	for (int i = 0; i < count; i++)
	{
		if ((settings[i]->flags & GUC_CUSTOM_PLACEHOLDER) == 0)
			continue;
		if (has_no_value(settings[i]))
			all = hide(settings[i]) && all;
		else if (settings[i]->source > PGC_S_ARGV)
			has_named = true;
	}
#if PG_VERSION_NUM >= 160000
	pfree(settings);
#endif
	return all;
}

/* A leader's settings were made: what another had and this one has not is hidden. */
void
pgb_hide_names(void)
{
	if (has_named && !hide_names())
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

static void
forget_seed(void)
{
	uint32		bits;

	has_set_seed = false;
	if (pg_strong_random(&bits, sizeof(bits)))
		(void) DirectFunctionCall1(setseed, Float8GetDatum((double) bits / PG_UINT32_MAX));
}

/* Takes off what the job left of all this. False: it cannot be, the process must not run another job. */
bool
pgb_take_off_leftovers(void)
{
	bool		clean = !has_kept_state;

	if (has_set_seed)
		forget_seed();
	if (may_have_named)
	{
		may_have_named = false;
		clean = hide_names() && clean;
		has_named = true;
	}
	if (hidden_count > HIDDEN_LIMIT)
		clean = false;
	return clean;
}
