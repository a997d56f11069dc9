/*
 * Rows as JSON.
 *
 * In C because to_jsonb reads the type of its argument from the calling expression, and because arrays of JSON values
 * are built with a struct that the server's headers only declare.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"

#include "shim.h"

struct PgbJson
{
	TupleDesc	desc;
	FmgrInfo	to_jsonb;
};

/* For rows with these columns. Allocated in the current memory context. */
PgbJson *
pgb_json(TupleDesc desc)
{
	PgbJson    *json = palloc0(sizeof(PgbJson));
	Node	   *row = (Node *) makeNullConst(RECORDOID, -1, InvalidOid);

	json->desc = BlessTupleDesc(desc);
	fmgr_info(F_TO_JSONB, &json->to_jsonb);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID, list_make1(row), InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL),
					   &json->to_jsonb);
	return json;
}

/* A row as an object with a key per column, made by to_jsonb. */
Datum
pgb_json_row(PgbJson *json, Datum *values, bool *nulls)
{
	HeapTuple	tuple = heap_form_tuple(json->desc, values, nulls);

	return FunctionCall1(&json->to_jsonb, HeapTupleGetDatum(tuple));
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *bytes, int len)
{
	JsonbValue	string;

	string.type = jbvString;
	string.val.string.val = (char *) bytes;
	string.val.string.len = len;
	(void) pushJsonbValue(state, token, &string);
}

/* The command tag of a statement, as an object. */
Datum
pgb_json_tag(const char *tag, int32 len)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, WJB_KEY, "command_tag", strlen("command_tag"));
	push_string(&state, WJB_VALUE, tag, len);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* Appends a copy to an array that is being built in the current memory context; NULL begins one. */
void *
pgb_json_array_push(void *array, Datum element)
{
	JsonbParseState *state = array;
	JsonbValue	value;

	if (state == NULL)
		(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	JsonbToJsonbValue(DatumGetJsonbPCopy(element), &value);
	(void) pushJsonbValue(&state, WJB_ELEM, &value);
	return state;
}

/* The whole array. */
Datum
pgb_json_array_end(void *array)
{
	JsonbParseState *state = array;

	if (state == NULL)
		(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}
