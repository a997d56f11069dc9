/*
 * The file from which this library was loaded.
 *
 * The registration of a worker names this file, so that the worker loads what this process has loaded. The name of the
 * library would not do: a worker looks it up along dynamic_library_path as it is configured, which this session or its
 * database may have set otherwise. If the file has been removed or replaced since this process loaded it, that may be
 * why a worker does not start.
 *
 * In C because only dladdr returns the file of a library, and neither Rust's library nor pgrx binds it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE				/* dladdr */
#endif
#include "postgres.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmgr.h"
#include "shim.h"

static char path[MAXPGPATH];
static struct stat loaded;

/* Runs when the library is loaded. The postmaster's children inherit the values. */
__attribute__((constructor)) static void
note_library(void)
{
	Dl_info		info;

	if (dladdr(&loaded, &info) == 0 || info.dli_fname == NULL ||
		strlcpy(path, info.dli_fname, sizeof(path)) >= sizeof(path) ||
		stat(path, &loaded) != 0)
		path[0] = '\0';
}

/* The file, as it was opened; empty if that is unknown. It stays as it is. */
const char *
pgb_library_path(void)
{
	return path;
}

/*
 * Raises an error if this process has loaded another copy of the library, from another file. The server loads both if
 * functions name the library in two ways and each way finds another file. Two copies would each have their own jobs,
 * settings and hooks. Called when the library is loaded, before anything else.
 */
void
pgb_be_the_only_copy(void)
{
	const char **copy = (const char **) find_rendezvous_variable("pg_background library");

	if (*copy != NULL && *copy != path)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_background is already loaded from \"%s\"", *copy),
				 errdetail("The file that was to be loaded now is \"%s\".", path),
				 errhint("Reconnect if dynamic_library_path was changed, restart the server if it preloads the library. "
						 "Otherwise install one copy of it.")));
	*copy = path;
}

/* Whether the file is still the one from which the library was loaded. True if that is unknown. */
bool
pgb_library_is_in_place(void)
{
	struct stat now;

	if (path[0] == '\0')
		return true;
	return stat(path, &now) == 0 && access(path, R_OK) == 0 &&
		now.st_dev == loaded.st_dev && now.st_ino == loaded.st_ino &&
		now.st_size == loaded.st_size && now.st_mtime == loaded.st_mtime;
}
