/*
 * Rows as JSON.
 *
 * In C because to_jsonb reads the type of its argument from the calling expression, and because arrays of JSON values
 * are built with a struct that the server's headers only declare.
 *
 * jsonb sorts the keys of an object and has each once; json has them as the columns are.
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
#include "utils/json.h"
#include "utils/jsonb.h"

#include "shim.h"

struct PgbJson
{
	TupleDesc	desc;
	FmgrInfo	of_row;
};

/* For rows with these columns, as jsonb or as json. Allocated in the current memory context. */
PgbJson *
pgb_json(TupleDesc desc, bool is_binary)
{
	PgbJson    *json = palloc0(sizeof(PgbJson));
	Oid			function = is_binary ? F_TO_JSONB : F_ROW_TO_JSON_RECORD;
	Node	   *row = (Node *) makeNullConst(RECORDOID, -1, InvalidOid);

	json->desc = BlessTupleDesc(desc);
	fmgr_info(function, &json->of_row);
	fmgr_info_set_expr((Node *) makeFuncExpr(function, is_binary ? JSONBOID : JSONOID, list_make1(row), InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL),
					   &json->of_row);
	return json;
}

/* A row as an object with a key per column, made by to_jsonb or row_to_json. */
Datum
pgb_json_row(PgbJson *json, Datum *values, bool *nulls)
{
	HeapTuple	tuple = heap_form_tuple(json->desc, values, nulls);

	return FunctionCall1(&json->of_row, HeapTupleGetDatum(tuple));
}

/* What builds a value, part by part; zeros at first. */
#if PG_VERSION_NUM >= 190000
typedef JsonbInState Builder;
#else
typedef struct Builder
{
	JsonbParseState *state;
	JsonbValue *result;			/* when it is complete */
} Builder;
#endif

static void
push(Builder *builder, JsonbIteratorToken token, JsonbValue *part)
{
#if PG_VERSION_NUM >= 190000
	pushJsonbValue(builder, token, part);
#else
	builder->result = pushJsonbValue(&builder->state, token, part);
#endif
}

static void
push_string(Builder *builder, JsonbIteratorToken token, const char *bytes, int len)
{
	JsonbValue	string;

	string.type = jbvString;
	string.val.string.val = (char *) bytes;
	string.val.string.len = len;
	push(builder, token, &string);
}

/* The command tag of a statement, as an object. */
Datum
pgb_json_tag(const char *tag, int32 len, bool is_binary)
{
	Builder		builder = {0};

	if (!is_binary)
	{
		StringInfoData text;

		initStringInfo(&text);
		appendStringInfoString(&text, "{\"command_tag\":");
		escape_json(&text, pnstrdup(tag, len));
		appendStringInfoChar(&text, '}');
		return PointerGetDatum(cstring_to_text_with_len(text.data, text.len));
	}
	push(&builder, WJB_BEGIN_OBJECT, NULL);
	push_string(&builder, WJB_KEY, "command_tag", strlen("command_tag"));
	push_string(&builder, WJB_VALUE, tag, len);
	push(&builder, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(builder.result));
}

static Builder *
begin_array(void)
{
	Builder    *builder = palloc0(sizeof(Builder));

	push(builder, WJB_BEGIN_ARRAY, NULL);
	return builder;
}

/* Appends a copy to an array that is being built in the current memory context; NULL begins one. */
void *
pgb_json_array_push(void *array, Datum element)
{
	Builder    *builder = array == NULL ? begin_array() : array;
	JsonbValue	value;

	JsonbToJsonbValue(DatumGetJsonbPCopy(element), &value);
	push(builder, WJB_ELEM, &value);
	return builder;
}

/* The whole array. */
Datum
pgb_json_array_end(void *array)
{
	Builder    *builder = array == NULL ? begin_array() : array;

	push(builder, WJB_END_ARRAY, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(builder->result));
}
