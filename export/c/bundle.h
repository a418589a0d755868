/* A bundle: a manifest whose files exist, match their hashes and lie inside the folder. */
#pragma once

#include "array.h"
#include "json.h"
#include "npz.h"

#define BUNDLE_FORMAT 1
#define ANY ((size_t)-1)

/* An input or output. `shape` begins with the batch, which is ANY; 0 for a number that is not told. */
typedef struct {
    const char *name;
    Dtype dtype;
    size_t rank, shape[MAX_RANK];
    double scale, zero_point, step, noise;
} Spec;

typedef struct {
    Spec *items;
    size_t count;
} Specs;

typedef struct {
    const char *folder, *name, *backend, *precision, *model; /* `model` is a path */
    size_t batch, threads;
    Specs inputs, outputs;
    const Json *manifest;
} Bundle;

/* Read the manifest and check every hash; BAD_INPUT that names what is wrong. */
Bundle bundle_open(const char *folder);

/* The recorded arrays of all inputs or outputs; `kind` is "input" or "output". */
Array *bundle_golden(const Bundle *bundle, const char *kind, const Specs *specs);

/* Refuse an array whose type or shape is not the tensor's. */
void check_conforming(const Array *array, const Spec *spec);
