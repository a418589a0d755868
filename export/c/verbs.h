/* build, verify, bench, predict: every record but `end`. */
#pragma once

#include "arguments.h"
#include "bundle.h"
#include "engine.h"

typedef struct {
    const Arguments *arguments;
    Bundle bundle;
    Engine engine;
    size_t batch, threads;
} Job;

/* False on a mismatch. */
bool run_verb(const Job *job);
