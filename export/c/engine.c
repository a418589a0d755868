#include "engine.h"

#include <limits.h>

#include "failure.h"

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

static void delegate_to_xnnpack(const Engine *engine, size_t threads) {
    const TfLite *api = &engine->api;
    if (!api->XNNPackDelegateCreate || !api->XNNPackDelegateOptionsDefault || !api->InterpreterModifyGraphWithDelegate)
        fail(MISSING_RUNTIME, "%s was built without XNNPACK: --option delegate=none", api->library);
    TfLiteXNNPackDelegateOptions options = api->XNNPackDelegateOptionsDefault();
    options.num_threads = (int32_t)threads;
    TfLiteDelegate *delegate = api->XNNPackDelegateCreate(&options);
    if (!delegate || api->InterpreterModifyGraphWithDelegate(engine->interpreter, delegate) != kTfLiteOk)
        fail(FAILED, "XNNPACK cannot take the model; the library's reason is on stderr");
}

void engine_load(Engine *engine, const Bundle *bundle, size_t batch, size_t threads) {
    const TfLite *api = &engine->api;
    TfLiteModel *model = api->ModelCreateFromFile(bundle->model);
    if (!model) fail(BAD_INPUT, "%s: not a TensorFlow Lite model", bundle->model);
    TfLiteInterpreterOptions *options = api->InterpreterOptionsCreate();
    api->InterpreterOptionsSetNumThreads(options, (int32_t)threads);
    engine->interpreter = api->InterpreterCreate(model, options);
    if (!engine->interpreter) fail(FAILED, "the library cannot take the model; its reason is on stderr");
    check_count(engine, bundle);
    for (size_t index = 0; index < bundle->inputs.count; index++)
        shape_input(engine, index, &bundle->inputs.items[index], batch);
    if (engine->xnnpack) delegate_to_xnnpack(engine, threads);
    if (api->InterpreterAllocateTensors(engine->interpreter) != kTfLiteOk)
        fail(FAILED, "the model's tensors cannot be allocated; the library's reason is on stderr");
    for (size_t index = 0; index < bundle->outputs.count; index++)
        check_dtype(engine, api->InterpreterGetOutputTensor(engine->interpreter, (int32_t)index),
                    &bundle->outputs.items[index]);
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
    if (api->TensorCopyToBuffer(tensor, data, output.bytes) != kTfLiteOk) fail(FAILED, "output %zu cannot be read", index);
    output.data = data;
    return output;
}
