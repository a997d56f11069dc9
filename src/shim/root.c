/*
 * The root in main shared memory, and the arena.
 *
 * In C because AddinShmemInitLock is a macro, and since 17 dsa_create too, and because errors of the arena are
 * caught where nothing may be thrown. ShmemInitStruct works without preloading: PostgreSQL keeps some slack in
 * its main segment (contrib/pg_prewarm relies on it likewise).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/dsa.h"

#include "shim.h"

/* Finds the root, or makes it: zeroed, then initialized by init, which must not throw. */
void *
pgb_root(const char *name, Size size, void (*init) (void *root))
{
	bool		found;
	void	   *root;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	root = ShmemInitStruct(name, size, &found);
	if (!found)
	{
		memset(root, 0, size);
		init(root);
	}
	LWLockRelease(AddinShmemInitLock);
	return root;
}

/* A new arena, of the server's own sizes of segments. */
dsa_area *
pgb_create_area(int tranche)
{
	return dsa_create(tranche);
}

/*
 * The three things that can be asked of an arena, where an error must not be one: not with a lock held, for the
 * arena's own may be held when it throws. The log says that there was one, in words that need no memory. During an
 * exit the server ends the process for any error, and these do not return then (src/pg/exit.rs).
 */
typedef enum ArenaCall
{
	ARENA_ADDRESS,
	ARENA_ALLOCATE,
	ARENA_FREE
} ArenaCall;

static bool
survive(ArenaCall what, dsa_area *area, Size size, dsa_pointer *pointer, void **address)
{
	MemoryContext caller = CurrentMemoryContext;
	uint32		holdoff = InterruptHoldoffCount;
	uint32		cancel_holdoff = QueryCancelHoldoffCount;
	volatile bool succeeded = false;

	PG_TRY();
	{
		switch (what)
		{
			case ARENA_ADDRESS:
				PGB_FAULT("block-mapped");
				*address = dsa_get_address(area, *pointer);
				break;
			case ARENA_ALLOCATE:
				*pointer = dsa_allocate_extended(area, size, DSA_ALLOC_NO_OOM);
				break;
			case ARENA_FREE:
				dsa_free(area, *pointer);
				break;
		}
		succeeded = true;
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		LWLockReleaseAll();
		MemoryContextSwitchTo(caller);
		FlushErrorState();
		/* An error lets go of every hold; the caller's are put back, and none is let in while it is logged. */
		QueryCancelHoldoffCount = cancel_holdoff;
		InterruptHoldoffCount = holdoff + 1;
		ereport(LOG,
				(errcode(code),
				 errmsg("pg_background could not reach shared memory of a job"),
				 errdetail("The system's limits on memory or open files may be in the way (SQLSTATE %s).",
						   unpack_sql_state(code))));
		InterruptHoldoffCount = holdoff;
	}
	PG_END_TRY();
	return succeeded;
}

/* Where the memory is; NULL: this process cannot map it. */
void *
pgb_reach(dsa_area *area, dsa_pointer pointer)
{
	void	   *address = NULL;

	return survive(ARENA_ADDRESS, area, 0, &pointer, &address) ? address : NULL;
}

/* 0: there is none. */
dsa_pointer
pgb_try_allocate(dsa_area *area, Size size)
{
	dsa_pointer pointer = InvalidDsaPointer;

	return survive(ARENA_ALLOCATE, area, size, &pointer, NULL) ? pointer : InvalidDsaPointer;
}

/* What fails half-way is lost until the server is restarted. */
void
pgb_free(dsa_area *area, dsa_pointer pointer)
{
	(void) survive(ARENA_FREE, area, 0, &pointer, NULL);
}
