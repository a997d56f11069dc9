/*
 * The root in main shared memory, the arena, and the segments of single blocks.
 *
 * In C because AddinShmemInitLock is a macro, and since 17 dsa_create too, and because errors of the arena are caught
 * here where nothing may be thrown. ShmemInitStruct works without preloading: PostgreSQL reserves some slack in its main
 * segment (contrib/pg_prewarm relies on it too). Others use the slack up too, the lock table above all. So a library that
 * is preloaded asks for the root's space, and makes the root before the server accepts connections.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/dsa.h"
#include "utils/resowner.h"

#include "shim.h"

#define TRANCHE_NAME "pg_background"

/* Finds the root, or creates it: zeroes it and calls init, which must not throw. */
void *
pgb_root(const char *name, Size size, void (*init) (void *root))
{
	bool		found;
	void	   *root;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	root = ShmemInitStruct(name, size, &found);
	if (!found)
	{
		memset(root, 0, size);
		init(root);
	}
	LWLockRelease(AddinShmemInitLock);
	return root;
}

/*
 * Initializes the locks, once for the cluster, and names their tranche for this process. tranche: in shared memory; 0
 * until it is done. Since 19 the server keeps the names of tranches, and throws if it has no room for one more.
 */
void
pgb_init_locks(int *tranche, LWLock **locks, int count)
{
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	if (*tranche == 0)
	{
#if PG_VERSION_NUM >= 190000
		int			number = LWLockNewTrancheId(TRANCHE_NAME);
#else
		int			number = LWLockNewTrancheId();
#endif

		for (int i = 0; i < count; i++)
			LWLockInitialize(locks[i], number);
		*tranche = number;
	}
	LWLockRelease(AddinShmemInitLock);
#if PG_VERSION_NUM < 190000
	LWLockRegisterTranche(*tranche, TRANCHE_NAME);
#endif
}

/* The arguments of pgb_root, for a library that is preloaded. */
static struct
{
	const char *name;
	Size		size;
	void		(*init) (void *root);
} preloaded;

static shmem_startup_hook_type next_startup = NULL;

static void
make_root(void)
{
	if (next_startup != NULL)
		next_startup();
	pgb_root(preloaded.name, preloaded.size, preloaded.init);
}

#if PG_VERSION_NUM >= 150000
static shmem_request_hook_type next_request = NULL;

static void
request_space(void)
{
	if (next_request != NULL)
		next_request();
	RequestAddinShmemSpace(MAXALIGN(preloaded.size));
}
#endif

/* Called once, when the library is loaded, with the arguments of pgb_root. */
void
pgb_reserve_root(const char *name, Size size, void (*init) (void *root))
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	preloaded.name = name;
	preloaded.size = size;
	preloaded.init = init;
	next_startup = shmem_startup_hook;
	shmem_startup_hook = make_root;
#if PG_VERSION_NUM >= 150000
	next_request = shmem_request_hook;
	shmem_request_hook = request_space;
#else
	RequestAddinShmemSpace(MAXALIGN(preloaded.size));
#endif
}

#if PG_VERSION_NUM < 170000
/* Size of the first segment of an area (DSA_INITIAL_SEGMENT_SIZE of dsa.c). */
#define FIRST_SEGMENT_SIZE ((Size) 1024 * 1024)
/* How much of an area's first segment, which begins with the control structure, is searched. */
#define SEARCHED_SIZE ((Size) 64 * 1024)

/*
 * Until 16 no function returns the size of an area. Its control structure, which is private to dsa.c, has the size, and
 * the limit right after it. So the size is at the one offset where the known size of a new area stands, and where the
 * next word changes when the limit is set. 0: there is no such offset, or more than one.
 */
static Size
find_total_size(dsa_area *area)
{
	/* The first member of an area is the address of the control structure. */
	char	   *control = *(char **) area;
	const Size	limits[] = {((Size) 1 << 60) + 8191, ((Size) 1 << 59) + 4093};
	Size		found = 0;

	dsa_set_size_limit(area, limits[0]);
	for (Size at = 0; at + 2 * sizeof(Size) <= SEARCHED_SIZE; at += sizeof(Size))
	{
		const Size *words = (const Size *) (control + at);

		if (words[0] == FIRST_SEGMENT_SIZE && words[1] == limits[0])
		{
			if (found != 0)
				return 0;
			found = at;
		}
	}
	if (found == 0)
		return 0;
	dsa_set_size_limit(area, limits[1]);
	return ((const Size *) (control + found))[1] == limits[1] ? found : 0;
}
#endif

/*
 * A new arena, with the server's default sizes of segments and at most as large as limit; total_size: the argument for
 * pgb_area_size.
 */
dsa_area *
pgb_create_area(int tranche, Size limit, Size *total_size)
{
	dsa_area   *area = dsa_create(tranche);

#if PG_VERSION_NUM < 170000
	*total_size = find_total_size(area);
#else
	*total_size = 0;
#endif
	dsa_set_size_limit(area, limit);
	return area;
}

