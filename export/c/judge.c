#include "judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"

#define STEP_SLACK 1e-3          /* two steps apart in float32 may read 2.0000002 */
#define CLEAR_MARGIN_STEPS 4.0   /* an argmax counts only where the reference's two best are further apart than this */
#define INDEPENDENT 1.6          /* drift that roundings explain: sqrt(2), and what chance adds */
#define MOST_CHANGED 0.1         /* of the golden indices, by quantising */
#define MOST_NOISE 0.133         /* of the golden outputs' own root mean square: what more a manifest says is not believed */
#define LEAST_SPREAD_STEPS 6.0   /* of the golden outputs: what moves less would agree with anything */

static const Tolerance MOST = {.max_steps = 2.0, .p999_steps = INFINITY, .agreement = 0.99};

Tolerance tolerance_of(const Json *manifest) {
    const Json *given = json_get(manifest, "tolerance");
    Tolerance tolerance = {.max_steps = INFINITY, .p999_steps = INFINITY, .agreement = -1};
    if (!given || given->kind != JSON_OBJECT || given->count == 0) return MOST;
    for (size_t index = 0; index < given->count; index++) {
        const Json *limit = &given->items[index];
        double *field = strcmp(limit->key, "max_steps") == 0    ? &tolerance.max_steps
                        : strcmp(limit->key, "p999_steps") == 0 ? &tolerance.p999_steps
                        : strcmp(limit->key, "agreement") == 0  ? &tolerance.agreement
                                                                : NULL;
        if (!field || limit->kind != JSON_NUMBER || !isfinite(limit->number) || limit->number < 0)
            fail(BAD_INPUT, "manifest.json: unknown tolerance '%s', or no number", limit->key);
        *field = limit->number;
    }
    tolerance.max_steps = fmin(tolerance.max_steps, MOST.max_steps);
    if (tolerance.agreement >= 0) tolerance.agreement = fmax(tolerance.agreement, MOST.agreement);
    return tolerance;
}

/* Whether values are counts, such as a class's index, which have to be equal. */
static bool counted(const Spec *spec, Dtype dtype) { return dtype != FLOAT32 && spec->scale == 0; }

static double *values_of(const Array *array, size_t count) {
    double *values = allocate(count, sizeof *values);
    for (size_t index = 0; index < count; index++) values[index] = array_value(array, index);
    return values;
}

static bool all_finite(const double *values, size_t count) {
    for (size_t index = 0; index < count; index++)
        if (!isfinite(values[index])) return false;
    return true;
}

/* Largest - smallest, in the type of the reference. */
static double range(const double *values, size_t count) {
    double low = values[0], high = values[0];
    for (size_t index = 1; index < count; index++) {
        low = fmin(low, values[index]);
        high = fmax(high, values[index]);
    }
    return (double)((float)high - (float)low);
}

static double step_of(const Spec *spec, Dtype dtype, const double *reference, size_t count, double scale) {
    if (spec->step != 0 && !counted(spec, dtype)) return spec->step;
    if (dtype != FLOAT32) return scale;
    double step = range(reference, count) / 255;
    return step != 0 ? step : 1.0;
}

/* Root mean square of values, or of their distances from their mean. */
static double rms(const double *values, size_t count, bool centred) {
    double sum = 0, squares = 0;
    for (size_t index = 0; centred && index < count; index++) sum += values[index];
    for (size_t index = 0; index < count; index++) {
        double value = values[index] - sum / (double)count;
        squares += value * value;
    }
    return sqrt(squares / (double)count);
}

static const char *immobile(const char *name, double spread) {
    if (spread >= LEAST_SPREAD_STEPS) return NULL;
    size_t size = strlen(name) + 128;
    char *told = allocate(size, 1);
    snprintf(told, size, "the golden outputs of '%s' move by %.1f steps (needs %g): they would agree with anything", name,
             spread, LEAST_SPREAD_STEPS);
    return told;
}

static int ascending(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static size_t argmax(const double *values, size_t count) {
    size_t best = 0;
    for (size_t index = 1; index < count; index++)
        if (values[index] > values[best]) best = index;
    return best;
}

/* How far the best of a sample is above its second best. */
static double margin(const double *values, size_t count) {
    size_t best = argmax(values, count);
    double second = -INFINITY;
    for (size_t index = 0; index < count; index++)
        if (index != best) second = fmax(second, values[index]);
    return values[best] - second;
}

/* Equal argmaxes among the samples that the reference decides by more than 4 units; NAN where there are none. */
static double agreement(const double *expected, const double *found, size_t samples, size_t classes, double unit) {
    size_t clear = 0, equal = 0;
    if (classes < 2) return NAN;
    for (size_t at = 0; at < samples * classes; at += classes) {
        if (!(margin(expected + at, classes) > CLEAR_MARGIN_STEPS * unit)) continue;
        clear++;
        equal += argmax(expected + at, classes) == argmax(found + at, classes);
    }
    return clear ? (double)equal / (double)clear : NAN;
}

/* Whether the classes agree and the distance is within the tolerance, or no more than roundings explain. */
static bool holds(const Verdict *verdict, const Tolerance *tolerance) {
    bool agreeing = isnan(verdict->argmax_agreement) || verdict->argmax_agreement >= tolerance->agreement;
    bool near = verdict->max_steps <= tolerance->max_steps + STEP_SLACK &&
                verdict->p999_steps <= tolerance->p999_steps + STEP_SLACK;
    return agreeing && (near || (!isnan(verdict->drift) && verdict->drift <= INDEPENDENT));
}

Verdict judge(const Spec *spec, const Array *reference, const Array *output, const Tolerance *tolerance) {
    Verdict verdict = {NAN, NAN, NAN, NAN, NULL, false};
    if (!array_same_shape(reference, output) || reference->bytes == 0) return verdict;
    size_t count = reference->bytes / dtype_size(reference->dtype), samples = array_length(reference);
    double *expected = values_of(reference, count), *found = values_of(output, count), squares = 0;
    if (!all_finite(expected, count) || !all_finite(found, count)) return verdict;
    double scale = spec->scale != 0 ? spec->scale : 1.0, step = step_of(spec, reference->dtype, expected, count, scale);
    double *steps = allocate(count, sizeof *steps);
    for (size_t index = 0; index < count; index++) {
        expected[index] = (expected[index] - spec->zero_point) * (scale / step);
        found[index] = (found[index] - spec->zero_point) * (scale / step);
        steps[index] = fabs(found[index] - expected[index]);
        squares += steps[index] * steps[index];
    }
    double noise = fmin(spec->noise / step, MOST_NOISE * rms(expected, count, false));
    qsort(steps, count, sizeof *steps, ascending);
    verdict.max_steps = steps[count - 1];
    verdict.p999_steps = steps[(size_t)(0.999 * (double)(count - 1))]; /* one outlier of few is none */
    if (noise != 0) verdict.drift = sqrt(squares / (double)count) / noise;
    verdict.argmax_agreement = agreement(expected, found, samples, count / samples, fmax(1.0, noise));
    if (counted(spec, reference->dtype)) {
        size_t apart = 0;
        for (size_t index = 0; index < count; index++) apart += steps[index] > 0;
        double share = (double)apart / (double)count, changed = fmin(spec->noise, MOST_CHANGED);
        verdict.drift = changed != 0 ? share / changed : NAN;
        verdict.ok = apart == 0 || (!isnan(verdict.drift) && verdict.drift <= INDEPENDENT);
        return verdict;
    }
    verdict.unproven = immobile(spec->name, rms(expected, count, true));
    verdict.ok = holds(&verdict, tolerance) && !verdict.unproven;
    return verdict;
}
