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

/* Called once, when the library is loaded. */
void
pgb_watch_drops(void)
{
	next_hook = object_access_hook;
	object_access_hook = on_access;
}
