/*
 * Carries errors of the server through Rust frames with all their fields.
 *
 * An error that is thrown below Rust frames must not jump over them, so that they are unwound. While that happens the
 * error must not be on the server's stack of errors: what the frames call may report something, or throw and catch an
 * error, and the stack has few entries. So the guard around each call of C takes the error from the stack into a note.
 * What unwinds the frames owns the note. At the boundary, when all frames are gone, it is raised again.
 *
 * The guard restores the server's own stack of handlers before anything else, and whatever it does not find memory for.
 *
 * This file also raises errors of Rust, which have no frame of Rust above them then, and catches errors where nothing
 * may be thrown.
 *
 * In C because PG_TRY and PG_CATCH are macros.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/elog.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "shim.h"

/* A text that stays, however often it is asked for. */
typedef struct Constant
{
	struct Constant *next;
	char		text[FLEXIBLE_ARRAY_MEMBER];
} Constant;

#define MAX_CONSTANTS 16384

/*
 * A field that some minor versions of the server take for a constant in the program, and others copy. It may point into
 * memory that does not stay: that of the note, or that of an error that came from another process. There are as many
 * such texts as there are places in programs that report something. If some library makes more of them, they are left
 * out.
 */
static void
make_constant(const char **field)
{
	static Constant *constants = NULL;
	static int	count = 0;
	Constant   *constant;

	if (*field == NULL)
		return;
	for (constant = constants; constant != NULL; constant = constant->next)
	{
		if (strcmp(constant->text, *field) == 0)
		{
			*field = constant->text;
			return;
		}
	}
	if (count == MAX_CONSTANTS)
	{
		*field = NULL;
		return;
	}
	constant = MemoryContextAlloc(TopMemoryContext, offsetof(Constant, text) + strlen(*field) + 1);
	strcpy(constant->text, *field);
	constant->next = constants;
	constants = constant;
	count++;
	*field = constant->text;
}

/* The notes of an error for whose copy there is no memory: of a cancel, and of others. */
static ErrorData no_memory_for_cancel = {
	.sqlerrcode = ERRCODE_QUERY_CANCELED,
	.message = "canceling statement due to user request"
};
static ErrorData no_memory = {
	.sqlerrcode = ERRCODE_OUT_OF_MEMORY,
	.message = "out of memory"
};

static bool
is_static(const ErrorData *note)
{
	return note == &no_memory || note == &no_memory_for_cancel;
}

/* Takes the error that was caught last from the server's stack into a note, which has a memory context of its own. */
static ErrorData *
take_error(void)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile MemoryContext context = NULL;
	ErrorData  *volatile note = &no_memory;

	PG_TRY();
	{
		ErrorData  *copy;

		if (geterrcode() == ERRCODE_QUERY_CANCELED)
			note = &no_memory_for_cancel;
		context = AllocSetContextCreate(TopMemoryContext, "pg_background error", ALLOCSET_SMALL_SIZES);
		MemoryContextSwitchTo(context);
		copy = CopyErrorData();
		make_constant(&copy->filename);
		make_constant(&copy->funcname);
		make_constant(&copy->domain);
		make_constant(&copy->context_domain);
		make_constant(&copy->message_id);
		note = copy;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		if (context != NULL)
			MemoryContextDelete(context);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	FlushErrorState();
	return note;
}

void
pgb_free_error(ErrorData *note)
{
	if (!is_static(note))
		MemoryContextDelete(note->assoc_context);
}

/*
 * Calls a function, over whose frames an error may jump. NULL: it has returned. Otherwise an error ended the call: its
 * note, which is to be raised or freed.
 *
 * After an error the memory context is that of the caller, and no LWLock is held, whoever has acquired it: destructors
 * run before the transaction aborts, and they free shared memory under locks that the call may have left (dsa.c raises
 * errors of the operating system under its lock). The resource owner is what the call has left: the caller's may be gone
 * (the call has ended the transaction), and dsa.c leaves none. So destructors must not need one.
 */
ErrorData *
pgb_guard(void (*call) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile note = NULL;

	PG_TRY();
	{
		call(arg);
	}
	PG_CATCH();
	{
		LWLockReleaseAll();
		MemoryContextSwitchTo(context);
		note = take_error();
	}
	PG_END_TRY();
	return note;
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

/*
 * Raises the error of a note, unchanged, and frees the note: the error context callbacks have already added their lines.
 * Only C is above.
 */
void
pgb_raise_error(ErrorData *note)
{
	PG_TRY();
	{
		if (is_static(note) && errstart(ERROR, TEXTDOMAIN))
		{
			errcode(note->sqlerrcode);
			errmsg_internal("%s", _(note->message));
			errfinish(__FILE__, __LINE__, __func__);
		}
		ReThrowError(note);
	}
	PG_CATCH();
	{
		pgb_free_error(note);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* Reports in words of Rust; an error is thrown. The detail and the hint may be missing. */
void
pgb_report(int level, const PgbReport *report)
{
	const char *file = report->file;

	make_constant(&file);
	if (!errstart(level, TEXTDOMAIN))
		return;
	errcode(report->code);
	errmsg_internal("%s", report->message);
	if (report->detail != NULL)
		errdetail_internal("%s", report->detail);
	if (report->hint != NULL)
		errhint("%s", report->hint);
	errfinish(file, report->line, "pg_background");
}

/*
 * Calls a function that may write into the log where nothing may be thrown: its lines have nothing to do with the
 * running statement, and let no interrupt happen. What holds for pgb_survives holds for this too.
 */
void
pgb_quietly(void (*call) (void *), void *arg)
{
	ErrorContextCallback *callbacks = error_context_stack;
	int			code;

	HOLD_INTERRUPTS();
	error_context_stack = NULL;
	(void) pgb_survives(call, arg, &code);
	error_context_stack = callbacks;
	RESUME_INTERRUPTS();
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
