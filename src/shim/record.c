/*
 * Anonymous records between two processes.
 *
 * A value of type record names its row type by a number that means something only in the process that
 * made it. The worker therefore sends, before the first row that needs it, a description of each such row
 * type under the worker's number; the reader registers the same row type, and in every value replaces the
 * worker's number by its own. Records can sit in records and in arrays of records; PostgreSQL allows them
 * nowhere else (no table column, domain, range or named composite can have type record).
 *
 * In C because it walks values with macros (GETSTRUCT of headers, array and tuple access).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "shim.h"

/* Row types known in this result: worker's number to ours (to itself on the worker's side). */
typedef struct KnownRecord
{
	int32		number;
	int32		local;
} KnownRecord;

static HTAB *known;

bool
pgb_may_hold_record(Oid type)
{
	return type == RECORDOID || type == RECORDARRAYOID;
}

void
pgb_forget_records(void)
{
	if (known)
		hash_destroy(known);
	known = NULL;
}

static KnownRecord *
know(int32 number, HASHACTION action, bool *found)
{
	if (known == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(int32), .entrysize = sizeof(KnownRecord)};

		control.hcxt = TopMemoryContext;
		known = hash_create("pg_background record types", 16, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(known, &number, action, found);
}

static void
announce(int32 number, TupleDesc desc)
{
	StringInfoData description;
	int32		count = desc->natts;

	initStringInfo(&description);
	appendBinaryStringInfo(&description, (char *) &number, sizeof(number));
	appendBinaryStringInfo(&description, (char *) &count, sizeof(count));
	for (int i = 0; i < count; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		appendBinaryStringInfo(&description, (char *) &attribute->atttypid, sizeof(Oid));
		appendBinaryStringInfo(&description, (char *) &attribute->atttypmod, sizeof(int32));
		appendBinaryStringInfo(&description, (char *) &attribute->attcollation, sizeof(Oid));
		appendBinaryStringInfo(&description, (char *) &attribute->attisdropped, sizeof(bool));
		appendBinaryStringInfo(&description, NameStr(attribute->attname), NAMEDATALEN);
	}
	pgb_send_frame(PGB_FRAME_RECORD, description.data, description.len);
	pfree(description.data);
}

/* Calls visit for the elements of an array of records. */
static void
announce_array(Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, RECORDOID, -1, false, TYPALIGN_DOUBLE, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			pgb_announce_records(RECORDOID, elements[i]);
	}
}

/* Worker: sends the row types that value needs and the reader does not know yet. */
void
pgb_announce_records(Oid type, Datum value)
{
	HeapTupleHeader header;
	TupleDesc	desc;
	HeapTupleData tuple;
	Datum	   *values;
	bool	   *nulls;
	bool		found;

	if (type == RECORDARRAYOID)
	{
		announce_array(value);
		return;
	}
	header = DatumGetHeapTupleHeader(value);
	if (HeapTupleHeaderGetTypeId(header) != RECORDOID)
		return;
	desc = lookup_rowtype_tupdesc(RECORDOID, HeapTupleHeaderGetTypMod(header));
	(void) know(HeapTupleHeaderGetTypMod(header), HASH_ENTER, &found);
	if (!found)
		announce(HeapTupleHeaderGetTypMod(header), desc);

	values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	nulls = palloc(sizeof(bool) * Max(desc->natts, 1));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!nulls[i] && pgb_may_hold_record(TupleDescAttr(desc, i)->atttypid))
			pgb_announce_records(TupleDescAttr(desc, i)->atttypid, values[i]);
	}
	ReleaseTupleDesc(desc);
}

static const char *
take(const char *from, void *into, size_t len)
{
	memcpy(into, from, len);
	return from + len;
}

/* Reader: registers a row type that the worker described. */
void
pgb_remember_record(const char *description, int32 len)
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
		Oid			collation;
		int32		typmod;
		bool		dropped;
		NameData	name;

		description = take(description, &type, sizeof(type));
		description = take(description, &typmod, sizeof(typmod));
		description = take(description, &collation, sizeof(collation));
		description = take(description, &dropped, sizeof(dropped));
		description = take(description, NameStr(name), NAMEDATALEN);
		TupleDescInitEntry(desc, i + 1, NameStr(name), dropped ? INT4OID : type, typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, collation);
		TupleDescAttr(desc, i)->attisdropped = dropped;
#if PG_VERSION_NUM >= 180000
		/* The server reads its short form of the attribute, made before this change. */
		populate_compact_attribute(desc, i);
#endif
	}
	BlessTupleDesc(desc);
	know(number, HASH_ENTER, &found)->local = desc->tdtypmod;
}

static Datum
localize_array(Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, RECORDOID, -1, false, TYPALIGN_DOUBLE, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			elements[i] = pgb_localize_record(RECORDOID, elements[i]);
	}
	return PointerGetDatum(construct_md_array(elements, nulls, ARR_NDIM(array), ARR_DIMS(array),
											  ARR_LBOUND(array), RECORDOID, -1, false,
											  TYPALIGN_DOUBLE));
}

/* Reader: the value with the worker's numbers replaced by ours, in the current memory context. */
Datum
pgb_localize_record(Oid type, Datum value)
{
	HeapTupleHeader header;
	HeapTupleData tuple;
	KnownRecord *record;
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;
	Datum		result;
	int32		number;
	bool		found;

	if (type == RECORDARRAYOID)
		return localize_array(value);
	header = DatumGetHeapTupleHeader(value);
	if (HeapTupleHeaderGetTypeId(header) != RECORDOID)
		return value;
	number = HeapTupleHeaderGetTypMod(header);
	record = know(number, HASH_FIND, &found);
	if (record == NULL)
		elog(ERROR, "row type %d of a background job was not described", number);
	desc = lookup_rowtype_tupdesc(RECORDOID, record->local);
	values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	nulls = palloc(sizeof(bool) * Max(desc->natts, 1));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		if (!nulls[i] && pgb_may_hold_record(TupleDescAttr(desc, i)->atttypid))
			values[i] = pgb_localize_record(TupleDescAttr(desc, i)->atttypid, values[i]);
	}
	result = heap_copy_tuple_as_datum(heap_form_tuple(desc, values, nulls), desc);
	ReleaseTupleDesc(desc);
	return result;
}
