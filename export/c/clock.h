/* How long an inference takes. */
#pragma once

#include "engine.h"

/* Wall nanoseconds of each call, in order, and the least CPU nanoseconds per call of a block of calls. */
typedef struct {
    int64_t *wall;
    size_t count;
    double least_cpu;
} Samples;

int64_t wall_clock(void);

/* Time steps for at least `seconds` and `count`; the CPU clock, a system call of a microsecond, is read every `block`. */
Samples timed(const Engine *engine, double seconds, size_t count, size_t block);
