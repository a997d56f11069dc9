/*
 * Ends a session that has no memory, or the server when shared state is corrupted.
 *
 * In C because ereport is a macro. No guard is around it: an error of level FATAL or PANIC neither returns nor jumps.
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

/* Writing the message may throw, in a hook of another extension. The server has to end all the same. */
void
pgb_panic(const char *why, Size len)
{
	PG_TRY();
	{
		ereport(PANIC,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("lists of background jobs are corrupted"),
				 errdetail("Failed under the lock of pg_background: %.*s", (int) Min(len, 1000), why),
				 errhint("This is a defect of pg_background: please report it with the server log.")));
	}
	PG_CATCH();
	{
		abort();
	}
	PG_END_TRY();
	pg_unreachable();
}
