/*
 * Parameters of a job: values with their types, sent from the leader's call to the worker's statements.
 *
 * They are serialized as PostgreSQL does it for parallel workers, with two differences. A value that is stored out of
 * line is fetched first, because the worker has another snapshot. And a description of the types comes first: the number
 * of parameters, type and shape of each, length and descriptions of the anonymous row types (record.c).
 *
 * They are the arguments of a call, or come from an element of an array (elements.c).
 *
 * In C because it walks the arguments of the call and their values with macros, and throws.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/params.h"
#include "storage/shmem.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "shim.h"

/* The limit of the wire protocol. */
#define MAX_PARAMS 65535
/* Size of all values together. */
#define MAX_PARAMS_SIZE MaxAllocSize

static void
too_large(Size size)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("the parameters of a background job are too large"),
			 errdetail("The parameters have %zu bytes; the limit is %zu.", size, MAX_PARAMS_SIZE),
			 errhint("Pass large values in a table.")));
}

/* size: of the copies made so far. It is checked for each parameter, so that it cannot get much larger. */
void
pgb_set_param(ParamExternData *param, Oid type, Datum value, bool isnull, Size *size)
{
	if (type == UNKNOWNOID)
	{
		type = TEXTOID;
		if (!isnull)
		{
			value = CStringGetTextDatum(DatumGetCString(value));
			*size = add_size(*size, VARSIZE(DatumGetPointer(value)));
		}
	}
	else if (!isnull && get_typlen(type) == -1)
	{
		struct varlena *stored = (struct varlena *) DatumGetPointer(value);

		if (VARATT_IS_EXTERNAL_ONDISK(stored) || VARATT_IS_EXTERNAL_INDIRECT(stored))
		{
			value = PointerGetDatum(detoast_external_attr(stored));
			*size = add_size(*size, VARSIZE_ANY(DatumGetPointer(value)));
		}
	}
	if (*size > MAX_PARAMS_SIZE)
		too_large(*size);
	param->ptype = type;
	param->value = value;
	param->isnull = isnull;
	param->pflags = PARAM_FLAG_CONST;
}

/* A list with room for so many parameters. */
ParamListInfo
pgb_param_list(int64 count)
{
	if (count > MAX_PARAMS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_ARGUMENTS),
				 errmsg("a background job can have at most %d parameters", MAX_PARAMS),
				 errdetail("The call has " INT64_FORMAT " parameters.", count),
				 errhint("Pass an array as one parameter.")));
	return makeParamList(count);
}

/* The elements of the array in a call with VARIADIC. A null array has no elements. */
static ParamListInfo
from_array(FunctionCallInfo fcinfo, int first)
{
	ParamListInfo params;
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	Size		size = 0;
	int16		len;
	bool		by_value;
	char		align;

	if (PG_ARGISNULL(first))
		return pgb_param_list(0);
	array = PG_GETARG_ARRAYTYPE_P(first);
	params = pgb_param_list(ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)));
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &len, &by_value, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), len, by_value, align, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		pgb_set_param(&params->params[i], ARR_ELEMTYPE(array), elements[i], nulls[i], &size);
	return params;
}

static ParamListInfo
from_arguments(FunctionCallInfo fcinfo, int first)
{
	ParamListInfo params = pgb_param_list(PG_NARGS() - first);
	Size		size = 0;

	for (int i = first; i < PG_NARGS(); i++)
	{
		Oid			type = get_fn_expr_argtype(fcinfo->flinfo, i);

		if (!OidIsValid(type))
			ereport(ERROR,
					(errcode(ERRCODE_INDETERMINATE_DATATYPE),
					 errmsg("could not determine the data type of parameter $%d", i - first + 1)));
		pgb_set_param(&params->params[i - first], type, PG_GETARG_DATUM(i), PG_ARGISNULL(i), &size);
	}
	return params;
}

static char *
put(char *into, const void *from, Size size)
{
	memcpy(into, from, size);
	return into + size;
}

