/* One invocation: a bundle, its model, and how to run it. */
#pragma once

#include "arguments.h"
#include "bundle.h"
#include "engine.h"
#include "memory.h"

typedef struct {
    const Arguments *arguments;
    Bundle bundle;
    Engine engine;
    Memory memory;
    const Array *golden; /* inputs, for a bench */
    Cores affinity;
    size_t batch, threads;
} Job;

/* Load the model; a second time, it takes the place of the first. Nanoseconds. */
int64_t job_load(Job *job);

/* Inputs by name out of an .npz, as many samples of each; BAD_INPUT where they do not fit the model. */
Array *job_inputs(const Job *job, const char *path);

/* The bundle's own inputs. */
Array *job_golden_inputs(const Job *job);

/* Feed a batch of samples from the `begin`th on; where there are fewer, theirs again from the first. */
void job_feed(const Job *job, const Array *inputs, size_t begin);

/* Outputs for any number of samples, in batches; the last one is filled up and cut again. */
Array *job_infer(const Job *job, const Array *inputs);
