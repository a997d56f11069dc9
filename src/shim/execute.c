/*
 * Executing a job's SQL text, and surviving what goes wrong.
 *
 * In C because an error jumps here: Rust frames with destructors must not be in between, and the error
 * must be reported with all its fields before the transaction is aborted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "jit/jit.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "tcop/cmdtag.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/ps_status.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "shim.h"

/* Bytes of a job's text that an error of it repeats to show where it is. */
#define MAX_ERROR_TEXT 8192

static MemoryContext job_context;

/* The job's last transaction is committing, or has committed. */
static volatile bool final_commit;
static volatile bool last_committed;

/* When the job's time is over; 0: it has no limit. */
static TimestampTz job_deadline;

/* What statement_timeout was when the job began. */
static int	first_statement_timeout;

/* How the job's last statement completed. */
static QueryCompletion last_completion;

static void
after_transaction(XactEvent event, void *arg)
{
	/* Called with interrupts held, so the note and the fact cannot be torn apart. */
	if (event == XACT_EVENT_COMMIT)
		last_committed = true;
	else if (event == XACT_EVENT_ABORT)
		last_committed = false;
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_ABORT)
		pgb_spill_end_transaction(event == XACT_EVENT_ABORT);
	if (event == XACT_EVENT_COMMIT && !final_commit)
		pgb_after_commit();
	if (final_commit && event == XACT_EVENT_PRE_COMMIT)
		PGB_FAULT("commit-begun");
	if (final_commit && event == XACT_EVENT_COMMIT)
		PGB_FAULT("commit-recorded");
}

/* Whether the job's work is durable, even if the process is about to fail or exit. */
bool
pgb_committed(void)
{
	return final_commit && last_committed;
}

/*
 * Back to a clean state after an error, in the order of PostgresMain. The locks come first: outside a
 * transaction AbortCurrentTransaction would leave them. EmitErrorReport hands the error to
 * pgb_on_message, which keeps it for the job's outcome.
 */
static void
recover(void)
{
	error_context_stack = NULL;
	HOLD_INTERRUPTS();
	LWLockReleaseAll();
	job_deadline = 0;
	disable_all_timeouts(false);
	QueryCancelPending = false;
	EmitErrorReport();
	debug_query_string = NULL;
	AbortOutOfAnyTransaction();
	PortalErrorCleanup();
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	pgb_drop_replication_slots();
	jit_reset_after_error();
	MemoryContextSwitchTo(TopMemoryContext);
	FlushErrorState();
	/* The abort may have raised it again for a job that was canceled (signal.c). */
	QueryCancelPending = false;
	RESUME_INTERRUPTS();
}

/* Milliseconds that the job still has, 1 at least. */
static int
rest_of_time(void)
{
	return Max(1, (int) TimestampDifferenceMilliseconds(GetCurrentTimestamp(), job_deadline));
}

/* Whether the job had a limit, and has reached it. */
bool
pgb_time_is_over(void)
{
	return job_deadline != 0 && GetCurrentTimestamp() >= job_deadline;
}

/*
 * The limit of one statement of the text, 0: none, as a session has it (enable_statement_timeout in tcop/postgres.c):
 * that of a whole transaction, if it is shorter, takes its place. A job with a limit of its own has that of the session
 * only once its text has set it.
 */
static int
limit_of_statement(void)
{
	if (job_deadline != 0 && StatementTimeout == first_statement_timeout)
		return 0;
#if PG_VERSION_NUM >= 170000
	if (TransactionTimeout > 0 && TransactionTimeout <= StatementTimeout)
		return 0;
#endif
	return StatementTimeout;
}

/* Has the server's timer, of which there is one, go off at whichever limit comes first; 0: no other than the job's. */
static void
arm_timer(int limit)
{
	if (job_deadline != 0)
	{
		int			rest = rest_of_time();

		limit = limit > 0 ? Min(limit, rest) : rest;
	}
	if (limit > 0)
		enable_timeout_after(STATEMENT_TIMEOUT, limit);
}

/*
 * As the server does between the statements of a text: each has the whole of its limit, which one that has set it
 * itself leaves to the next. A timer that has gone off is heard now: whoever sets it again forgets why it did.
 */
static void
stop_timer(void)
{
	if (get_timeout_active(STATEMENT_TIMEOUT))
		disable_timeout(STATEMENT_TIMEOUT, false);
	CHECK_FOR_INTERRUPTS();
}

/* The error of a timer that has gone off was caught: the job's own limit holds all the same. */
void
pgb_rearm_time_limit(void)
{
	if (job_deadline != 0 && !get_timeout_active(STATEMENT_TIMEOUT))
		enable_timeout_after(STATEMENT_TIMEOUT, rest_of_time());
}