/* Type and shape of a parameter. */
typedef struct ParamType
{
	Oid			type;
	PgbShape	shape;
} ParamType;

/* The parameters as bytes, in the current memory context. */
const char *
pgb_serialize_params(ParamListInfo params, int32 *len)
{
	PgbRecords *records = pgb_records(CurrentMemoryContext);
	PgbLasting *lasting = NULL;
	StringInfoData descriptions;
	Size		size;
	int32		described;
	char	   *bytes;
	char	   *at;

	initStringInfo(&descriptions);
	for (int i = 0; i < params->numParams; i++)
	{
		ParamExternData *param = &params->params[i];

		if (param->isnull || !pgb_may_hold_record(param->ptype))
			continue;
		if (lasting == NULL)
			lasting = pgb_lasting();
		param->value = pgb_make_record_last(lasting, param->ptype, param->value);
		pgb_announce_records(records, param->ptype, param->value, &descriptions);
	}
	described = descriptions.len;
	size = add_size(EstimateParamListSpace(params), sizeof(int32) + sizeof(described));
	size = add_size(size, described);
	size = add_size(size, mul_size(params->numParams, sizeof(ParamType)));
	if (size > MAX_PARAMS_SIZE)
		too_large(size);
	bytes = palloc(size);
	at = put(bytes, &params->numParams, sizeof(int32));
	for (int i = 0; i < params->numParams; i++)
	{
		ParamType	type = {.type = params->params[i].ptype, .shape = pgb_shape(params->params[i].ptype)};

		at = put(at, &type, sizeof(type));
	}
	at = put(at, &described, sizeof(described));
	at = put(at, descriptions.data, described);
	SerializeParamList(params, &at);
	*len = at - bytes;
	return bytes;
}

/* The arguments of a call from first on, as bytes in the current memory context. */
const char *
pgb_params(FunctionCallInfo fcinfo, int32 first, int32 *len)
{
	ParamListInfo params = get_fn_expr_variadic(fcinfo->flinfo) ?
		from_array(fcinfo, first) : from_arguments(fcinfo, first);

	return pgb_serialize_params(params, len);
}

/* Reads the types of the parameters, and checks them before the values are restored. */
static const char *
restore_types(const char *bytes, Oid **types)
{
	int32		count;

	memcpy(&count, bytes, sizeof(count));
	bytes += sizeof(count);
	*types = palloc(sizeof(Oid) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		ParamType	type;

		memcpy(&type, bytes, sizeof(type));
		bytes += sizeof(type);
		(*types)[i] = type.type;
		if (!pgb_type_exists(type.type))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("the type of parameter $%d does not exist", i + 1),
					 errdetail("The job is a transaction of its own: it does not see a type that the launching transaction created but has not committed. Or the type was dropped after the launch."),
					 errhint("Commit before the launch, or pass the value as text.")));
		if (!pgb_has_shape(type.type, &type.shape))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("the type of parameter $%d is not what it was in the session that launched the job", i + 1),
					 errdetail("It was altered after the launch, or by the launching transaction, which has not committed."),
					 errhint("Commit before the launch, or launch the job again.")));
	}
	return bytes;
}

/* Restores the parameters in the current memory context; types: one for each. */
ParamListInfo
pgb_restore_params(const char *bytes, Oid **types)
{
	PgbRecords *records = pgb_records(CurrentMemoryContext);
	ParamListInfo params;
	int32		described;
	char	   *at;

	bytes = restore_types(bytes, types);
	memcpy(&described, bytes, sizeof(described));
	pgb_remember_records(records, bytes + sizeof(described), described);
	at = (char *) bytes + sizeof(described) + described;
	params = RestoreParamList(&at);
	for (int i = 0; i < params->numParams; i++)
	{
		ParamExternData *param = &params->params[i];

		if (!param->isnull && pgb_may_hold_record(param->ptype))
			param->value = pgb_localize_record(records, param->ptype, param->value);
	}
	return params;
}
