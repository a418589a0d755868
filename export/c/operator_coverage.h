/* How many of the convolution- and matmul-like kernels run in int8, and what delegates took. */
#pragma once

#include <stdbool.h>

#include "tflite_api.h"

#define OPERATORS 210

/* `counts` by TFLite's builtin code; a part that a delegate took counts as one more, DELEGATE. `delegated` operators
 * are in such parts, `fallback` operators are not. `how` says where the numbers are from, or why nowhere. */
typedef struct {
    bool known;
    size_t int8, total, delegated, fallback, counts[OPERATORS];
    const char *how;
} OperatorCoverage;

/* Count the nodes of a model as far as delegates have taken them. */
OperatorCoverage operator_coverage_of(const TfLite *api, TfLiteInterpreter *interpreter);

/* "CONV_2D", by a code below OPERATORS. */
const char *operator_name(size_t code);
