/*
 * The settings of a session: how they are compared, which of them are sent with a job, and how a worker applies them.
 *
 * In C because pgrx does not bind the structures of settings.
 *
 * Words
 *
 *	configuration	values from the configuration file, command line, environment, or compiled in: sources up to
 *					PGC_S_ARGV
 *	own values		values of a session above that: from its database, role, client, or SET
 *
 * A job's session has the configuration as its process has read it last, and over it the own values of the leader.
 * Changes by ALTER ROLE or ALTER DATABASE after the leader has connected do not reach its jobs, as they do not reach
 * the leader.
 *
 * Which values are sent
 *
 * A job gets values whose source is above PGC_S_ARGV, of settings that a session may set (in the *worker*, which may
 * know more settings than the leader): context USERSET or SUSET, and BACKEND or SU_BACKEND, which a client sets when it
 * connects. A job gets no setting of context SIGHUP or above, and no value that the leader has from its configuration:
 * for these each process uses its own configuration, and reads that again when it is told to. Otherwise an administrator
 * could not change them for jobs that launch jobs.
 *
 * Each value is sent with its source, its scope (the privileges of its setter) and the role that set it, and is set
 * with these: so the same check is made as in the leader. A leader that has not loaded a library keeps a value for it
 * unchecked, as a placeholder with the setter's scope. In a worker that has loaded the library, the check is made when
 * the value is set. A value that cannot be set is left out with a warning, as when the leader loads the library. A name
 * that this process does not accept is left out silently, because it can mean nothing to the job.
 *
 * If the leader has SET a value, and a RESET there goes back to an own value, that one is sent first. If it goes back to
 * the configuration, a RESET in the job goes back to the configuration of the worker.
 *
 * The characteristics of the leader's transaction are not sent. The settings of the users ("role",
 * "session_authorization") are set together with the users themselves; see session.c.
 *
 * Format
 *
 * The settings of a job are a sequence of entries: name and value, zero-terminated, then source, scope and role, four
 * bytes each.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_type.h"
#include "common/string.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "shim.h"

/* As the server prints numbers when it serializes them (guc.c). */
#define REALTYPE_PRECISION 17

typedef struct Image
{
	char	   *next;
	Size		room;
	Size		needed;
} Image;

static void
put(Image *image, const void *bytes, Size size)
{
	image->needed += size;
	if (size > image->room)
	{
		image->room = 0;
		return;
	}
	memcpy(image->next, bytes, size);
	image->next += size;
	image->room -= size;
}

static void
put_string(Image *image, const char *text)
{
	put(image, text, strlen(text) + 1);
}

/* With its terminator, after a byte that says whether there is a text. */
static void
put_text(Image *image, const char *text)
{
	char		is_there = text != NULL;

	put(image, &is_there, 1);
	if (is_there)
		put_string(image, text);
}

static void
put_setting(Image *image, struct config_generic *setting)
{
	put_text(image, setting->name);
	put_text(image, setting->sourcefile);
	put(image, &setting->sourceline, sizeof(setting->sourceline));
	put(image, &setting->source, sizeof(setting->source));
	put(image, &setting->scontext, sizeof(setting->scontext));
#if PG_VERSION_NUM >= 150000
	put(image, &setting->srole, sizeof(setting->srole));
#endif
	switch (setting->vartype)
	{
		case PGC_BOOL:
			put(image, PGB_BOOL_SETTING(setting)->variable, sizeof(bool));
			break;
		case PGC_INT:
			put(image, PGB_INT_SETTING(setting)->variable, sizeof(int));
			break;
		case PGC_REAL:
			put(image, PGB_REAL_SETTING(setting)->variable, sizeof(double));
			break;
		case PGC_STRING:
			put_text(image, *PGB_STRING_SETTING(setting)->variable);
			break;
		case PGC_ENUM:
			put(image, PGB_ENUM_SETTING(setting)->variable, sizeof(int));
			break;
	}
}

#if PG_VERSION_NUM < 160000

