/*
 * Ends of transactions: ending the one of a procedure's caller, and telling who waits for the end of one.
 *
 * In C because SPI reports an error by a jump in the middle of its work, and because the node that says whether a
 * procedure may end the transaction has to be told from others by its tag.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "shim.h"

/* Whether the procedure that is called so may end the transaction. */
bool
pgb_may_end_transaction(FunctionCallInfo fcinfo)
{
	Node	   *context = (Node *) fcinfo->context;

	return context != NULL && IsA(context, CallContext) && !((CallContext *) context)->atomic && !IsSubTransaction();
}

/*
 * Commits the transaction and begins another, as COMMIT in a procedure does. Afterwards this process holds no lock but
 * those of its session, and has no snapshot: the new transaction holds up nobody.
 */
void
pgb_next_transaction(void)
{
	(void) SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	SPI_start_transaction();
	(void) SPI_finish();
	InvalidateCatalogSnapshot();
}

/*
 * Whether that process waits for a virtual transaction to end, as all commands with CONCURRENTLY do. Not of one moment
 * with anything else, because nothing is locked. The server shows the kind of a lock in the wait event.
 */
bool
pgb_waits_for_transaction(int32 pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);

	return proc != NULL &&
		*(volatile uint32 *) &proc->wait_event_info == (PG_WAIT_LOCK | LOCKTAG_VIRTUALTRANSACTION);
}