/*
 * The position of an error is one in the job's text, not in the statement of whoever reads its result: so it arrives
 * as that of an internal query, with the text unless that is long.
 */
static void
place_error(void *text)
{
	int			position = geterrposition();

	if (position <= 0)
		return;
	errposition(0);
	if (strlen(text) <= MAX_ERROR_TEXT)
	{
		internalerrposition(position);
		internalerrquery(text);
	}
}

static bool
must_log(List *statements)
{
	ListCell   *cell;

	if (log_statement == LOGSTMT_NONE || log_statement == LOGSTMT_ALL)
		return log_statement == LOGSTMT_ALL;
	foreach(cell, statements)
	{
		if (GetCommandLogLevel((Node *) lfirst(cell)) <= log_statement)
			return true;
	}
	return false;
}

static void
log_duration_of(const char *sql, bool was_logged)
{
	char		msec[32];

	switch (check_log_duration(msec, was_logged))
	{
		case 1:
			ereport(LOG, (errmsg("duration: %s ms", msec), errhidestmt(true)));
			break;
		case 2:
			ereport(LOG, (errmsg("duration: %s ms  statement: %s", msec, sql), errhidestmt(true)));
			break;
	}
}

static void
refuse_what_cannot_run(RawStmt *statement)
{
	if (IsA(statement->stmt, TransactionStmt))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("transaction control statements are not allowed in a background job"),
				 errdetail("A job runs in a transaction of its own, committed when it succeeds and rolled back when it fails."),
				 errhint("Use a procedure with COMMIT, called as the job's only statement.")));
	if (IsA(statement->stmt, CopyStmt) && ((CopyStmt *) statement->stmt)->filename == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("COPY to or from the client is not allowed in a background job"),
				 errdetail("A background worker has no client."),
				 errhint("Use COPY with a file or a program, or read the job's result.")));
}

/*
 * Whether the statement ends its transaction and starts others, as VACUUM does. Those are the ones that come to a
 * StartTransactionCommand by way of standard_ProcessUtility: in the sources of 14 to 18 the callers of it in
 * src/backend/commands are vacuum() and vacuum_rel, cluster(), DefineIndex, ReindexMultipleInternal,
 * ReindexRelationConcurrently, DETACH PARTITION CONCURRENTLY in tablecmds.c, and movedb; index_drop in
 * src/backend/catalog; and _SPI_commit and _SPI_rollback, which CALL and DO reach when they are not atomic. The
 * other statements that call PreventInTransactionBlock (CREATE DATABASE and TABLESPACE, ALTER SYSTEM, DISCARD ALL,
 * those of subscriptions) only do what cannot be rolled back. ANALYZE is left out: it starts others only at top
 * level. A new version of the server wants a look at the same callers.
 */
static bool
starts_transactions(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_VacuumStmt:
			return castNode(VacuumStmt, statement)->is_vacuumcmd;
		case T_ClusterStmt:
		case T_ReindexStmt:
			return true;
		case T_IndexStmt:
			return castNode(IndexStmt, statement)->concurrent;
		case T_DropStmt:
			return castNode(DropStmt, statement)->concurrent;
		case T_AlterTableStmt:
			{
				ListCell   *cell;

				foreach(cell, castNode(AlterTableStmt, statement)->cmds)
				{
					AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

					if (command->subtype == AT_DetachPartition && castNode(PartitionCmd, command->def)->concurrent)
						return true;
				}
				return false;
			}
		case T_AlterDatabaseStmt:
			{
				ListCell   *cell;

				foreach(cell, castNode(AlterDatabaseStmt, statement)->options)
				{
					if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
						return true;
				}
				return false;
			}
		default:
			return false;
	}
}

/*
 * Whether the statement can also be run atomically, without transactions of its own: ANALYZE of several tables, and
 * user code that may commit and roll back by itself.
 */
static bool
can_run_atomically(Node *statement)
{
	return IsA(statement, VacuumStmt) || IsA(statement, CallStmt) || IsA(statement, DoStmt);
}

/*
 * Whether the job's only statement runs without the security context that the job was launched under.
 *
 * A transaction must not start under a context, which every abort would return to (the server asserts so). So what
 * starts transactions would have to run without one; but while it is analysed and run it evaluates expressions of
 * users (a literal of a domain, a policy, a cast) as the current user, who could then go back to the session user
 * or the login role. Hence only if he gains nothing by that; asked before anything of the statement is looked at
 * but its kind.
 */
