#include "npy.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"

#define MAGIC "\x93NUMPY"
#define ALIGNMENT 64

static const char *value_of(const char *header, const char *key) {
    const char *found = strstr(header, key);
    return found ? found + strlen(key) : NULL;
}

static bool read_dtype(const char *header, Array *array) {
    const char *begin = value_of(header, "'descr': '"), *end = begin ? strchr(begin, '\'') : NULL;
    char description[16];
    if (!end || (size_t)(end - begin) >= sizeof description) return false;
    snprintf(description, sizeof description, "%.*s", (int)(end - begin), begin);
    array->dtype = dtype_described(description);
    return true;
}

static bool read_shape(const char *header, Array *array) {
    const char *at = value_of(header, "'shape': (");
    while (at && *at != ')') {
        char *end;
        if (array->rank == MAX_RANK || *at < '0' || *at > '9') return false;
        unsigned long long size = strtoull(at, &end, 10);
        if (size > SIZE_MAX / 2) return false;
        array->shape[array->rank++] = (size_t)size;
        at = end + strspn(end, ", ");
    }
    return at != NULL;
}

/* The same elements in C order. */
static const unsigned char *reordered(const Array *array, size_t elements) {
    size_t size = dtype_size(array->dtype), index[MAX_RANK] = {0};
    unsigned char *data = allocate(elements, size);
    for (size_t at = 0; at < elements; at++) {
        size_t from = 0;
        for (size_t axis = array->rank; axis-- > 0;) from = from * array->shape[axis] + index[axis];
        memcpy(data + at * size, array->data + from * size, size);
        for (size_t axis = array->rank; axis-- > 0 && ++index[axis] == array->shape[axis];) index[axis] = 0;
    }
    return data;
}

/* The header as a text; NULL where there is none. `content` then begins with the data. */
static char *split(Bytes *content) {
    size_t magic = strlen(MAGIC) + 2, length = 0;
    if (content->size < magic + 4 || memcmp(content->data, MAGIC, strlen(MAGIC)) != 0) return NULL;
    size_t width = content->data[magic - 2] == 1 ? 2 : 4;
    for (size_t byte = width; byte-- > 0;) length = length << 8 | content->data[magic + byte];
    if (length > content->size - magic - width) return NULL;
    char *header = allocate(length + 1, 1);
    memcpy(header, content->data + magic + width, length);
    content->data += magic + width + length;
    content->size -= magic + width + length;
    return header;
}

Array npy_array(Bytes content, const char *path, const char *name) {
    Array array = {.dtype = OTHER};
    size_t elements, bytes;
    const char *header = split(&content);
    if (!header || !read_dtype(header, &array) || !read_shape(header, &array))
        fail(BAD_INPUT, "%s: '%s' is no plain array", path, name);
    bool counted = element_count(array.rank, array.shape, &elements);
    if (!counted || __builtin_mul_overflow(elements, dtype_size(array.dtype), &bytes) || bytes > content.size)
        fail(BAD_INPUT, "%s: '%s' is cut off", path, name);
    array.data = content.data;
    array.bytes = bytes;
    if (bytes && strstr(header, "'fortran_order': True")) array.data = reordered(&array, elements);
    return array;
}

size_t npy_header(const Array *array, char header[NPY_HEADER]) {
    char shape[NPY_HEADER / 2] = "";
    size_t length = 0, prefix = strlen(MAGIC) + 4;
    for (size_t axis = 0; axis < array->rank; axis++)
        length += (size_t)snprintf(shape + length, sizeof shape - length, "%zu, ", array->shape[axis]);
    int written = snprintf(header + prefix, NPY_HEADER - prefix,
                           "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", dtype_description(array->dtype),
                           shape);
    size_t total = (prefix + (size_t)written + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    memset(header + prefix + written, ' ', total - prefix - (size_t)written);
    header[total - 1] = '\n';
    memcpy(header, MAGIC "\x01", prefix - 3);
    header[prefix - 3] = 0;
    header[prefix - 2] = (char)((total - prefix) & 0xFF);
    header[prefix - 1] = (char)((total - prefix) >> 8);
    return total;
}
