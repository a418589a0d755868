/* A bundle's model in TensorFlow Lite: load, feed, step, fetch. */
#pragma once

#include "bundle.h"
#include "operator_coverage.h"
#include "tflite_api.h"

/* `delegate` is xnnpack, none, or the path of a delegate's library, of which XNNPACK takes what that leaves. */
typedef struct {
    TfLite api;
    TfLiteModel *model;
    TfLiteInterpreter *interpreter;
    TfLiteDelegate *xnnpack;
    const char *delegate;
    OperatorCoverage operator_coverage;
} Engine;

/* Make the model ready for a batch, resized where that is not its own. */
void engine_load(Engine *engine, const Bundle *bundle, size_t batch, size_t threads);

/* Give back what `engine_load` took. */
void engine_free(Engine *engine);

/* What floats are computed in: "f32" or "f16"; XNNPACK takes f16 only where the model allows it and the CPU has it. */
const char *engine_precision(const Engine *engine, const Bundle *bundle);

/* Copy a whole batch into an input. */
void engine_feed(const Engine *engine, size_t index, const void *data, size_t bytes);

/* One inference on what was fed last: this is what gets timed. */
void engine_step(const Engine *engine);

/* Copy an output of the last step. */
Array engine_fetch(const Engine *engine, size_t index);
