#include "engine.h"

#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "files.h"

/* TfLiteType's numbers of the types that a bundle has. */
static const int TYPES[] = {[FLOAT32] = 1, [INT32] = 2, [UINT8] = 3, [INT64] = 4, [BOOL] = 6, [INT8] = 9};

static Dtype dtype_of(int type) {
    Dtype dtype = FLOAT32;
    while (dtype < OTHER && TYPES[dtype] != type) dtype++;
    return dtype;
}

static void check_count(const Engine *engine, const Bundle *bundle) {
    size_t inputs = (size_t)engine->api.InterpreterGetInputTensorCount(engine->interpreter);
    size_t outputs = (size_t)engine->api.InterpreterGetOutputTensorCount(engine->interpreter);
    if (inputs != bundle->inputs.count || outputs != bundle->outputs.count)
        fail(BAD_INPUT, "the model has %zu inputs and %zu outputs, its manifest differs", inputs, outputs);
}

static void check_dtype(const Engine *engine, const TfLiteTensor *tensor, const Spec *spec) {
    int type = engine->api.TensorType(tensor);
    if (dtype_of(type) != spec->dtype)
        fail(BAD_INPUT, "'%s' is of type %d (TfLiteType) in the model, its manifest says %s", spec->name, type,
             dtype_name(spec->dtype));
}

static void shape_input(const Engine *engine, size_t index, const Spec *spec, size_t batch) {
    int wanted[MAX_RANK] = {(int)batch};
    const TfLiteTensor *tensor = engine->api.InterpreterGetInputTensor(engine->interpreter, (int32_t)index);
    bool same = engine->api.TensorNumDims(tensor) == (int32_t)spec->rank;
    check_dtype(engine, tensor, spec);
    for (size_t axis = 1; axis < spec->rank; axis++) wanted[axis] = (int)spec->shape[axis];
    for (size_t axis = 0; same && axis < spec->rank; axis++)
        same = engine->api.TensorDim(tensor, (int32_t)axis) == wanted[axis];
    if (same) return;
    TfLiteStatus status =
        engine->api.InterpreterResizeInputTensor(engine->interpreter, (int32_t)index, wanted, (int32_t)spec->rank);
    if (status != kTfLiteOk) fail(FAILED, "the model refuses a batch of %zu for '%s'", batch, spec->name);
}

static bool is(const Engine *engine, const char *delegate) {
    return strcmp(engine->delegate, delegate) == 0;
}

static void hand_over(const Engine *engine, TfLiteDelegate *delegate, const char *name) {
    if (!engine->api.InterpreterModifyGraphWithDelegate)
        fail(MISSING_RUNTIME, "%s takes no delegates: --option delegate=none", engine->api.library);
    if (!delegate || engine->api.InterpreterModifyGraphWithDelegate(engine->interpreter, delegate) != kTfLiteOk)
        fail(FAILED, "%s cannot take the model; its reason is on stderr", name);
}

/* False where a library tells nothing of XNNPACK; it may still use it by itself, when it allocates. */
static bool delegate_to_xnnpack(Engine *engine, size_t threads) {
    const TfLite *api = &engine->api;
    if (!api->XNNPackDelegateCreate || !api->XNNPackDelegateOptionsDefault || !api->InterpreterModifyGraphWithDelegate)
        return false;
    TfLiteXNNPackDelegateOptions options = api->XNNPackDelegateOptionsDefault();
    options.num_threads = (int32_t)threads;
    engine->xnnpack = api->XNNPackDelegateCreate(&options);
    hand_over(engine, engine->xnnpack, "XNNPACK");
    return true;
}

static void complain(const char *message) {
    fprintf(stderr, "%s\n", message);
}

static void delegate_to_library(const Engine *engine) {
    TfLiteDelegatePlugin *create = NULL;
    void *library = library_open(engine->delegate);
    if (!library || !library_bind(library, "tflite_plugin_create_delegate", &create))
        fail(MISSING_RUNTIME, "delegate=%s: no such delegate here: install it, or choose delegate=xnnpack",
             engine->delegate);
    hand_over(engine, create(NULL, NULL, 0, complain), engine->delegate);
}

/* Refuse to call XNNPACK's what is not, and the other way round. */
static void check_delegation(const Engine *engine, bool handed_over) {
    const OperatorCoverage *operator_coverage = &engine->operator_coverage;
    if (is(engine, "xnnpack") && !handed_over && !operator_coverage->delegated)
        fail(MISSING_RUNTIME, "%s was built without XNNPACK: --option delegate=none", engine->api.library);
    if (is(engine, "none") && operator_coverage->delegated)
        fail(MISSING_RUNTIME, "%s uses XNNPACK by itself: it has no delegate=none", engine->api.library);
}

