/*
 * Plans that a worker saves from one job for the next.
 *
 * In C because the server's plan cache copies trees, throws, and is not bound by pgrx.
 *
 * What is saved
 *
 *	The server's own CachedPlanSource, as it keeps one for a prepared statement: the server takes the locks, and analyzes
 *	and plans again what has become invalid. A job whose plan is saved is neither parsed nor analyzed. If it has no
 *	parameters it is not planned either. With parameters it is planned each time for its values, unless the leader asks for
 *	another way (plan_cache_mode): one plan for all values may raise errors, and takes locks, that a plan for these values
 *	does not. A plan is saved only if the text is one statement of those that are planned: SELECT, INSERT, UPDATE, DELETE,
 *	MERGE. Utility statements are not, nor are texts of several statements, in which one may change what the next one means.
 *
 * The key
 *
 *	the whole text
 *	the types of the parameters, with their shapes (params.c)
 *	the users of the job and its security context: the EXECUTE right on an inlined function is checked when the statement
 *		is planned, and policies are chosen when it is rewritten
 *	names and values of the settings that the leader has of its own, as they are in the worker after it has adopted them,
 *		except those that change neither meaning nor plan (pgb_plan_settings in settings.c). All other settings are those
 *		of the configuration; when that is read again, all plans are forgotten
 *	the hooks with which a library takes part in analysis and planning: it may be loaded later
 *
 *	The hash of the settings is computed when they are adopted. Keys are compared in full: a user can make two texts with
 *	the same hash.
 *
 * Same results as without
 *
 *	A user does not ask for a prepared statement, so a saved plan must not show its age. The server's cache follows changes
 *	of what a plan uses. It does not notice these, which a prepared statement does not notice either:
 *
 *	names			a new table earlier in the search path, a function that fits better, a new cast, an attribute of a type. Any
 *					change of a relation, or of a catalog in which names are looked up, begins a new *era*. A plan of an earlier
 *					era is not used, also if the era began while the job waited for the plan's locks.
 *	roles			a membership, BYPASSRLS. Begins a new era, too.
 *	literals		the analysis calls the input function of a literal's type once. Some return another value each time ('now'),
 *					or call code of users (the check of a domain in an array). A statement with a constant is saved only if the
 *					input function of its type is immutable, or is known: is_lasting.
 *	users' code		the planner calls functions that are declared IMMUTABLE for constants, and puts the text of functions in SQL
 *					in place of their calls. It asks needs_fmgr_hook (leftovers.c) about each of them. If one is not the server's
 *					own, a plan that would be used again is not saved.
 *
 *	What differs all the same: messages of the analysis come once, and pg_stat_statements has a statement with its literals
 *	if its entry was made while a saved plan was used. Both are so for prepared statements.
 *
 * When a plan is saved
 *
 *	To save a plan costs two copies of trees, so texts that come once should not pay for it. The first time that a key is
 *	seen in an era, only its hash is noted, in a table of fixed size; the plan is saved the second time. So a server on
 *	which names change all the time (every CREATE TEMP TABLE does) pays for the look-ups and nothing else, and a worker
 *	that runs a million different texts saves none. A library that is built for tests saves a plan the first time, so that
 *	the whole suite runs with saved plans (ci/server-tests eager-plans).
 *
 * How much is saved
 *
 *	At the end of each job plans are dropped, those that were used longest ago first, until what is left needs no more than
 *	pg_background.plan_cache_size. A plan that needs more than a quarter of that is not saved.
 *
 * Errors
 *
 *	A source is built in the memory of the job and is linked when it is complete, by calls that do not throw. An error in
 *	the server's cache (a revalidation that fails, a cancel) leaves it complete, but it is dropped all the same: the next
 *	job begins from its text. The portal holds the plan that runs, and gives it up at its end or at the abort.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/ilist.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/planner.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "rewrite/rowsecurity.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/syscache.h"

#include "shim.h"

/* Chains of saved plans by hash. */
#define CHAINS 256

/* Keys that were seen are in sets by hash, of so many: the one that was seen last comes first, and displaces the last. */
#define SEEN_SETS 256
#define SEEN_IN_SET 8

/* Part of plan_cache_size that one plan may need. */
#define MAX_PART 4

