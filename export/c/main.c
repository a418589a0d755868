/* Run an edgekd bundle for TensorFlow Lite on a device without Python: build it, verify it, time it, predict with it.
 *
 *     edgekd-runner build   [BUNDLE]
 *     edgekd-runner verify  [BUNDLE]
 *     edgekd-runner bench   [BUNDLE] --seconds 1 --count 50
 *     edgekd-runner predict [BUNDLE] --input in.npz --output out.npz
 *     edgekd-runner --version
 *
 * The arguments, the records and the exit codes are run.py's: 0 ok, 1 mismatch, 2 bad input, 3 runtime missing or
 * failed, 4 not proven. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"
#include "machine.h"
#include "options.h"
#include "record.h"
#include "verbs.h"

#define RUNTIME "LiteRT C"

static void on_interrupt(int signal) {
    _exit(128 + signal);
}

static int success(void) {
    record_begin("end");
    record_flag("ok", true);
    record_end();
    return 0;
}

static void record_machine(void) {
    struct utsname system;
    uname(&system);
    record_object_begin("machine");
    record_text("cpu", cpu_name());
    record_integer("cores", (long long)usable_cores());
    record_text("kernel", system.release);
    record_text("arch", system.machine);
    record_object_end();
}

/* What would run a bundle, without one. */
static int version(void) {
    TfLite api = tflite_open(NULL);
    record_begin("version");
    record_text("runtime", RUNTIME);
    record_text("runtime_version", api.Version());
    record_end();
    return success();
}

static void record_start(const Job *job) {
    record_begin("start");
    record_integer("pid", getpid());
    record_integer("format", BUNDLE_FORMAT);
    record_text("bundle", job->bundle.name);
    record_text("backend", job->bundle.backend);
    record_text("precision", job->bundle.precision);
    record_text("runtime", RUNTIME);
    record_text("runtime_version", job->engine.api.Version());
    record_null("python");
    record_machine();
    record_end();
}

/* "18 of 20", operators. */
static const char *delegated(const OperatorCoverage *operator_coverage) {
    static char text[64];
    snprintf(text, sizeof text, "%zu of %zu", operator_coverage->delegated, operator_coverage->delegated + operator_coverage->fallback);
    return operator_coverage->known ? text : "unknown";
}

static void record_load(const Job *job, int64_t nanoseconds, Cache cache) {
    record_begin("load");
    record_milliseconds("ms", nanoseconds);
    if (cache == UNKNOWN) record_null("cold");
    else record_flag("cold", cache == COLD);
    record_object_begin("details");
    record_text("library", job->engine.api.library);
    record_text("delegate", last_part(job->engine.delegate)); /* not whose folder it lies in: results are published */
    record_text("delegated", delegated(&job->engine.operator_coverage));
    record_text("precision", engine_precision(&job->engine, &job->bundle));
    record_object_end();
    record_end();
}

/* The command line's cores, or for a bench the manifest's. */
static Cores affinity_of(const Bundle *bundle, const Arguments *arguments) {
    const Json *named = json_get(bundle->manifest, "affinity");
    if (arguments->affinity.count || strcmp(arguments->verb, "bench") != 0) return arguments->affinity;
    return named && named->kind == JSON_TEXT ? cores_of(named->text, "manifest.json") : arguments->affinity;
}

static Job job_of(const Arguments *arguments) {
    Job job = {.arguments = arguments, .bundle = bundle_open(arguments->bundle)};
    if (strcmp(job.bundle.backend, "tflite") != 0)
        fail(BAD_INPUT, "this runner is for tflite bundles, not for '%s'", job.bundle.backend);
    Options options = options_of(job.bundle.manifest, arguments);
    job.affinity = affinity_of(&job.bundle, arguments);
    pin(&job.affinity); /* before the library makes its threads */
    size_t threads = arguments->offline ? usable_cores() : job.bundle.threads;
    job.threads = arguments->threads ? arguments->threads : threads;
    job.batch = arguments->batch ? arguments->batch : job.bundle.batch;
    job.engine.api = tflite_open(options.library);
    job.engine.delegate = options.delegate;
    return job;
}

int main(int argc, char **argv) {
    records_open();
    signal(SIGINT, on_interrupt);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) return version();
    Arguments arguments = arguments_of(argc, argv);
    Job job = job_of(&arguments);
    record_start(&job);
    bool benched = strcmp(arguments.verb, "bench") == 0;
    Cache cache = benched ? forget_files(&job.bundle) : UNKNOWN;
    if (benched) job.golden = job_golden_inputs(&job); /* before the next line, or they would count as the model's */
    job.memory = memory_watch();
    record_load(&job, job_load(&job), cache);
    if (!run_verb(&job)) fail(MISMATCH, "outputs differ from the reference beyond the tolerance");
    return success();
}
