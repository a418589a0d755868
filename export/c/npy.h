/* NumPy's .npy: a header of one Python literal before the data (numpy.lib.format, versions 1 to 3). */
#pragma once

#include "array.h"
#include "files.h"

#define NPY_HEADER 256 /* bytes that are enough for the header of any array here */

/* The array in a file's content; BAD_INPUT that begins with `path` and `name` where it is none. */
Array npy_array(Bytes content, const char *path, const char *name);

/* Write an array's header; its length, of which the data that follows is aligned. */
size_t npy_header(const Array *array, char header[NPY_HEADER]);
