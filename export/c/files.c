#include "files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "failure.h"

char *read_text(const char *path, size_t *size) {
    FILE *stream = fopen(path, "rb");
    size_t capacity = 1 << 16, length = 0;
    char *text = allocate(capacity, 1);
    if (!stream) return NULL;
    for (size_t got; (got = fread(text + length, 1, capacity - length - 1, stream)) > 0;) {
        length += got;
        if (length < capacity - 1) continue;
        text = realloc(text, capacity *= 2);
        if (!text) fail(FAILED, "out of memory");
    }
    bool whole = !ferror(stream);
    fclose(stream);
    text[length] = '\0';
    if (size) *size = length;
    return whole ? text : NULL;
}

static char *copied(const char *text, size_t length) {
    char *copy = allocate(length + 1, 1);
    return memcpy(copy, text, length);
}

const char *text_field(const char *text, const char *const *keys) {
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        size_t end = strcspn(line, "\n"), colon = strcspn(line, ":\n"), length = colon;
        if (colon == end) continue;
        while (length && strchr(" \t", line[length - 1])) length--;
        size_t value = colon + 1 + strspn(line + colon + 1, " \t");
        for (const char *const *key = keys; *key; key++)
            if (strlen(*key) == length && strncmp(*key, line, length) == 0)
                return copied(line + value, value < end ? end - value : 0);
    }
    return NULL;
}

bool map_file(const char *path, Bytes *content) {
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    struct stat facts;
    if (handle < 0) return false;
    bool plain = fstat(handle, &facts) == 0 && S_ISREG(facts.st_mode);
    content->size = plain ? (size_t)facts.st_size : 0;
    void *memory = content->size ? mmap(NULL, content->size, PROT_READ, MAP_PRIVATE, handle, 0) : NULL;
    close(handle);
    content->data = memory;
    return plain && memory != MAP_FAILED;
}

bool file_contains(const char *path, const char *text) {
    char part[1 << 16];
    size_t length = strlen(text), kept = 0;
    FILE *stream = fopen(path, "rb");
    bool found = false;
    for (size_t got; stream && !found && (got = fread(part + kept, 1, sizeof part - kept, stream)) > 0;) {
        size_t size = kept + got;
        found = memmem(part, size, text, length) != NULL;
        kept = size < length ? size : length;
        memmove(part, part + size - kept, kept);
    }
    if (stream) fclose(stream);
    return found;
}

char *path_in(const char *folder, const char *name) {
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = allocate(size, 1);
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

const char *own_folder(void) {
    char *path = realpath("/proc/self/exe", NULL);
    char *slash = path ? strrchr(path, '/') : NULL;
    if (!slash) return ".";
    *slash = '\0';
    return path;
}
