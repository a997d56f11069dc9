/*
 * The shape of named row types: a hash of their columns, by which a reader notices that a type was altered.
 *
 * A value refers to its row type by OID, and its bytes are those of the columns that the type had when the value was
 * made. If they were read as a value of the altered type, the reader would read beyond their end. So the writer sends
 * the shape of the types with the values, and the reader compares it: before the first row, and again with each row,
 * because a type can be altered between two fetches from a cursor. A shape is a cryptographic hash, because a user who
 * alters a type chooses its columns, and could find others with the same hash if the hash were weaker.
 *
 * In C because it walks catalog rows and row types with macros, and checks them again with each row.
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

/* The row types in some type, each once, in the order in which they were found. */
typedef struct RowTypes
{
	HTAB	   *seen;
	Oid		   *types;
	int			count;
	int			room;
} RowTypes;

/* Whether the type will exist when the job has ended, without regard to the types that it consists of. */
static PgbLasts
lasts_by_itself(HeapTuple tuple)
{
	if (isTempNamespace(((Form_pg_type) GETSTRUCT(tuple))->typnamespace))
		return PGB_TEMPORARY;
	/* This transaction has created or altered it. */
	if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)))
		return PGB_UNCOMMITTED;
	return PGB_LASTS;
}

/*
 * The row type that values of the type consist of; InvalidOid: there is none that could be altered. lasts, unless NULL,
 * becomes worse if one of the types on the way to the row type is worse.
 */
static Oid
row_type_of(Oid type, PgbLasts *lasts)
{
	/* The server's own types cannot be altered. */
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
 * Finds all row types in a type, and describes them unless into is NULL. They are visited without recursion and each
 * once: they can be nested deeper than the stack allows, and a type can contain itself by too many paths to follow.
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
				/* A dropped column has no type any more, but the older rows have its bytes. */
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
 * The shape of a type: the present columns of all named row types in it. All zero: there is no row type that could be
 * altered, or the type does not exist.
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
	/* For the header of a bytea. */
	appendStringInfoSpaces(&description, VARHDRSZ);
	reach_all(&reached, type, &description, NULL);
	SET_VARSIZE(description.data, description.len);
	hash = DirectFunctionCall1(sha256_bytea, PointerGetDatum(description.data));
	memcpy(shape.hash, VARDATA_ANY(DatumGetPointer(hash)), sizeof(shape.hash));
	pfree(description.data);
	forget(&reached);
	return shape;
}

/* Whether the type, and all types that its values consist of, will exist when the job has ended. */
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

/* A type of values, and its shape when they were made. */
typedef struct WatchedType
{
	Oid			type;
	PgbShape	shape;
} WatchedType;

/* A row type in one of those, and the type cache's number for its columns when they were compared. */
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
	bool		is_complete;	/* rows has the row types of all the types */
};

/* The types of one result, none yet. Allocated in the context. */
PgbWatch *
pgb_watch(MemoryContext context)
{
	PgbWatch   *watch = MemoryContextAllocZero(context, sizeof(PgbWatch));

	watch->context = context;
	return watch;
}

/* Adds a type. Its values were made while it had this shape. */
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
	watch->is_complete = false;
	MemoryContextSwitchTo(caller);
}

static uint64
identifier_of(Oid type)
{
	return lookup_type_cache(type, TYPECACHE_TUPDESC)->tupDesc_identifier;
}

static bool
are_rows_unchanged(const PgbWatch *watch)
{
	for (int i = 0; i < watch->count; i++)
	{
		const WatchedRow *row = &watch->rows[i];

		if (!pgb_type_exists(row->type) || identifier_of(row->type) != row->identifier)
			return false;
	}
	return true;
}

static bool
are_shapes_unchanged(const PgbWatch *watch)
{
	ListCell   *cell;

	foreach(cell, watch->types)
	{
		const WatchedType *watched = lfirst(cell);

		if (!pgb_type_exists(watched->type) || !pgb_has_shape(watched->type, &watched->shape))
			return false;
	}
	return true;
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
	watch->is_complete = true;
}

/*
 * Whether no type was altered or dropped. Cheap unless one of them may have changed: the type cache then gives the columns
 * of the row type a new number.
 */
bool
pgb_is_watch_unchanged(PgbWatch *watch)
{
	if (watch->types == NIL)
		return true;
	/* A fetch takes no lock on the types, so nothing else makes this process receive invalidations. */
	AcceptInvalidationMessages();
	if (watch->is_complete && are_rows_unchanged(watch))
		return true;
	if (!are_shapes_unchanged(watch))
		return false;
	note_rows(watch);
	return true;
}

/* Raises 42804 if a type in the result of a job was altered. */
void
pgb_check_watched(PgbWatch *watch)
{
	if (!pgb_is_watch_unchanged(watch))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a row type was altered while the result of the job was read"),
				 errdetail("The remaining rows have the old form of the type."),
				 errhint("Detach the job.")));
}
