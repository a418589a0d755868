#include "record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "utf8.h"

static FILE *stream;
static bool first;

void records_open(void) {
    stream = fdopen(dup(STDOUT_FILENO), "w");
    if (!stream) exit(3);
    dup2(STDERR_FILENO, STDOUT_FILENO);
}

static void escaped(uint32_t code) {
    if (code == '"' || code == '\\') fprintf(stream, "\\%c", (char)code);
    else if (code >= ' ' && code < 0x7F) fputc((int)code, stream);
    else if (code < 0x10000) fprintf(stream, "\\u%04x", (unsigned)code);
    else fprintf(stream, "\\u%04x\\u%04x", (unsigned)(0xD7C0 + (code >> 10)), (unsigned)(0xDC00 + (code & 0x3FF)));
}

static void quoted(const char *text) {
    const char *end = text + strlen(text);
    fputc('"', stream);
    while (text < end) {
        uint32_t code;
        size_t length = utf8_decode(text, end, &code);
        escaped(length ? code : UTF8_REPLACEMENT);
        text += length ? length : 1;
    }
    fputc('"', stream);
}

static void key_of(const char *key) {
    if (!first) fputs(", ", stream);
    first = false;
    quoted(key);
    fputs(": ", stream);
}

void record_begin(const char *name) {
    fputc('{', stream);
    first = true;
    record_text("record", name);
}

void record_text(const char *key, const char *value) {
    if (!value) {
        record_null(key);
        return;
    }
    key_of(key);
    quoted(value);
}

void record_integer(const char *key, long long value) {
    key_of(key);
    fprintf(stream, "%lld", value);
}

/* The shortest of the usual precisions that reads back as the same number. */
void record_number(const char *key, double value) {
    char text[32];
    if (!isfinite(value)) {
        record_null(key);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (!islessgreater(strtod(text, NULL), value)) break;
    }
    key_of(key);
    fputs(text, stream);
}

void record_flag(const char *key, bool value) {
    key_of(key);
    fputs(value ? "true" : "false", stream);
}

void record_null(const char *key) {
    key_of(key);
    fputs("null", stream);
}

void record_integers(const char *key, const size_t *values, size_t count) {
    if (!count) {
        record_null(key);
        return;
    }
    key_of(key);
    for (size_t index = 0; index < count; index++) fprintf(stream, index ? ", %zu" : "[%zu", values[index]);
    fputc(']', stream);
}

static void milliseconds(int64_t nanoseconds) {
    fprintf(stream, "%lld.%06d", (long long)(nanoseconds / 1000000), (int)(nanoseconds % 1000000));
}

void record_milliseconds(const char *key, int64_t nanoseconds) {
    key_of(key);
    milliseconds(nanoseconds);
}

void record_samples(const char *key, const int64_t *nanoseconds, size_t count) {
    key_of(key);
    fputc('[', stream);
    for (size_t index = 0; index < count; index++) {
        if (index) fputs(", ", stream);
        milliseconds(nanoseconds[index]);
    }
    fputc(']', stream);
}

void record_object_begin(const char *key) {
    key_of(key);
    fputc('{', stream);
    first = true;
}

void record_object_end(void) {
    fputc('}', stream);
    first = false;
}

void record_end(void) {
    fputs("}\n", stream);
    fflush(stream);
}
