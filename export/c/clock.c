#include "clock.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "failure.h"

static int64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t wall_clock(void) {
    return nanoseconds(CLOCK_MONOTONIC);
}

static void make_room(Samples *samples, size_t *capacity, size_t block) {
    if (samples->count + block <= *capacity) return;
    *capacity = 2 * *capacity + block;
    samples->wall = realloc(samples->wall, *capacity * sizeof *samples->wall);
    if (!samples->wall) fail(FAILED, "out of memory");
}

Samples time_each(const Engine *engine, double seconds, size_t count, size_t block) {
    Samples samples = {.least_cpu = INFINITY};
    size_t capacity = 0;
    int64_t deadline = wall_clock() + (int64_t)(seconds * 1e9), end = 0;
    while (end < deadline || samples.count < count) {
        make_room(&samples, &capacity, block);
        int64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
        for (size_t index = 0; index < block; index++) {
            int64_t begin = wall_clock();
            engine_step(engine);
            end = wall_clock();
            samples.wall[samples.count++] = end - begin;
        }
        cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        samples.least_cpu = fmin(samples.least_cpu, (double)cpu / (double)block);
    }
    return samples;
}

Samples time_flow(const Engine *engine, double seconds, size_t count) {
    Samples samples = {.wall = NULL};
    size_t capacity = 0;
    int64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID), before = wall_clock();
    int64_t deadline = before + (int64_t)(seconds * 1e9);
    while (before < deadline || samples.count < count) {
        make_room(&samples, &capacity, 1);
        engine_step(engine);
        int64_t end = wall_clock();
        samples.wall[samples.count++] = end - before;
        before = end;
    }
    samples.least_cpu = (double)(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)samples.count;
    return samples;
}
