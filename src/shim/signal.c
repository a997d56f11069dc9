/*
 * The worker's doorbell, SIGUSR2.
 *
 * In C because it runs as a signal handler: it may touch only atomics and the server's volatile flags.
 * It carries nothing. It looks at the word of the job this process runs at this moment, and only if that
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

#include "shim.h"

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

/* How often the running job has caught its cancel and gone on. */
static int	times_caught;

/*
 * A job may catch the cancel in a subtransaction and go on. It then gets it again; the second time its
 * process exits. While an error passes through several subtransactions the flag that was raised here is
 * still pending, so that counts once. Also covers a cancel whose flag was used up by lock_timeout.
 *
 * Called during the abort of the whole transaction as well: the worker clears the flags after that.
 */
static void
after_subtransaction(SubXactEvent event, SubTransactionId mySubid, SubTransactionId parentSubid, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB || QueryCancelPending || ProcDiePending)
		return;
	if ((pgb_current_flags() & PGB_JOB_CANCEL) == 0)
		return;
	InterruptPending = true;
	if (++times_caught >= 2)
		ProcDiePending = true;
	else
		QueryCancelPending = true;
}

/* Looks at the word again, in case the doorbell rang before the job was noted as the current one. */
void
pgb_rearm_cancel(void)
{
	times_caught = 0;
	raise_what_is_asked();
}

/* Drops what a late but valid cancel of the job that just ended may have left pending. */
void
pgb_clear_cancel(void)
{
	QueryCancelPending = false;
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