/*
 * Before 16 the server looks twice at every setting to serialize the few that matter, and prints the value of each
 * number. To copy these few as they are, and to compare the copies, is a faster way to see whether anything has changed.
 *
 * Writes to `bytes`, which has room for `size`, every own value that SerializeGUCState may write, with all the fields
 * that it writes. The configuration is not in it: it is neither sent nor changed by a job. Returns the size that is
 * needed: if that is more than `size`, the contents are useless. Does not throw.
 */
Size
pgb_settings_image(char *bytes, Size size)
{
	Image		image = {bytes, size, 0};
	struct config_generic **settings = get_guc_variables();
	int			count = GetNumConfigOptions();

	for (int i = 0; i < count; i++)
	{
		struct config_generic *setting = settings[i];

		/*
		 * The server too leaves out settings that cannot change. Which others it leaves out differs between minor
		 * versions. One more in the image does no harm.
		 */
		if (setting->source > PGC_S_ARGV &&
			setting->context != PGC_POSTMASTER && setting->context != PGC_INTERNAL)
			put_setting(&image, setting);
	}
	return image.needed;
}

/* The server's order of settings: upper-case and lower-case ASCII letters are the same. */
static int
compare_names(const char *a, const char *b)
{
	for (;; a++, b++)
	{
		char		left = *a >= 'A' && *a <= 'Z' ? *a - 'A' + 'a' : *a;
		char		right = *b >= 'A' && *b <= 'Z' ? *b - 'A' + 'a' : *b;

		if (left != right)
			return left - right;
		if (left == '\0')
			return 0;
	}
}

