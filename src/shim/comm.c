/*
 * Messages for a client that is not there.
 *
 * PostgreSQL builds an error or a notice only for a process that believes it has a client
 * (whereToSendOutput == DestRemote). A worker therefore pretends to have one; what would go to it is
 * handed to the Rust side, which puts notices into the result ring and keeps the error for the outcome.
 *
 * In C because libpq.h offers no functions, only a table of them to be replaced, because pgrx does not bind the
 * connection's struct, and because raising such a message again with all its fields (ThrowErrorData) must not pass
 * through pgrx's guard, which keeps only some of them.
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
 * A connection of which nothing is to be had: no socket, no encryption, no certificate, no address (as that of a unix
 * socket has none, so that the settings of TCP connections do nothing).
 *
 * A background worker has none (MyProcPort is NULL), and code that is called in statements does not always ask:
 * contrib/sslinfo, the checks of dblink and postgres_fdw before 18.2 and so on. Every user could restart the server
 * with it. The log's %u, %d and %a are filled in as for a session. Nothing waits for the socket or writes to it: the
 * functions that do are those of PqCommMethods, and what closes it is registered by pq_init, which was not called.
 *
 * After the worker has connected: the server takes the options of a session from here. Outside a transaction.
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
 * Raises a message of a job in the session that reads its result: as it was, at no more than max_level,
 * with a line of context that names the worker.
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
