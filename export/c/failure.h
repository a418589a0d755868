/* How a run ends when it does not end well. One process does one job, so nothing here unwinds or frees. */
#pragma once

#include <stddef.h>

typedef enum { MISMATCH, BAD_INPUT, MISSING_RUNTIME, FAILED, NOT_PROVEN } Failure;

/* Write the `end` record with a message of one line, and exit with the code of its kind. */
_Noreturn void fail(Failure kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Zeroed memory for `count` things of `size` bytes; FAILED where there is none. */
void *allocate(size_t count, size_t size);
