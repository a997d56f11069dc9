/*
 * Asking the postmaster to look again.
 *
 * In C because the reasons of postmaster signals are numbered differently between versions, in a header that
 * pgrx does not bind.
 *
 * Up to version 15 the postmaster waits in select() with a timeout computed before it unblocked its signals.
 * A worker's exit that is noticed in between is handled, but the restart of its registration is then left
 * until something else ends the select(), which may be a minute. This signal does.
 */
#include "postgres.h"

#include "storage/pmsignal.h"

#include "shim.h"

void
pgb_nudge_postmaster(void)
{
	SendPostmasterSignal(PMSIGNAL_BACKGROUND_WORKER_CHANGE);
}
