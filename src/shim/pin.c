/*
 * Whether a process waits for a buffer that this process has pinned.
 *
 * VACUUM waits until it alone has pinned a page (LockBufferForCleanup). The server does not report for whom it waits: the
 * buffer names the process that waits, and each process knows only its own pins.
 *
 * In C because it uses macros, inline functions and a struct that pgrx does not bind.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/buf_internals.h"
#include "storage/bufmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "shim.h"

/* The class of the wait event. It has one name before 17 and another since. */
#define WAIT_CLASS_MASK 0xFF000000U
#define WAITS_FOR_PIN 0x04000000U

#if PG_VERSION_NUM >= 190000
static uint64
state_of(BufferDesc *buffer)
{
	return pg_atomic_read_u64(&buffer->state);
}
#else
static uint32
state_of(BufferDesc *buffer)
{
	return pg_atomic_read_u32(&buffer->state);
}
#endif

static bool
awaits_buffer(PGPROC *proc, BufferDesc *buffer)
{
	if ((state_of(buffer) & BM_PIN_COUNT_WAITER) == 0)
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
 * Whether this process has pinned the buffer. The only function of the server that checks this is for the buffer that
 * recovery waits for, which it finds in ProcGlobal. So for this call ProcGlobal points to a copy that names our buffer.
 * The pointer belongs to this process, and nothing but that function runs meanwhile.
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
 * Whether that process waits for a buffer that this one has pinned. No consistent snapshot, because nothing is locked.
 * Reads the headers of all buffers, but only while the process waits for a pin.
 */
bool
pgb_waits_for_own_pin(int32 pid)
{
	PGPROC	   *proc;
	int			buffer;

	/* On a standby, recovery itself may wait for pins, and VACUUM does not run. */
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