/* Let delegates take what they can, make room for the rest, and count. */
static void allocate_tensors(Engine *engine, size_t threads) {
    bool external = !is(engine, "xnnpack") && !is(engine, "none");
    OperatorCoverage first = {.known = false};
    if (external) {
        delegate_to_library(engine);
        first = operator_coverage_of(&engine->api, engine->interpreter);
    }
    bool handed_over = !is(engine, "none") && delegate_to_xnnpack(engine, threads);
    if (engine->api.InterpreterAllocateTensors(engine->interpreter) != kTfLiteOk)
        fail(FAILED, "the model's tensors cannot be allocated; the library's reason is on stderr");
    engine->operator_coverage = operator_coverage_of(&engine->api, engine->interpreter);
    check_delegation(engine, handed_over);
    engine->operator_coverage.delegated = external ? first.delegated : engine->operator_coverage.delegated;
    engine->operator_coverage.fallback = external ? first.fallback : engine->operator_coverage.fallback;
}

void engine_load(Engine *engine, const Bundle *bundle, size_t batch, size_t threads) {
    const TfLite *api = &engine->api;
    engine->model = api->ModelCreateFromFile(bundle->model);
    if (!engine->model) fail(BAD_INPUT, "%s: not a TensorFlow Lite model", bundle->model);
    TfLiteInterpreterOptions *options = api->InterpreterOptionsCreate();
    api->InterpreterOptionsSetNumThreads(options, (int32_t)threads);
    engine->interpreter = api->InterpreterCreate(engine->model, options);
    api->InterpreterOptionsDelete(options);
    if (!engine->interpreter) fail(FAILED, "the library cannot take the model; its reason is on stderr");
    check_count(engine, bundle);
    for (size_t index = 0; index < bundle->inputs.count; index++)
        shape_input(engine, index, &bundle->inputs.items[index], batch);
    allocate_tensors(engine, threads);
    for (size_t index = 0; index < bundle->outputs.count; index++)
        check_dtype(engine, api->InterpreterGetOutputTensor(engine->interpreter, (int32_t)index),
                    &bundle->outputs.items[index]);
}

void engine_free(Engine *engine) {
    engine->api.InterpreterDelete(engine->interpreter); /* first, as it uses the others */
    engine->api.ModelDelete(engine->model);
    if (engine->xnnpack && engine->api.XNNPackDelegateDelete) engine->api.XNNPackDelegateDelete(engine->xnnpack);
    engine->xnnpack = NULL;
}

const char *engine_precision(const Engine *engine, const Bundle *bundle) {
    static const char PERMISSION[] = "reduced_precision_support";
    const char *cpuinfo = read_text("/proc/cpuinfo", NULL);
    if (!is(engine, "xnnpack") && !is(engine, "none")) return "the delegate's";
    bool able = is(engine, "xnnpack") && cpuinfo && strstr(cpuinfo, "asimdhp");
    return able && file_contains(bundle->model, PERMISSION) ? "f16" : "f32";
}

void engine_feed(const Engine *engine, size_t index, const void *data, size_t bytes) {
    TfLiteTensor *tensor = engine->api.InterpreterGetInputTensor(engine->interpreter, (int32_t)index);
    if (engine->api.TensorCopyFromBuffer(tensor, data, bytes) != kTfLiteOk)
        fail(FAILED, "input %zu takes %zu bytes, not %zu", index, engine->api.TensorByteSize(tensor), bytes);
}

void engine_step(const Engine *engine) {
    if (engine->api.InterpreterInvoke(engine->interpreter) != kTfLiteOk)
        fail(FAILED, "the inference failed; the library's reason is on stderr");
}

Array engine_fetch(const Engine *engine, size_t index) {
    const TfLite *api = &engine->api;
    const TfLiteTensor *tensor = api->InterpreterGetOutputTensor(engine->interpreter, (int32_t)index);
    Array output = {.dtype = dtype_of(api->TensorType(tensor)), .bytes = api->TensorByteSize(tensor)};
    int32_t rank = api->TensorNumDims(tensor);
    if (rank < 1 || rank > MAX_RANK) fail(FAILED, "output %zu has %d dimensions", index, (int)rank);
    output.rank = (size_t)rank;
    for (int32_t axis = 0; axis < rank; axis++) output.shape[axis] = (size_t)api->TensorDim(tensor, axis);
    unsigned char *data = allocate(output.bytes, 1);
    if (api->TensorCopyToBuffer(tensor, data, output.bytes) != kTfLiteOk)
        fail(FAILED, "output %zu cannot be read", index);
    output.data = data;
    return output;
}
