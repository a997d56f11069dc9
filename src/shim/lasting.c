/*
 * Converts values of types that may no longer exist when they are read.
 *
 * The row type of a worker's temporary table is dropped when the job has ended, and a type that the job itself has
 * created can be dropped in its transaction. Their values are converted before they are sent: rows become anonymous
 * records with the same column names, domains become their base types, and all others (enums, ranges, base types) become
 * text, also in arrays and records. As text and as JSON the values stay the same.
 *
 * A value of a named row type in a column of type record always becomes an anonymous record, because the shape of that
 * type (shape.c) is not compared when the value is read.
 *
 * In C because it walks values with macros (as record.c does).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "shim.h"

typedef enum Way
{
	KEEP,
	TO_TEXT,
	TO_RECORD,
	TO_ARRAY,					/* of other elements */
	LOOK_INSIDE					/* a record, or an array of records */
} Way;

/* How the values of a type are converted. */
typedef struct TypePlan
{
	Oid			from;			/* key of the table */
	Way			way;
	Oid			type;			/* of the converted values */
	int32		typmod;
	FmgrInfo	output;			/* TO_TEXT */
	struct RowPlan *row;		/* TO_RECORD */
	struct TypePlan *element;	/* TO_ARRAY */
} TypePlan;

/* How the columns of a row type are converted. */
typedef struct RowPlan
{
	int32		number;			/* of an anonymous row type: key of the table */
	Oid			named;			/* or the OID of a named one, */
	uint64		identifier;		/* and the type cache's number for its columns */
	TupleDesc	desc;
	TupleDesc	into;			/* NULL: unchanged, unless it holds records that change */
	bool		holds_records;
	TypePlan  **columns;		/* NULL: dropped */
} RowPlan;

struct PgbLasting
{
	MemoryContext context;
	HTAB	   *types;			/* TypePlan */
	HTAB	   *records;		/* RowPlan */
};

