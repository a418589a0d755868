#include "operator_coverage.h"

#include "failure.h"

enum { INT8_TYPE = 9 };
enum { CONV_2D = 3, DEPTHWISE_CONV_2D = 4, FULLY_CONNECTED = 9, TRANSPOSE_CONV = 67, BATCH_MATMUL = 126 };
enum { CUSTOM = 32, DELEGATE = 51 };

typedef struct {
    const TfLite *api;
    OperatorCoverage operator_coverage;
} Count;

static bool is_weighted(int32_t code) {
    return code == CONV_2D || code == DEPTHWISE_CONV_2D || code == FULLY_CONNECTED || code == TRANSPOSE_CONV ||
           code == BATCH_MATMUL;
}

/* Whether a node's weights and its output are int8. */
static bool is_int8(const TfLite *api, TfLiteOpaqueContext *context, const TfLiteOpaqueNode *node) {
    if (api->OpaqueNodeNumberOfInputs(node) < 2 || api->OpaqueNodeNumberOfOutputs(node) < 1) return false;
    const TfLiteTensor *weights = api->OpaqueNodeGetInput(context, node, 1);
    const TfLiteTensor *output = api->OpaqueNodeGetOutput(context, node, 0);
    return weights && output && api->OpaqueTensorType(weights) == INT8_TYPE && api->OpaqueTensorType(output) == INT8_TYPE;
}

/* What a delegate is asked to do when it is added: this one looks around and takes nothing. */
static TfLiteStatus look_around(TfLiteOpaqueContext *context, TfLiteDelegate *delegate, void *data) {
    Count *count = data;
    const TfLite *api = count->api;
    size_t nodes = api->OpaqueContextGetNumNodes(context);
    TfLiteIntArray *plan; /* what is run: the parts that delegates took, and the operators that they left */
    (void)delegate;
    if (api->OpaqueContextGetExecutionPlan(context, &plan) != kTfLiteOk) return kTfLiteError;
    for (size_t index = 0; index < nodes; index++) {
        TfLiteOpaqueNode *node;
        TfLiteOperator *operator;
        if (api->OpaqueContextGetNodeAndRegistration(context, (int)index, &node, &operator) != kTfLiteOk)
            return kTfLiteError;
        int32_t code = api->OperatorGetBuiltInCode(operator);
        count->operator_coverage.counts[code >= 0 && code < OPERATORS ? code : CUSTOM]++; /* newer than this list, too */
        if (!is_weighted(code)) continue;
        count->operator_coverage.total++;
        count->operator_coverage.int8 += is_int8(api, context, node);
    }
    count->operator_coverage.fallback = (size_t)plan->size - count->operator_coverage.counts[DELEGATE];
    count->operator_coverage.delegated = nodes - (size_t)plan->size;
    return kTfLiteOk;
}

static bool can_list_nodes(const TfLite *api) {
    return api->InterpreterModifyGraphWithDelegate && api->OpaqueDelegateCreate && api->OpaqueContextGetNumNodes &&
           api->OpaqueContextGetExecutionPlan && api->OpaqueContextGetNodeAndRegistration &&
           api->OperatorGetBuiltInCode && api->OpaqueNodeNumberOfInputs && api->OpaqueNodeNumberOfOutputs &&
           api->OpaqueNodeGetInput && api->OpaqueNodeGetOutput && api->OpaqueTensorType;
}

OperatorCoverage operator_coverage_of(const TfLite *api, TfLiteInterpreter *interpreter) {
    if (!can_list_nodes(api))
        return (OperatorCoverage){.how = "not told: the library has no functions to list its nodes"};
    Count *count = allocate(1, sizeof *count);
    count->api = api;
    TfLiteOpaqueDelegateBuilder builder = {.data = count, .Prepare = look_around};
    builder.flags = kTfLiteDelegateFlagsAllowDynamicTensors; /* else it would end all changes to the graph */
    TfLiteDelegate *delegate = api->OpaqueDelegateCreate(&builder);
    if (!delegate || api->InterpreterModifyGraphWithDelegate(interpreter, delegate) != kTfLiteOk)
        return (OperatorCoverage){.how = "not told: the library refuses to list its nodes"};
    count->operator_coverage.known = true;
    count->operator_coverage.how = "tensor types of the interpreter's nodes";
    return count->operator_coverage;
}

