/*
 * The messages of a worker, which has no client.
 *
 * PostgreSQL builds an error or a notice only for a process that has a client (whereToSendOutput == DestRemote). So a
 * worker pretends to have one. The messages for it go to the Rust side, which puts notices into the result ring and
 * keeps the error for the outcome.
 *
 * In C because libpq.h has a table of functions to be replaced, and because pgrx does not bind the struct of a
 * connection.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "libpq/libpq-be.h"
#include "libpq/libpq.h"
#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/elog.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "shim.h"

static void
comm_reset(void)
{
}

static int
comm_nothing_to_flush(void)
{
	return 0;
}

static bool
comm_nothing_pending(void)
{
	return false;
}

static int
comm_put(char type, const char *bytes, size_t len)
{
	pgb_on_message(type, bytes, len);
	return 0;
}

static void
comm_put_noblock(char type, const char *bytes, size_t len)
{
	pgb_on_message(type, bytes, len);
}

static const PQcommMethods comm_methods = {
	comm_reset,
	comm_nothing_to_flush,
	comm_nothing_to_flush,
	comm_nothing_pending,
	comm_put,
	comm_put_noblock
};

void
pgb_redirect_messages(void)
{
	PqCommMethods = &comm_methods;
	whereToSendOutput = DestRemote;
	FrontendProtocol = PG_PROTOCOL_LATEST;
}

/*
 * An empty connection: no socket, no encryption, no certificate, no address (like a unix socket, for which the settings
 * of TCP connections have no effect).
 *
 * A background worker has no connection (MyProcPort is NULL), and some code that statements can call does not check for
 * that: contrib/sslinfo, the checks of dblink and postgres_fdw before 18.2, and others. With it every user could crash
 * the server. The escapes %u, %d and %a of log_line_prefix are filled in as for a session. Nothing waits for the socket
 * or writes to it: the functions that do so are those of PqCommMethods, and the callback that closes it is registered by
 * pq_init, which is not called here.
 *
 * Called after the worker has connected, because the server takes the options of a session from the connection. Outside
 * a transaction.
 */
void
pgb_port_without_client(void)
{
	MemoryContext context;
	Port	   *port;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	context = MemoryContextSwitchTo(TopMemoryContext);
	port = palloc0(sizeof(Port));
	port->sock = PGINVALID_SOCKET;
	port->proto = FrontendProtocol;
	port->laddr.addr.ss_family = AF_UNIX;
	port->laddr.salen = sizeof(sa_family_t);
	port->raddr = port->laddr;
	port->remote_host = pstrdup("");
	port->remote_hostname = pstrdup("");
	port->remote_port = pstrdup("");
	port->user_name = GetUserNameFromId(GetAuthenticatedUserId(), false);
	port->database_name = get_database_name(MyDatabaseId);
	MemoryContextSwitchTo(context);
	CommitTransactionCommand();
	MyProcPort = port;
}

/*
 * Raises a message of a job in the session that reads its result: unchanged, except that its level is at most max_level
 * and that a line of context names the worker.
 */
void
pgb_raise_message(const char *message, int32 len, int32 max_level, int32 pid)
{
	StringInfoData buffer;
	ErrorData	edata;
	char	   *where;

	initStringInfo(&buffer);
	appendBinaryStringInfo(&buffer, message, len);
	pq_parse_errornotice(&buffer, &edata);
	edata.elevel = Min(edata.elevel, max_level);
	where = psprintf("background worker, pid %d", pid);
	edata.context = edata.context ? psprintf("%s\n%s", edata.context, where) : where;
	edata.assoc_context = CurrentMemoryContext;
	ThrowErrorData(&edata);
	pfree(buffer.data);
}
