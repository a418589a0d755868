#include "verbs.h"

#include <string.h>

#include "bench.h"
#include "operator_coverage.h"
#include "failure.h"
#include "judge.h"
#include "record.h"

static void record_count(const char *key, const OperatorCoverage *operator_coverage, size_t count) {
    if (operator_coverage->known) record_integer(key, (long long)count);
    else record_null(key);
}

static bool build(const Job *job) {
    const OperatorCoverage *operator_coverage = &job->engine.operator_coverage;
    record_begin("kernels");
    record_count("int8", operator_coverage, operator_coverage->int8);
    record_count("total", operator_coverage, operator_coverage->total);
    record_count("delegated", operator_coverage, operator_coverage->delegated);
    record_count("fallback", operator_coverage, operator_coverage->fallback);
    record_text("how", operator_coverage->how);
    record_object_begin("ops");
    for (size_t code = 0; code < OPERATORS; code++)
        if (operator_coverage->counts[code]) record_integer(operator_name(code), (long long)operator_coverage->counts[code]);
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
    record_text("unproven", verdict->unproven);
    record_flag("ok", verdict->ok);
    record_end();
}

static bool verify(const Job *job) {
    const Specs *specs = &job->bundle.outputs;
    Tolerance tolerance = tolerance_of(job->bundle.manifest);
    Array *measured = job_infer(job, job_golden_inputs(job));
    Array *references = bundle_golden(&job->bundle, "output", specs);
    const char *unproven = NULL;
    bool ok = true;
    for (size_t index = 0; index < specs->count; index++) {
        Verdict verdict = judge(&specs->items[index], &references[index], &measured[index], &tolerance);
        record_verdict(&specs->items[index], &verdict);
        ok &= verdict.ok || verdict.unproven;
        if (!unproven) unproven = verdict.unproven;
    }
    if (ok && unproven) fail(NOT_PROVEN, "%s", unproven);
    return ok;
}

/* Arrays by input name in, arrays by output name out. */
static bool predict(const Job *job) {
    const Arguments *arguments = job->arguments;
    const Specs *specs = &job->bundle.outputs;
    if (!arguments->input || !arguments->output) fail(BAD_INPUT, "predict needs --input and --output");
    Array *inputs = job_inputs(job, arguments->input), *outputs = job_infer(job, inputs);
    const char **names = allocate(specs->count, sizeof *names);
    for (size_t index = 0; index < specs->count; index++) names[index] = specs->items[index].name;
    npz_write(arguments->output, names, outputs, specs->count);
    record_begin("predictions");
    record_text("path", arguments->output);
    record_integer("n", (long long)array_length(&inputs[0]));
    record_end();
    return true;
}

bool run_verb(Job *job) {
    const char *verb = job->arguments->verb;
    if (strcmp(verb, "build") == 0) return build(job);
    if (strcmp(verb, "verify") == 0) return verify(job);
    if (strcmp(verb, "predict") == 0) return predict(job);
    bench(job);
    return true;
}
