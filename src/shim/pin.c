/*
 * Who waits for a buffer that this process has pinned.
 *
 * VACUUM waits until it alone has pinned a page (LockBufferForCleanup). The server tells nobody for whom it waits:
 * the buffer says who waits, and each process knows its own pins only.
 *
 * In C because what is looked at are macros, inline functions and a struct that pgrx does not bind.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "shim.h"

/* What a process waits for is of a class; this one has one name before 17 and another since. */
#define WAIT_CLASS_MASK 0xFF000000U
#define WAITS_FOR_PIN 0x04000000U

static bool
awaits_buffer(PGPROC *proc, BufferDesc *buffer)
{
	if ((pg_atomic_read_u32(&buffer->state) & BM_PIN_COUNT_WAITER) == 0)
		return false;
#if PG_VERSION_NUM >= 170000
	return buffer->wait_backend_pgprocno == GetNumberFromPGProc(proc);
#elif PG_VERSION_NUM >= 150000
	return buffer->wait_backend_pgprocno == proc->pgprocno;
#else
	return buffer->wait_backend_pid == proc->pid;
#endif
}

/*
 * Whether this process has pinned the buffer. The one function of the server that tells asks about the buffer that
 * recovery waits for, which it finds in ProcGlobal; so it is shown a copy that names ours. Nobody else sees that,
 * and nothing is called but that function.
 */
static bool
is_pinned_here(int buffer)
{
	PROC_HDR   *shared = ProcGlobal;
	PROC_HDR	shown = *shared;
	bool		pinned;

	shown.startupBufferPinWaitBufId = buffer;
	ProcGlobal = &shown;
	pinned = HoldingBufferPinThatDelaysRecovery();
	ProcGlobal = shared;
	return pinned;
}

/*
 * Whether that process waits for a buffer that this one has pinned. Not one moment's truth, as nothing is locked.
 * Goes through the headers of all buffers, but only while the process waits so.
 */
bool
pgb_waits_for_own_pin(int32 pid)
{
	PGPROC	   *proc;
	int			buffer;

	/* There, recovery itself may wait for pins, and what cleans pages does not run. */
	if (RecoveryInProgress())
		return false;
	proc = BackendPidGetProc(pid);
	if (proc == NULL)
		return false;
	if ((*(volatile uint32 *) &proc->wait_event_info & WAIT_CLASS_MASK) != WAITS_FOR_PIN)
		return false;
	for (buffer = 0; buffer < NBuffers; buffer++)
	{
		if (awaits_buffer(proc, GetBufferDescriptor(buffer)) && is_pinned_here(buffer))
			return true;
	}
	return false;
}