/* Hooks of analysis and planning: see note_hooks. */
#define HOOKS (PG_VERSION_NUM >= 190000 ? 13 : 9)

/* The part of the key that has a fixed size. Without padding, so that it can be hashed and compared as bytes. */
typedef struct FixedKey
{
	uint64		hooks[HOOKS];
	Size		text_size;
	Size		types_size;
	Size		settings_size;
	Oid			session;
	Oid			outer;
	Oid			current;
	int32		sec_context;
	int32		role_active;
	int32		padding;
} FixedKey;

/* A key. What it points at belongs to the job and the session, or to the saved plan. */
typedef struct Key
{
	uint64		hash;
	FixedKey	fixed;
	const char *text;
	const char *types;
	const char *settings;
} Key;

typedef struct SavedPlan
{
	dlist_node	in_chain;
	dlist_node	in_order;		/* used last: at the head */
	Key			key;			/* the text is the source's */
	uint64		era;
	CachedPlanSource *source;
	Size		size;
} SavedPlan;

/* A key that was seen. */
typedef struct Seen
{
	uint64		hash;
	uint64		era;
	bool		is_refused;		/* it is not saved in this era */
} Seen;

static dlist_head chains[CHAINS];
static dlist_head order = DLIST_STATIC_INIT(order);
static Size saved_size;

/* Allocated when it is needed first. */
static Seen *seen_keys;

/* Advances with each change of a relation, of names or of roles. */
static uint64 era = 1;

/* What is saved besides the sources. */
static MemoryContext saved_context;

/* The settings in the key of the present session. */
static MemoryContext settings_context;
static StringInfoData settings;
static uint64 settings_hash;
static bool are_settings_noted;

/* The present job. */
static Key key;
static Seen *seen;				/* NULL: plans are not saved */
static bool was_seen;
static SavedPlan *used;				/* its saved plan; NULL: none */
static bool is_planning;		/* the server's plan cache is at work; still true after an error in it */
static bool has_users_code;		/* the planner has asked about a function that is not the server's own */

/* The words that a date or time may have as its value, and that mean another one each time. */
static const char *const moments[] = {"now", "today", "tomorrow", "yesterday"};

static bool
is_letter(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/* Whether one of those words is in the text. Text of other letters, as in "know", is another word. */
static bool
names_moment(const char *text)
{
	const char *at = text;

	while (*at != '\0')
	{
		const char *begin;

		while (*at != '\0' && !is_letter(*at))
			at++;
		begin = at;
		while (is_letter(*at))
			at++;
		for (int i = 0; i < lengthof(moments); i++)
		{
			if (strlen(moments[i]) == at - begin && pg_strncasecmp(begin, moments[i], at - begin) == 0)
				return true;
		}
	}
	return false;
}

static bool
has_momentary_literal(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, A_Const))
	{
		A_Const    *constant = (A_Const *) node;

		return IsA(&constant->val, String) && names_moment(strVal(&constant->val));
	}
	return raw_expression_tree_walker(node, has_momentary_literal, context);
}

typedef struct Search
{
	Node	   *statement;
	bool		found;
} Search;

static void
search(void *arg)
{
	Search	   *one = arg;

	one->found = has_momentary_literal(one->statement, NULL);
}

/* If the look fails, the answer is yes: the server's walk raises an error on a node that it does not know. */
static bool
may_have_momentary_literal(Node *statement)
{
	Search		one = {statement, false};
	int			code;

	return !pgb_survives(search, &one, &code) || one.found;
}

/* Whether a literal of the type has the same value each time, in this era and with these settings. */
static bool
is_lasting(Oid type)
{
	Oid			input,
				element;

	switch (type)
	{
			/* Those without the words that were looked for. */
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
			/* A name that changes its meaning begins an era. */
		case REGCLASSOID:
			return true;
	}
	/* So does a label of an enum. */
	if (type_is_enum(type))
		return true;
	getTypeInputInfo(type, &input, &element);
	return func_volatile(input) == PROVOLATILE_IMMUTABLE;
}

static bool
has_passing_constant(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Const))
		return !((Const *) node)->constisnull && !is_lasting(((Const *) node)->consttype);
	/* Its values are not in the raw tree that was searched for words. */
	if (IsA(node, CTECycleClause))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, has_passing_constant, context, 0);
	return expression_tree_walker(node, has_passing_constant, context);
}

