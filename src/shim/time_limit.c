/*
 * The time limit of a job, and the limit of each of its statements.
 *
 * In C because it is used where pgrx's guard is not in place: while a job runs (execute.c), and while an error is being
 * thrown (signal.c).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "shim.h"

/* When the job's time is over; 0: it has no limit. */
static TimestampTz job_deadline;

/* The value of statement_timeout when the job began. */
static int	first_statement_timeout;

/* The job begins, with a limit of so many milliseconds; -1: none. */
void
pgb_begin_time_limit(int32 limit)
{
	first_statement_timeout = StatementTimeout;
	if (limit > 0)
		job_deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), limit);
}

/* The job has ended, or is about to begin. */
void
pgb_forget_time_limit(void)
{
	job_deadline = 0;
}

/* Milliseconds that the job still has, at least 1. */
static int
remaining_time(void)
{
	return Max(1, (int) TimestampDifferenceMilliseconds(GetCurrentTimestamp(), job_deadline));
}

/* Whether the job has a limit and has reached it. */
bool
pgb_time_is_over(void)
{
	return job_deadline != 0 && GetCurrentTimestamp() >= job_deadline;
}

/*
 * The limit of one statement of the text; 0: none. As in a session (enable_statement_timeout in tcop/postgres.c), a
 * shorter limit of the whole transaction takes its place. In a job with a limit of its own, statement_timeout applies
 * only after the text of the job has set it.
 */
static int
statement_limit(void)
{
	if (job_deadline != 0 && StatementTimeout == first_statement_timeout)
		return 0;
#if PG_VERSION_NUM >= 170000
	if (TransactionTimeout > 0 && TransactionTimeout <= StatementTimeout)
		return 0;
#endif
	return StatementTimeout;
}

/* The server has one timer: sets it to the limit or to the end of the job's time, whichever comes first. */
static void
arm_timer(int limit)
{
	if (job_deadline != 0)
	{
		int			remaining = remaining_time();

		limit = limit > 0 ? Min(limit, remaining) : remaining;
	}
	if (limit > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, limit);
}

/* Before a statement. */
void
pgb_arm_statement_timer(void)
{
	arm_timer(statement_limit());
}

/* Before the commit, which only the job's own limit applies to. */
void
pgb_arm_commit_timer(void)
{
	arm_timer(0);
}

/*
 * After a statement, as the server does between the statements of a text: each statement has the whole of its limit,
 * and a statement that sets the limit sets it for the next one. A timer that has fired is processed now, because
 * arming it again would forget that it has.
 */
void
pgb_stop_timer(void)
{
	if (get_timeout_active(STATEMENT_TIMEOUT))
		disable_timeout(STATEMENT_TIMEOUT, false);
	CHECK_FOR_INTERRUPTS();
}

/* The error of a timer that has fired was caught. The job's own limit still holds. */
void
pgb_rearm_time_limit(void)
{
	if (job_deadline != 0 && !get_timeout_active(STATEMENT_TIMEOUT))
		enable_timeout_after(STATEMENT_TIMEOUT, remaining_time());
}
