/*
 * The destination receiver: rows of the last statement, as MinimalTuple frames.
 *
 * In C because it is called once per row with PostgreSQL's inline slot functions, and throws.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "utils/memutils.h"

#include "shim.h"

typedef struct RowReceiver
{
	DestReceiver pub;
	MemoryContext per_row;
	bool		has_varlena;
	bool		has_record;
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

		appendBinaryStringInfo(&description, (char *) &attribute->atttypid, sizeof(Oid));
		appendBinaryStringInfo(&description, (char *) &attribute->atttypmod, sizeof(int32));
		receiver->has_varlena |= attribute->attlen == -1;
		receiver->may_hold_record[i] = pgb_may_hold_record(attribute->atttypid);
		receiver->has_record |= receiver->may_hold_record[i];
	}
	pgb_send_frame(PGB_FRAME_DESCRIPTION, description.data, description.len);
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

/*
 * Sends one row. A value that is stored out of line is fetched first: the snapshot that protects it is
 * gone when the reader looks. (It stays compressed if it was.)
 */
static bool
row_receive(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	TupleDesc	desc = slot->tts_tupleDescriptor;
	MemoryContext caller = MemoryContextSwitchTo(receiver->per_row);
	MinimalTuple tuple = NULL;
	bool		owned = true;

	if (receiver->has_varlena)
	{
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
			if (receiver->has_record && receiver->may_hold_record[i])
				pgb_announce_records(TupleDescAttr(desc, i)->atttypid, value);
		}
		if (values != NULL)
			tuple = form_minimal_tuple(desc, values, slot->tts_isnull);
	}
	if (tuple == NULL)
		tuple = ExecFetchSlotMinimalTuple(slot, &owned);

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
	pgb_forget_records();
	return (DestReceiver *) receiver;
}
