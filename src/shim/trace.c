/*
 * Lines for the log that are written where nothing may be thrown and no interrupt processed: between two steps
 * of a job's end, in an exit callback.
 *
 * In C because an ereport of any level can do both, and is a macro.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/elog.h"

#include "shim.h"

/*
 * A line is being written. While the process exits an error in it (no memory, a hook of somebody else's) is another
 * exit, which does not come back here: then it stays true, and the rest of the exit is silent.
 */
static bool is_writing;

typedef struct Line
{
	int			level;
	const char *text;
} Line;

static void
report(void *arg)
{
	const Line *line = arg;

	PGB_FAULT("line-written");
	ereport(line->level, (errmsg_internal("%s", line->text), errhidestmt(true)));
}

/*
 * Writes the line, if somebody reads the level; after an error it is missing. Never throws; interrupts wait. It may end
 * the process, though, as any line may: a hook can raise a FATAL, and see above. So the callers write when whatever they
 * have done is noted for the exit callbacks.
 */
static void
write_line(int level, const char *text)
{
	Line		line = {level, text};
	ErrorContextCallback *callbacks = error_context_stack;
	int			code;

	if (is_writing)
		return;
	is_writing = true;
	HOLD_INTERRUPTS();
	/* What runs at this moment has nothing to do with it. */
	error_context_stack = NULL;
	(void) pgb_survives(report, &line, &code);
	error_context_stack = callbacks;
	RESUME_INTERRUPTS();
	is_writing = false;
}

/* With fault points each line is one, whoever reads it. */
static bool
is_read(int level)
{
#ifdef PGB_FAULTS
	return true;
#else
	return message_level_is_interesting(level);
#endif
}

/*
 * Says in the log (and to the client, if it asked for that) what has become of a job. pid: the worker it is
 * about; 0: none. Formats nothing unless somebody reads the level.
 */
void
pgb_trace(bool detail, uint32 index, uint64 generation, const char *what, int32 pid)
{
	int			level = detail ? DEBUG2 : DEBUG1;
	char		line[160];

	if (!is_read(level))
		return;
	if (pid == 0)
		snprintf(line, sizeof(line), "pg_background: job %u/" UINT64_FORMAT " %s", index, generation, what);
	else
		snprintf(line, sizeof(line), "pg_background: job %u/" UINT64_FORMAT " %s PID %d", index, generation, what, pid);
	write_line(level, line);
}

/* DEBUG1: a worker leaves. */
void
pgb_trace_leaving(const char *how)
{
	char		line[80];

	if (!is_read(DEBUG1))
		return;
	snprintf(line, sizeof(line), "pg_background: worker leaves: %s", how);
	write_line(DEBUG1, line);
}

/* LOG: why this process does not become a worker. */
void
pgb_log_unattached(const char *why, Size len)
{
	char		line[1024];

	snprintf(line, sizeof(line), "pg_background worker could not attach to shared memory: %.*s",
			 (int) Min(len, sizeof(line)), why);
	write_line(LOG, line);
}
