#include "job.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "failure.h"

int64_t job_load(Job *job) {
    if (job->engine.interpreter) engine_free(&job->engine); /* a small device may not hold both */
    int64_t begin = wall_clock();
    engine_load(&job->engine, &job->bundle, job->batch, job->threads);
    return wall_clock() - begin;
}

static void check_lengths(const Array *arrays, size_t count, const char *source) {
    for (size_t index = 1; index < count; index++)
        if (array_length(&arrays[index]) != array_length(&arrays[0]))
            fail(BAD_INPUT, "%s: inputs differ in their number of samples", source);
}

Array *job_inputs(const Job *job, const char *path) {
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

Array *job_golden_inputs(const Job *job) {
    Array *inputs = bundle_golden(&job->bundle, "input", &job->bundle.inputs);
    check_lengths(inputs, job->bundle.inputs.count, "golden.npz");
    return inputs;
}

void job_feed(const Job *job, const Array *inputs, size_t begin) {
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
        if (output.shape[0] != job->batch || (begin > 0 && array_sample_bytes(all) != size))
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

Array *job_infer(const Job *job, const Array *inputs) {
    Array *outputs = allocate(job->bundle.outputs.count, sizeof *outputs);
    size_t samples = array_length(&inputs[0]);
    for (size_t begin = 0; begin < samples; begin += job->batch) {
        job_feed(job, inputs, begin);
        engine_step(&job->engine);
        size_t left = samples - begin;
        collect(job, outputs, begin, left < job->batch ? left : job->batch, samples);
    }
    return outputs;
}
