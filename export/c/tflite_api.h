/* The part of TensorFlow Lite's C API that an inference takes (tensorflow/lite/c), found in a library at run time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct TfLiteModel TfLiteModel;
typedef struct TfLiteInterpreter TfLiteInterpreter;
typedef struct TfLiteInterpreterOptions TfLiteInterpreterOptions;
typedef struct TfLiteTensor TfLiteTensor;
typedef struct TfLiteDelegate TfLiteDelegate;
typedef struct TfLiteOpaqueContext TfLiteOpaqueContext;
typedef struct TfLiteOpaqueNode TfLiteOpaqueNode;
typedef struct TfLiteOperator TfLiteOperator;

typedef enum { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;

typedef struct {
    int size;
    int data[];
} TfLiteIntArray;

/* All versions begin with the number of threads; it is grown from time to time, so there is room for more. */
typedef struct {
    int32_t num_threads;
    unsigned char rest[508];
} TfLiteXNNPackDelegateOptions;

typedef struct {
    void *data;
    TfLiteStatus (*Prepare)(TfLiteOpaqueContext *context, TfLiteDelegate *delegate, void *data);
    void *CopyFromBufferHandle, *CopyToBufferHandle, *FreeBufferHandle;
    int64_t flags;
} TfLiteOpaqueDelegateBuilder;

#define kTfLiteDelegateFlagsAllowDynamicTensors 1

/* FUNCTION(type, name, parameters): in every library. */
#define TFLITE_REQUIRED(FUNCTION)                                                                                     \
    FUNCTION(const char *, Version, (void))                                                                           \
    FUNCTION(TfLiteModel *, ModelCreateFromFile, (const char *path))                                                  \
    FUNCTION(void, ModelDelete, (TfLiteModel *))                                                                      \
    FUNCTION(TfLiteInterpreterOptions *, InterpreterOptionsCreate, (void))                                            \
    FUNCTION(void, InterpreterOptionsSetNumThreads, (TfLiteInterpreterOptions *, int32_t threads))                    \
    FUNCTION(void, InterpreterOptionsDelete, (TfLiteInterpreterOptions *))                                            \
    FUNCTION(TfLiteInterpreter *, InterpreterCreate, (const TfLiteModel *, const TfLiteInterpreterOptions *))         \
    FUNCTION(void, InterpreterDelete, (TfLiteInterpreter *))                                                          \
    FUNCTION(int32_t, InterpreterGetInputTensorCount, (const TfLiteInterpreter *))                                    \
    FUNCTION(int32_t, InterpreterGetOutputTensorCount, (const TfLiteInterpreter *))                                   \
    FUNCTION(TfLiteTensor *, InterpreterGetInputTensor, (const TfLiteInterpreter *, int32_t index))                   \
    FUNCTION(const TfLiteTensor *, InterpreterGetOutputTensor, (const TfLiteInterpreter *, int32_t index))            \
    FUNCTION(TfLiteStatus, InterpreterResizeInputTensor, (TfLiteInterpreter *, int32_t, const int *, int32_t rank))   \
    FUNCTION(TfLiteStatus, InterpreterAllocateTensors, (TfLiteInterpreter *))                                         \
    FUNCTION(TfLiteStatus, InterpreterInvoke, (TfLiteInterpreter *))                                                  \
    FUNCTION(int, TensorType, (const TfLiteTensor *))                                                                 \
    FUNCTION(int32_t, TensorNumDims, (const TfLiteTensor *))                                                          \
    FUNCTION(int32_t, TensorDim, (const TfLiteTensor *, int32_t axis))                                                \
    FUNCTION(size_t, TensorByteSize, (const TfLiteTensor *))                                                          \
    FUNCTION(TfLiteStatus, TensorCopyFromBuffer, (TfLiteTensor *, const void *, size_t))                              \
    FUNCTION(TfLiteStatus, TensorCopyToBuffer, (const TfLiteTensor *, void *, size_t))

/* NULL where a library was built without. */
#define TFLITE_OPTIONAL(FUNCTION)                                                                                     \
    FUNCTION(TfLiteStatus, InterpreterModifyGraphWithDelegate, (TfLiteInterpreter *, TfLiteDelegate *))               \
    FUNCTION(TfLiteXNNPackDelegateOptions, XNNPackDelegateOptionsDefault, (void))                                     \
    FUNCTION(TfLiteDelegate *, XNNPackDelegateCreate, (const TfLiteXNNPackDelegateOptions *))                         \
    FUNCTION(void, XNNPackDelegateDelete, (TfLiteDelegate *))                                                         \
    FUNCTION(TfLiteDelegate *, OpaqueDelegateCreate, (const TfLiteOpaqueDelegateBuilder *))                           \
    FUNCTION(size_t, OpaqueContextGetNumNodes, (const TfLiteOpaqueContext *))                                         \
    FUNCTION(TfLiteStatus, OpaqueContextGetExecutionPlan, (TfLiteOpaqueContext *, TfLiteIntArray **))                 \
    FUNCTION(TfLiteStatus, OpaqueContextGetNodeAndRegistration,                                                       \
             (TfLiteOpaqueContext *, int index, TfLiteOpaqueNode **, TfLiteOperator **))                              \
    FUNCTION(int32_t, OperatorGetBuiltInCode, (const TfLiteOperator *))                                               \
    FUNCTION(int, OpaqueNodeNumberOfInputs, (const TfLiteOpaqueNode *))                                               \
    FUNCTION(int, OpaqueNodeNumberOfOutputs, (const TfLiteOpaqueNode *))                                              \
    FUNCTION(const TfLiteTensor *, OpaqueNodeGetInput, (const TfLiteOpaqueContext *, const TfLiteOpaqueNode *, int))  \
    FUNCTION(TfLiteTensor *, OpaqueNodeGetOutput, (TfLiteOpaqueContext *, const TfLiteOpaqueNode *, int))             \
    FUNCTION(int, OpaqueTensorType, (const TfLiteTensor *))

#define TFLITE_MEMBER(type, name, parameters) type(*name) parameters;

typedef struct {
    TFLITE_REQUIRED(TFLITE_MEMBER)
    TFLITE_OPTIONAL(TFLITE_MEMBER)
    const char *library; /* its name without the folder */
} TfLite;

/* What the library of an external delegate offers. */
typedef TfLiteDelegate *TfLiteDelegatePlugin(char **keys, char **values, size_t count, void (*report)(const char *));

/* Load a shared library; NULL where that fails, which dlerror explains. */
void *library_open(const char *path);

/* Copy the address of a symbol to a pointer to a function; false where there is none. */
bool library_bind(void *library, const char *symbol, void *function);

/* Load the library that `path` names; NULL: the one beside this program, or the loader's. MISSING_RUNTIME without. */
TfLite tflite_open(const char *path);
