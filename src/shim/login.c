/*
 * Whether this process could connect again: the server looks at that only when a process connects.
 *
 * In C because the check of a right has another name on 16 and later, and an error on the way jumps.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "shim.h"

static bool
role_can_log_in(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can = false;

	if (HeapTupleIsValid(tuple))
	{
		can = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
		ReleaseSysCache(tuple);
	}
	return can;
}

static bool
database_allows_connections(void)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	bool		allows = false;

	if (HeapTupleIsValid(tuple))
	{
		allows = ((Form_pg_database) GETSTRUCT(tuple))->datallowconn;
		ReleaseSysCache(tuple);
	}
	return allows;
}

static bool
role_may_connect(Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(DatabaseRelationId, MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK;
#else
	return pg_database_aclcheck(MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK;
#endif
}

/* Outside a transaction. May throw. */
bool
pgb_can_connect_again(void)
{
	Oid			role = GetAuthenticatedUserId();
	bool		can;

	StartTransactionCommand();
	can = role_can_log_in(role) && database_allows_connections() && role_may_connect(role);
	CommitTransactionCommand();
	return can;
}