/* No plans yet. Allocated in the current memory context. */
PgbLasting *
pgb_lasting(void)
{
	PgbLasting *lasting = palloc0(sizeof(PgbLasting));
	HASHCTL		types = {.keysize = sizeof(Oid), .entrysize = sizeof(TypePlan)};
	HASHCTL		records = {.keysize = sizeof(int32), .entrysize = sizeof(RowPlan)};

	lasting->context = CurrentMemoryContext;
	types.hcxt = records.hcxt = CurrentMemoryContext;
	lasting->types = hash_create("pg_background lasting types", 16, &types,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	lasting->records = hash_create("pg_background lasting records", 16, &records,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return lasting;
}

static const TypePlan keep = {.way = KEEP};
static const TypePlan look_inside = {.way = LOOK_INSIDE};

static TypePlan *plan_of(PgbLasting *lasting, Oid type);

/* The plan for a type that may last or not. */
static TypePlan *
plan_if_needed(PgbLasting *lasting, Oid type)
{
	if (pgb_may_hold_record(type))
		return (TypePlan *) &look_inside;
	return pgb_type_lasts(type) == PGB_LASTS ? (TypePlan *) &keep : plan_of(lasting, type);
}

static void
to_text(TypePlan *plan)
{
	Oid			output;
	bool		is_varlena;

	plan->way = TO_TEXT;
	plan->type = TEXTOID;
	getTypeOutputInfo(plan->from, &output, &is_varlena);
	fmgr_info(output, &plan->output);
}

static void
to_array(PgbLasting *lasting, TypePlan *plan, Oid element)
{
	TypePlan   *inside = plan_of(lasting, element);

	if (inside->way == KEEP && inside->type == element)
		return;
	plan->type = inside->type == RECORDOID ? RECORDARRAYOID : get_array_type(inside->type);
	plan->element = inside;
	plan->way = TO_ARRAY;
	/* There is no array type if the elements are themselves arrays, of a domain. */
	if (!OidIsValid(plan->type))
		to_text(plan);
}

static void
to_base(PgbLasting *lasting, TypePlan *plan)
{
	int32		typmod = -1;
	Oid			base = getBaseTypeAndTypmod(plan->from, &typmod);
	TypePlan   *of_base;

	if (pgb_type_lasts(base) == PGB_LASTS)
	{
		plan->type = base;
		plan->typmod = typmod;
		return;
	}
	of_base = plan_of(lasting, base);
	plan->way = of_base->way;
	plan->type = of_base->type;
	plan->typmod = of_base->typmod;
	plan->output = of_base->output;
	plan->row = of_base->row;
	plan->element = of_base->element;
}

/* convert: the row has to be converted even if no column changes. */
static void
plan_columns(PgbLasting *lasting, RowPlan *row, bool convert)
{
	TupleDesc	desc = row->desc;
	int			count = 0;

	row->columns = palloc0(sizeof(TypePlan *) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		CHECK_FOR_INTERRUPTS();
		if (attribute->attisdropped)
			continue;
		count++;
		row->columns[i] = plan_if_needed(lasting, attribute->atttypid);
		row->holds_records |= row->columns[i]->way == LOOK_INSIDE;
		convert |= row->columns[i]->way != KEEP && row->columns[i]->way != LOOK_INSIDE;
		/* A domain that becomes its base type. */
		convert |= row->columns[i]->way == KEEP && row->columns[i] != &keep && row->columns[i]->type != attribute->atttypid;
	}
	if (!convert)
		return;
	row->into = CreateTemplateTupleDesc(count);
	count = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const TypePlan *column = row->columns[i];

		if (column == NULL)
			continue;
		if (column == &keep || column == &look_inside)
			TupleDescInitEntry(row->into, ++count, NameStr(attribute->attname), attribute->atttypid,
							   attribute->atttypmod, 0);
		else
			TupleDescInitEntry(row->into, ++count, NameStr(attribute->attname), column->type, column->typmod, 0);
	}
	TupleDescFinalize(row->into);
	BlessTupleDesc(row->into);
}

static void
to_record(PgbLasting *lasting, TypePlan *plan)
{
	/* Set before its columns are looked at: the type can contain itself, in an array. */
	plan->way = TO_RECORD;
	plan->type = RECORDOID;
	plan->row = palloc0(sizeof(RowPlan));
	plan->row->named = plan->from;
	plan->row->desc = lookup_rowtype_tupdesc_copy(plan->from, -1);
	plan->row->identifier = lookup_type_cache(plan->from, TYPECACHE_TUPDESC)->tupDesc_identifier;
	plan_columns(lasting, plan->row, true);
}

/* The plan for a type that does not last, or is part of one that does not. */
static TypePlan *
plan_of(PgbLasting *lasting, Oid type)
{
	MemoryContext caller;
	TypePlan   *plan;
	bool		found;
	Oid			element;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	plan = hash_search(lasting->types, &type, HASH_ENTER, &found);
	if (found)
		return plan;
	memset((char *) plan + sizeof(Oid), 0, sizeof(TypePlan) - sizeof(Oid));
	plan->way = KEEP;
	plan->type = type;
	plan->typmod = -1;
	if (type < FirstNormalObjectId)
		return plan;
	caller = MemoryContextSwitchTo(lasting->context);
	switch (get_typtype(type))
	{
		case TYPTYPE_COMPOSITE:
			to_record(lasting, plan);
			break;
		case TYPTYPE_DOMAIN:
			to_base(lasting, plan);
			break;
		case TYPTYPE_BASE:
			element = get_element_type(type);
			if (OidIsValid(element))
			{
				to_array(lasting, plan, element);
				break;
			}
			/* FALLTHROUGH */
		default:
			if (pgb_type_lasts(type) != PGB_LASTS)
				to_text(plan);
			break;
	}
	MemoryContextSwitchTo(caller);
	return plan;
}

/* The plan for values of a type that does not last; *type, *typmod: of the converted values. */
const void *
pgb_plan_to_last(PgbLasting *lasting, Oid from, Oid *type, int32 *typmod)
{
	TypePlan   *plan = plan_of(lasting, from);

	*type = plan->type;
	*typmod = plan->typmod;
	return plan;
}

static Datum convert(PgbLasting *lasting, const TypePlan *plan, Oid type, Datum value);

/* Frees a converted value, which has been copied into a larger one, unless it is the original. */
static void
free_converted(Datum value, Datum original, bool by_value)
{
	if (!by_value && value != original)
		pfree(DatumGetPointer(value));
}

static Datum
form_record(TupleDesc desc, Datum *values, bool *nulls)
{
	HeapTuple	tuple = heap_form_tuple(desc, values, nulls);
	Datum		record = heap_copy_tuple_as_datum(tuple, desc);

	heap_freetuple(tuple);
	return record;
}

/* The row with its columns converted; the original if nothing changes. */
static Datum
convert_row(PgbLasting *lasting, const RowPlan *row, HeapTupleHeader header, Datum original)
{
	TupleDesc	into = row->into;
	int			natts = row->desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * Max(natts, 1) * 3);
	Datum	   *originals = values + natts;
	Datum	   *results = originals + natts;
	bool	   *nulls = palloc(sizeof(bool) * Max(natts, 1) * 2);
	bool	   *result_nulls = nulls + natts;
	HeapTupleData tuple;
	Datum		record = original;
	bool		changed = into != NULL;
	int			count = 0;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, row->desc, originals, nulls);
	for (int i = 0; i < natts; i++)
	{
		values[i] = originals[i];
		if (row->columns[i] == NULL || nulls[i])
			continue;
		values[i] = convert(lasting, row->columns[i], TupleDescAttr(row->desc, i)->atttypid, originals[i]);
		changed |= values[i] != originals[i];
	}
	if (changed)
	{
		for (int i = 0; i < natts; i++)
		{
			if (into != NULL && row->columns[i] == NULL)
				continue;
			results[count] = values[i];
			result_nulls[count++] = nulls[i];
		}
		record = form_record(into != NULL ? into : row->desc, results, result_nulls);
		for (int i = 0; i < natts; i++)
		{
			if (row->columns[i] != NULL && !nulls[i])
				free_converted(values[i], originals[i], TupleDescAttr(row->desc, i)->attbyval && row->columns[i]->way != TO_TEXT);
		}
	}
	pfree(values);
	pfree(nulls);
	return record;
}

