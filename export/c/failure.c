#include "failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "record.h"

static const struct {
    const char *name;
    int exit_code;
} KINDS[] = {
    [MISMATCH] = {"mismatch", 1},
    [BAD_INPUT] = {"bad-input", 2},
    [MISSING_RUNTIME] = {"missing-runtime", 3},
    [FAILED] = {"failed", 3},
    [NOT_PROVEN] = {"not-proven", 4},
};

void fail(Failure kind, const char *format, ...) {
    char message[2048];
    va_list values;
    va_start(values, format);
    vsnprintf(message, sizeof message, format, values);
    va_end(values);
    record_begin("end");
    record_flag("ok", false);
    record_text("error", message);
    record_text("kind", KINDS[kind].name);
    record_end();
    exit(KINDS[kind].exit_code);
}

void *allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) fail(FAILED, "out of memory");
    return memory;
}
