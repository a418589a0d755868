/* Whole files. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const unsigned char *data;
    size_t size;
} Bytes;

/* A file's content with a NUL behind it, however long /proc says that it is; NULL where it cannot be read. */
char *read_text(const char *path, size_t *size);

/* A file in memory without reading it; false where it cannot be. */
bool map_file(const char *path, Bytes *content);

/* Whether a file holds a text; it is read in parts, as its memory would count as the model's. */
bool file_contains(const char *path, const char *text);

/* The value of the first of a text's lines "key : value" with one of the keys, NULL behind the last; NULL without. */
const char *text_field(const char *text, const char *const *keys);

/* `folder`/`name` */
char *path_in(const char *folder, const char *name);

/* A path without its folder. */
const char *last_part(const char *path);

/* Folder of this program. */
const char *own_folder(void);
