/*
 * Signals: the worker's handler of SIGUSR2, and the signals that are sent to workers and to the postmaster.
 *
 * In C because a signal handler may touch only atomics and the server's volatile flags, because the names of signals
 * are defined here (Rust's library has none, and pgrx binds neither kill nor pmsignal.h), and because the message of a
 * cancel is noted while the error is being thrown.
 *
 * SIGUSR2 carries no information. Its handler looks at the word of the job that this process runs at the moment. Only
 * if that job was canceled (or its worker was asked to exit) does it set the flags that PostgreSQL's own handlers set.
 * A signal that was meant for a job which has ended has no effect.
 */
#include "postgres.h"

#include "access/xact.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "shim.h"

/* The server's messages for a cancel, untranslated (tcop/postgres.c). */
#define CANCEL_MESSAGE "canceling statement due to user request"
#define TIMEOUT_MESSAGE "canceling statement due to statement timeout"

/* The message of the running job's last cancel; empty: there was none, or another cancel of a statement came after it. */
static char reported[256];

/* How often an error was thrown that stays pending until the job ends: an insistent cancel, the end of its time. */
static int	times_thrown;

static void
raise_pending(void)
{
	uint32		flags = pgb_current_flags();

	if (flags & PGB_JOB_TERMINATE)
	{
		InterruptPending = true;
		ProcDiePending = true;
	}
	else if (flags & PGB_JOB_CANCEL)
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
}

static void
handle_signal(SIGNAL_ARGS)
{
	int			save_errno = errno;

	raise_pending();
	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * Called for every message, as the outermost error context callback. Notes an error with the code of a cancel that is
 * being thrown. Only its text shows where it comes from: a statement timeout and a RAISE have the same code, and a lock
 * timeout at the same moment clears the flag of the signal handler and is reported instead. Here the untranslated
 * message of the source is still available, and no user can give an error such a message.
 */
static void
note_cancel(void *arg)
{
	MemoryContext context;
	ErrorData  *error;

	if (geterrcode() != ERRCODE_QUERY_CANCELED)
		return;
	context = MemoryContextSwitchTo(MessageContext);
	error = CopyErrorData();
	if (error->elevel == ERROR && error->message_id != NULL)
	{
		if (strcmp(error->message_id, CANCEL_MESSAGE) == 0)
		{
			if (pgb_cancel_is_thrown())
				strlcpy(reported, error->message, sizeof(reported));
			else
				reported[0] = '\0';
			if (pgb_current_flags() & PGB_JOB_INSISTS)
				times_thrown++;
		}
		else if (strcmp(error->message_id, TIMEOUT_MESSAGE) == 0 && pgb_time_is_over())
			times_thrown++;
	}
	FreeErrorData(error);
	MemoryContextSwitchTo(context);
}

/* Belongs at the bottom of error_context_stack. */
ErrorContextCallback pgb_cancel_watch = {.callback = note_cancel};

/*
 * Whether an error that ended the running job, and has the code of a cancel, is the job's cancel. Code that catches the
 * error may pass it on with words before the message (PL/Python adds the name of an exception).
 */
bool
pgb_is_cancel(const char *message)
{
	return reported[0] != '\0' && strstr(message, reported) != NULL;
}

/*
 * A subtransaction has been cleaned up after an error: a cancel that is still pending is raised again. It is an
 * insistent one, or one whose flag something else has cleared. A job that has caught an insistent cancel twice ends
 * with its process.
 */
static void
after_cleanup(void *arg)
{
	bool		is_insisted;

	*(bool *) arg = false;
	if (QueryCancelPending || ProcDiePending)
		return;
	is_insisted = (pgb_current_flags() & PGB_JOB_INSISTS) || pgb_time_is_over();
	if (is_insisted && times_thrown >= 2)
	{
		InterruptPending = true;
		ProcDiePending = true;
		return;
	}
	raise_pending();
	pgb_rearm_time_limit();
}

/*
 * Defers after_cleanup to the end of the cleanup. Between the abort of a subtransaction and its cleanup, messages of
 * level DEBUG process interrupts, and an error there makes the server warn about the state that it finds. The last
 * step of the cleanup deletes this context. One callback is enough: contexts of subtransactions are deleted from the
 * innermost outward, before anything else can happen.
 *
 * This is also called during the abort of the whole transaction. The worker clears the flags after that.
 */
static void
after_subtransaction(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	static bool is_registered;
	static MemoryContextCallback callback = {.func = after_cleanup, .arg = &is_registered};

	if (event != SUBXACT_EVENT_ABORT_SUB || is_registered)
		return;
	is_registered = true;
	MemoryContextRegisterResetCallback(CurTransactionContext, &callback);
}

/*
 * A transaction in the middle of the job has committed. The wait for a synchronous standby clears a cancel and only
 * warns, because the commit cannot be undone. Raises the cancel again, so that it ends the job after the commit.
 */
void
pgb_cancel_after_commit(void)
{
	if (!QueryCancelPending && !ProcDiePending)
		raise_pending();
}

/* Looks at the word, as the signal handler does: another cancel may have followed the one that was thrown. */
void
pgb_raise_cancel(void)
{
	raise_pending();
}

/* Forgets what was thrown in the last job, before the next one begins. */
void
pgb_forget_cancel(void)
{
	reported[0] = '\0';
	times_thrown = 0;
}

/* Installs the worker's handlers, then unblocks signals. Called before the process publishes its pid. */
void
pgb_install_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGUSR2, handle_signal);
	BackgroundWorkerUnblockSignals();
	RegisterSubXactCallback(after_subtransaction, NULL);
}

/*
 * Makes a worker look at its job's word, or exit, as pg_terminate_backend does. The caller guarantees that the pid is
 * still that of the worker.
 */
void
pgb_signal_worker(int32 pid, bool terminate)
{
	(void) kill(pid, terminate ? SIGTERM : SIGUSR2);
}

/*
 * Makes the postmaster check whether it has to start workers. It does so by itself when a worker is registered or
 * ends. But before 16 the end of a child does not wake the postmaster if it comes just before the postmaster begins to
 * sleep, and the background worker slot of that child stays in use until something else wakes it. Costs nothing when
 * there is nothing to do.
 */
void
pgb_nudge_postmaster(void)
{
	SendPostmasterSignal(PMSIGNAL_BACKGROUND_WORKER_CHANGE);
}

/* The first step of an exit: the memory that the handler reads is about to be unmapped. */
void
pgb_ignore_signal(void)
{
	/* Two casts, because since 19 a handler has a second argument. */
	pqsignal(SIGUSR2, (pqsigfunc) (pg_funcptr_t) SIG_IGN);
}
