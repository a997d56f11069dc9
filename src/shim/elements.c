/*
 * The elements of an array as the parameters of jobs, one element for each job (pg_background_fanout_params).
 *
 * An element of a row type, or of a domain over one, is bound as its attributes: $1 is the first that is not dropped. Any
 * other element is $1. An anonymous record has the attributes of its own row type, so the elements of one array may have
 * different ones.
 *
 * The array is copied once, and its elements are taken one after the other, in storage order. What is made for an element
 * is freed when it is passed: the number of elements costs no memory beyond the array's.
 *
 * The array can be older than the last element's job by hours, because a cursor fetches the rows of the fan-out when it
 * likes. Meanwhile anybody may alter or drop the types of the elements, and the values have the old form. So the shapes of
 * the row types (shape.c) are noted when the array is copied, and compared before an element is looked into. The worker
 * compares them again. Records hide named row types inside, of which the shape would be noted too late; so they become
 * anonymous at the beginning (lasting.c), and the types of their attributes are noted then.
 *
 * No code of a type is called: values are copied as they are.
 *
 * In C because it walks arrays and rows with macros, and throws.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/params.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "shim.h"

struct PgbElements
{
	int32		count;
	ArrayIterator iterator;
	Oid			type;			/* of the elements; of a domain over a row type, the row type */
	TupleDesc	row;			/* of elements of a named row type; NULL: they have none, or each its own */
	PgbWatch   *watch;			/* the row types in the elements */
	MemoryContext scratch;		/* emptied for each element */
	bool		is_taken;		/* value and is_null are the next element's */
	Datum		value;
	bool		is_null;
};

/* Raises 22004 for an array of records with an element that is null. */
static void
check_no_nulls(ArrayType *array)
{
	ArrayIterator iterator;
	Datum		value;
	bool		is_null;
	int			number = 1;

	if (!array_contains_nulls(array))
		return;
	iterator = array_create_iterator(array, 0, NULL);
	while (array_iterate(iterator, &value, &is_null) && !is_null)
		number++;
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("an element of an array of records must not be null"),
			 errdetail("Element %d is null. So nothing says how many parameters it has, and of which types.", number),
			 errhint("Cast the elements to a named row type: the attributes of a null element are null then.")));
}

/* Makes the records in the array last, and notes the types in them. Returns the array, or what it was replaced by. */
static ArrayType *
prepare_records(PgbRecords *records, ArrayType *array)
{
	StringInfoData descriptions;
	Datum		lasting;

	check_no_nulls(array);
	lasting = pgb_make_record_last(pgb_lasting(), RECORDARRAYOID, PointerGetDatum(array));
	if (DatumGetPointer(lasting) != (Pointer) array)
		pfree(array);
	initStringInfo(&descriptions);
	pgb_announce_records(records, RECORDARRAYOID, lasting, &descriptions);
	pfree(descriptions.data);
	return DatumGetArrayTypeP(lasting);
}

/* The elements of the array. Memory comes from the context, which must live as long. */
PgbElements *
pgb_elements(MemoryContext context, Datum datum)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	PgbElements *elements = palloc0(sizeof(PgbElements));
	PgbRecords *records = pgb_records(context);
	ArrayType  *array = DatumGetArrayTypePCopy(datum);
	Oid			type = ARR_ELEMTYPE(array);

	elements->count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	elements->scratch = AllocSetContextCreate(context, "pg_background element", ALLOCSET_DEFAULT_SIZES);
	elements->watch = pgb_watch_of(records);
	if (!pgb_type_exists(type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the type of the array's elements does not exist"),
				 errdetail("The type with OID %u was dropped after the array was made.", type)));
	elements->type = type;
	if (type == RECORDOID)
		array = prepare_records(records, array);
	else
	{
		PgbShape	shape = pgb_shape(type);

		pgb_watch_type(elements->watch, type, &shape);
		if (type_is_rowtype(type))
		{
			elements->type = getBaseType(type);
			elements->row = lookup_rowtype_tupdesc_copy(elements->type, -1);
		}
	}
	elements->iterator = array_create_iterator(array, 0, NULL);
	MemoryContextSwitchTo(caller);
	return elements;
}

int32
pgb_count_elements(const PgbElements *elements)
{
	return elements->count;
}

/* The attributes of an element with these columns. A header that is NULL is an element that is null. */
static ParamListInfo
from_row(TupleDesc desc, HeapTupleHeader header)
{
	ParamListInfo params;
	Datum	   *values = NULL;
	bool	   *nulls = NULL;
	Size		size = 0;
	int			count = 0;

	for (int i = 0; i < desc->natts; i++)
		count += !TupleDescAttr(desc, i)->attisdropped;
	params = pgb_param_list(count);
	if (header != NULL)
		pgb_deform(header, desc, &values, &nulls);
	count = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		bool		is_null = header == NULL || nulls[i];

		if (!attribute->attisdropped)
			pgb_set_param(&params->params[count++], attribute->atttypid, is_null ? (Datum) 0 : values[i], is_null, &size);
	}
	return params;
}

static ParamListInfo
from_record(HeapTupleHeader header)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	ParamListInfo params = from_row(desc, header);

	ReleaseTupleDesc(desc);
	return params;
}

static ParamListInfo
from_element(const PgbElements *elements)
{
	ParamListInfo params;
	Size		size = 0;

	if (elements->row != NULL)
		return from_row(elements->row, elements->is_null ? NULL : DatumGetHeapTupleHeader(elements->value));
	if (elements->type == RECORDOID)
		return from_record(DatumGetHeapTupleHeader(elements->value));
	params = pgb_param_list(1);
	pgb_set_param(&params->params[0], elements->type, elements->value, elements->is_null, &size);
	return params;
}

static bool
has_types(ParamListInfo params)
{
	for (int i = 0; i < params->numParams; i++)
	{
		if (!pgb_type_exists(params->params[i].ptype))
			return false;
	}
	return true;
}

/*
 * Serializes the parameters of the next element. The bytes are valid until the element is bound again, or passed; until
 * then it stays the next one. Returns PGB_BOUND, or why it cannot be bound.
 */
uint32
pgb_bind_element(PgbElements *elements, const char **bytes, int32 *len)
{
	MemoryContext caller;
	ParamListInfo params;
	uint32		result = PGB_BOUND;

	MemoryContextReset(elements->scratch);
	if (!elements->is_taken)
	{
		if (!array_iterate(elements->iterator, &elements->value, &elements->is_null))
			elog(ERROR, "an array of a fan-out has no more elements");
		elements->is_taken = true;
	}
	if (!pgb_is_watch_unchanged(elements->watch))
		return PGB_TYPE_ALTERED;
	caller = MemoryContextSwitchTo(elements->scratch);
	params = from_element(elements);
	if (has_types(params))
		*bytes = pgb_serialize_params(params, len);
	else
		result = PGB_TYPE_DROPPED;
	MemoryContextSwitchTo(caller);
	return result;
}

/* Goes on to the element after the one that was bound, or could not be. */
void
pgb_pass_element(PgbElements *elements)
{
	elements->is_taken = false;
	MemoryContextReset(elements->scratch);
}
