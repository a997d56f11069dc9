/*
 * Rows on both sides: the destination receiver of the worker, which turns the rows of the last statement into frames,
 * and the function that puts rows without conversion into the reader's tuplestore.
 *
 * In C because it is called for each row, uses PostgreSQL's inline slot functions, and throws.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "tcop/dest.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "shim.h"

typedef struct RowReceiver
{
	DestReceiver pub;
	MemoryContext per_row;
	PgbRecords *records;		/* NULL: no column can hold an anonymous record */
	bool		has_varlena;
	bool	   *may_hold_record;	/* per column that is sent */
	PgbLasting *lasting;		/* NULL: all types will exist when they are read */
	const void **plans;			/* per column: the conversion of its values; NULL: they are sent unchanged */
	int		   *unchanged;		/* per column: the column that has its unchanged values; 0: none */
	TupleDesc	sent;			/* with lasting: the columns that are sent */
	Datum	   *values;			/* room for a row of them */
	bool	   *nulls;
} RowReceiver;

static void
describe_type(StringInfo description, Oid type, int32 typmod)
{
	PgbShape	shape = pgb_shape(type);

	appendBinaryStringInfo(description, (char *) &type, sizeof(type));
	appendBinaryStringInfo(description, (char *) &shape, sizeof(shape));
	appendBinaryStringInfo(description, (char *) &typmod, sizeof(typmod));
}

/* Plans the conversion of columns whose types may not exist when they are read. */
static void
plan_to_last(RowReceiver *receiver, TupleDesc desc)
{
	PgbLasts   *lasts = palloc(sizeof(PgbLasts) * Max(desc->natts, 1));
	Oid		   *types = palloc(sizeof(Oid) * Max(desc->natts, 1));
	int32	   *typmods = palloc(sizeof(int32) * Max(desc->natts, 1));
	int			count = desc->natts;

	for (int i = 0; i < desc->natts; i++)
	{
		Oid			type = TupleDescAttr(desc, i)->atttypid;

		lasts[i] = pgb_type_lasts(type);
		if (lasts[i] == PGB_LASTS && !pgb_may_hold_record(type))
			continue;
		if (receiver->lasting == NULL)
		{
			receiver->lasting = pgb_lasting();
			receiver->plans = palloc0(sizeof(void *) * desc->natts);
			receiver->unchanged = palloc0(sizeof(int) * desc->natts);
		}
		if (lasts[i] == PGB_LASTS)
			continue;
		receiver->plans[i] = pgb_plan_to_last(receiver->lasting, type, &types[i], &typmods[i]);
		/* If a row has no room for more columns, only the converted values are sent. */
		if (lasts[i] == PGB_UNCOMMITTED && count < MaxTupleAttributeNumber)
			receiver->unchanged[i] = count++;
	}
	if (receiver->lasting != NULL)
	{
		receiver->sent = CreateTemplateTupleDesc(count);
		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute attribute = TupleDescAttr(desc, i);
			bool		planned = receiver->plans[i] != NULL;

			TupleDescInitEntry(receiver->sent, i + 1, NameStr(attribute->attname),
							   planned ? types[i] : attribute->atttypid,
							   planned ? typmods[i] : attribute->atttypmod, 0);
			if (receiver->unchanged[i] > 0)
				TupleDescInitEntry(receiver->sent, receiver->unchanged[i] + 1, NULL, attribute->atttypid,
								   attribute->atttypmod, 0);
		}
		TupleDescFinalize(receiver->sent);
	}
	pfree(lasts);
	pfree(types);
	pfree(typmods);
}

static void
row_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	RowReceiver *receiver = (RowReceiver *) self;
	StringInfoData description;
	int32		count = desc->natts;
	TupleDesc	sent;

	receiver->per_row = AllocSetContextCreate(CurrentMemoryContext, "pg_background row",
											  ALLOCSET_DEFAULT_SIZES);
	plan_to_last(receiver, desc);
	sent = receiver->sent != NULL ? receiver->sent : desc;
	receiver->may_hold_record = palloc0(sizeof(bool) * Max(sent->natts, 1));
	receiver->values = palloc(sizeof(Datum) * Max(sent->natts, 1));
	receiver->nulls = palloc(sizeof(bool) * Max(sent->natts, 1));
	for (int i = 0; i < sent->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(sent, i);

		receiver->has_varlena |= attribute->attlen == -1;
		receiver->may_hold_record[i] = pgb_may_hold_record(attribute->atttypid);
		if (receiver->may_hold_record[i] && receiver->records == NULL)
			receiver->records = pgb_records(CurrentMemoryContext);
	}
	initStringInfo(&description);
	appendBinaryStringInfo(&description, (char *) &count, sizeof(count));
	for (int i = 0; i < count; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Form_pg_attribute as_sent = TupleDescAttr(sent, i);
		bool		both = receiver->lasting != NULL && receiver->unchanged[i] > 0;

		if (both)
			describe_type(&description, attribute->atttypid, attribute->atttypmod);
		else
			describe_type(&description, as_sent->atttypid, as_sent->atttypmod);
		appendStringInfoChar(&description, both);
		if (both)
			describe_type(&description, as_sent->atttypid, as_sent->atttypmod);
		appendBinaryStringInfo(&description, NameStr(attribute->attname),
							   strlen(NameStr(attribute->attname)) + 1);
	}
	pgb_describe(description.data, description.len);
	pfree(description.data);
}

