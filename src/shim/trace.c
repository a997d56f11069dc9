/*
 * Writes log messages where nothing may be thrown and no interrupt may be processed: between two steps of a job's end,
 * and in an exit callback.
 *
 * In C because ereport is a macro, and can throw and process interrupts at any level.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/elog.h"
#include "utils/guc.h"

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
	/* An event, or the first of some transitions that are written together: these are fault points. */
	bool		is_event;
	bool		is_first_transition;
} Line;

static void
report(void *arg)
{
	const Line *line = arg;

	if (line->is_event)
		PGB_FAULT("event-written");
	if (line->is_first_transition)
		PGB_FAULT("transitions-written");
	ereport(line->level, (errmsg_internal("%s", line->text), errhidestmt(true)));
}

/*
 * Writes the line. If that fails the line is missing. Never throws; interrupts are held. But it may end the process, as
 * any message may: a hook can raise a FATAL error, and see above. So the callers first note for the exit callbacks what
 * they have done.
 */
static void
write_line(Line line)
{
	if (is_writing)
		return;
	is_writing = true;
	pgb_quietly(report, &line);
	is_writing = false;
}

/* Whether somebody reads the events of a job. */
bool
pgb_events_are_read(void)
{
	return message_level_is_interesting(DEBUG1);
}

/* DEBUG1: an event, to the log, and to the client if it asked for that level. */
void
pgb_write_event(const char *text)
{
	char		line[300];

	snprintf(line, sizeof(line), "pg_background: %s", text);
	write_line((Line) {.level = DEBUG1, .text = line, .is_event = true});
}

/*
 * Transitions are for the server's log alone. They can be of words that other users' jobs share with this process, and a
 * process writes them before it sleeps, when writing to a client could reset its latch.
 */
bool
pgb_transitions_are_read(void)
{
	int			saved = client_min_messages;
	bool		is_read;

	client_min_messages = ERROR;
	is_read = message_level_is_interesting(DEBUG2);
	client_min_messages = saved;
	return is_read;
}

/* DEBUG2: a transition, to the log. is_first: of those that are written together. */
void
pgb_write_transition(const char *text, bool is_first)
{
	int			saved = client_min_messages;
	char		line[300];

	snprintf(line, sizeof(line), "pg_background: %s", text);
	client_min_messages = ERROR;
	write_line((Line) {.level = DEBUG2, .text = line, .is_first_transition = is_first});
	client_min_messages = saved;
}

/* LOG: why this process cannot be a worker. */
void
pgb_log_unattached(const char *why, Size len)
{
	char		line[1024];

	snprintf(line, sizeof(line), "pg_background worker could not attach to shared memory: %.*s",
			 (int) Min(len, sizeof(line)), why);
	write_line((Line) {.level = LOG, .text = line});
}
