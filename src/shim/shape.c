/*
 * What the columns of named row types are, between two processes and between two rows.
 *
 * A value names its row type by OID, and its bytes are those of the columns that the type had when it was made. Taken
 * for a value of an altered type they are read beyond their end. So whoever writes values says what shape of their
 * types he saw, and whoever reads compares: before the first row, and again with each, because somebody can alter a
 * type between two fetches from a cursor. A shape is a cryptographic hash: who alters a type chooses its columns, and
 * would find some with the same hash if it were a shorter one.
 *
 * In C because it walks catalog rows and row types with macros, and looks at them again with each row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "shim.h"

/* The row types that are reached from some type, each once, in the order in which they were found. */
typedef struct RowTypes
{
	HTAB	   *seen;
	Oid		   *types;
	int			count;
	int			room;
} RowTypes;

/* Whether the type will be there when the job has ended, as far as the type itself can tell. */
static PgbLasts
lasts_by_itself(HeapTuple tuple)
{
	if (isTempNamespace(((Form_pg_type) GETSTRUCT(tuple))->typnamespace))
		return PGB_TEMPORARY;
	/* This transaction has made it, or altered it. */
	if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)))
		return PGB_UNCOMMITTED;
	return PGB_LASTS;
}

/*
 * The row type that values of the type consist of; InvalidOid: there is none that somebody could alter. lasts, if
 * somebody wants to know: becomes what is true of the types on the way to it, if that is worse.
 */
static Oid
row_type_of(Oid type, PgbLasts *lasts)
{
	/* The server's own types stay as they are. */
	while (type >= FirstNormalObjectId)
	{
		HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
		Form_pg_type form;
		char		kind;
		Oid			base;
		Oid			element;

		if (!HeapTupleIsValid(tuple))
			return InvalidOid;
		form = (Form_pg_type) GETSTRUCT(tuple);
		kind = form->typtype;
		base = form->typbasetype;
		element = form->typlen == -1 ? form->typelem : InvalidOid;
		if (lasts != NULL)
			*lasts = Max(*lasts, lasts_by_itself(tuple));
		ReleaseSysCache(tuple);
		switch (kind)
		{
			case TYPTYPE_COMPOSITE:
				return type;
			case TYPTYPE_DOMAIN:
				type = base;
				break;
			case TYPTYPE_RANGE:
				type = get_range_subtype(type);
				break;
			case TYPTYPE_MULTIRANGE:
				type = get_multirange_range(type);
				break;
			case TYPTYPE_BASE:
				type = OidIsValid(element) ? get_element_type(type) : InvalidOid;
				break;
			default:
				return InvalidOid;
		}
	}
	return InvalidOid;
}

static void
reach(RowTypes *reached, Oid type, PgbLasts *lasts)
{
	bool		found;

	type = row_type_of(type, lasts);
	if (!OidIsValid(type))
		return;
	if (reached->seen == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(Oid)};

		control.hcxt = CurrentMemoryContext;
		reached->seen = hash_create("pg_background row types", 16, &control,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		reached->room = 16;
		reached->types = palloc(reached->room * sizeof(Oid));
	}
	(void) hash_search(reached->seen, &type, HASH_ENTER, &found);
	if (found)
		return;
	if (reached->count == reached->room)
	{
		reached->room *= 2;
		reached->types = repalloc_huge(reached->types, reached->room * sizeof(Oid));
	}
	reached->types[reached->count++] = type;
}

/*
 * Finds all row types in a type, and describes them if somebody wants to know. One after the other: they can be
 * nested deeper than the stack allows, and one in itself by more ways than can be walked.
 */
static void
reach_all(RowTypes *reached, Oid type, StringInfo into, PgbLasts *lasts)
{
	reach(reached, type, lasts);
	for (int next = 0; next < reached->count; next++)
	{
		TupleDesc	desc = lookup_rowtype_tupdesc(reached->types[next], -1);

		CHECK_FOR_INTERRUPTS();
		if (into != NULL)
		{
			appendBinaryStringInfo(into, (char *) &reached->types[next], sizeof(Oid));
			appendBinaryStringInfo(into, (char *) &desc->natts, sizeof(int));
		}
		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute attribute = TupleDescAttr(desc, i);

			if (into != NULL)
			{
				/* A dropped one has no type any more, but the older rows have its bytes. */
				appendBinaryStringInfo(into, (char *) &attribute->atttypid, sizeof(Oid));
				appendBinaryStringInfo(into, (char *) &attribute->attlen, sizeof(int16));
				appendBinaryStringInfo(into, (char *) &attribute->attalign, sizeof(char));
			}
			if (!attribute->attisdropped)
				reach(reached, attribute->atttypid, lasts);
		}
		ReleaseTupleDesc(desc);
	}
}

static void
forget(RowTypes *reached)
{
	if (reached->seen == NULL)
		return;
	hash_destroy(reached->seen);
	pfree(reached->types);
}

/*
 * The columns of all named row types in a type, as they are now; all zero: there is none that somebody could alter,
 * or the type does not exist.
 */
