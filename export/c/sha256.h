/* SHA-256 (FIPS 180-4). */
#pragma once

#include <stdbool.h>

#define SHA256_TEXT 65

/* Hexadecimal digest of a file's content; false where it cannot be read. */
bool sha256_file(const char *path, char digest[SHA256_TEXT]);
