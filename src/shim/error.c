/*
 * Carries errors of the server through Rust frames with all their fields.
 *
 * pgrx's guard turns an error that is thrown below Rust frames into a panic, so that the frames are unwound. At the
 * boundary the panic becomes an error again. The panic keeps only some of the fields: no context, no schema, table,
 * column, data type and constraint, and no SQLSTATE but those of the server. The error itself is still on the server's
 * stack of errors, which must not be so while the frames are unwound: what they call may report something, or throw and
 * catch an error, and the stack has few entries. So before the frames are unwound the error is taken from the stack, and
 * noted here until the boundary raises it again.
 *
 * This file also catches errors where nothing may be thrown.
 *
 * In C because PG_TRY and PG_CATCH are macros, and because the errors must not pass through pgrx's guard.
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

/* Instead of an error for whose copy there is no memory. */
static ErrorData no_memory = {
	.elevel = ERROR,
	.output_to_server = true,
	.output_to_client = true,
	.sqlerrcode = ERRCODE_OUT_OF_MEMORY,
	.message = "out of memory"
};

/* Notes the error that was caught last, instead of one that was noted earlier, and takes it from the server's stack. */
void
pgb_note_error(void)
{
	MemoryContext caller = CurrentMemoryContext;

	pgb_forget_error();
	PG_TRY();
	{
		if (noted_context == NULL)
			noted_context = AllocSetContextCreate(TopMemoryContext, "pg_background error",
												  ALLOCSET_SMALL_SIZES);
		MemoryContextSwitchTo(noted_context);
		noted = CopyErrorData();
	}
	PG_CATCH();
	{
		noted = &no_memory;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	FlushErrorState();
}

/*
 * Calls a function where nothing may be thrown. False: an error ended the call and was caught; its SQLSTATE is in code.
 *
 * After an error the memory context, the resource owner and the interrupt holdoff counts are restored. All LWLocks are
 * released, so the caller must not hold one. Nothing else that the call has begun is undone. During an exit the server
 * ends the process on any error, and then this does not return (exit.rs).
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

/* The error that was noted last; NULL: none, or it was forgotten. */
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

/*
 * Gives a field that ReThrowError takes for a constant the lifetime of the error that is raised. CopyErrorData copies
 * these too, because they could point into code that the JIT compiler has made.
 */
static void
outlive_copy(const char **field)
{
	if (*field != NULL)
		*field = MemoryContextStrdup(ErrorContext, *field);
}

/* Raises the noted error again, unchanged: the error context callbacks have already added their lines. */
void
pgb_raise_noted_error(void)
{
	outlive_copy(&noted->filename);
	outlive_copy(&noted->funcname);
	outlive_copy(&noted->domain);
	outlive_copy(&noted->context_domain);
	outlive_copy(&noted->message_id);
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
 * Whether an error with the code of a cancel cancels the running statement. Its text decides, because a RAISE and the
 * error of a canceled job have the same code. Code that has caught the error may pass it on with words before the
 * message (PL/Python does).
 */
bool
pgb_cancels_statement(const char *message)
{
	return strstr(message, _("canceling statement due to user request")) != NULL ||
		strstr(message, _("canceling statement due to statement timeout")) != NULL;
}

/* Begins a subtransaction, if that is possible now. The current memory context stays the same. */
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

/* Ends the subtransaction: commits it or rolls it back. */
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
