#include "verbs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "census.h"
#include "clock.h"
#include "failure.h"
#include "judge.h"
#include "machine.h"
#include "record.h"

#define CPU_CLOCK_NS 1000000

/* Feed `batch` samples from the `begin`th on; where there are fewer, theirs again from the first. */
static void feed(const Job *job, const Array *inputs, size_t begin) {
    for (size_t index = 0; index < job->bundle.inputs.count; index++) {
        const Array *input = &inputs[index];
        size_t size = array_sample_bytes(input), left = array_length(input) - begin;
        unsigned char *part = allocate(job->batch, size);
        for (size_t sample = 0; sample < job->batch; sample++)
            memcpy(part + sample * size, input->data + (begin + sample % left) * size, size);
        engine_feed(&job->engine, index, part, job->batch * size);
        free(part);
    }
}

/* Add the first `count` samples of a batch's outputs to those of all. */
static void collect(const Job *job, Array *outputs, size_t begin, size_t count, size_t samples) {
    for (size_t index = 0; index < job->bundle.outputs.count; index++) {
        Array output = engine_fetch(&job->engine, index), *all = &outputs[index];
        size_t size = array_sample_bytes(&output);
        if (output.shape[0] != job->batch)
            fail(FAILED, "output '%s' has shape %s", job->bundle.outputs.items[index].name,
                 shape_text(output.rank, output.shape));
        if (begin == 0) {
            *all = output;
            all->shape[0] = samples;
            all->bytes = samples * size;
            all->data = allocate(samples, size);
        }
        memcpy((unsigned char *)all->data + begin * size, output.data, count * size);
        free((void *)output.data);
    }
}

/* Outputs for any number of samples, in batches; the last one is filled up and cut again. */
static Array *infer(const Job *job, const Array *inputs) {
    Array *outputs = allocate(job->bundle.outputs.count, sizeof *outputs);
    size_t samples = array_length(&inputs[0]);
    for (size_t begin = 0; begin < samples; begin += job->batch) {
        feed(job, inputs, begin);
        engine_step(&job->engine);
        size_t left = samples - begin;
        collect(job, outputs, begin, left < job->batch ? left : job->batch, samples);
    }
    return outputs;
}

static bool build(const Job *job) {
    Census census = census_of(&job->engine);
    record_begin("kernels");
    if (census.known) {
        record_integer("int8", (long long)census.int8);
        record_integer("total", (long long)census.total);
    } else {
        record_null("int8");
        record_null("total");
    }
    record_text("how", census.how);
    record_object_begin("ops");
    for (size_t code = 0; code < OPERATORS; code++)
        if (census.counts[code]) record_integer(operator_name(code), (long long)census.counts[code]);
    record_object_end();
    record_end();
    return true;
}

static void record_verdict(const Spec *spec, const Verdict *verdict) {
    record_begin("golden");
    record_text("output", spec->name);
    record_number("max_steps", verdict->max_steps);
    record_number("p999_steps", verdict->p999_steps);
    record_number("argmax_agreement", verdict->argmax_agreement);
    record_number("drift", verdict->drift);
    record_flag("ok", verdict->ok);
    record_end();
}

static void check_lengths(const Array *arrays, size_t count, const char *source) {
    for (size_t index = 1; index < count; index++)
        if (array_length(&arrays[index]) != array_length(&arrays[0]))
            fail(BAD_INPUT, "%s: inputs differ in their number of samples", source);
}

static Array *golden_inputs(const Job *job) {
    Array *inputs = bundle_golden(&job->bundle, "input", &job->bundle.inputs);
    check_lengths(inputs, job->bundle.inputs.count, "golden.npz");
    return inputs;
}

static bool verify(const Job *job) {
    const Specs *specs = &job->bundle.outputs;
    Tolerance tolerance = tolerance_of(job->bundle.manifest);
    Array *measured = infer(job, golden_inputs(job)), *references = bundle_golden(&job->bundle, "output", specs);
    bool ok = true;
    for (size_t index = 0; index < specs->count; index++) {
        Verdict verdict = judge(&specs->items[index], &references[index], &measured[index], &tolerance);
        record_verdict(&specs->items[index], &verdict);
        ok &= verdict.ok;
    }
    return ok;
}

static size_t calls_per_cpu_reading(const Samples *warm) {
    int64_t least = warm->wall[0];
    for (size_t index = 1; index < warm->count; index++)
        if (warm->wall[index] < least) least = warm->wall[index];
    return least > 0 && least < CPU_CLOCK_NS ? (size_t)(CPU_CLOCK_NS / least) : 1;
}

/* Latency of an inference on fixed inputs, nothing else inside the clock. */
static bool bench(const Job *job) {
    const Arguments *arguments = job->arguments;
    feed(job, golden_inputs(job), 0);
    int64_t begin = wall_clock();
    engine_step(&job->engine);
    int64_t first = wall_clock() - begin;
    Samples warm = timed(&job->engine, arguments->seconds / 5, arguments->warmup, 1);
    Samples samples = timed(&job->engine, arguments->seconds, arguments->count, calls_per_cpu_reading(&warm));
    double load = load_average(), memory = peak_rss_mb();
    record_begin("latency");
    record_milliseconds("first_ms", first);
    record_samples("samples_ms", samples.wall, samples.count);
    record_number("cpu_ms_min", samples.least_cpu / 1e6);
    record_number("load_average", load);
    record_number("peak_rss_mb", memory);
    record_integer("batch", (long long)job->batch);
    record_integer("threads", (long long)job->threads);
    record_end();
    return true;
}

static Array *given_inputs(const Job *job, const char *path) {
    Npz archive = npz_open(path);
    const Specs *specs = &job->bundle.inputs;
    Array *inputs = allocate(specs->count, sizeof *inputs);
    for (size_t index = 0; index < specs->count; index++) {
        inputs[index] = npz_array(&archive, specs->items[index].name);
        check_conforming(&inputs[index], &specs->items[index]);
    }
    check_lengths(inputs, specs->count, path);
    return inputs;
}

/* Arrays by input name in, arrays by output name out. */
static bool predict(const Job *job) {
    const Arguments *arguments = job->arguments;
    const Specs *specs = &job->bundle.outputs;
    if (!arguments->input || !arguments->output) fail(BAD_INPUT, "predict needs --input and --output");
    Array *inputs = given_inputs(job, arguments->input), *outputs = infer(job, inputs);
    const char **names = allocate(specs->count, sizeof *names);
    for (size_t index = 0; index < specs->count; index++) names[index] = specs->items[index].name;
    npz_write(arguments->output, names, outputs, specs->count);
    record_begin("predictions");
    record_text("path", arguments->output);
    record_integer("n", (long long)array_length(&inputs[0]));
    record_end();
    return true;
}

bool run_verb(const Job *job) {
    const char *verb = job->arguments->verb;
    if (strcmp(verb, "build") == 0) return build(job);
    if (strcmp(verb, "verify") == 0) return verify(job);
    return strcmp(verb, "bench") == 0 ? bench(job) : predict(job);
}
