/* What the runtime can be told: the manifest's options, and the command line's above them. */
#pragma once

#include "arguments.h"
#include "json.h"

typedef struct {
    const char *library; /* path; NULL: wherever it is found */
    const char *delegate; /* xnnpack, none, or a delegate's library */
} Options;

/* BAD_INPUT for an option or a value that is none. A manifest may not name a path: what lies there would be run. */
Options options_of(const Json *manifest, const Arguments *arguments);
