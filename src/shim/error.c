/*
 * Errors of the server on their way through Rust, with all their fields.
 *
 * An error that is thrown below Rust frames becomes a panic (pgrx's guard), so that the frames are left in order; at
 * the edge the panic becomes an error again. The panic keeps only some of the fields: no context, no schema, table,
 * column, data type and constraint, and of the SQLSTATEs only those of the server. So a copy of the error is kept
 * aside until the edge raises it again.
 *
 * There is also what ends errors where nothing may be thrown.
 *
 * In C because PG_TRY and PG_CATCH are macros, and because what throws must not pass through pgrx's guard.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/elog.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "shim.h"

static MemoryContext noted_context;
static ErrorData *noted;

static void
note(void)
{
	MemoryContext caller;

	pgb_forget_error();
	if (noted_context == NULL)
		noted_context = AllocSetContextCreate(TopMemoryContext, "pg_background error",
											  ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(noted_context);
	noted = CopyErrorData();
	MemoryContextSwitchTo(caller);
}

/* Calls; an error that it throws is noted, and goes on. */
void
pgb_noting_errors(void (*call) (void *), void *arg)
{
	PG_TRY();
	{
		call(arg);
	}
	PG_CATCH();
	{
		/* Should there be no memory for the copy, that is the error that goes on. */
		note();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Calls where nothing may be thrown. False: an error ended the call and goes no further; its SQLSTATE is in code.
 *
 * What an error sets back is as it was before: memory context, resource owner, holds of interrupts. Its locks are let go
 * of, all that there are: so the caller holds none. Nothing else of what the call had begun is put right. During an exit
 * the server ends the process for any error, and this does not return then (exit.rs).
 */
bool
pgb_survives(void (*call) (void *), void *arg, int *code)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	uint32		interrupts = InterruptHoldoffCount;
	uint32		cancels = QueryCancelHoldoffCount;
	volatile bool survived = false;

	PG_TRY();
	{
		call(arg);
		survived = true;
	}
	PG_CATCH();
	{
		*code = geterrcode();
		LWLockReleaseAll();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		InterruptHoldoffCount = interrupts;
		QueryCancelHoldoffCount = cancels;
	}
	PG_END_TRY();
	CurrentResourceOwner = owner;
	return survived;
}

/* The error that was noted last, until the next one is or it is forgotten; NULL: none. */
const ErrorData *
pgb_noted_error(void)
{
	return noted;
}

void
pgb_forget_error(void)
{
	noted = NULL;
	if (noted_context != NULL)
		MemoryContextReset(noted_context);
}

/* Raises the noted error again, as it was: what is around it has added its lines to the context already. */
void
pgb_raise_noted_error(void)
{
	PG_TRY();
	{
		ReThrowError(noted);
	}
	PG_CATCH();
	{
		pgb_forget_error();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Whether an error with the code of a cancel is that of the running statement, by its text: a RAISE and the error of a
 * canceled job have the code too. What has caught one may pass it on with words before it (PL/Python does).
 */
bool
pgb_cancels_statement(const char *message)
{
	return strstr(message, _("canceling statement due to user request")) != NULL ||
		strstr(message, _("canceling statement due to statement timeout")) != NULL;
}

/* Begins a subtransaction, if there can be one now; memory goes on to come from where it does. */
bool
pgb_begin_attempt(PgbAttempt *attempt)
{
	if (IsInParallelMode())
		return false;
	attempt->context = CurrentMemoryContext;
	attempt->owner = CurrentResourceOwner;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(attempt->context);
	return true;
}

/* Ends it: with what was done in it, or without. */
void
pgb_end_attempt(const PgbAttempt *attempt, bool succeeded)
{
	if (succeeded)
		ReleaseCurrentSubTransaction();
	else
		RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(attempt->context);
	CurrentResourceOwner = attempt->owner;
}
