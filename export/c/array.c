#include "array.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"

static const struct {
    const char *name, *description;
    size_t size;
} DTYPES[] = {
    [FLOAT32] = {"float32", "<f4", 4},
    [INT8] = {"int8", "|i1", 1},
    [UINT8] = {"uint8", "|u1", 1},
    [INT32] = {"int32", "<i4", 4},
    [INT64] = {"int64", "<i8", 8},
    [BOOL] = {"bool", "|b1", 1},
    [OTHER] = {"another type", "", 0},
};

Dtype dtype_named(const char *name) {
    Dtype dtype = FLOAT32;
    while (dtype < OTHER && strcmp(DTYPES[dtype].name, name) != 0) dtype++;
    return dtype;
}

Dtype dtype_described(const char *description) {
    Dtype dtype = FLOAT32;
    while (dtype < OTHER && strcmp(DTYPES[dtype].description, description) != 0) dtype++;
    return dtype;
}

const char *dtype_name(Dtype dtype) {
    return DTYPES[dtype].name;
}

const char *dtype_description(Dtype dtype) {
    return DTYPES[dtype].description;
}

size_t dtype_size(Dtype dtype) {
    return DTYPES[dtype].size;
}

bool element_count(size_t rank, const size_t *shape, size_t *count) {
    *count = 1;
    for (size_t axis = 0; axis < rank; axis++)
        if (__builtin_mul_overflow(*count, shape[axis], count)) return false;
    return true;
}

size_t array_length(const Array *array) {
    return array->shape[0];
}

size_t array_sample_bytes(const Array *array) {
    return array->shape[0] ? array->bytes / array->shape[0] : 0;
}

bool array_same_shape(const Array *one, const Array *other) {
    return one->rank == other->rank && memcmp(one->shape, other->shape, one->rank * sizeof *one->shape) == 0;
}

double array_value(const Array *array, size_t index) {
    union {
        float f4;
        int8_t i1;
        uint8_t u1;
        int32_t i4;
        int64_t i8;
    } value;
    size_t size = dtype_size(array->dtype);
    memcpy(&value, array->data + index * size, size);
    switch (array->dtype) {
    case FLOAT32: return (double)value.f4;
    case INT8: return value.i1;
    case UINT8: return value.u1;
    case BOOL: return value.u1 != 0;
    case INT32: return value.i4;
    case INT64: return (double)value.i8;
    case OTHER: break;
    }
    return 0;
}

const char *shape_text(size_t rank, const size_t *shape) {
    const size_t size = 4 + 22 * rank;
    char *text = allocate(size, 1);
    int length = snprintf(text, size, "[");
    for (size_t axis = 0; axis < rank; axis++)
        length += snprintf(text + length, size - (size_t)length, axis ? ", %zu" : "%zu", shape[axis]);
    snprintf(text + length, size - (size_t)length, "]");
    return text;
}