/* In the order of their codes (tensorflow/lite/schema/schema.fbs). */
static const char *const NAMES[OPERATORS] = {
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE",
    "EMBEDDING_LOOKUP", "FLOOR", "FULLY_CONNECTED", "HASHTABLE_LOOKUP", "L2_NORMALIZATION", "L2_POOL_2D",
    "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM", "MAX_POOL_2D", "MUL", "RELU", "RELU_N1_TO_1",
    "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX", "SPACE_TO_DEPTH", "SVDF", "TANH", "CONCAT_EMBEDDINGS",
    "SKIP_GRAM", "CALL", "CUSTOM", "EMBEDDING_LOOKUP_SPARSE", "PAD", "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER",
    "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "TRANSPOSE", "MEAN", "SUB", "DIV", "SQUEEZE",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE", "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2", "SPLIT",
    "LOG_SOFTMAX", "DELEGATE", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU", "MAXIMUM", "ARG_MAX", "MINIMUM", "LESS",
    "NEG", "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN", "TRANSPOSE_CONV",
    "SPARSE_TO_DENSE", "TILE", "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT", "SHAPE", "POW",
    "ARG_MIN", "FAKE_QUANT", "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT", "LOGICAL_AND", "LOGICAL_NOT",
    "UNPACK", "REDUCE_MIN", "FLOOR_DIV", "REDUCE_ANY", "SQUARE", "ZEROS_LIKE", "FILL", "FLOOR_MOD", "RANGE",
    "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU", "SQUARED_DIFFERENCE", "MIRROR_PAD", "ABS", "SPLIT_V", "UNIQUE", "CEIL",
    "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE", "RANK", "ELU", "REVERSE_SEQUENCE", "MATRIX_DIAG", "QUANTIZE",
    "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5",
    "SCATTER_ND", "SELECT_V2", "DENSIFY", "SEGMENT_SUM", "BATCH_MATMUL", "PLACEHOLDER_FOR_GREATER_OP_CODES", "CUMSUM",
    "CALL_ONCE", "BROADCAST_TO", "RFFT2D", "CONV_3D", "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND",
    "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "REDUCE_ALL", "CONV_3D_TRANSPOSE", "VAR_HANDLE", "READ_VARIABLE",
    "ASSIGN_VARIABLE", "BROADCAST_ARGS", "RANDOM_STANDARD_NORMAL", "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL", "GELU",
    "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_SUM",
    "ATAN2", "UNSORTED_SEGMENT_MIN", "SIGN", "BITCAST", "BITWISE_XOR", "RIGHT_SHIFT", "STABLEHLO_LOGISTIC",
    "STABLEHLO_ADD", "STABLEHLO_DIVIDE", "STABLEHLO_MULTIPLY", "STABLEHLO_MAXIMUM", "STABLEHLO_RESHAPE",
    "STABLEHLO_CLAMP", "STABLEHLO_CONCATENATE", "STABLEHLO_BROADCAST_IN_DIM", "STABLEHLO_CONVOLUTION",
    "STABLEHLO_SLICE", "STABLEHLO_CUSTOM_CALL", "STABLEHLO_REDUCE", "STABLEHLO_ABS", "STABLEHLO_AND",
    "STABLEHLO_COSINE", "STABLEHLO_EXPONENTIAL", "STABLEHLO_FLOOR", "STABLEHLO_LOG", "STABLEHLO_MINIMUM",
    "STABLEHLO_NEGATE", "STABLEHLO_OR", "STABLEHLO_POWER", "STABLEHLO_REMAINDER", "STABLEHLO_RSQRT", "STABLEHLO_SELECT",
    "STABLEHLO_SUBTRACT", "STABLEHLO_TANH", "STABLEHLO_SCATTER", "STABLEHLO_COMPARE", "STABLEHLO_CONVERT",
    "STABLEHLO_DYNAMIC_SLICE", "STABLEHLO_DYNAMIC_UPDATE_SLICE", "STABLEHLO_PAD", "STABLEHLO_IOTA",
    "STABLEHLO_DOT_GENERAL", "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_SORT", "STABLEHLO_WHILE", "STABLEHLO_GATHER",
    "STABLEHLO_TRANSPOSE", "DILATE", "STABLEHLO_RNG_BIT_GENERATOR", "REDUCE_WINDOW", "STABLEHLO_COMPOSITE",
    "STABLEHLO_SHIFT_LEFT", "STABLEHLO_CBRT", "STABLEHLO_CASE",
};

const char *operator_name(size_t code) {
    return NAMES[code];
}
