/*
 * Sends anonymous row types from one process to another.
 *
 * A value of type record refers to its row type by a number that is valid only in the process that has created it. So
 * the worker sends a description of each such row type, with the worker's number, before the first row that needs it.
 * The reader registers the same row type, and replaces the worker's number by its own in every value. Records can be
 * inside records and arrays of records; PostgreSQL allows them nowhere else (no table column, domain, range or named
 * composite can have type record).
 *
 * The named row types in them can be altered between writing and reading: see shape.c.
 *
 * In C because it walks values with macros (GETSTRUCT of headers, array and tuple access).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "shim.h"

/* The known row types of a result: from the worker's number to ours (on the worker's side, to itself). */
typedef struct KnownRecord
{
	int32		number;
	int32		local;
} KnownRecord;

struct PgbRecords
{
	MemoryContext context;
	HTAB	   *known;			/* NULL: none yet */
	PgbWatch   *watch;			/* the named row types in them */
};

bool
pgb_may_hold_record(Oid type)
{
	return type == RECORDOID || type == RECORDARRAYOID;
}

/* The row types of one result, none yet. Allocated in the context. */
PgbRecords *
pgb_records(MemoryContext context)
{
	PgbRecords *records = MemoryContextAllocZero(context, sizeof(PgbRecords));

	records->context = context;
	records->watch = pgb_watch(context);
	return records;
}

/* The types that have to be checked again with each row. */
PgbWatch *
pgb_watch_of(PgbRecords *records)
{
	return records->watch;
}

static KnownRecord *
search_known(PgbRecords *records, int32 number, HASHACTION action, bool *found)
{
	if (records->known == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(int32), .entrysize = sizeof(KnownRecord)};

		control.hcxt = records->context;
		records->known = hash_create("pg_background record types", 16, &control,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(records->known, &number, action, found);
}

static void
announce(PgbRecords *records, int32 number, TupleDesc desc, StringInfo into)
{
	int32		count = desc->natts;

	appendBinaryStringInfo(into, (char *) &number, sizeof(number));
	appendBinaryStringInfo(into, (char *) &count, sizeof(count));
	for (int i = 0; i < count; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		PgbShape	shape = pgb_shape(attribute->atttypid);

		pgb_watch_type(records->watch, attribute->atttypid, &shape);
		appendBinaryStringInfo(into, (char *) &attribute->atttypid, sizeof(Oid));
		appendBinaryStringInfo(into, (char *) &shape, sizeof(shape));
		appendBinaryStringInfo(into, (char *) &attribute->atttypmod, sizeof(int32));
		appendBinaryStringInfo(into, (char *) &attribute->attcollation, sizeof(Oid));
		appendBinaryStringInfo(into, (char *) &attribute->attisdropped, sizeof(bool));
		appendBinaryStringInfo(into, NameStr(attribute->attname), NAMEDATALEN);
	}
}

/* Whether a record with these columns can contain others. */
static bool
can_hold_records(TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped && pgb_may_hold_record(TupleDescAttr(desc, i)->atttypid))
			return true;
	}
	return false;
}

/* The values of a record, which point into it. The caller frees values and nulls. */
void
pgb_deform(HeapTupleHeader header, TupleDesc desc, Datum **values, bool **nulls)
{
	HeapTupleData tuple;

	*values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	*nulls = palloc(sizeof(bool) * Max(desc->natts, 1));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, *values, *nulls);
}

/* The elements of an array of records, in the same way. */
static int
deform_array(ArrayType *array, Datum **values, bool **nulls)
{
	int			count;

	deconstruct_array(array, RECORDOID, -1, false, TYPALIGN_DOUBLE, values, nulls, &count);
	return count;
}

static void
announce_array(PgbRecords *records, Datum value, StringInfo into)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count = deform_array(DatumGetArrayTypeP(value), &elements, &nulls);

	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			pgb_announce_records(records, RECORDOID, elements[i], into);
	}
	pfree(elements);
	pfree(nulls);
}

static void
announce_columns(PgbRecords *records, HeapTupleHeader header, TupleDesc desc, StringInfo into)
{
	Datum	   *values;
	bool	   *nulls;

	pgb_deform(header, desc, &values, &nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!nulls[i] && pgb_may_hold_record(TupleDescAttr(desc, i)->atttypid))
			pgb_announce_records(records, TupleDescAttr(desc, i)->atttypid, values[i], into);
	}
	pfree(values);
	pfree(nulls);
}

/*
 * Sender: describes the row types that the value needs and the reader does not know yet. The cost is proportional to the
 * size of the value: a record in a record is part of its bytes, and is copied only if it is very small.
 */
void
pgb_announce_records(PgbRecords *records, Oid type, Datum value, StringInfo into)
{
	HeapTupleHeader header;
	TupleDesc	desc;
	bool		found;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (type == RECORDARRAYOID)
	{
		announce_array(records, value, into);
		return;
	}
	header = DatumGetHeapTupleHeader(value);
	if (HeapTupleHeaderGetTypeId(header) != RECORDOID)
		return;
	desc = lookup_rowtype_tupdesc(RECORDOID, HeapTupleHeaderGetTypMod(header));
	(void) search_known(records, HeapTupleHeaderGetTypMod(header), HASH_ENTER, &found);
	if (!found)
		announce(records, HeapTupleHeaderGetTypMod(header), desc, into);
	if (can_hold_records(desc))
		announce_columns(records, header, desc, into);
	ReleaseTupleDesc(desc);
	if ((Pointer) header != DatumGetPointer(value))
		pfree(header);
}