/* The array with its elements converted to the type; the value itself if nothing changes. */
static Datum
convert_array(PgbLasting *lasting, const TypePlan *plan, Oid type, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	Oid			from = ARR_ELEMTYPE(array);
	Datum		result = value;
	bool		changed = type != from;
	Datum	   *elements;
	Datum	   *converted;
	bool	   *nulls;
	int			count;
	int16		len;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(from, &len, &by_value, &align);
	deconstruct_array(array, from, len, by_value, align, &elements, &nulls, &count);
	converted = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		converted[i] = nulls[i] ? elements[i] : convert(lasting, plan, from, elements[i]);
		changed |= converted[i] != elements[i];
	}
	if (changed)
	{
		int16		result_len;
		bool		result_by_value;
		char		result_align;

		get_typlenbyvalalign(type, &result_len, &result_by_value, &result_align);
		result = PointerGetDatum(construct_md_array(converted, nulls, ARR_NDIM(array), ARR_DIMS(array),
													ARR_LBOUND(array), type, result_len, result_by_value,
													result_align));
		for (int i = 0; i < count; i++)
		{
			if (!nulls[i])
				free_converted(converted[i], elements[i], result_by_value);
		}
	}
	pfree(converted);
	pfree(elements);
	pfree(nulls);
	if ((Pointer) array != DatumGetPointer(value))
		pfree(array);
	return result;
}