static MinimalTuple
form_minimal_tuple(TupleDesc desc, Datum *values, bool *isnull)
{
#if PG_VERSION_NUM >= 180000
	return heap_form_minimal_tuple(desc, values, isnull, 0);
#else
	return heap_form_minimal_tuple(desc, values, isnull);
#endif
}

/* Sends a row after the descriptions of its row types that the reader does not know yet. */
static void
send_with_records(MinimalTuple tuple, StringInfo descriptions)
{
	int32		len = descriptions->len;
	Size		start = MAXALIGN(add_size(sizeof(len), len));
	Size		size = add_size(start, tuple->t_len);
	char	   *frame = MemoryContextAllocHuge(CurrentMemoryContext, size);

	memcpy(frame, &len, sizeof(len));
	memcpy(frame + sizeof(len), descriptions->data, len);
	memset(frame + sizeof(len) + len, 0, start - sizeof(len) - len);
	memcpy(frame + start, tuple, tuple->t_len);
	pgb_send_frame(PGB_FRAME_RECORDS_ROW, frame, size);
}

/* Fetches a value that is stored out of line. A compressed one stays compressed. */
static Datum
fetch(Datum value)
{
	if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)) || VARATT_IS_EXTERNAL_INDIRECT(DatumGetPointer(value)))
		return PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(value)));
	return value;
}

/*
 * The row as it is sent: values that are stored out of line are fetched, because the snapshot that protects them no
 * longer exists when the reader looks, and the planned conversions are made. NULL: nothing changes. Also describes the
 * anonymous row types.
 */
static MinimalTuple
make_tuple(RowReceiver *receiver, TupleTableSlot *slot, StringInfo descriptions)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	TupleDesc	sent = receiver->sent != NULL ? receiver->sent : desc;
	Datum	   *values = receiver->values;
	bool	   *nulls = receiver->nulls;
	bool		changed = sent->natts != desc->natts;

	slot_getallattrs(slot);
	for (int i = 0; i < desc->natts; i++)
	{
		Oid			type = TupleDescAttr(sent, i)->atttypid;
		const void *plan = receiver->lasting != NULL ? receiver->plans[i] : NULL;
		Datum		value = slot->tts_values[i];

		values[i] = value;
		nulls[i] = slot->tts_isnull[i];
		if (plan != NULL && receiver->unchanged[i] > 0)
			nulls[receiver->unchanged[i]] = nulls[i];
		if (nulls[i])
			continue;
		if (TupleDescAttr(desc, i)->attlen == -1)
			values[i] = fetch(value);
		if (plan != NULL && receiver->unchanged[i] > 0)
			values[receiver->unchanged[i]] = values[i];
		if (plan != NULL)
			values[i] = pgb_make_last(receiver->lasting, plan, values[i]);
		else if (receiver->may_hold_record[i])
			values[i] = pgb_make_record_last(receiver->lasting, type, values[i]);
		if (receiver->may_hold_record[i])
			pgb_announce_records(receiver->records, type, values[i], descriptions);
		changed |= values[i] != value;
	}
	return changed ? form_minimal_tuple(sent, values, nulls) : NULL;
}

static bool
row_receive(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	MemoryContext caller = MemoryContextSwitchTo(receiver->per_row);
	StringInfoData descriptions = {0};
	MinimalTuple tuple = NULL;
	bool		owned;

	if (receiver->records != NULL)
		initStringInfo(&descriptions);
	if (receiver->has_varlena || receiver->lasting != NULL)
		tuple = make_tuple(receiver, slot, &descriptions);
	if (tuple == NULL)
		tuple = ExecFetchSlotMinimalTuple(slot, &owned);

	if (descriptions.len > 0)
		send_with_records(tuple, &descriptions);
	else
		pgb_send_frame(PGB_FRAME_ROW, (char *) tuple, tuple->t_len);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(receiver->per_row);
	return true;
}

static void
row_shutdown(DestReceiver *self)
{
}

static void
row_destroy(DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;

	if (receiver->per_row)
		MemoryContextDelete(receiver->per_row);
	pfree(receiver);
}

DestReceiver *
pgb_row_receiver(void)
{
	RowReceiver *receiver = palloc0(sizeof(RowReceiver));

	receiver->pub.receiveSlot = row_receive;
	receiver->pub.rStartup = row_startup;
	receiver->pub.rShutdown = row_shutdown;
	receiver->pub.rDestroy = row_destroy;
	receiver->pub.mydest = DestTupleQueue;
	return (DestReceiver *) receiver;
}

/*
 * Puts MinimalTuples into a store, which copies them. The function of the store takes a heap tuple, and uses only the
 * part that a minimal tuple has.
 */
void
pgb_put_tuples(Tuplestorestate *store, const uint8 *const *tuples, int32 count)
{
	for (int i = 0; i < count; i++)
	{
		MinimalTuple minimal = (MinimalTuple) tuples[i];
		HeapTupleData tuple;

		tuple.t_len = minimal->t_len + MINIMAL_TUPLE_OFFSET;
		ItemPointerSetInvalid(&tuple.t_self);
		tuple.t_tableOid = InvalidOid;
		tuple.t_data = (HeapTupleHeader) ((char *) minimal - MINIMAL_TUPLE_OFFSET);
		tuplestore_puttuple(store, &tuple);
	}
}
