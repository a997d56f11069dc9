/*
 * The numbers that C and Rust share, each written once. shim.h asserts them for the structs in C, and build.rs turns them
 * into constants and assertions in Rust (shim.rs). So a change on one side alone does not compile.
 *
 * build.rs understands `#define NAME VALUE` and the rows of PGB_LAYOUTS, and rejects anything else.
 */
#ifndef PGB_SHARED_H
#define PGB_SHARED_H

/* Kinds of frames in the result ring. */
#define PGB_FRAME_ROW 1			/* a MinimalTuple */
#define PGB_FRAME_RECORDS_ROW 2 /* int32 length, descriptions of row types, padding, a MinimalTuple */
#define PGB_FRAME_TAG 3			/* command tag of one statement */
#define PGB_FRAME_NOTICE 4		/* body of a NoticeResponse message */

/* Alignment of the MinimalTuple after the descriptions. */
#define PGB_FRAME_ALIGNMENT 8

/* Bits of pgb_current_flags. */
#define PGB_JOB_CANCEL 1		/* a cancel of the running job is pending */
#define PGB_JOB_TERMINATE 2		/* its worker was asked to exit */
#define PGB_JOB_INSISTS 4		/* the cancel stays pending until the job ends */

/* How pgb_bind_element ended. */
#define PGB_BOUND 0				/* the parameters were serialized */
#define PGB_TYPE_ALTERED 1		/* a row type in the element has another form than its values */
#define PGB_TYPE_DROPPED 2		/* a type of a parameter does not exist any more */

/* Size of the hash of a type's columns (shape.c). */
#define PGB_SHAPE_SIZE 32

/* The names of the server's temporary files begin with this. */
#define PGB_TEMP_FILE_PREFIX "pgsql_tmp"

/* Structs with their sizes, and their members with offset and size. */
#define PGB_LAYOUTS(STRUCT, MEMBER) \
	STRUCT(PgbIdentity, 24) \
	MEMBER(PgbIdentity, authenticated, 0, 4) \
	MEMBER(PgbIdentity, session, 4, 4) \
	MEMBER(PgbIdentity, outer, 8, 4) \
	MEMBER(PgbIdentity, current, 12, 4) \
	MEMBER(PgbIdentity, sec_context, 16, 4) \
	MEMBER(PgbIdentity, role_active, 20, 1) \
	STRUCT(PgbSettings, 16) \
	MEMBER(PgbSettings, bytes, 0, 8) \
	MEMBER(PgbSettings, size, 8, 8) \
	STRUCT(PgbRun, 56) \
	MEMBER(PgbRun, sql, 0, 8) \
	MEMBER(PgbRun, identity, 8, 8) \
	MEMBER(PgbRun, time_limit, 16, 4) \
	MEMBER(PgbRun, send_rows, 20, 1) \
	MEMBER(PgbRun, params, 24, 8) \
	MEMBER(PgbRun, label, 32, 8) \
	MEMBER(PgbRun, label_len, 40, 4) \
	MEMBER(PgbRun, wanted, 44, 4) \
	MEMBER(PgbRun, wanted_shape, 48, 8) \
	STRUCT(PgbAttempt, 16) \
	MEMBER(PgbAttempt, context, 0, 8) \
	MEMBER(PgbAttempt, owner, 8, 8) \
	STRUCT(PgbShape, PGB_SHAPE_SIZE) \
	MEMBER(PgbShape, hash, 0, PGB_SHAPE_SIZE)

#endif