/* The plan for anonymous records of that number. */
static const RowPlan *
plan_of_record(PgbLasting *lasting, int32 number)
{
	bool		found;
	RowPlan    *row = hash_search(lasting->records, &number, HASH_FIND, NULL);
	MemoryContext caller;
	TupleDesc	desc;

	if (row != NULL)
		return row;
	caller = MemoryContextSwitchTo(lasting->context);
	desc = lookup_rowtype_tupdesc_copy(RECORDOID, number);
	row = hash_search(lasting->records, &number, HASH_ENTER, &found);
	memset((char *) row + sizeof(number), 0, sizeof(RowPlan) - sizeof(number));
	row->desc = desc;
	plan_columns(lasting, row, false);
	MemoryContextSwitchTo(caller);
	return row;
}

static bool
has_same_columns(TupleDesc one, TupleDesc other)
{
	if (one->natts != other->natts)
		return false;
	for (int i = 0; i < one->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(one, i);
		Form_pg_attribute b = TupleDescAttr(other, i);

		if (a->atttypid != b->atttypid || a->attlen != b->attlen || a->attalign != b->attalign ||
			a->attisdropped != b->attisdropped)
			return false;
	}
	return true;
}

/*
 * A function in the statement can alter a type between two rows. The type cache gives the columns a new number whenever
 * they may have changed, even if the reason is only that this process was late to process invalidations.
 */
static void
check_shape(RowPlan *row)
{
	uint64		identifier = lookup_type_cache(row->named, TYPECACHE_TUPDESC)->tupDesc_identifier;
	TupleDesc	desc;
	bool		same;

	if (identifier == row->identifier)
		return;
	desc = lookup_rowtype_tupdesc(row->named, -1);
	same = has_same_columns(desc, row->desc);
	ReleaseTupleDesc(desc);
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("row type %s was altered while rows of it were sent", format_type_be(row->named))));
	row->identifier = identifier;
}

static Datum
convert_record(PgbLasting *lasting, Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	Oid			type = HeapTupleHeaderGetTypeId(header);
	Datum		result = value;

	if (type == RECORDOID)
	{
		const RowPlan *row = plan_of_record(lasting, HeapTupleHeaderGetTypMod(header));

		if (row->into != NULL || row->holds_records)
			result = convert_row(lasting, row, header, value);
	}
	else if (type >= FirstNormalObjectId)
		result = convert(lasting, plan_of(lasting, type), type, value);
	if ((Pointer) header != DatumGetPointer(value))
		pfree(header);
	return result;
}

/* The converted value, in the current memory context; the value itself if nothing changes. */
static Datum
convert(PgbLasting *lasting, const TypePlan *plan, Oid type, Datum value)
{
	HeapTupleHeader header;
	Datum		result;
	char	   *text;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	switch (plan->way)
	{
		case KEEP:
			return value;
		case TO_TEXT:
			text = OutputFunctionCall((FmgrInfo *) &plan->output, value);
			result = CStringGetTextDatum(text);
			pfree(text);
			return result;
		case TO_RECORD:
			check_shape(plan->row);
			header = DatumGetHeapTupleHeader(value);
			result = convert_row(lasting, plan->row, header, value);
			if ((Pointer) header != DatumGetPointer(value))
				pfree(header);
			return result;
		case TO_ARRAY:
			return convert_array(lasting, plan->element, plan->element->type, value);
		case LOOK_INSIDE:
			if (type == RECORDARRAYOID)
				return convert_array(lasting, &look_inside, RECORDOID, value);
			return convert_record(lasting, value);
	}
	return value;
}

/* Converts a value of a type that has a plan. */
Datum
pgb_make_last(PgbLasting *lasting, const void *plan, Datum value)
{
	return convert(lasting, plan, ((const TypePlan *) plan)->from, value);
}

/* Converts a value of type record or record[]. */
Datum
pgb_make_record_last(PgbLasting *lasting, Oid type, Datum value)
{
	return convert(lasting, &look_inside, type, value);
}
