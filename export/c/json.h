/* JSON (RFC 8259) as a tree: strict, no duplicate keys, no NUL in strings. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef enum { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_TEXT, JSON_ARRAY, JSON_OBJECT } JsonKind;

typedef struct Json {
    JsonKind kind;
    const char *key;   /* within an object */
    const char *text;  /* of JSON_TEXT, and of JSON_NUMBER as it was written */
    double number;
    bool integral;     /* a number without fraction and exponent */
    struct Json *items;
    size_t count;
} Json;

/* Parse a NUL-terminated document of `size` bytes; BAD_INPUT that names the `source` and what is wrong. */
Json *json_parse(const char *document, size_t size, const char *source);

/* A member of an object; NULL where there is none, or where `object` is none. */
const Json *json_get(const Json *object, const char *key);
