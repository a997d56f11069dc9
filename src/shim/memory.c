/*
 * The end of a session for want of memory.
 *
 * In C because an error of level FATAL, which neither returns nor jumps, must not pass through pgrx's guard: that
 * would need memory.
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
