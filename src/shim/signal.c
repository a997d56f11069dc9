/*
 * Signals: the worker's doorbell, SIGUSR2, and those that are sent.
 *
 * In C because a signal handler may touch only atomics and the server's volatile flags, because signals have their
 * names here (Rust's library has none, and pgrx binds neither kill nor pmsignal.h), and because what a cancel is
 * reported with is noted while an error is being thrown.
 *
 * The doorbell carries nothing. It looks at the word of the job this process runs at this moment, and only if that
 * job was asked to be canceled (or its worker to exit) raises the flags that PostgreSQL's own handlers
 * raise. A doorbell meant for a job that has ended finds nothing to do.
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

/* What the server reports a cancel with, in the language of the source (tcop/postgres.c). */
#define CANCEL_MESSAGE "canceling statement due to user request"
#define TIMEOUT_MESSAGE "canceling statement due to statement timeout"

/* As the last cancel of the running job was reported; empty: none was, or somebody else's after it. */
static char reported[256];

/* How often what goes on until the job ends was thrown: an insistent cancel, the end of the job's time. */
static int	times_thrown;

static void
raise_what_is_asked(void)
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
doorbell(SIGNAL_ARGS)
{
	int			save_errno = errno;

	raise_what_is_asked();
	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * Called for every message, as the lowest of the error context callbacks: an error with the code of a cancel is being
 * thrown. Whose it is nothing but its text tells: a statement timeout and a RAISE have the same code, and a lock
 * timeout that comes at the same moment uses up what the signal handler had raised and is reported instead. Here the
 * text is still to be had as it is in the source, which no user can give an error.
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

/* For the bottom of the stack. */
ErrorContextCallback pgb_cancel_watch = {.callback = note_cancel};

/*
 * Whether an error that ended the running job, by its code that of a cancel, is the job's cancel, as it was thrown or
 * as code that has caught it passes it on (PL/Python, say, puts the name of an exception before it).
 */
bool
pgb_is_cancel(const char *message)
{
	return reported[0] != '\0' && strstr(message, reported) != NULL;
}

/*
 * A subtransaction has been cleaned up behind an error: what is still due is raised again. That is an insistent
 * cancel, and any whose flag something else has used up. A job that has caught an insistent one twice goes on with
 * its process no more.
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
	raise_what_is_asked();
	pgb_rearm_time_limit();
}

/*
 * Not at once: between a subtransaction's abort and its cleanup DEBUG lines look for interrupts, and an error there
 * has the server warn of the state that it finds. The last thing that the cleanup does is to delete this context. One
 * callback is enough: contexts of subtransactions are deleted from the innermost on, before anything else can happen.
 *
 * Called during the abort of the whole transaction as well: the worker clears the flags after that.
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
 * A transaction in the middle of the job has committed. The wait for a synchronous standby uses a cancel up and only
 * warns, because the commit cannot be undone; the job is canceled behind it.
 */
void
pgb_after_commit(void)
{
	if (!QueryCancelPending && !ProcDiePending)
		raise_what_is_asked();
}

/* Looks at the word, as the signal handler does: behind a cancel that was thrown there may be another. */
void
pgb_raise_cancel(void)
{
	raise_what_is_asked();
}

/* Forgets what was thrown in the last job. Before the next one begins. */
void
pgb_forget_cancel(void)
{
	reported[0] = '\0';
	times_thrown = 0;
}

/* Installs the worker's handlers, then lets signals in. Before the process's pid is published. */
void
pgb_install_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGUSR2, doorbell);
	BackgroundWorkerUnblockSignals();
	RegisterSubXactCallback(after_subtransaction, NULL);
}

/*
 * Rings the doorbell of a worker, or has it exit, as pg_terminate_backend does. The caller sees to it that the pid is
 * still the worker's.
 */
void
pgb_signal_worker(int32 pid, bool terminate)
{
	(void) kill(pid, terminate ? SIGTERM : SIGUSR2);
}

/*
 * Has the postmaster look whether workers are to be started. It does so by itself when one is registered or
 * ends; but before 16 a child's end that is noticed just before the postmaster begins to sleep does not wake
 * it, and the place of that child waits for whatever wakes it next. Costs nothing when there is nothing to do.
 */
void
pgb_nudge_postmaster(void)
{
	SendPostmasterSignal(PMSIGNAL_BACKGROUND_WORKER_CHANGE);
}

/* The first thing at exit: the memory that the handler reads is about to be unmapped. */
void
pgb_ignore_doorbell(void)
{
	pqsignal(SIGUSR2, SIG_IGN);
}
