/* UTF-8 (RFC 3629). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define UTF8_REPLACEMENT 0xFFFDu

/* Length of the character at `at` and its code point; 0 for what is none. */
size_t utf8_decode(const char *at, const char *end, uint32_t *code);

/* Write a code point as up to 4 bytes; their number. */
size_t utf8_encode(uint32_t code, char *out);
