/*
 * The clock by which processes judge how long something takes: common to all processes of the machine, and nobody
 * sets it.
 *
 * In C because the monotonic clock of Rust's library (Instant) is no number that two processes could compare.
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
