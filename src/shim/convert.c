/*
 * Calls of user code in the session that reads a result, besides casts to JSON (json.c): output functions, length
 * coercions, checks of domains, type modifiers.
 *
 * In C so that the errors of that code keep all their fields (error.c), with one guard for each value.
 */
#include "postgres.h"

#include "fmgr.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"

#include "shim.h"

/* A value as text, through the output function of its type. */
Datum
pgb_text_of(Oid output, Datum value)
{
	return CStringGetTextDatum(OidOutputFunctionCall(output, value));
}

/* A value with the length of typmod, as an assignment coerces it. */
Datum
pgb_coerce_length(Oid coercion, Datum value, int32 typmod)
{
	return OidFunctionCall3(coercion, value, Int32GetDatum(typmod), BoolGetDatum(false));
}

/* Raises 23514 or 23502 if a row does not satisfy the domain. */
void
pgb_check_domain(Oid domain, Datum row)
{
	domain_check(row, false, domain, NULL, NULL);
}

/* The type of that name, and its modifier. Raises the server's error if there is none. */
void
pgb_parse_type(const char *name, Oid *type, int32 *typmod)
{
#if PG_VERSION_NUM >= 160000
	(void) parseTypeString(name, type, typmod, NULL);
#else
	parseTypeString(name, type, typmod, false);
#endif
}
