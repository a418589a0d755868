/* An output against the reference, in steps: the same arithmetic as run.py's `judge`. */
#pragma once

#include "bundle.h"

typedef struct {
    double max_steps, p999_steps, agreement; /* infinite, or 0 for the agreement, where nothing is demanded */
} Tolerance;

/* NAN where there is nothing to tell. */
typedef struct {
    double max_steps, p999_steps, argmax_agreement, drift;
    const char *unproven; /* why the golden outputs prove nothing; NULL where they do */
    bool ok;
} Verdict;

/* LiteRT's tolerance, where the manifest asks for more of its outputs that; BAD_INPUT for one that is unknown. */
Tolerance tolerance_of(const Json *manifest);

/* A step is the spec's own, or 1 for integers, or the reference's range / 255. */
Verdict judge(const Spec *spec, const Array *reference, const Array *output, const Tolerance *tolerance);