/* Size of all segments of an area together; 0: not known. */
Size
pgb_area_size(dsa_area *area, Size total_size)
{
#if PG_VERSION_NUM < 170000
	/* Read without the area's lock, as one word. */
	return total_size == 0 ? 0 : *(volatile Size *) (*(char **) area + total_size);
#else
	return dsa_get_total_size(area);
#endif
}

/*
 * A new segment, which exists until pgb_free_segment and is mapped here until pgb_unmap_segment. 0: the server has no
 * slot for another segment.
 */
uint32
pgb_create_segment(Size size, void **address)
{
	dsm_segment *segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);

	if (segment == NULL)
		return 0;
	dsm_pin_segment(segment);
	dsm_pin_mapping(segment);
	*address = dsm_segment_address(segment);
	return dsm_segment_handle(segment);
}

/* Maps a segment that is not mapped here, until pgb_unmap_segment. */
void *
pgb_map_segment(uint32 handle)
{
	dsm_segment *volatile segment = NULL;

	PG_TRY();
	{
		segment = dsm_attach(handle);
	}
	PG_CATCH();
	{
		/* The server keeps a segment attached that it could not map: its memory would stay, and no retry could succeed. */
		segment = dsm_find_mapping(handle);
		if (segment != NULL)
			dsm_detach(segment);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("shared memory of a background job is missing")));
	dsm_pin_mapping(segment);
	return dsm_segment_address(segment);
}

/*
 * The operations on the arena and on segments that must not throw. The caller must hold no lock, because pgb_survives
 * releases all of them.
 */
typedef struct Request
{
	dsa_area   *area;
	dsa_pointer pointer;		/* in and out */
	dsm_handle	handle;			/* in and out */
	Size		size;
	const char *bytes;
	void	   *address;		/* out */
} Request;

static void
reach(void *arg)
{
	Request    *request = arg;

	PGB_FAULT("block-mapped");
	request->address = dsa_get_address(request->area, request->pointer);
}

static void
allocate(void *arg)
{
	Request    *request = arg;

	request->pointer = dsa_allocate_extended(request->area, request->size, DSA_ALLOC_NO_OOM);
}

static void
release(void *arg)
{
	Request    *request = arg;

	dsa_free(request->area, request->pointer);
}

/* A new segment with these bytes in it, not mapped here. */
static void
store(void *arg)
{
	Request    *request = arg;
	dsm_segment *segment;

	/* If this fails half-way, the end of the transaction must neither release the segment nor warn. */
	CurrentResourceOwner = NULL;
	segment = dsm_create(request->size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	request->handle = DSM_HANDLE_INVALID;
	if (segment == NULL)
		return;
	memcpy(dsm_segment_address(segment), request->bytes, request->size);
	request->handle = dsm_segment_handle(segment);
	dsm_pin_segment(segment);
	dsm_detach(segment);
}

static void
unmap(void *arg)
{
	dsm_segment *segment = dsm_find_mapping(((Request *) arg)->handle);

	/* A failure to unmap is reported as a warning, which must not process interrupts. */
	HOLD_INTERRUPTS();
	if (segment != NULL)
		dsm_detach(segment);
	RESUME_INTERRUPTS();
}

static void
unpin(void *arg)
{
	HOLD_INTERRUPTS();
	dsm_unpin_segment(((Request *) arg)->handle);
	RESUME_INTERRUPTS();
}

static void
report_unmapped(void *arg)
{
	int			code = *(int *) arg;

	ereport(LOG,
			(errcode(code),
			 errmsg("could not map shared memory of a background job"),
			 errdetail("The system's limits on memory or open files may be the cause (SQLSTATE %s).",
					   unpack_sql_state(code))));
}

/* False: the call failed. The log says so in a message that needs no memory. */
static bool
survives(void (*call) (void *), Request *request)
{
	int			code;

	if (pgb_survives(call, request, &code))
		return true;
	pgb_quietly(report_unmapped, &code);
	return false;
}

/* The address of the memory; NULL: this process cannot map it. */
void *
pgb_reach(dsa_area *area, dsa_pointer pointer)
{
	Request		request = {.area = area, .pointer = pointer};

	return survives(reach, &request) ? request.address : NULL;
}

/* 0: there is no memory. */
dsa_pointer
pgb_try_allocate(dsa_area *area, Size size)
{
	Request		request = {.area = area, .size = size};

	return survives(allocate, &request) ? request.pointer : InvalidDsaPointer;
}

/* If this fails half-way, the memory is lost until the server is restarted. */
void
pgb_free(dsa_area *area, dsa_pointer pointer)
{
	Request		request = {.area = area, .pointer = pointer};

	(void) survives(release, &request);
}

/* A new segment with these bytes, which exists until pgb_free_segment. 0: there is no memory, or no slot for it. */
uint32
pgb_try_store(const char *bytes, Size size)
{
	Request		request = {.bytes = bytes, .size = size};

	return survives(store, &request) ? request.handle : 0;
}

/* Does nothing if the segment is not mapped here. */
void
pgb_unmap_segment(uint32 handle)
{
	Request		request = {.handle = handle};

	(void) survives(unmap, &request);
}

/* The segment is freed when no process has it mapped any more. */
void
pgb_free_segment(uint32 handle)
{
	Request		request = {.handle = handle};

	(void) survives(unpin, &request);
}
