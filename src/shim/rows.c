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
	bool	   *may_hold_record;	/* per column that is sent */
	PgbLasting *lasting;		/* NULL: no type can be gone when it is read */
	const void **plans;			/* per column: how its values are made to last; NULL: they are sent as they are */
	int		   *behind;			/* per column: where else its values are sent as they are; 0: nowhere */
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

/* Plans for the columns whose types can be gone when they are read, and what is sent instead. */
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
			receiver->behind = palloc0(sizeof(int) * desc->natts);
		}
		if (lasts[i] == PGB_LASTS)
			continue;
		receiver->plans[i] = pgb_plan_to_last(receiver->lasting, type, &types[i], &typmods[i]);
		/* A row that has no room for more is sent in the lasting form alone. */
		if (lasts[i] == PGB_UNCOMMITTED && count < MaxTupleAttributeNumber)
			receiver->behind[i] = count++;
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
			if (receiver->behind[i] > 0)
				TupleDescInitEntry(receiver->sent, receiver->behind[i] + 1, NULL, attribute->atttypid,
								   attribute->atttypmod, 0);
		}
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
		bool		both = receiver->lasting != NULL && receiver->behind[i] > 0;

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

/* A value that is stored out of line, fetched. (It stays compressed if it was.) */
static Datum
fetch(Datum value)
{
	if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value)) || VARATT_IS_EXTERNAL_INDIRECT(DatumGetPointer(value)))
		return PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(value)));
	return value;
}

/*
 * The row with every value that is stored out of line fetched: the snapshot that protects it is gone when
 * the reader looks. And made to last. NULL: it is right as it is. Describes anonymous row types on the way.
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
		if (plan != NULL && receiver->behind[i] > 0)
			nulls[receiver->behind[i]] = nulls[i];
		if (nulls[i])
			continue;
		if (TupleDescAttr(desc, i)->attlen == -1)
			values[i] = fetch(value);
		if (plan != NULL && receiver->behind[i] > 0)
			values[receiver->behind[i]] = values[i];
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
