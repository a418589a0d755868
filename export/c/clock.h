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

/* Time steps for at least `seconds` and `count`. The CPU clock, a slow system call, is read every `block`. */
Samples time_each(const Engine *engine, double seconds, size_t count, size_t block);

/* Time a steady flow of steps from end to end, what lies between them included; the CPU's part is of all of them. */
Samples time_flow(const Engine *engine, double seconds, size_t count);
