/*
 * The session's settings as they lie in memory.
 *
 * Before 16 the server looks at every setting it has to serialize the few that matter, twice, and prints
 * each number of theirs. Whether anything changed since the last time is told sooner by copying those few
 * as they are, and comparing the copies. In C because the settings' structures are not bound by pgrx.
 */
#include "postgres.h"

#include "utils/guc.h"
#include "utils/guc_tables.h"

#include "shim.h"

#if PG_VERSION_NUM < 160000

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

/* With its terminator, behind a byte that tells whether there is one. */
static void
put_text(Image *image, const char *text)
{
	char		is_there = text != NULL;

	put(image, &is_there, 1);
	if (is_there)
		put(image, text, strlen(text) + 1);
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
			put(image, ((struct config_bool *) setting)->variable, sizeof(bool));
			break;
		case PGC_INT:
			put(image, ((struct config_int *) setting)->variable, sizeof(int));
			break;
		case PGC_REAL:
			put(image, ((struct config_real *) setting)->variable, sizeof(double));
			break;
		case PGC_STRING:
			put_text(image, *((struct config_string *) setting)->variable);
			break;
		case PGC_ENUM:
			put(image, ((struct config_enum *) setting)->variable, sizeof(int));
			break;
	}
}

/*
 * Writes into `bytes`, which has room for `size`, every setting that SerializeGUCState may write, with all
 * that it writes of it. Returns how much room is needed: if that is more than `size`, the contents are of
 * no use. Does not throw.
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
		 * Left out by the server too: what is at its compiled-in value, what cannot change. Which others it
		 * leaves out differs between minor versions; one more in the image does no harm.
		 */
		if (setting->source != PGC_S_DEFAULT &&
			setting->context != PGC_POSTMASTER && setting->context != PGC_INTERNAL)
			put_setting(&image, setting);
	}
	return image.needed;
}

#endif
