/* The command line, as run.py has it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "affinity.h"

#define MOST_OPTIONS 16

typedef struct {
    const char *verb, *bundle, *input, *output;
    const char *options[MOST_OPTIONS]; /* KEY=VALUE */
    size_t option_count, batch, threads, count, warmup; /* a batch or threads of 0: the manifest's */
    double seconds;
    bool offline;
    Cores affinity;
} Arguments;

/* BAD_INPUT for what is none of it. */
Arguments arguments_of(int argc, char **argv);
