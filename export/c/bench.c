#include "bench.h"

#include <math.h>

#include "clock.h"
#include "machine.h"
#include "record.h"

#define CPU_CLOCK_NS 1000000

static size_t calls_per_cpu_reading(const Samples *warm) {
    int64_t least = warm->wall[0];
    for (size_t index = 1; index < warm->count; index++)
        if (warm->wall[index] < least) least = warm->wall[index];
    return least > 0 && least < CPU_CLOCK_NS ? (size_t)(CPU_CLOCK_NS / least) : 1;
}

/* Everything that is timed or counted, in the order in which it is. */
typedef struct {
    int64_t first, warm_load;
    Samples samples;
    MemoryUse memory;
    long switches;
    double load_average;
} Timing;

static Timing timing_of(Job *job) {
    const Arguments *arguments = job->arguments;
    const Engine *engine = &job->engine;
    Timing timing;
    job_feed(job, job->golden, 0);
    int64_t begin = wall_clock();
    engine_step(engine);
    timing.first = wall_clock() - begin;
    time_each(engine, 0, arguments->warmup, 1);
    timing.memory = memory_use(&job->memory); /* before samples pile up */
    Samples warm = time_each(engine, arguments->seconds / 5, 1, 1);
    timing.switches = involuntary_switches();
    timing.samples = arguments->offline
                         ? time_flow(engine, arguments->seconds, arguments->count)
                         : time_each(engine, arguments->seconds, arguments->count, calls_per_cpu_reading(&warm));
    timing.switches = involuntary_switches() - timing.switches;
    timing.load_average = load_average();
    timing.warm_load = job_load(job);
    return timing;
}

static void record_memory(const MemoryUse *memory) {
    record_number("peak_rss_mb", memory->peak);
    record_number("model_rss_mb", memory->model);
    record_object_begin("missing");
    if (memory->missing) record_text("model_rss_mb", memory->missing);
    record_object_end();
}

void bench(Job *job) {
    Timing timing = timing_of(job);
    record_begin("latency");
    record_text("scenario", job->arguments->offline ? "offline" : "single-stream");
    record_milliseconds("first_ms", timing.first);
    record_samples("samples_ms", timing.samples.wall, timing.samples.count);
    record_number("cpu_ms_min", timing.samples.least_cpu / 1e6);
    record_integer("involuntary_switches", timing.switches);
    record_number("load_average", timing.load_average);
    record_milliseconds("warm_load_ms", timing.warm_load);
    record_integer("batch", (long long)job->batch);
    record_integer("threads", (long long)job->threads);
    record_integers("affinity", job->affinity.numbers, job->affinity.count);
    record_memory(&timing.memory);
    record_end();
}
