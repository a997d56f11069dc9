/*
 * The file from which this library was loaded.
 *
 * A worker loads the library from the same path. If the file has been removed or replaced since this process loaded it,
 * that may be why a worker does not start.
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