static bool
runs_without_context(const PgbIdentity *identity, Node *statement)
{
	if (identity->sec_context == 0)
		return true;
	if (!starts_transactions(statement))
		return false;
	if (pgb_may_go_back(identity))
		return true;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to run %s in a background job of a security-definer function",
					GetCommandTagName(CreateCommandTag(statement))),
			 errdetail("The statement starts transactions of its own, in which code could go back to role \"%s\" or \"%s\", whose rights role \"%s\" does not have.",
					   GetUserNameFromId(identity->session, false),
					   GetUserNameFromId(identity->authenticated, false),
					   GetUserNameFromId(identity->current, false)),
			 errhint("Launch it outside of the function, or from a function whose owner is a superuser or has the rights of the session's users.")));
}

/*
 * The command tag of the last job's last statement, its name only, and how many rows it returned or changed
 * (-1: the tag says nothing of rows). NULL: there was no statement, or the job did not complete.
 */
const char *
pgb_completion(int64 *row_count)
{
	CommandTag	tag = last_completion.commandTag;

	if (tag == CMDTAG_UNKNOWN)
		return NULL;
	*row_count = command_tag_display_rowcount(tag) ? (int64) last_completion.nprocessed : -1;
	return GetCommandTagName(tag);
}

/* The command tag as psql shows it. */
static char *
describe_completion(const QueryCompletion *completion)
{
	const char *name = GetCommandTagName(completion->commandTag);

	if (!command_tag_display_rowcount(completion->commandTag))
		return pstrdup(name);
	if (completion->commandTag == CMDTAG_INSERT)
		return psprintf("%s 0 " UINT64_FORMAT, name, completion->nprocessed);
	return psprintf("%s " UINT64_FORMAT, name, completion->nprocessed);
}

/* The values that $1, $2 and so on stand for in every statement. */
typedef struct PgbParams
{
	ParamListInfo values;		/* NULL: there are none */
	Oid		   *types;
	int			count;
} PgbParams;

/* Runs one statement; tells how it completed, and whether it is of a kind that returns rows. */
static bool
run_statement(const PgbRun *run, const PgbParams *params, RawStmt *statement, bool top_level, bool last, QueryCompletion *completion)
{
	CommandTag	tag = CreateCommandTag(statement->stmt);
	bool		snapshot_set = false;
	List	   *queries;
	List	   *plans;
	Portal		portal;
	DestReceiver *receiver;
	bool		returns_rows;

	pgstat_report_query_id(0, true);
	refuse_what_cannot_run(statement);
	set_ps_display(GetCommandTagName(tag));
	CHECK_FOR_INTERRUPTS();

	if (analyze_requires_snapshot(statement))
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		snapshot_set = true;
	}
#if PG_VERSION_NUM >= 150000
	queries = pg_analyze_and_rewrite_fixedparams(statement, run->sql, params->types, params->count, NULL);
#else
	queries = pg_analyze_and_rewrite(statement, run->sql, params->types, params->count, NULL);
#endif
	plans = pg_plan_queries(queries, run->sql, CURSOR_OPT_PARALLEL_OK, params->values);
	if (snapshot_set)
		PopActiveSnapshot();
	CHECK_FOR_INTERRUPTS();

	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, run->sql, tag, plans, NULL);
	PortalStart(portal, params->values, 0, InvalidSnapshot);

	/* What the portal will return is known now; the rows of any statement but the last are dropped. */
	returns_rows = portal->tupDesc != NULL;
	receiver = last && returns_rows && run->send_rows ? pgb_row_receiver() : None_Receiver;
#if PG_VERSION_NUM >= 180000
	(void) PortalRun(portal, FETCH_ALL, top_level, receiver, receiver, completion);
#else
	(void) PortalRun(portal, FETCH_ALL, top_level, true, receiver, receiver, completion);
#endif
	receiver->rDestroy(receiver);
	PortalDrop(portal, false);
	return returns_rows;
}

/* The tags of all statements are the result when the last one returns no rows. */
static void
send_tags(List *tags)
{
	ListCell   *cell;

	foreach(cell, tags)
	{
		const char *tag = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		pgb_send_frame(PGB_FRAME_TAG, tag, strlen(tag));
	}
}

