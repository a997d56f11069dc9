/*
 * Rows on both sides: the destination receiver, which makes frames of the rows of the last statement, and
 * what puts rows that need no conversion into the reader's tuplestore.
 *
 * In C because it is called once per row with PostgreSQL's inline slot functions, and throws.
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
	bool	   *may_hold_record;	/* per column */
} RowReceiver;

static void
row_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	RowReceiver *receiver = (RowReceiver *) self;
	StringInfoData description;
	int32		count = desc->natts;

	receiver->per_row = AllocSetContextCreate(CurrentMemoryContext, "pg_background row",
											  ALLOCSET_DEFAULT_SIZES);
	receiver->may_hold_record = palloc0(sizeof(bool) * Max(count, 1));
	initStringInfo(&description);
	appendBinaryStringInfo(&description, (char *) &count, sizeof(count));
	for (int i = 0; i < count; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		PgbShape	shape = pgb_shape(attribute->atttypid);

		appendBinaryStringInfo(&description, (char *) &attribute->atttypid, sizeof(Oid));
		appendBinaryStringInfo(&description, (char *) &shape, sizeof(shape));
		appendBinaryStringInfo(&description, (char *) &attribute->atttypmod, sizeof(int32));
		appendBinaryStringInfo(&description, NameStr(attribute->attname),
							   strlen(NameStr(attribute->attname)) + 1);
		receiver->has_varlena |= attribute->attlen == -1;
		receiver->may_hold_record[i] = pgb_may_hold_record(attribute->atttypid);
		if (receiver->may_hold_record[i] && receiver->records == NULL)
			receiver->records = pgb_records(CurrentMemoryContext);
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

/* Sends a row behind the descriptions of the row types in it that the reader does not know yet. */
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

/*
 * The row with every value that is stored out of line fetched: the snapshot that protects it is gone when
 * the reader looks. (It stays compressed if it was.) NULL: there is no such value. Describes anonymous
 * row types on the way.
 */
static MinimalTuple
fetch_out_of_line(RowReceiver *receiver, TupleTableSlot *slot, StringInfo descriptions)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	Datum	   *values = NULL;

	slot_getallattrs(slot);
	for (int i = 0; i < desc->natts; i++)
	{
		Datum		value = slot->tts_values[i];

		if (slot->tts_isnull[i] || TupleDescAttr(desc, i)->attlen != -1)
			continue;
		if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)) ||
			VARATT_IS_EXTERNAL_INDIRECT(DatumGetPointer(value)))
		{
			if (values == NULL)
			{
				values = palloc(sizeof(Datum) * desc->natts);
				memcpy(values, slot->tts_values, sizeof(Datum) * desc->natts);
			}
			values[i] = PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(value)));
		}
		if (receiver->may_hold_record[i])
			pgb_announce_records(receiver->records, TupleDescAttr(desc, i)->atttypid, value, descriptions);
	}
	return values ? form_minimal_tuple(desc, values, slot->tts_isnull) : NULL;
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
	if (receiver->has_varlena)
		tuple = fetch_out_of_line(receiver, slot, &descriptions);
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
 * Puts MinimalTuples into a store, which copies them. It wants a heap tuple, and takes nothing of it but
 * what a minimal tuple has.
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
