#include "npz.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"
#include "npy.h"

/* Lengths and offsets of the records of a ZIP archive (APPNOTE 4.3). */
enum { LOCAL = 30, CENTRAL = 46, END = 22, LONGEST_COMMENT = 0xFFFF, UTF8_NAMES = 0x800, VERSION = 20 };
enum { FIRST_DAY = 0x21 }; /* 1980-01-01 */

static size_t number(const unsigned char *at, size_t bytes) {
    size_t value = 0;
    while (bytes-- > 0) value = value << 8 | at[bytes];
    return value;
}

static _Noreturn void damaged(const char *path, const char *what) {
    fail(BAD_INPUT, "%s: not a readable .npz (%s)", path, what);
}

static uint32_t crc32(uint32_t crc, const unsigned char *data, size_t size) {
    static uint32_t table[256];
    for (uint32_t byte = 0; byte < 256 && !table[255]; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xEDB88320u : 0);
        table[byte] = value;
    }
    crc = ~crc;
    for (size_t at = 0; at < size; at++) crc = crc >> 8 ^ table[(crc ^ data[at]) & 0xFF];
    return ~crc;
}

Npz npz_open(const char *path) {
    Npz archive = {.path = path};
    Bytes content;
    if (!map_file(path, &content)) damaged(path, "it cannot be opened");
    archive.content = content;
    if (content.size < END) damaged(path, "it is too short");
    size_t at = content.size - END, oldest = at > LONGEST_COMMENT ? at - LONGEST_COMMENT : 0;
    while (memcmp(content.data + at, "PK\5\6", 4) != 0)
        if (at-- == oldest) damaged(path, "it has no end");
    size_t size = number(content.data + at + 12, 4), begin = number(content.data + at + 16, 4);
    if (begin > at || size > at - begin) damaged(path, "its directory lies outside");
    archive.count = number(content.data + at + 10, 2);
    archive.directory = (Bytes){content.data + begin, size};
    return archive;
}

/* The directory's record of `name`.npy; NULL where there is none. */
static const unsigned char *entry(const Npz *archive, const char *name) {
    const unsigned char *at = archive->directory.data;
    size_t left = archive->directory.size, length = strlen(name);
    for (size_t index = 0; index < archive->count; index++) {
        if (left < CENTRAL || memcmp(at, "PK\1\2", 4) != 0) damaged(archive->path, "its directory is broken");
        size_t named = number(at + 28, 2), whole = CENTRAL + named + number(at + 30, 2) + number(at + 32, 2);
        if (whole > left) damaged(archive->path, "its directory is broken");
        const unsigned char *found = at + CENTRAL;
        if (named == length + 4 && !memcmp(found, name, length) && !memcmp(found + length, ".npy", 4)) return at;
        at += whole;
        left -= whole;
    }
    return NULL;
}

Array npz_array(const Npz *archive, const char *name) {
    const unsigned char *found = entry(archive, name), *data = archive->content.data;
    if (!found) fail(BAD_INPUT, "%s: '%s' is not in it", archive->path, name);
    size_t size = number(found + 20, 4), at = number(found + 42, 4), left = archive->content.size;
    if (number(found + 10, 2) != 0) damaged(archive->path, "it is compressed, which np.savez does not");
    if (number(found + 8, 2) & 1) damaged(archive->path, "it is encrypted");
    if (size == 0xFFFFFFFF) damaged(archive->path, "an array of more than 4 GB");
    bool there = left >= LOCAL && at <= left - LOCAL && memcmp(data + at, "PK\3\4", 4) == 0;
    if (!there) damaged(archive->path, "an array is lost");
    at += LOCAL + number(data + at + 26, 2) + number(data + at + 28, 2);
    if (at > left || size > left - at) damaged(archive->path, "an array is cut off");
    Bytes content = {data + at, size};
    if (crc32(0, content.data, size) != number(found + 16, 4)) damaged(archive->path, "a checksum is wrong");
    return npy_array(content, archive->path, name);
}

typedef struct {
    char header[NPY_HEADER];
    size_t header_size, size, offset;
    uint32_t crc;
} Packed;

static void put(FILE *stream, size_t value, int bytes) {
    for (int byte = 0; byte < bytes; byte++) fputc((int)(value >> 8 * byte & 0xFF), stream);
}

/* What the record before an array and that in the directory have in common. */
static void put_identity(FILE *stream, const Packed *packed, const char *name) {
    put(stream, VERSION, 2);
    put(stream, UTF8_NAMES, 2);
    put(stream, 0, 2); /* stored */
    put(stream, 0, 2); /* midnight */
    put(stream, FIRST_DAY, 2);
    put(stream, packed->crc, 4);
    put(stream, packed->size, 4);
    put(stream, packed->size, 4);
    put(stream, strlen(name) + strlen(".npy"), 2);
    put(stream, 0, 2); /* nothing extra */
}

static void put_array(FILE *stream, Packed *packed, const char *name, const Array *array) {
    packed->header_size = npy_header(array, packed->header);
    packed->size = packed->header_size + array->bytes;
    packed->offset = (size_t)ftell(stream);
    packed->crc = crc32(0, (const unsigned char *)packed->header, packed->header_size);
    packed->crc = crc32(packed->crc, array->data, array->bytes);
    if (packed->offset + packed->size > 0xFFFF0000) fail(FAILED, "the outputs take more than 4 GB");
    fputs("PK\3\4", stream);
    put_identity(stream, packed, name);
    fprintf(stream, "%s.npy", name);
    fwrite(packed->header, 1, packed->header_size, stream);
    fwrite(array->data, 1, array->bytes, stream);
}

static void put_directory(FILE *stream, const Packed *packed, const char *const *names, size_t count) {
    size_t begin = (size_t)ftell(stream);
    for (size_t index = 0; index < count; index++) {
        fputs("PK\1\2", stream);
        put(stream, VERSION, 2);
        put_identity(stream, &packed[index], names[index]);
        put(stream, 0, 4); /* no comment, disk 0 */
        put(stream, 0, 2); /* no attributes of ours */
        put(stream, 0, 4); /* nor of the system's */
        put(stream, packed[index].offset, 4);
        fprintf(stream, "%s.npy", names[index]);
    }
    size_t size = (size_t)ftell(stream) - begin;
    fputs("PK\5\6", stream);
    put(stream, 0, 4); /* disk 0 */
    put(stream, count, 2);
    put(stream, count, 2);
    put(stream, size, 4);
    put(stream, begin, 4);
    put(stream, 0, 2);
}

void npz_write(const char *path, const char *const *names, const Array *arrays, size_t count) {
    size_t size = strlen(path) + strlen(".tmp") + 1;
    char *temporary = allocate(size, 1);
    Packed *packed = allocate(count, sizeof *packed);
    snprintf(temporary, size, "%s.tmp", path);
    FILE *stream = fopen(temporary, "wb");
    if (!stream) fail(FAILED, "%s: cannot be written", path);
    for (size_t index = 0; index < count; index++) put_array(stream, &packed[index], names[index], &arrays[index]);
    put_directory(stream, packed, names, count);
    bool written = !ferror(stream);
    if (fclose(stream) != 0 || !written || rename(temporary, path) != 0) {
        remove(temporary);
        fail(FAILED, "%s: cannot be written", path);
    }
}
