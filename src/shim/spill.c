/*
 * Writing and reading spill files through fd.c: the worker writes in the job's transaction, so that temp_file_limit
 * applies, and the leader reads. All other operations on spill files are in spill.rs.
 *
 * In C because fd.c throws, and because resource owners are switched around it.
 */
#include "postgres.h"

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

/* The worker's file, of the job that it runs. Closed by the end of the transaction at the latest. */
static File writing = -1;
/* The file was created in an earlier transaction of the job: fd.c does not count what is added to it. */
static bool reopened;

/* The tablespace of the next spill file of this process. */
Oid
pgb_spill_tablespace(void)
{
	Oid			tablespace;

	PrepareTempTablespaces();
	tablespace = GetNextTempTableSpace();
	return OidIsValid(tablespace) ? tablespace : MyDatabaseTableSpace;
}

StaticAssertDecl(__builtin_strcmp(PGB_TEMP_FILE_PREFIX, PG_TEMP_FILE_PREFIX) == 0,
				 "the server's temporary files are called otherwise than shared.h says");

/* directory: where to create the file; NULL: it exists. */
static void
open_for_writing(const char *path, const char *directory)
{
	ResourceOwner owner = CurrentResourceOwner;

	/* The current owner may be that of a portal or a subtransaction, which ends before the job. */
	CurrentResourceOwner = TopTransactionResourceOwner;
	if (directory != NULL)
	{
		writing = PathNameCreateTemporaryFile(path, false);
		if (writing <= 0)
		{
			(void) MakePGDirectory(directory);
			writing = PathNameCreateTemporaryFile(path, true);
		}
	}
	else
		writing = PathNameOpenTemporaryFile(path, O_RDWR);
	reopened = directory == NULL;
	CurrentResourceOwner = owner;
	if (writing <= 0)
	{
		writing = -1;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open the result file \"%s\" of a background job: %m", path)));
	}
}

/* Writes at the end of the running job's file. directory: where to create it; NULL: it exists. */
void
pgb_spill_write(const char *path, const char *directory, int64 offset, const char *bytes, int32 len)
{
	if (writing < 0)
		open_for_writing(path, directory);
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
open_to_append(const char *path, int flags)
{
	return BasicOpenFile(path, O_WRONLY | PG_BINARY | flags);
}

typedef struct Rest
{
	const char *path;
	const char *directory;
	int32		file;
} Rest;

static void
open_rest(void *arg)
{
	Rest	   *rest = arg;
	int			flags = rest->directory != NULL ? O_CREAT | O_EXCL : 0;

	rest->file = open_to_append(rest->path, flags);
	if (rest->file < 0 && rest->directory != NULL)
	{
		(void) MakePGDirectory(rest->directory);
		rest->file = open_to_append(rest->path, flags);
	}
}

/*
 * Opens a file for the last of a result. directory: where to create it; NULL: it exists. Returns a descriptor of the
 * system, or a negative number: there is no transaction at whose end fd.c could close a file of its own. fd.c opens
 * this one with the server's file mode, and closes one of its files if there is no descriptor left. Never throws.
 */
int32
pgb_spill_open_rest(const char *path, const char *directory)
{
	Rest		rest = {path, directory, -1};

	pgb_quietly(open_rest, &rest);
	return rest.file;
}

static void
close_file(void *arg)
{
	FileClose(*(int32 *) arg);
}

/* Closes a file for reading. A failure goes into the log. Never throws. */
void
pgb_spill_close(int32 file)
{
	pgb_quietly(close_file, &file);
}

/* Empties the running job's file. The file may be closed, if it was written in an earlier transaction. */
void
pgb_spill_empty(const char *path)
{
	if (writing < 0)
		open_for_writing(path, NULL);
	if (FileTruncate(writing, 0, WAIT_EVENT_BUFFILE_TRUNCATE) < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not truncate the result file of a background job: %m")));
}

/* The transaction ends. An abort closes the file by itself. */
void
pgb_spill_end_transaction(bool is_abort)
{
	if (writing >= 0 && !is_abort)
		FileClose(writing);
	writing = -1;
}

/* The reader's file. No resource owner closes it, because a cursor may outlive the transaction. */
int32
pgb_spill_open(const char *path)
{
	File		file = PathNameOpenFile(path, O_RDONLY | PG_BINARY);

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
