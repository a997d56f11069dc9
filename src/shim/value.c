/*
 * The value of a job that was launched for one (pg_background_call): the first row of its last statement, converted to
 * the wanted type before the job commits.
 *
 * The row is converted as an assignment converts it, domains included, while the statement runs: so an error of the
 * conversion is an error of the job, and rolls it back. A composite type takes the whole row, column by column; any other
 * type takes the first column. What is sent is one row with one column of the wanted type. The rows after the first are
 * not looked at, and the statement runs to its end.
 *
 * Code of users that is not said to be parallel-safe must not run while the statement has parallel workers: the server
 * refuses most of what it may do then. So a row that comes meanwhile is kept, and converted when they have ended.
 *
 * In C because it builds expressions and throws.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "shim.h"

typedef struct ValueReceiver
{
	DestReceiver pub;
	DestReceiver *rows;			/* what sends the converted row */
	Oid			type;
	Oid			base;			/* the type, or the type under the domain */
	bool		is_unchanged;		/* the job's row is sent as it is; what follows is not used then */
	TupleTableSlot *slot;		/* for the converted row */
	ExprContext *context;
	ExprState **conversions;	/* one for each column that is taken */
	TupleDesc	row;			/* of the composite type; NULL: the first column is taken */
	TupleTableSlot *kept;		/* the row, if it is not converted yet; NULL: it is, or there is none */
	bool		has_value;
} ValueReceiver;

static void
does_not_fit(Oid type, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("the background job does not return a value of type %s", format_type_be(type)),
			 errdetail_internal("%s", detail),
			 errhint("Cast the columns in the SQL text, or pass another type.")));
}

/* Raises 42704 if this process does not see the wanted type. The statements of the job may have dropped it. */
static void
check_exists(Oid type)
{
	if (!pgb_type_exists(type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the type of the wanted value does not exist for the background job"),
				 errdetail("The type with OID %u was dropped, or created in a transaction that has not committed.", type),
				 errhint("Commit the transaction that creates the type before the call.")));
}

/* An expression that converts its test value. */
static ExprState *
plan_conversion(ValueReceiver *receiver, Form_pg_attribute from, Oid to, int32 typmod)
{
	CaseTestExpr *value = makeNode(CaseTestExpr);
	Node	   *expression;

	value->typeId = from->atttypid;
	value->typeMod = from->atttypmod;
	value->collation = from->attcollation;
	expression = coerce_to_target_type(NULL, (Node *) value, from->atttypid, to, typmod,
									   COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (expression == NULL)
		does_not_fit(receiver->type,
					 psprintf(_("Column \"%s\" of type %s cannot be assigned to type %s."), NameStr(from->attname),
							  format_type_be(from->atttypid), format_type_be(to)));
	assign_expr_collations(NULL, expression);
	return ExecInitExpr(expression_planner((Expr *) expression), NULL);
}

static void
plan_row(ValueReceiver *receiver, TupleDesc desc)
{
	int			column = 0;
	int			live = 0;

	receiver->row = lookup_rowtype_tupdesc_copy(receiver->base, -1);
	for (int i = 0; i < receiver->row->natts; i++)
		live += !TupleDescAttr(receiver->row, i)->attisdropped;
	if (live != desc->natts)
		does_not_fit(receiver->type,
					 psprintf(_("The job returns %d columns, the type has %d."), desc->natts, live));
	receiver->conversions = palloc0(sizeof(ExprState *) * Max(receiver->row->natts, 1));
	for (int i = 0; i < receiver->row->natts; i++)
	{
		Form_pg_attribute to = TupleDescAttr(receiver->row, i);

		if (!to->attisdropped)
			receiver->conversions[i] = plan_conversion(receiver, TupleDescAttr(desc, column++), to->atttypid,
													   to->atttypmod);
	}
}

/* Whether the only column is the composite value itself. */
static bool
is_whole_value(ValueReceiver *receiver, TupleDesc desc)
{
	return desc->natts == 1 && getBaseType(TupleDescAttr(desc, 0)->atttypid) == receiver->base;
}

/* User code needs a snapshot. Rows that the server has kept (RETURNING, EXPLAIN) come without one. */
static bool
push_snapshot(void)
{
	bool		pushed = !ActiveSnapshotSet();

	if (pushed)
		PushActiveSnapshot(GetTransactionSnapshot());
	return pushed;
}

/* Whether the only column is a value of the wanted type already. */
static bool
needs_no_conversion(ValueReceiver *receiver, TupleDesc desc)
{
	return desc->natts == 1 && TupleDescAttr(desc, 0)->atttypid == receiver->type;
}

static void
value_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	ValueReceiver *receiver = (ValueReceiver *) self;
	TupleDesc	sent;
	bool		pushed;

	receiver->is_unchanged = needs_no_conversion(receiver, desc);
	if (receiver->is_unchanged)
	{
		receiver->rows->rStartup(receiver->rows, operation, desc);
		return;
	}
	sent = CreateTemplateTupleDesc(1);
	pushed = push_snapshot();
	receiver->context = CreateStandaloneExprContext();
	if (type_is_rowtype(receiver->base) && !is_whole_value(receiver, desc))
		plan_row(receiver, desc);
	else
	{
		if (desc->natts == 0)
			does_not_fit(receiver->type, _("The job returns no columns."));
		receiver->conversions = palloc(sizeof(ExprState *));
		receiver->conversions[0] = plan_conversion(receiver, TupleDescAttr(desc, 0), receiver->type, -1);
	}
	TupleDescInitEntry(sent, 1, "value", receiver->type, -1, 0);
	TupleDescFinalize(sent);
	receiver->slot = MakeSingleTupleTableSlot(sent, &TTSOpsVirtual);
	receiver->rows->rStartup(receiver->rows, operation, sent);
	if (pushed)
		PopActiveSnapshot();
}