static bool
selects_into(const SelectStmt *statement)
{
	while (statement->op != SETOP_NONE)
		statement = statement->larg;
	return statement->intoClause != NULL;
}

/* Whether the statement is of a kind that is planned, and its plan is right for more than a moment. */
static bool
can_be_saved(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_SelectStmt:
			if (selects_into((SelectStmt *) statement))
				return false;
			break;
		case T_InsertStmt:
		case T_UpdateStmt:
		case T_DeleteStmt:
#if PG_VERSION_NUM >= 150000
		case T_MergeStmt:
#endif
			break;
		default:
			return false;
	}
	return !may_have_momentary_literal(statement);
}

static void
begin_era(Datum arg, int cache, uint32 hash)
{
	era++;
}

static void
begin_era_of_relation(Datum arg, Oid relation)
{
	era++;
}

/* Called in a worker that has connected. */
void
pgb_plans_init(void)
{
	/* The catalogs in which names are looked up that the server's plan cache does not watch as a whole, and the roles. */
	static const int watched[] = {
		AUTHMEMMEMROLE, AUTHOID, CASTSOURCETARGET, CLAOID, COLLOID, ENUMOID, PROCOID, TSCONFIGMAP, TSCONFIGOID, TSDICTOID,
		TYPEOID
	};

	for (int i = 0; i < lengthof(watched); i++)
		CacheRegisterSyscacheCallback(watched[i], begin_era, (Datum) 0);
	/* The attributes of types, and who inherits from whom. */
	CacheRegisterRelcacheCallback(begin_era_of_relation, (Datum) 0);
	for (int i = 0; i < CHAINS; i++)
		dlist_init(&chains[i]);
	saved_context = AllocSetContextCreate(TopMemoryContext, "pg_background plans", ALLOCSET_DEFAULT_SIZES);
	settings_context = AllocSetContextCreate(saved_context, "pg_background settings of plans", ALLOCSET_SMALL_SIZES);
}

/* The settings of the session are being changed. */
void
pgb_plans_forget_settings(void)
{
	are_settings_noted = false;
}

/*
 * Notes the settings in the key. If the leader has names that no library has defined in this process, this is done for
 * each job: a library may have been loaded meanwhile.
 */
static void
note_settings(const PgbSettings *leaders)
{
	bool		is_complete;

	if (are_settings_noted)
		return;
	MemoryContextReset(settings_context);
	MemoryContextSwitchTo(settings_context);
	initStringInfo(&settings);
	is_complete = pgb_plan_settings(leaders, &settings);
	settings_hash = hash_bytes_extended((unsigned char *) settings.data, settings.len, 0);
	are_settings_noted = is_complete;
}

static uint64
combine(uint64 hash, const char *bytes, Size size)
{
	return hash_bytes_extended((const unsigned char *) bytes, (int) size, hash);
}

/* Functions of libraries that take part in analysis or planning. */
static void
note_hooks(uint64 hooks[HOOKS])
{
	int			i = 0;

	hooks[i++] = (uintptr_t) post_parse_analyze_hook;
	hooks[i++] = (uintptr_t) row_security_policy_hook_permissive;
	hooks[i++] = (uintptr_t) row_security_policy_hook_restrictive;
	hooks[i++] = (uintptr_t) planner_hook;
	hooks[i++] = (uintptr_t) set_rel_pathlist_hook;
	hooks[i++] = (uintptr_t) set_join_pathlist_hook;
	hooks[i++] = (uintptr_t) join_search_hook;
	hooks[i++] = (uintptr_t) create_upper_paths_hook;
#if PG_VERSION_NUM >= 190000
	hooks[i++] = (uintptr_t) planner_setup_hook;
	hooks[i++] = (uintptr_t) planner_shutdown_hook;
	hooks[i++] = (uintptr_t) build_simple_rel_hook;
	hooks[i++] = (uintptr_t) joinrel_setup_hook;
	hooks[i++] = (uintptr_t) join_path_setup_hook;
#else
	hooks[i++] = (uintptr_t) get_relation_info_hook;
#endif
	Assert(i == HOOKS);
}

