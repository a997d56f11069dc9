/*
 * Learning that a database is about to be dropped.
 *
 * The server calls this hook when it has checked who wants to drop what, and before it waits for the sessions that use the
 * database.
 *
 * In C because it is called between frames of the server, on which an error of the hook before it jumps.
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"

#include "shim.h"

static object_access_hook_type next_hook = NULL;

static void
on_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_hook != NULL)
		next_hook(access, class_id, object_id, sub_id, arg);
	if (access == OAT_DROP && class_id == DatabaseRelationId)
		pgb_release_database(object_id);
}

/*
 * Called when the library is loaded. The server forgets a library whose initialization has failed, but not its hooks, and
 * initializes it again at its next use.
 */
void
pgb_watch_drops(void)
{
	static bool watches = false;

	if (watches)
		return;
	watches = true;
	next_hook = object_access_hook;
	object_access_hook = on_access;
}
