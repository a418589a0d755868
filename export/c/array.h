/* Arrays of numbers in C order, where they lie: in a mapped file, so perhaps not aligned, or in memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define MAX_RANK 8

typedef enum { FLOAT32, INT8, UINT8, INT32, INT64, BOOL, OTHER } Dtype;

typedef struct {
    Dtype dtype;
    size_t rank, shape[MAX_RANK];
    const unsigned char *data;
    size_t bytes;
} Array;

/* A type by its name in a manifest ("float32") or in an .npy file ("<f4"); OTHER for one that no bundle has. */
Dtype dtype_named(const char *name);
Dtype dtype_described(const char *description);
const char *dtype_name(Dtype dtype);
const char *dtype_description(Dtype dtype);

/* Bytes of an element; 0 of OTHER. */
size_t dtype_size(Dtype dtype);

/* Elements of a shape; false where that is no number. */
bool element_count(size_t rank, const size_t *shape, size_t *count);

size_t array_length(const Array *array);
size_t array_sample_bytes(const Array *array);
bool array_same_shape(const Array *one, const Array *other);
double array_value(const Array *array, size_t index);

/* "[16, 28, 28, 1]" */
const char *shape_text(size_t rank, const size_t *shape);
