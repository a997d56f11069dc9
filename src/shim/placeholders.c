/*
 * Placeholders: settings that a session has named and no library has defined.
 *
 * In C because pgrx does not bind the structures of settings.
 *
 * A session that sets "app.user" makes it a placeholder, and the server never forgets a placeholder. Without a value it
 * is shown as an empty text, while a session in which it was never set shows NULL (current_setting with missing_ok) or
 * raises an error. So a placeholder that has lost its value is hidden: it gets a name that nobody can write. When a
 * leader has a value for it, it is found again by its own name. A job that sets it makes a new one. A process that has
 * hidden too many exits.
 *
 * Before 16 the server's table is sorted by name. The hidden name is the own name with one more character, which sorts
 * before all others: so it sorts right behind the own name. From 16 on the table is hashed, and keeps the hash and a
 * pointer to the name. A name that is changed in place is not found by its old hash, and is not stored under a new one.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"

#include "shim.h"

/* There may be placeholders that have no value, or will have none without the present leader. */
static bool may_have_empty = true;

/* All settings that this process knows. From 16 on the caller frees the array. */
static struct config_generic **
all_settings(int *count)
{
#if PG_VERSION_NUM >= 160000
	return get_guc_variables(count);
#else
	*count = GetNumConfigOptions();
	return get_guc_variables();
#endif
}

/* A process that has hidden more exits after its job, because the server's table is searched, and sorted. */
#define HIDDEN_LIMIT 128

typedef struct Hidden
{
	struct Hidden *next;
	struct config_generic *setting;
	const char *name;			/* its own */
	char		text[FLEXIBLE_ARRAY_MEMBER];	/* that name; before 16 the one that hides it */
} Hidden;

static Hidden *hidden;
static int	hidden_count;

/* The character that sorts before all others, in the server's order of names. */
#define LEAST ((char) (CHAR_MIN < 0 ? CHAR_MIN : 1))

/* False: out of memory. */
static bool
hide(struct config_generic *setting)
{
	Size		len = strlen(setting->name);
	Hidden	   *made = MemoryContextAllocExtended(TopMemoryContext, offsetof(Hidden, text) + len + 2, MCXT_ALLOC_NO_OOM);

	if (made == NULL)
		return false;
	memcpy(made->text, setting->name, len + 1);
	made->setting = setting;
#if PG_VERSION_NUM >= 160000
	made->name = made->text;
	*unconstify(char *, setting->name) = LEAST;
#else
	made->name = setting->name;
	made->text[len] = LEAST;
	made->text[len + 1] = '\0';
	setting->name = made->text;
#endif
	/* A library that is loaded later must not treat this one as a placeholder of its names. */
	setting->flags &= ~GUC_CUSTOM_PLACEHOLDER;
	made->next = hidden;
	hidden = made;
	hidden_count++;
	return true;
}

/* A setting that does not exist is about to be set: if one of that name is hidden, unhides it. */
void
pgb_unhide(const char *name)
{
	may_have_empty = true;
	for (Hidden **at = &hidden; *at != NULL; at = &(*at)->next)
	{
		Hidden	   *found = *at;

		if (strcmp(found->name, name) != 0)
			continue;
#if PG_VERSION_NUM >= 160000
		*unconstify(char *, found->setting->name) = *found->name;
#else
		found->setting->name = found->name;
#endif
		found->setting->flags |= GUC_CUSTOM_PLACEHOLDER;
		*at = found->next;
		hidden_count--;
		pfree(found);
		return;
	}
}

static bool
has_no_value(const struct config_generic *setting)
{
	const struct config_string *string = PGB_STRING_SETTING(setting);

	return setting->source == PGC_S_DEFAULT && setting->reset_source == PGC_S_DEFAULT && setting->stack == NULL &&
		(*string->variable == NULL || **string->variable == '\0');
}

/* Hides all placeholders that have no value. False: out of memory, some are not hidden. */
static bool
hide_empty(void)
{
	int			count;
	struct config_generic **settings = all_settings(&count);
	bool		all = true;

	may_have_empty = false;
	for (int i = 0; i < count; i++)
	{
		if ((settings[i]->flags & GUC_CUSTOM_PLACEHOLDER) == 0)
			continue;
		if (has_no_value(settings[i]))
			all = hide(settings[i]) && all;
		else if (settings[i]->source > PGC_S_ARGV)
			may_have_empty = true;
	}
#if PG_VERSION_NUM >= 160000
	pfree(settings);
#endif
	return all;
}

/* The settings of a leader were set: hides placeholders that only another leader had set. */
void
pgb_hide_names_of_others(void)
{
	if (may_have_empty && !hide_empty())
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
}

/* A job that can have named settings has ended: hides placeholders that have no value. False: out of memory. */
bool
pgb_hide_names_of_job(void)
{
	bool		all = hide_empty();

	may_have_empty = true;
	return all;
}

bool
pgb_has_hidden_too_many(void)
{
	return hidden_count > HIDDEN_LIMIT;
}

/* Whether the name begins with `prefix`. Upper and lower case are the same in names of settings. */
bool
pgb_has_prefix(const char *name, const char *prefix)
{
	return pg_strncasecmp(name, prefix, strlen(prefix)) == 0;
}

/* Whether there is a setting of that name, which is no placeholder. */
bool
pgb_is_defined(const char *name)
{
	const struct config_generic *setting = pgb_find_setting(name);

	return setting != NULL && (setting->flags & GUC_CUSTOM_PLACEHOLDER) == 0;
}

/* Whether a placeholder whose name begins with `prefix` has a value from a source above `highest`. */
static bool
has_placeholder_above(GucSource highest, const char *prefix)
{
	int			count;
	struct config_generic **settings = all_settings(&count);

	for (int i = 0; i < count; i++)
	{
		if ((settings[i]->flags & GUC_CUSTOM_PLACEHOLDER) != 0 && settings[i]->reset_source > highest &&
			pgb_has_prefix(settings[i]->name, prefix))
			return true;
	}
	return false;
}

/*
 * Whether the database, the role or the client has set a placeholder whose name begins with `prefix`. Such a value
 * replaces the value of the configuration, and the server does not keep the latter. If the definition then refuses the
 * value, because only the configuration may set it, the compiled-in value remains.
 */
bool
pgb_hides_configuration(const char *prefix)
{
	return has_placeholder_above(PGC_S_ARGV, prefix);
}

/* Whether the client has set one, which replaces the values of the database and the role in the same way. */
bool
pgb_hides_catalog(const char *prefix)
{
	return has_placeholder_above(PGC_S_DATABASE_USER, prefix);
}

