/* How many of the convolution- and matmul-like kernels run in int8. */
#pragma once

#include <stdbool.h>

#include "engine.h"

#define OPERATORS 256

/* `counts` by TFLite's builtin code. `how` says where they are from, or why nowhere. */
typedef struct {
    bool known;
    size_t int8, total, counts[OPERATORS];
    const char *how;
} Census;

/* Count the nodes of a loaded model, partitions that a delegate took (DELEGATE) included. */
Census census_of(const Engine *engine);

/* "CONV_2D"; NULL for a code that is none. */
const char *operator_name(size_t code);
