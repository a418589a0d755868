/* What this process holds, in MB (10^6 bytes), and whether files are held in memory. */
#pragma once

#include "bundle.h"

/* From before a model is loaded on. */
typedef struct {
    double earlier, before; /* peak until then, and what was held then */
    const char *refused;    /* why the peak could not be started again from there; NULL where it was */
} Memory;

/* NAN where the system does not tell; `missing` is why the model's is not told. */
typedef struct {
    double peak, model;
    const char *missing;
} MemoryUse;

Memory memory_watch(void);
MemoryUse memory_use(const Memory *memory);

typedef enum { WARM, COLD, UNKNOWN } Cache;

/* Ask the kernel to forget the bundle's files, so that loading reads storage; WARM where it holds on to some. */
Cache forget_files(const Bundle *bundle);