static void
run_text(const PgbRun *run)
{
	List	   *statements;
	List	   *tags = NIL;
	ListCell   *cell;
	PgbParams	params = {0};
	bool		single;
	bool		atomic;
	bool		was_logged;
	bool		returned_rows = false;
	int32		sec_context = run->identity->sec_context;
	ErrorContextCallback context = {
		.previous = error_context_stack, .callback = place_error, .arg = (void *) run->sql
	};

	error_context_stack = &context;
	debug_query_string = run->sql;
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, run->sql);

	/* The user before the transaction: every abort in it goes back to this one, never to another. */
	SetUserIdAndSecContext(run->identity->current, 0);

	StartTransactionCommand();
	pgb_check_rights(run->identity);
	first_statement_timeout = StatementTimeout;
	if (run->time_limit > 0)
		job_deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), run->time_limit);
	arm_timer(limit_of_statement());
	PGB_FAULT("transaction-begun");

	MemoryContextSwitchTo(job_context);
	statements = pg_parse_query(run->sql);
	was_logged = must_log(statements);
	if (was_logged)
		ereport(LOG, (errmsg("statement: %s", run->sql), errhidestmt(true)));
	single = list_length(statements) == 1;
	atomic = !single;
	if (!single || !runs_without_context(run->identity, linitial_node(RawStmt, statements)->stmt))
	{
		SetUserIdAndSecContext(run->identity->current, sec_context);
		/* After a ROLLBACK in it the next transaction would start without the context. */
		if (single && sec_context != 0)
			atomic = can_run_atomically(linitial_node(RawStmt, statements)->stmt);
	}
	if (run->params != NULL)
	{
		params.values = pgb_restore_params(run->params, &params.types);
		params.count = params.values->numParams;
	}

	foreach(cell, statements)
	{
		RawStmt    *statement = lfirst_node(RawStmt, cell);
		bool		last = lnext(statements, cell) == NULL;
		QueryCompletion completion;

		if (!single)
			BeginImplicitTransactionBlock();
		if (statement != linitial(statements))
			arm_timer(limit_of_statement());
		returned_rows = run_statement(run, &params, statement, !atomic, last, &completion);
		PGB_FAULT("statement-done");
		last_completion = completion;
		MemoryContextSwitchTo(job_context);
		tags = lappend(tags, describe_completion(&completion));
		if (!last)
		{
			CommandCounterIncrement();
			stop_timer();
		}
	}
	if (run->send_rows && !returned_rows)
		send_tags(tags);
	/* While an error can still be an error: after the commit nothing may wait or fail. */
	pgb_flush_messages();
	if (!single && statements != NIL)
		EndImplicitTransactionBlock();

	/* What is put off until the commit is no statement's, but the job's. */
	stop_timer();
	arm_timer(0);
	final_commit = true;
	CommitTransactionCommand();
	PGB_FAULT("committed");
	job_deadline = 0;
	disable_timeout(STATEMENT_TIMEOUT, false);
	log_duration_of(run->sql, was_logged);
	debug_query_string = NULL;
	error_context_stack = context.previous;
}

/*
 * Makes this session the leader's (session.c). False: that failed, the error was reported, and the session
 * is neither the leader's nor its own: the process must not run a job.
 */
bool
pgb_adopt(const PgbIdentity *identity, const PgbSettings *settings)
{
	volatile bool succeeded = false;

	PG_TRY();
	{
		/* A cancel waits until the session is whole; an error lets go of the hold by itself. */
		HOLD_CANCEL_INTERRUPTS();
		SetUserIdAndSecContext(GetSessionUserId(), 0);
		StartTransactionCommand();
		pgb_adopt_session(identity, settings);
		CommitTransactionCommand();
		RESUME_CANCEL_INTERRUPTS();
		succeeded = true;
	}
	PG_CATCH();
	{
		recover();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	return succeeded;
}

/* Forgets the last job. Before the next one begins. */
void
pgb_forget_job(void)
{
	final_commit = false;
	last_committed = false;
	job_deadline = 0;
	pgb_forget_cancel();
	SetQueryCompletion(&last_completion, CMDTAG_UNKNOWN, 0);
}

/* Runs one job. True: it committed. False: it failed, the error was reported, the process is clean. */
bool
pgb_run(const PgbRun *run)
{
	volatile bool succeeded = false;

	PG_TRY();
	{
		run_text(run);
		succeeded = true;
	}
	PG_CATCH();
	{
		recover();
		succeeded = pgb_committed();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextReset(job_context);
	return succeeded;
}

/* The worker's outermost loop. Never returns: step ends the process when there is no more to do. */
void
pgb_worker_loop(void (*step) (void))
{
	sigjmp_buf	here;

	job_context = AllocSetContextCreate(TopMemoryContext, "pg_background job",
										ALLOCSET_DEFAULT_SIZES);
	MessageContext = job_context;
	RegisterXactCallback(after_transaction, NULL);

	if (sigsetjmp(here, 1) != 0)
		recover();
	PG_exception_stack = &here;
	error_context_stack = &pgb_cancel_watch;
	for (;;)
		step();
}