/* The setting of that name; NULL if there is none. Does not throw. */
struct config_generic *
pgb_find_setting(const char *name)
{
	struct config_generic **settings = get_guc_variables();
	int			low = 0;
	int			high = GetNumConfigOptions();

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			order = compare_names(name, settings[middle]->name);

		if (order == 0)
			return settings[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

#else

struct config_generic *
pgb_find_setting(const char *name)
{
	return find_option(name, false, true, DEBUG1);
}

/* The setting "role" as in an image. Some versions leave it out of the serialized state. */
Size
pgb_role_image(char *bytes, Size size)
{
	Image		image = {bytes, size, 0};

	put_setting(&image, pgb_find_setting("role"));
	return image.needed;
}

#endif

/* A setting as serialized, by the server or by this file. */
typedef struct Entry
{
	const char *name;
	const char *value;
	const char *file;			/* empty: none */
	int			line;
	GucSource	source;
	GucContext	scope;
	Oid			role;
} Entry;

typedef struct Reader
{
	const char *next;
	const char *end;
} Reader;

static const char *
read_string(Reader *from)
{
	const char *text = from->next;
	const char *end = memchr(text, '\0', from->end - text);

	if (end == NULL)
		elog(ERROR, "settings of a background job are truncated");
	from->next = end + 1;
	return text;
}

static void
read_bytes(Reader *from, void *into, Size size)
{
	if (size > from->end - from->next)
		elog(ERROR, "settings of a background job are truncated");
	memcpy(into, from->next, size);
	from->next += size;
}

static bool
read_entry(Reader *from, Entry *entry)
{
	uint32		numbers[3];

	if (from->next >= from->end)
		return false;
	memset(entry, 0, sizeof(Entry));
	entry->name = read_string(from);
	entry->value = read_string(from);
	entry->file = "";
	read_bytes(from, numbers, sizeof(numbers));
	entry->source = numbers[0];
	entry->scope = numbers[1];
	entry->role = numbers[2];
	return true;
}

/* Reads an entry that SerializeGUCState has written (serialize_variable in guc.c). */
static bool
read_server_entry(Reader *from, Entry *entry)
{
	if (from->next >= from->end)
		return false;
	memset(entry, 0, sizeof(Entry));
	entry->name = read_string(from);
	entry->value = read_string(from);
	entry->file = read_string(from);
	if (entry->file[0] != '\0')
		read_bytes(from, &entry->line, sizeof(entry->line));
	read_bytes(from, &entry->source, sizeof(entry->source));
	read_bytes(from, &entry->scope, sizeof(entry->scope));
#if PG_VERSION_NUM >= 150000
	read_bytes(from, &entry->role, sizeof(entry->role));
#endif
	return true;
}

/* The state begins with the number of bytes that follow. */
static Reader
read_server_state(const char *state)
{
	Size		size;
	Reader		reader;

	memcpy(&size, state, sizeof(size));
	reader.next = state + sizeof(size);
	reader.end = reader.next + size;
	return reader;
}

static void
put_entry(Image *image, const Entry *entry)
{
	uint32		numbers[3] = {entry->source, entry->scope, entry->role};

	put_string(image, entry->name);
	put_string(image, entry->value);
	put(image, numbers, sizeof(numbers));
}

/* Room for a number as text. */
typedef char Number[64];

/* The text of a value of a setting of an enum type. */
static const char *
enum_text(struct config_generic *setting, int value)
{
#if PG_VERSION_NUM >= 190000
	return config_enum_lookup_by_value(setting, value);
#else
	return config_enum_lookup_by_value(PGB_ENUM_SETTING(setting), value);
#endif
}

/* A value of the setting as the server serializes it: the present value, or that after a RESET. */
static const char *
value_of(struct config_generic *setting, bool reset, char *number)
{
	const char *text = number;

	switch (setting->vartype)
	{
		case PGC_BOOL:
			{
				struct config_bool *conf = PGB_BOOL_SETTING(setting);

				text = (reset ? conf->reset_val : *conf->variable) ? "true" : "false";
				break;
			}
		case PGC_INT:
			{
				struct config_int *conf = PGB_INT_SETTING(setting);

				snprintf(number, sizeof(Number), "%d", reset ? conf->reset_val : *conf->variable);
				break;
			}
		case PGC_REAL:
			{
				struct config_real *conf = PGB_REAL_SETTING(setting);

				snprintf(number, sizeof(Number), "%.*e", REALTYPE_PRECISION, reset ? conf->reset_val : *conf->variable);
				break;
			}
		case PGC_STRING:
			{
				struct config_string *conf = PGB_STRING_SETTING(setting);

				text = reset ? conf->reset_val : *conf->variable;
				break;
			}
		case PGC_ENUM:
			{
				struct config_enum *conf = PGB_ENUM_SETTING(setting);

				text = enum_text(setting, reset ? conf->reset_val : *conf->variable);
				break;
			}
	}
	return text == NULL ? "" : text;
}

static Oid
setter_of(const struct config_generic *setting, bool reset)
{
#if PG_VERSION_NUM >= 150000
	return reset ? setting->reset_srole : setting->srole;
#else
	return InvalidOid;
#endif
}

/* The present value, or that after a RESET. `number` is not needed for a text. */
static Entry
entry_of(struct config_generic *setting, bool reset, char *number)
{
	Entry		entry = {setting->name, value_of(setting, reset, number), "", 0,
		reset ? setting->reset_source : setting->source,
		reset ? setting->reset_scontext : setting->scontext,
	setter_of(setting, reset)};

	return entry;
}

/* If it is an own value of the leader: after the value of a RESET, if that is an own value too. */
static void
put_to_send(Image *image, const Entry *entry)
{
	struct config_generic *setting;

	if (entry->source <= PGC_S_ARGV)
		return;
	if (entry->source > PGC_S_OVERRIDE && (setting = pgb_find_setting(entry->name)) != NULL &&
		setting->reset_source > PGC_S_ARGV)
	{
		Number		number;
		Entry		reset = entry_of(setting, true, number);

		put_entry(image, &reset);
	}
	put_entry(image, entry);
}

static bool
is_of_transaction(const char *name)
{
	return strcmp(name, "transaction_isolation") == 0 || strcmp(name, "transaction_read_only") == 0 ||
		strcmp(name, "transaction_deferrable") == 0;
}

static bool
is_user_setting(const char *name)
{
	return strcmp(name, "role") == 0 || strcmp(name, "session_authorization") == 0;
}

/*
 * In a leader: writes to `bytes`, which has room for `size`, the settings that are sent with a job. `state` is the
 * output of SerializeGUCState. Returns the size that is needed, as pgb_settings_image does.
 */
Size
pgb_settings_to_send(const char *state, char *bytes, Size size)
{
	Image		image = {bytes, size, 0};
	Reader		reader = read_server_state(state);
	struct config_generic *role = pgb_find_setting("role");
	Entry		entry;

	while (read_server_entry(&reader, &entry))
	{
		if (strcmp(entry.name, "role") != 0 && !is_of_transaction(entry.name))
			put_to_send(&image, &entry);
	}
	/* Some versions leave it out of the serialized state. */
	entry = entry_of(role, false, NULL);
	put_to_send(&image, &entry);
	return image.needed;
}

/* The configuration of this worker, as SerializeGUCState has written it. */
static char *configuration;

/* What the session of this worker has besides its configuration. */
typedef enum State
{
	CONFIGURED,					/* nothing */
	CONNECTED,					/* the values of a new connection: no leader's settings were adopted yet */
	CHANGED						/* the settings of a leader, or of a job that has run */
} State;

static State state = CONNECTED;

/*
 * Saves the configuration. Called while the process has no other values: before it connects, or after it has restored
 * its configuration and read it again.
 */
void
pgb_note_configuration(void)
{
	Size		size = EstimateGUCStateSpace();
	char	   *noted = MemoryContextAlloc(TopMemoryContext, size);

	SerializeGUCState(size, noted);
	if (configuration != NULL)
		pfree(configuration);
	configuration = noted;
}

static bool
set(const Entry *entry, const char *value, int elevel)
{
#if PG_VERSION_NUM >= 150000
	return set_config_option_ext(entry->name, value, entry->scope, entry->source, entry->role,
								 GUC_ACTION_SET, true, elevel, true) > 0;
#else
	return set_config_option(entry->name, value, entry->scope, entry->source,
							 GUC_ACTION_SET, true, elevel, true) > 0;
#endif
}

/*
 * Lowers the source of the setting's values, so that a value from this source can replace them: the server keeps a
 * value from a higher source. They are not lowered to PGC_S_DEFAULT, because from 16 on the server keeps a list of the
 * settings with any other source.
 */
static void
lower_source(struct config_generic *setting, GucSource source)
{
	if (setting->source > source)
		setting->source = PGC_S_DYNAMIC_DEFAULT;
	if (setting->reset_source > source)
		setting->reset_source = PGC_S_DYNAMIC_DEFAULT;
}

/* Sets the file and the line of a setting, which set_config_option does not. */
static void
set_file_and_line(struct config_generic *setting, const Entry *entry)
{
	char	   *file;

#if PG_VERSION_NUM >= 160000
	file = guc_strdup(DEBUG1, entry->file);
#else
	file = strdup(entry->file);
#endif
	if (file == NULL)
		return;
#if PG_VERSION_NUM >= 160000
	guc_free(setting->sourcefile);
#else
	free(setting->sourcefile);
#endif
	setting->sourcefile = file;
	setting->sourceline = entry->line;
}

/*
 * Restores the configuration as it was read last, and nothing else. The users must be the process's own, and no setting
 * may have been changed in the running transaction, if there is one. Does what RestoreGUCState does with the
 * configuration, except for a setting that can no longer be set because a library has been loaded since: that one stays
 * as the library has set it.
 *
 * The server's reset ends the process if a compiled-in value is refused. On a standby that of transaction_read_only
 * would be, except while a parallel worker is set up.
 */
static void
restore_configuration(void)
{
	Size		nothing = 0;
	Reader		reader;
	Entry		entry;

	Assert(configuration != NULL);
	state = CHANGED;
	InitializingParallelWorker = true;
	PG_TRY();
	{
		RestoreGUCState(&nothing);
		reader = read_server_state(configuration);
		while (read_server_entry(&reader, &entry))
		{
			struct config_generic *setting;

			if (set(&entry, entry.value, DEBUG2) && entry.file[0] != '\0' &&
				(setting = pgb_find_setting(entry.name)) != NULL)
				set_file_and_line(setting, &entry);
		}
	}
	PG_FINALLY();
	{
		InitializingParallelWorker = false;
	}
	PG_END_TRY();
	SetConfigOption("client_encoding", GetDatabaseEncodingName(), PGC_BACKEND, PGC_S_DYNAMIC_DEFAULT);
	state = CONFIGURED;
}

/* Whether the setting has the value of the entry, set with the same privileges. */
static bool
is_set(struct config_generic *setting, const Entry *entry)
{
	Number		number;

	return setting->source == entry->source && setting->scontext == entry->scope &&
		setter_of(setting, false) == entry->role &&
		(entry->source > PGC_S_OVERRIDE || setting->reset_source == entry->source) &&
		strcmp(value_of(setting, false, number), entry->value) == 0;
}

static void
set_entry(const Entry *entry)
{
	struct config_generic *setting = pgb_find_setting(entry->name);

	if (setting == NULL)
	{
		pgb_unhide(entry->name);
		setting = pgb_find_setting(entry->name);
	}
	if (setting != NULL)
	{
		if (setting->context < PGC_SU_BACKEND || is_set(setting, entry))
			return;
		lower_source(setting, entry->source);
	}
	(void) set(entry, entry->value, setting == NULL ? DEBUG1 : WARNING);
}

/* Whether the leader too has a value for this own value of the process, from the same source. */
static bool
has_entry_like(const PgbSettings *leaders, const Entry *own)
{
	Reader		reader = {leaders->bytes, leaders->bytes + leaders->size};
	Entry		entry;

	while (read_entry(&reader, &entry))
	{
		if (entry.source == own->source && strcmp(entry.name, own->name) == 0)
			return true;
	}
	return false;
}

/*
 * Whether a process that has just connected has own values that the leader does not have, because ALTER ROLE or ALTER
 * DATABASE has set them since.
 */
static bool
has_more_than(const PgbSettings *leaders)
{
	Size		size = EstimateGUCStateSpace();
	char	   *own = palloc(size);
	bool		has_more = false;
	Reader		reader;
	Entry		entry;

	SerializeGUCState(size, own);
	reader = read_server_state(own);
	while (!has_more && read_server_entry(&reader, &entry))
		has_more = entry.source > PGC_S_ARGV && !is_of_transaction(entry.name) &&
			!is_user_setting(entry.name) && !has_entry_like(leaders, &entry);
	pfree(own);
	return has_more;
}

/*
 * Resets all settings to the configuration. The users must be the process's own, and no setting may have been changed in
 * the running transaction.
 */
void
pgb_restore_configuration(void)
{
	if (state != CONFIGURED)
		restore_configuration();
}

/*
 * Reads the configuration again. Own values of a leader, the database or the role are reset first: they would hide the
 * values of the file.
 */
void
pgb_reload_configuration(void)
{
	pgb_restore_configuration();
	ProcessConfigFile(PGC_SIGHUP);
	pgb_note_configuration();
	pgb_plans_forget();
}

/*
 * Sets the settings of a job, except its users. Called in a transaction that has changed no setting, as the
 * authenticated user. A process that has just connected mostly has the leader's own values already, from the database
 * and the role. These are then left as they are.
 */
void
pgb_make_settings(const PgbSettings *leaders)
{
	Reader		reader = {leaders->bytes, leaders->bytes + leaders->size};
	Entry		entry;

	if (state == CHANGED || (state == CONNECTED && has_more_than(leaders)))
		restore_configuration();
	state = CHANGED;
	while (read_entry(&reader, &entry))
	{
		if (!is_user_setting(entry.name))
			set_entry(&entry);
	}
	pgb_hide_names_of_others();
}

/*
 * Sets the setting "role" or "session_authorization", whatever the privileges. The caller has already changed the user
 * itself: while a parallel worker is set up, the server's hooks take the current user as the meaning of the name. Source
 * and setter are those of the leader's setting if that is an own value, otherwise the given source.
 */
void
pgb_make_user_setting(const char *name, const char *value, int source, const PgbSettings *leaders)
{
	struct config_generic *setting = pgb_find_setting(name);
	Entry		made = {name, value, "", 0, source, source > PGC_S_OVERRIDE ? PGC_USERSET : PGC_BACKEND,
	BOOTSTRAP_SUPERUSERID};

	if (leaders != NULL)
	{
		Reader		reader = {leaders->bytes, leaders->bytes + leaders->size};
		Entry		entry;

		/* The last entry of that name has the present value. */
		while (read_entry(&reader, &entry))
		{
			if (strcmp(entry.name, name) == 0)
				made = entry;
		}
		made.name = name;
		made.value = value;
	}
	lower_source(setting, made.source);
	InitializingParallelWorker = true;
	PG_TRY();
	{
		(void) set(&made, value, ERROR);
	}
	PG_FINALLY();
	{
		InitializingParallelWorker = false;
	}
	PG_END_TRY();
}

/* The value after a RESET of the setting in the leader; NULL if that is no own value. */
const char *
pgb_reset_value_of(const char *name, const PgbSettings *leaders, int *source)
{
	Reader		reader = {leaders->bytes, leaders->bytes + leaders->size};
	Entry		entry;

	while (read_entry(&reader, &entry))
	{
		if (entry.source <= PGC_S_OVERRIDE && strcmp(entry.name, name) == 0)
		{
			*source = entry.source;
			return entry.value;
		}
	}
	return NULL;
}

static bool
begins_with(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool
ends_with(const char *name, const char *suffix)
{
	Size		len = strlen(name);

	return len >= strlen(suffix) && strcmp(name + len - strlen(suffix), suffix) == 0;
}

/*
 * Whether the setting changes neither what a statement means nor how it is planned: what is logged, time limits, what
 * concerns the client, and the extension's own.
 */
static bool
is_without_effect_on_plans(const char *name)
{
	if (strchr(name, GUC_QUALIFIER_SEPARATOR) != NULL)
		return begins_with(name, "pg_background.");
	return begins_with(name, "log_") || begins_with(name, "client_") || begins_with(name, "tcp_") ||
		ends_with(name, "_timeout") || strcmp(name, "application_name") == 0;
}

/*
 * Appends name and present value of each setting that the leader has sent and that may have an effect on a plan. False:
 * the leader has names that no library has defined, and they were left out.
 */
bool
pgb_plan_settings(const PgbSettings *leaders, StringInfo into)
{
	Reader		reader = {leaders->bytes, leaders->bytes + leaders->size};
	Entry		entry;
	bool		is_complete = true;

	while (read_entry(&reader, &entry))
	{
		struct config_generic *setting;
		Number		number;

		if (is_without_effect_on_plans(entry.name))
			continue;
		setting = pgb_find_setting(entry.name);
		if (setting == NULL || (setting->flags & GUC_CUSTOM_PLACEHOLDER) != 0)
		{
			is_complete = false;
			continue;
		}
		appendBinaryStringInfo(into, entry.name, strlen(entry.name) + 1);
		entry.value = value_of(setting, false, number);
		appendBinaryStringInfo(into, entry.value, strlen(entry.value) + 1);
	}
	return is_complete;
}

/* Where the postmaster keeps its arguments: a line with its program, then each after a blank and in double quotes. */
#define OPTIONS_FILE "postmaster.opts"

static void
take_argument(const char *assignment, const char *prefix)
{
	char	   *name;
	char	   *value;

	ParseLongOption(assignment, &name, &value);
	if (value != NULL && pgb_has_prefix(name, prefix))
		(void) set_config_option(name, value, PGC_POSTMASTER, PGC_S_ARGV, GUC_ACTION_SET, true, DEBUG1, false);
}

/* Reads settings whose name begins with `prefix` from the server's command line again: -c or -- NAME=VALUE. */
static void
read_command_line(const char *prefix)
{
	FILE	   *file = AllocateFile(OPTIONS_FILE, "r");
	StringInfoData line;
	char	   *next;
	bool		is_value = false;

	if (file == NULL)
		return;
	initStringInfo(&line);
	(void) pg_get_line_buf(file, &line);
	FreeFile(file);
	for (next = strstr(line.data, " \""); next != NULL;)
	{
		char	   *argument = next + 2;
		char	   *end = strstr(argument, "\" \"");

		next = end == NULL ? NULL : end + 1;
		if (end == NULL)
			end = strrchr(argument, '"');
		if (end != NULL)
			*end = '\0';
		if (is_value)
			take_argument(argument, prefix);
		else if (strncmp(argument, "--", 2) == 0)
			take_argument(argument + 2, prefix);
		else if (strncmp(argument, "-c", 2) == 0 && argument[2] != '\0')
			take_argument(argument + 2, prefix);
		is_value = !is_value && strcmp(argument, "-c") == 0;
	}
	pfree(line.data);
}

/* Reads settings whose name begins with `prefix` from the configuration files and the command line again. */
void
pgb_read_files(const char *prefix)
{
	ConfigVariable *head = NULL;
	ConfigVariable *tail = NULL;

	if (ParseConfigFile(ConfigFileName, true, NULL, 0, 0, DEBUG1, &head, &tail) &&
		ParseConfigFile(PG_AUTOCONF_FILENAME, false, NULL, 0, 0, DEBUG1, &head, &tail))
	{
		/* If a name is there several times, the last one counts. */
		for (ConfigVariable *item = head; item != NULL; item = item->next)
		{
			if (!item->ignore && pgb_has_prefix(item->name, prefix))
				(void) set_config_option(item->name, item->value, PGC_SIGHUP, PGC_S_FILE,
										 GUC_ACTION_SET, true, DEBUG1, false);
		}
	}
	FreeConfigVariables(head);
	read_command_line(prefix);
}

static void
read_catalog_entry(Relation relation, Oid database, Oid role, GucSource source, const char *prefix)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_db_role_setting_setdatabase, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(database));
	ScanKeyInit(&keys[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(role));
	scan = systable_beginscan(relation, DbRoleSettingDatidRolidIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		is_null;
		Datum		value = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig, RelationGetDescr(relation), &is_null);
		Datum	   *items;
		int			count;

		if (is_null)
			continue;
		deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &count);
		for (int i = 0; i < count; i++)
		{
			char	   *name;
			char	   *setting;

			ParseLongOption(TextDatumGetCString(items[i]), &name, &setting);
			/* Like the server: the privileges were checked when the entry was written. */
			if (setting != NULL && pgb_has_prefix(name, prefix))
				(void) set_config_option(name, setting, PGC_SUSET, source, GUC_ACTION_SET, true, DEBUG1, false);
		}
	}
	systable_endscan(scan);
}

/*
 * Reads settings whose name begins with `prefix` from the catalog again, for this database and the login role, as the
 * server does when a session begins: the entry with the highest priority comes first.
 */
void
pgb_read_catalog(const char *prefix)
{
	bool		is_alone = !IsTransactionState();
	Oid			role = GetAuthenticatedUserId();
	Relation	relation;

	if (!OidIsValid(MyDatabaseId))
		return;
	if (is_alone)
		StartTransactionCommand();
	relation = table_open(DbRoleSettingRelationId, AccessShareLock);
	read_catalog_entry(relation, MyDatabaseId, role, PGC_S_DATABASE_USER, prefix);
	read_catalog_entry(relation, InvalidOid, role, PGC_S_USER, prefix);
	read_catalog_entry(relation, MyDatabaseId, InvalidOid, PGC_S_DATABASE, prefix);
	read_catalog_entry(relation, InvalidOid, InvalidOid, PGC_S_GLOBAL, prefix);
	table_close(relation, AccessShareLock);
	if (is_alone)
		CommitTransactionCommand();
	/* The next leader's settings replace these. */
	if (state == CONFIGURED)
		state = CONNECTED;
}