static void
make_key(const PgbRun *run)
{
	const PgbIdentity *identity = run->identity;
	FixedKey   *fixed = &key.fixed;
	MemoryContext caller = CurrentMemoryContext;

	note_settings(run->settings);
	MemoryContextSwitchTo(caller);
	memset(&key, 0, sizeof(key));
	key.text = run->sql;
	key.types = run->params == NULL ? "" : run->params;
	key.settings = settings.data;
	fixed->text_size = strlen(run->sql);
	fixed->types_size = run->params == NULL ? 0 : pgb_param_types_size(run->params);
	fixed->settings_size = settings.len;
	fixed->session = identity->session;
	fixed->outer = identity->outer;
	fixed->current = identity->current;
	fixed->sec_context = identity->sec_context;
	fixed->role_active = identity->role_active;
	note_hooks(fixed->hooks);
	key.hash = combine(settings_hash, (const char *) fixed, sizeof(FixedKey));
	key.hash = combine(key.hash, key.text, fixed->text_size);
	key.hash = combine(key.hash, key.types, fixed->types_size);
}

static bool
is_same(const Key *a, const Key *b)
{
	return a->hash == b->hash && memcmp(&a->fixed, &b->fixed, sizeof(FixedKey)) == 0 &&
		memcmp(a->text, b->text, a->fixed.text_size) == 0 &&
		memcmp(a->types, b->types, a->fixed.types_size) == 0 &&
		memcmp(a->settings, b->settings, a->fixed.settings_size) == 0;
}

static dlist_head *
chain_of(uint64 hash)
{
	return &chains[hash % CHAINS];
}

static SavedPlan *
find(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, chain_of(key.hash))
	{
		SavedPlan  *saved = dlist_container(SavedPlan, in_chain, iter.cur);

		if (is_same(&saved->key, &key))
			return saved;
	}
	return NULL;
}

/* Does not throw. */
static void
drop(SavedPlan *saved)
{
	dlist_delete(&saved->in_chain);
	dlist_delete(&saved->in_order);
	saved_size -= saved->size;
	DropCachedPlan(saved->source);
	pfree(saved);
}

/* Forgets all plans. Called between jobs. Does not throw. */
void
pgb_plans_forget(void)
{
	while (!dlist_is_empty(&order))
		drop(dlist_head_element(SavedPlan, in_order, &order));
}

static void
note_seen(void)
{
	Seen		own = {.hash = key.hash, .era = era, .is_refused = false};
	Seen	   *set;
	int			at = 0;

	if (seen_keys == NULL)
		seen_keys = MemoryContextAllocZero(saved_context, sizeof(Seen) * SEEN_SETS * SEEN_IN_SET);
	set = &seen_keys[key.hash / CHAINS % SEEN_SETS * SEEN_IN_SET];
	while (at < SEEN_IN_SET - 1 && set[at].hash != key.hash)
		at++;
	was_seen = set[at].hash == key.hash && set[at].era == era;
	if (was_seen)
		own = set[at];
	memmove(set + 1, set, sizeof(Seen) * at);
	set[0] = own;
	seen = set;
#ifdef PGB_EAGER_PLANS
	was_seen = true;
#endif
}

/*
 * The saved source of a job; NULL: none. Called in the transaction of the job, which has seen the invalidations until
 * then, before its text is parsed.
 */
CachedPlanSource *
pgb_find_plan(const PgbRun *run)
{
	if (run->plan_memory == 0)
		return NULL;
	make_key(run);
	used = find();
	if (used != NULL && used->era != era)
	{
		drop(used);
		used = NULL;
	}
	note_seen();
	if (used == NULL)
		return NULL;
	dlist_move_head(&order, &used->in_order);
	return used->source;
}

static SavedPlan *
make_saved(CachedPlanSource *source)
{
	const FixedKey *fixed = &key.fixed;
	SavedPlan  *saved = MemoryContextAllocExtended(saved_context,
												   sizeof(SavedPlan) + fixed->types_size + fixed->settings_size,
												   MCXT_ALLOC_HUGE);
	char	   *rest = (char *) (saved + 1);

	memset(saved, 0, sizeof(SavedPlan));
	saved->key = key;
	saved->key.text = source->query_string;
	saved->key.types = memcpy(rest, key.types, fixed->types_size);
	rest += fixed->types_size;
	saved->key.settings = memcpy(rest, key.settings, fixed->settings_size);
	saved->source = source;
	return saved;
}

