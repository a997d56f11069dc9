/*
 * Writes log messages where nothing may be thrown and no interrupt may be processed: between two steps of a job's end,
 * and in an exit callback.
 *
 * In C because ereport is a macro, and can throw and process interrupts at any level.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/elog.h"

#include "shim.h"

/*
 * A line is being written. While the process exits, an error in it (no memory, or in a hook of another extension) starts
 * another exit and does not return here. Then this stays true, and the rest of the exit writes no lines.
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
 * Writes the line. If that fails the line is missing. Never throws; interrupts are held. But it may end the process, as
 * any message may: a hook can raise a FATAL error, and see above. So the callers first note for the exit callbacks what
 * they have done.
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
	/* The line has nothing to do with the running statement. */
	error_context_stack = NULL;
	(void) pgb_survives(report, &line, &code);
	error_context_stack = callbacks;
	RESUME_INTERRUPTS();
	is_writing = false;
}

/* Whether somebody reads the level. With fault points every line is written, because each is a fault point. */
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
 * Reports a transition of a job in the log (and to the client, if it asked for that level). pid: the worker that the line
 * names; 0: none. Formats nothing unless somebody reads the level.
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

/* DEBUG1: a worker exits. */
void
pgb_trace_exit(const char *how)
{
	char		line[80];

	if (!is_read(DEBUG1))
		return;
	snprintf(line, sizeof(line), "pg_background: worker exits: %s", how);
	write_line(DEBUG1, line);
}

/* LOG: why this process cannot be a worker. */
void
pgb_log_unattached(const char *why, Size len)
{
	char		line[1024];

	snprintf(line, sizeof(line), "pg_background worker could not attach to shared memory: %.*s",
			 (int) Min(len, sizeof(line)), why);
	write_line(LOG, line);
}
