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

/*
 * Whether somebody reads DEBUG1, or with `detail` DEBUG2. With fault points the lines of DEBUG1 are always written,
 * because each is a fault point.
 */
bool
pgb_is_traced(bool detail)
{
#ifdef PGB_FAULTS
	if (!detail)
		return true;
#endif
	return message_level_is_interesting(detail ? DEBUG2 : DEBUG1);
}

/* Writes a line at DEBUG1, or with `detail` at DEBUG2, to the log (and to the client, if it asked for that level). */
void
pgb_trace(bool detail, const char *text)
{
	char		line[300];

	snprintf(line, sizeof(line), "pg_background: %s", text);
	write_line(detail ? DEBUG2 : DEBUG1, line);
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