/*
 * Analyzes the only statement of the job and saves it. NULL: it is not to be saved; if it was analyzed all the same,
 * `queries` has the result. Called with the snapshot for the analysis, if it needs one, and the memory of the job.
 */
CachedPlanSource *
pgb_save_plan(const PgbRun *run, RawStmt *statement, Oid *types, int count, List **queries)
{
	const char *text = run->sql;
	CachedPlanSource *source;
	SavedPlan  *saved;
	uint64		begun = era;

	if (seen == NULL || !was_seen || seen->is_refused)
		return NULL;
	if (key.fixed.text_size > run->plan_memory / MAX_PART || !can_be_saved(statement->stmt))
	{
		seen->is_refused = true;
		return NULL;
	}
	source = CreateCachedPlan(statement, text, CreateCommandTag(statement->stmt));
#if PG_VERSION_NUM >= 150000
	*queries = pg_analyze_and_rewrite_fixedparams(statement, text, types, count, NULL);
#else
	*queries = pg_analyze_and_rewrite(statement, text, types, count, NULL);
#endif
	if (has_passing_constant((Node *) *queries, NULL))
	{
		seen->is_refused = true;
		return NULL;
	}
	/* The analysis has waited for locks, or looked up names, while they changed. */
	if (era != begun)
		return NULL;
	CompleteCachedPlan(source, *queries, NULL, types, count, NULL, NULL, CURSOR_OPT_PARALLEL_OK | CURSOR_OPT_CUSTOM_PLAN, false);
	saved = make_saved(source);
	/* From here on nothing throws. */
	saved->era = begun;
	SaveCachedPlan(source);
	dlist_push_head(chain_of(key.hash), &saved->in_chain);
	dlist_push_head(&order, &saved->in_order);
	used = saved;
	return source;
}

/*
 * The plan for these values. NULL: names have changed while it was made or its locks were waited for, so the statement
 * has to be analyzed anew. The caller gives the plan to a portal, without a call in between that throws.
 */
CachedPlan *
pgb_plan(CachedPlanSource *source, ParamListInfo values)
{
	CachedPlan *plan;

	is_planning = true;
	has_users_code = false;
	plan = GetCachedPlan(source, values, NULL, NULL);
	is_planning = false;
	if (era == used->era)
		return plan;
	ReleaseCachedPlan(plan, NULL);
	return NULL;
}

/*
 * The planner looks at a function that is not the server's own, perhaps to put its text in place of a call or to call it.
 * It does neither with one that is volatile and not in SQL.
 */
void
pgb_note_function_of_plan(Oid function)
{
	HeapTuple	tuple;

	if (!is_planning || has_users_code)
		return;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return;
	has_users_code = ((Form_pg_proc) GETSTRUCT(tuple))->prolang == SQLlanguageId ||
		((Form_pg_proc) GETSTRUCT(tuple))->provolatile != PROVOLATILE_VOLATILE;
	ReleaseSysCache(tuple);
}

static Size
size_of(const SavedPlan *saved)
{
	const CachedPlanSource *source = saved->source;
	Size		size = GetMemoryChunkSpace((void *) saved) + MemoryContextMemAllocated(source->context, true);

	if (source->gplan != NULL)
		size += MemoryContextMemAllocated(source->gplan->context, true);
	return size;
}

static void
measure(SavedPlan *saved)
{
	saved_size -= saved->size;
	saved->size = size_of(saved);
	saved_size += saved->size;
}

/* Called at the end of each job, outside of a transaction. Does not throw. */
void
pgb_plans_end_job(Size limit)
{
	if (used != NULL)
	{
		measure(used);
		/* A plan that was made for these values alone is gone already. */
		seen->is_refused = (has_users_code && used->source->gplan != NULL) || used->size > limit / MAX_PART;
		if (is_planning || seen->is_refused)
			drop(used);
	}
	while (saved_size > limit)
		drop(dlist_tail_element(SavedPlan, in_order, &order));
	used = NULL;
	seen = NULL;
	was_seen = false;
	is_planning = false;
	has_users_code = false;
}
