/* JSON records, one per line, on what was standard output. Records do not fail: their values are ready beforehand. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keep standard output for the records; whatever else prints there goes to standard error. */
void records_open(void);

void record_begin(const char *name);
void record_text(const char *key, const char *value);             /* NULL: null */
void record_integer(const char *key, long long value);
void record_number(const char *key, double value);                /* not finite: null */
void record_flag(const char *key, bool value);
void record_null(const char *key);
void record_integers(const char *key, const size_t *values, size_t count); /* none: null */
void record_milliseconds(const char *key, int64_t nanoseconds);   /* exact */
void record_samples(const char *key, const int64_t *nanoseconds, size_t count); /* in ms, exact */
void record_object_begin(const char *key);
void record_object_end(void);
void record_end(void);
