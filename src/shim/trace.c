/*
 * DEBUG lines for the transitions of jobs.
 *
 * In C because the line is written where nothing may be thrown and no interrupt processed: between two steps
 * of a job's end, in an exit callback. An ereport of any level can do both.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/elog.h"

#include "shim.h"

/*
 * Says in the log (and to the client, if it asked for that) what has become of a job. pid: the worker it is
 * about; 0: none. Formats nothing unless somebody reads the level. Never throws; interrupts wait.
 */
void
pgb_trace(bool detail, uint32 index, uint64 generation, const char *what, int32 pid)
{
	int			level = detail ? DEBUG2 : DEBUG1;
	uint32		interrupts = InterruptHoldoffCount;
	uint32		cancels = QueryCancelHoldoffCount;
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback *callbacks = error_context_stack;

	if (!message_level_is_interesting(level))
		return;

	HOLD_INTERRUPTS();
	/* What runs at this moment has nothing to do with it. */
	error_context_stack = NULL;
	PG_TRY();
	{
		if (pid == 0)
			ereport(level,
					(errmsg_internal("pg_background: job %u/" UINT64_FORMAT " %s", index, generation, what),
					 errhidestmt(true)));
		else
			ereport(level,
					(errmsg_internal("pg_background: job %u/" UINT64_FORMAT " %s PID %d", index, generation, what, pid),
					 errhidestmt(true)));
	}
	PG_CATCH();
	{
		/* No memory for the line: it is missing. */
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	error_context_stack = callbacks;
	/* An error would have set them to 0. */
	InterruptHoldoffCount = interrupts;
	QueryCancelHoldoffCount = cancels;
}
