/*
 * Spill files: what a result that nobody reads goes on into.
 *
 * They are temporary files of PostgreSQL by name and place, so that it removes them itself when it starts,
 * and the worker writes them through fd.c, so that temp_file_limit counts. They are not FileSets: those are
 * named after the pid and a counter of their process, and a file that outlives its process would meet the
 * file of a later one with that pid. The number in the name comes from shared memory, and is never used
 * twice. Who deletes a file is decided where the job's memory is freed.
 *
 * In C because fd.c throws, and because resource owners are switched around it.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xact.h"
#include "commands/tablespace.h"
#include "common/file_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"

#include "shim.h"

/* The worker's: of the job it runs. Closed by the end of the transaction at the latest. */
static File writing = -1;
/* Made in an earlier transaction of the job: fd.c does not count what is added to it. */
static bool reopened;

static void
spill_directory(char *path, Oid tablespace)
{
	TempTablespacePath(path, tablespace);
}

static void
spill_path(char *path, Oid tablespace, uint64 number)
{
	char		directory[MAXPGPATH];

	spill_directory(directory, tablespace);
	snprintf(path, MAXPGPATH, "%s/%spgb." UINT64_FORMAT, directory, PG_TEMP_FILE_PREFIX, number);
}

/* Where the next spill file of this process belongs. */
Oid
pgb_spill_tablespace(void)
{
	Oid			tablespace;

	PrepareTempTablespaces();
	tablespace = GetNextTempTableSpace();
	return OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace;
}

static void
open_for_writing(Oid tablespace, uint64 number, bool create)
{
	char		path[MAXPGPATH];
	ResourceOwner owner = CurrentResourceOwner;

	spill_path(path, tablespace, number);
	/* The row that is sent may belong to a portal, or to a subtransaction, that ends before the job. */
	CurrentResourceOwner = TopTransactionResourceOwner;
	if (create)
	{
		char		directory[MAXPGPATH];

		writing = PathNameCreateTemporaryFile(path, false);
		if (writing <= 0)
		{
			spill_directory(directory, tablespace);
			(void) MakePGDirectory(directory);
			writing = PathNameCreateTemporaryFile(path, true);
		}
	}
	else
		writing = PathNameOpenTemporaryFile(path, O_RDWR);
	reopened = !create;
	CurrentResourceOwner = owner;
	if (writing <= 0)
	{
		writing = -1;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open the result file \"%s\" of a background job: %m", path)));
	}
}

/* Writes at the end of the file of the job that runs; create: there is none yet. */
void
pgb_spill_write(Oid tablespace, uint64 number, bool create, int64 offset, const char *bytes, int32 len)
{
	if (writing < 0)
		open_for_writing(tablespace, number, create);
	if (reopened && temp_file_limit >= 0 && offset + len > (int64) temp_file_limit * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("temporary file size exceeds temp_file_limit (%dkB)", temp_file_limit)));
	errno = 0;
	if (FileWrite(writing, (char *) bytes, len, offset, WAIT_EVENT_BUFFILE_WRITE) != len)
	{
		if (errno == 0)
			errno = ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write to the result file of a background job: %m"),
				 errhint("Read the result while the job runs, or free disk space.")));
	}
}

static int
open_rest(const char *path, int flags)
{
	return BasicOpenFile(path, O_WRONLY | PG_BINARY | flags);
}

/*
 * Writes the last of a result at the end of the file, when the job has ended: there is no transaction that fd.c
 * could close the file with, and nothing may be thrown. create: there is no file yet. False: it was not written.
 */
bool
pgb_spill_write_rest(Oid tablespace, uint64 number, bool create, int64 offset, const char *bytes, int32 len)
{
	char		path[MAXPGPATH];
	int			flags = create ? O_CREAT | O_EXCL : 0;
	int			file;
	int32		done = 0;

	if (temp_file_limit >= 0 && offset + len > (int64) temp_file_limit * 1024)
		return false;
	spill_path(path, tablespace, number);
	file = open_rest(path, flags);
	if (file < 0 && create)
	{
		char		directory[MAXPGPATH];

		spill_directory(directory, tablespace);
		(void) MakePGDirectory(directory);
		file = open_rest(path, flags);
	}
	if (file < 0)
		return false;
	while (done < len)
	{
		ssize_t		written = pwrite(file, bytes + done, len - done, offset + done);

		if (written <= 0 && errno != EINTR)
			break;
		if (written > 0)
			done += written;
	}
	close(file);
	return done == len;
}

/* Empties the file of the job that runs, which may be closed: it was written in an earlier transaction then. */
void
pgb_spill_empty(Oid tablespace, uint64 number)
{
	if (writing < 0)
		open_for_writing(tablespace, number, false);
	if (FileTruncate(writing, 0, WAIT_EVENT_BUFFILE_TRUNCATE) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not truncate the result file of a background job: %m")));
}

/* The transaction ends: aborted, it closes the file itself. */
void
pgb_spill_end_transaction(bool is_abort)
{
	if (writing >= 0 && !is_abort)
		FileClose(writing);
	writing = -1;
}

/* Deletes a file, or what there is of it. Never throws. */
void
pgb_spill_delete(Oid tablespace, uint64 number)
{
	char		path[MAXPGPATH];

	spill_path(path, tablespace, number);
	(void) unlink(path);
}

/* The reader's: opened outside of any transaction's care, because a cursor may outlive that. */
int32
pgb_spill_open(Oid tablespace, uint64 number)
{
	char		path[MAXPGPATH];
	File		file;

	spill_path(path, tablespace, number);
	file = PathNameOpenFile(path, O_RDONLY | PG_BINARY);
	if (file <= 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open the result file \"%s\" of a background job: %m", path)));
	return file;
}

void
pgb_spill_read(int32 file, int64 offset, char *into, int32 len)
{
	int			got = FileRead(file, into, len, offset, WAIT_EVENT_BUFFILE_READ);

	if (got == len)
		return;
	if (got >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the result file of a background job is shorter than it should be")));
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not read the result file of a background job: %m")));
}

/* Never throws. */
void
pgb_spill_close(int32 file)
{
	FileClose(file);
}
