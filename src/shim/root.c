/*
 * The root in main shared memory, and the arena.
 *
 * In C because AddinShmemInitLock is a macro, and since 17 dsa_create too. ShmemInitStruct works without preloading: PostgreSQL keeps
 * some slack in its main segment (contrib/pg_prewarm relies on it likewise).
 */
#include "postgres.h"

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
