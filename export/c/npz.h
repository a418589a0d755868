/* NumPy's .npz: a ZIP archive of .npy files, stored and not compressed, as `np.savez` writes it. */
#pragma once

#include <stddef.h>

#include "array.h"
#include "files.h"

typedef struct {
    const char *path;
    Bytes content, directory; /* `directory` is the archive's own list of its files */
    size_t count;
} Npz;

/* Map an archive; BAD_INPUT where that is none. */
Npz npz_open(const char *path);

/* An array by name, its checksum verified; BAD_INPUT where it is missing, damaged, compressed or no plain array. */
Array npz_array(const Npz *archive, const char *name);

/* Write arrays under their names, whole or not at all; FAILED where that cannot be. */
void npz_write(const char *path, const char *const *names, const Array *arrays, size_t count);