PgbShape
pgb_shape(Oid type)
{
	PgbShape	shape = {{0}};
	RowTypes	reached = {0};
	StringInfoData description;
	Datum		hash;

	if (!OidIsValid(row_type_of(type, NULL)))
		return shape;
	initStringInfo(&description);
	/* Room for the header of a bytea. */
	appendStringInfoSpaces(&description, VARHDRSZ);
	reach_all(&reached, type, &description, NULL);
	SET_VARSIZE(description.data, description.len);
	hash = DirectFunctionCall1(sha256_bytea, PointerGetDatum(description.data));
	memcpy(shape.hash, VARDATA_ANY(DatumGetPointer(hash)), sizeof(shape.hash));
	pfree(description.data);
	forget(&reached);
	return shape;
}

/* Whether the type, and all that its values can consist of, will be there when the job has ended. */
PgbLasts
pgb_type_lasts(Oid type)
{
	RowTypes	reached = {0};
	PgbLasts	lasts = PGB_LASTS;

	if (type < FirstNormalObjectId)
		return PGB_LASTS;
	reach_all(&reached, type, NULL, &lasts);
	forget(&reached);
	return lasts;
}

/* Whether the type is there. */
bool
pgb_type_exists(Oid type)
{
	return type < FirstNormalObjectId || SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type));
}

bool
pgb_has_shape(Oid type, const PgbShape *expected)
{
	PgbShape	shape = pgb_shape(type);

	return memcmp(&shape, expected, sizeof(shape)) == 0;
}

/* A type that values were made of, and its shape then. */
typedef struct WatchedType
{
	Oid			type;
	PgbShape	shape;
} WatchedType;

/* A row type in one of those, and the number that the type cache has for its columns as they were compared. */
typedef struct WatchedRow
{
	Oid			type;
	uint64		identifier;
} WatchedRow;

struct PgbWatch
{
	MemoryContext context;
	List	   *types;			/* WatchedType */
	WatchedRow *rows;
	int			count;
	bool		fresh;			/* rows is of all the types */
};

/* The types of one result: none yet. Goes with the context. */
PgbWatch *
pgb_watch(MemoryContext context)
{
	PgbWatch   *watch = MemoryContextAllocZero(context, sizeof(PgbWatch));

	watch->context = context;
	return watch;
}

/* Values of the type were made while it had the shape. */
void
pgb_watch_type(PgbWatch *watch, Oid type, const PgbShape *shape)
{
	static const PgbShape none;
	MemoryContext caller;
	WatchedType *watched;

	if (memcmp(shape, &none, sizeof(none)) == 0)
		return;
	caller = MemoryContextSwitchTo(watch->context);
	watched = palloc(sizeof(WatchedType));
	watched->type = type;
	watched->shape = *shape;
	watch->types = lappend(watch->types, watched);
	watch->fresh = false;
	MemoryContextSwitchTo(caller);
}

static uint64
identifier_of(Oid type)
{
	return lookup_type_cache(type, TYPECACHE_TUPDESC)->tupDesc_identifier;
}

static bool
rows_are_the_same(const PgbWatch *watch)
{
	for (int i = 0; i < watch->count; i++)
	{
		const WatchedRow *row = &watch->rows[i];

		if (!pgb_type_exists(row->type) || identifier_of(row->type) != row->identifier)
			return false;
	}
	return true;
}

static void
compare_shapes(const PgbWatch *watch)
{
	ListCell   *cell;

	foreach(cell, watch->types)
	{
		const WatchedType *watched = lfirst(cell);

		if (pgb_type_exists(watched->type) && pgb_has_shape(watched->type, &watched->shape))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a row type was altered while the result of the job was read"),
				 errdetail("The rows that are left are of the type as it was."),
				 errhint("Detach the job.")));
	}
}

static void
note_rows(PgbWatch *watch)
{
	RowTypes	reached = {0};
	ListCell   *cell;

	foreach(cell, watch->types)
		reach_all(&reached, ((WatchedType *) lfirst(cell))->type, NULL, NULL);
	if (watch->rows != NULL)
		pfree(watch->rows);
	watch->rows = MemoryContextAllocHuge(watch->context, Max(reached.count, 1) * sizeof(WatchedRow));
	watch->count = reached.count;
	for (int i = 0; i < reached.count; i++)
	{
		watch->rows[i].type = reached.types[i];
		watch->rows[i].identifier = identifier_of(reached.types[i]);
	}
	forget(&reached);
	watch->fresh = true;
}

/*
 * Raises 42804 if a type is not what it was. Cheap unless something has happened to one of them: the type cache
 * numbers the columns of row types anew whenever they may have changed.
 */
void
pgb_check_watched(PgbWatch *watch)
{
	if (watch->types == NIL)
		return;
	/* Others may have altered them; a fetch takes no lock by which we would have heard of it. */
	AcceptInvalidationMessages();
	if (watch->fresh && rows_are_the_same(watch))
		return;
	compare_shapes(watch);
	note_rows(watch);
}
