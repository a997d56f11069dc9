/*
 * Ends: of a session for want of memory, of the server for want of sense in what is shared.
 *
 * In C because an error of level FATAL or PANIC, which neither returns nor jumps, must not pass through pgrx's guard:
 * that would need memory.
 */
#include "postgres.h"

#include "shim.h"

void
pgb_end_session_without_memory(Size size)
{
	ereport(FATAL,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("pg_background failed on a request of size %zu.", size)));
	pg_unreachable();
}

/* A line of the log on the way may throw, a hook of somebody else's: that does not save the server. */
void
pgb_panic(const char *why, Size len)
{
	PG_TRY();
	{
		ereport(PANIC,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("the lists of background jobs are broken"),
				 errdetail("Failed under the lock of pg_background: %.*s", (int) Min(len, 1000), why),
				 errhint("This is a defect of pg_background: report it with the server log.")));
	}
	PG_CATCH();
	{
		abort();
	}
	PG_END_TRY();
	pg_unreachable();
}