static Datum
convert(ValueReceiver *receiver, int conversion, Datum value, bool *is_null)
{
	receiver->context->caseValue_datum = value;
	receiver->context->caseValue_isNull = *is_null;
	return ExecEvalExprSwitchContext(receiver->conversions[conversion], receiver->context, is_null);
}

static Datum
convert_row(ValueReceiver *receiver, TupleTableSlot *from)
{
	int			count = receiver->row->natts;
	Datum	   *values = palloc(sizeof(Datum) * Max(count, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(count, 1));
	int			column = 0;
	Datum		row;

	for (int i = 0; i < count; i++)
	{
		values[i] = (Datum) 0;
		nulls[i] = true;
		if (TupleDescAttr(receiver->row, i)->attisdropped)
			continue;
		nulls[i] = from->tts_isnull[column];
		values[i] = convert(receiver, i, from->tts_values[column], &nulls[i]);
		column++;
	}
	row = HeapTupleGetDatum(heap_form_tuple(receiver->row, values, nulls));
	if (receiver->base != receiver->type)
		domain_check(row, false, receiver->type, NULL, NULL);
	return row;
}

static void
convert_and_send(ValueReceiver *receiver, TupleTableSlot *from)
{
	TupleTableSlot *into = receiver->slot;
	bool		pushed = push_snapshot();

	slot_getallattrs(from);
	into->tts_isnull[0] = receiver->row == NULL && from->tts_isnull[0];
	if (receiver->row != NULL)
		into->tts_values[0] = convert_row(receiver, from);
	else
		into->tts_values[0] = convert(receiver, 0, from->tts_values[0], &into->tts_isnull[0]);
	ExecStoreVirtualTuple(into);
	receiver->rows->receiveSlot(into, receiver->rows);
	ExecClearTuple(into);
	if (pushed)
		PopActiveSnapshot();
}

static bool
value_receive(TupleTableSlot *from, DestReceiver *self)
{
	ValueReceiver *receiver = (ValueReceiver *) self;

	if (receiver->has_value)
		return true;
	receiver->has_value = true;
	if (receiver->is_unchanged)
		return receiver->rows->receiveSlot(from, receiver->rows);
	if (IsInParallelMode())
	{
		receiver->kept = MakeSingleTupleTableSlot(from->tts_tupleDescriptor, &TTSOpsMinimalTuple);
		ExecCopySlot(receiver->kept, from);
	}
	else
		convert_and_send(receiver, from);
	return true;
}

/* The executor has left parallel mode, and the statement's snapshot still protects values that are out of line. */
static void
value_shutdown(DestReceiver *self)
{
	ValueReceiver *receiver = (ValueReceiver *) self;

	if (receiver->kept != NULL)
	{
		convert_and_send(receiver, receiver->kept);
		ExecDropSingleTupleTableSlot(receiver->kept);
		receiver->kept = NULL;
	}
	receiver->rows->rShutdown(receiver->rows);
}

static void
value_destroy(DestReceiver *self)
{
	ValueReceiver *receiver = (ValueReceiver *) self;

	if (receiver->slot != NULL)
		ExecDropSingleTupleTableSlot(receiver->slot);
	if (receiver->context != NULL)
		FreeExprContext(receiver->context, true);
	receiver->rows->rDestroy(receiver->rows);
	pfree(receiver);
}

DestReceiver *
pgb_value_receiver(Oid type)
{
	ValueReceiver *receiver = palloc0(sizeof(ValueReceiver));

	check_exists(type);
	receiver->pub.receiveSlot = value_receive;
	receiver->pub.rStartup = value_startup;
	receiver->pub.rShutdown = value_shutdown;
	receiver->pub.rDestroy = value_destroy;
	receiver->pub.mydest = DestTupleQueue;
	receiver->rows = pgb_row_receiver();
	receiver->type = type;
	receiver->base = getBaseType(type);
	return (DestReceiver *) receiver;
}

/* Whether the receiver, which is one of this file, has received a row. */
bool
pgb_has_value(const DestReceiver *self)
{
	return ((const ValueReceiver *) self)->has_value;
}

/*
 * Raises 42704 or 42804 if this process does not see the wanted type as the session does, which has created or altered
 * it in its present transaction. Otherwise the session would refuse the value, after the commit.
 */
void
pgb_check_wanted(Oid type, const PgbShape *shape)
{
	check_exists(type);
	if (!pgb_has_shape(type, shape))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the type %s of the wanted value has other columns for the background job",
						format_type_be(type)),
				 errdetail("A row type in it was altered in a transaction that has not committed, or since the call."),
				 errhint("Commit the transaction that alters the type before the call.")));
}

/* Raises the domain's error if there is no row, and the wanted type is a domain that does not take NULL. */
void
pgb_check_no_value(Oid type)
{
	bool		pushed;

	check_exists(type);
	if (getBaseType(type) == type)
		return;
	pushed = push_snapshot();
	domain_check((Datum) 0, true, type, NULL, NULL);
	if (pushed)
		PopActiveSnapshot();
}
