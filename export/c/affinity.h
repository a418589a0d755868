/* The cores that this process, and the threads that it will make, keep to. */
#pragma once

#include <stddef.h>

typedef struct {
    size_t *numbers, count; /* ascending; no cores: wherever the system likes */
} Cores;

/* `0,4-7` as numbers; BAD_INPUT that begins with the `source` for anything else. */
Cores cores_of(const char *text, const char *source);

/* Keep to these cores; BAD_INPUT where one is absent. */
void pin(const Cores *cores);

/* How many cores this process may use. */
size_t usable_cores(void);
