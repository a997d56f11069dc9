/*
 * The clock by which processes measure times. All processes of the machine share it, and nobody can set it.
 *
 * In C because the monotonic clock of Rust's library (Instant) gives no number that two processes could compare.
 */
#include "postgres.h"

#include <time.h>

#include "shim.h"

/* Microseconds. */
uint64
pgb_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64) now.tv_sec * 1000000 + (uint64) now.tv_nsec / 1000;
}