static const char *
take(const char *from, void *into, size_t len)
{
	memcpy(into, from, len);
	return from + len;
}

/* Reader: registers a row type that the worker has described. Returns the end of its description. */
static const char *
remember(PgbRecords *records, const char *description)
{
	int32		number;
	int32		count;
	TupleDesc	desc;
	bool		found;

	description = take(description, &number, sizeof(number));
	description = take(description, &count, sizeof(count));
	desc = CreateTemplateTupleDesc(count);
	for (int i = 0; i < count; i++)
	{
		Oid			type;
		PgbShape	shape;
		Oid			collation;
		int32		typmod;
		bool		dropped;
		NameData	name;

		description = take(description, &type, sizeof(type));
		description = take(description, &shape, sizeof(shape));
		description = take(description, &typmod, sizeof(typmod));
		description = take(description, &collation, sizeof(collation));
		description = take(description, &dropped, sizeof(dropped));
		description = take(description, NameStr(name), NAMEDATALEN);
		if (!dropped && !pgb_type_exists(type))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("the type of column \"%s\" of a record does not exist", NameStr(name)),
					 errdetail("The type was dropped, or the transaction that created it has not committed.")));
		if (!pgb_has_shape(type, &shape))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("the type of column \"%s\" of a record was altered after the record was made",
							NameStr(name))));
		pgb_watch_type(records->watch, type, &shape);
		TupleDescInitEntry(desc, i + 1, NameStr(name), dropped ? INT4OID : type, typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, collation);
		TupleDescAttr(desc, i)->attisdropped = dropped;
#if PG_VERSION_NUM >= 180000
		/* The server reads its compact form of the attribute, which was made before this change. */
		populate_compact_attribute(desc, i);
#endif
	}
	TupleDescFinalize(desc);
	BlessTupleDesc(desc);
	search_known(records, number, HASH_ENTER, &found)->local = desc->tdtypmod;
	return description;
}

void
pgb_remember_records(PgbRecords *records, const char *descriptions, int32 len)
{
	const char *end = descriptions + len;

	while (descriptions < end)
		descriptions = remember(records, descriptions);
}

static void localize(PgbRecords *records, Oid type, struct varlena *value);

/* Localizes a value that is part of a copy, in place. */
static void
localize_inside(PgbRecords *records, Oid type, Datum value)
{
	struct varlena *inside = (struct varlena *) DatumGetPointer(value);

	if (VARATT_IS_SHORT(inside))
	{
		/* A value with a short header is not aligned. */
		struct varlena *copy = pg_detoast_datum(inside);

		localize(records, type, copy);
		memcpy(VARDATA_SHORT(inside), VARDATA(copy), VARSIZE(copy) - VARHDRSZ);
		pfree(copy);
	}
	else if (VARATT_IS_4B_U(inside))
		localize(records, type, inside);
	else
		elog(ERROR, "a record in the result of a background job is not stored inline");
}

static void
localize_array(PgbRecords *records, ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count = deform_array(array, &elements, &nulls);

	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			localize_inside(records, RECORDOID, elements[i]);
	}
	pfree(elements);
	pfree(nulls);
}

static void
localize_columns(PgbRecords *records, HeapTupleHeader header, TupleDesc desc)
{
	Datum	   *values;
	bool	   *nulls;

	pgb_deform(header, desc, &values, &nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!nulls[i] && pgb_may_hold_record(TupleDescAttr(desc, i)->atttypid))
			localize_inside(records, TupleDescAttr(desc, i)->atttypid, values[i]);
	}
	pfree(values);
	pfree(nulls);
}

/* Replaces the worker's numbers by ours in place, in a value with a long header. */
static void
localize(PgbRecords *records, Oid type, struct varlena *value)
{
	HeapTupleHeader header = (HeapTupleHeader) value;
	KnownRecord *record;
	TupleDesc	desc;
	int32		number;
	bool		found;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (type == RECORDARRAYOID)
	{
		localize_array(records, (ArrayType *) value);
		return;
	}
	if (HeapTupleHeaderGetTypeId(header) != RECORDOID)
		return;
	number = HeapTupleHeaderGetTypMod(header);
	record = search_known(records, number, HASH_FIND, &found);
	if (record == NULL)
		elog(ERROR, "row type %d of a background job was not described", number);
	desc = lookup_rowtype_tupdesc(RECORDOID, record->local);
	if (can_hold_records(desc))
		localize_columns(records, header, desc);
	HeapTupleHeaderSetTypMod(header, desc->tdtypmod);
	ReleaseTupleDesc(desc);
}

/*
 * Reader: a copy of the value with the worker's numbers replaced by ours, in the current memory context. One copy is
 * enough, however deeply records are nested, because only the numbers differ.
 */
Datum
pgb_localize_record(PgbRecords *records, Oid type, Datum value)
{
	struct varlena *copy = pg_detoast_datum_copy((struct varlena *) DatumGetPointer(value));

	localize(records, type, copy);
	return PointerGetDatum(copy);
}
