#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"

static double status_mb(const char *field) {
    const char *status = read_text("/proc/self/status", NULL);
    const char *value = status ? text_field(status, (const char *const[]){field, NULL}) : NULL;
    return value ? strtod(value, NULL) * 1024 / 1e6 : NAN;
}

Memory memory_watch(void) {
    Memory memory = {.earlier = status_mb("VmHWM"), .refused = NULL};
    int handle = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (handle < 0 || write(handle, "5", 1) != 1) { /* VmHWM starts again from VmRSS */
        char *reason = allocate(256, 1);
        snprintf(reason, 256, "the kernel does not reset a peak: %s", strerror(errno));
        memory.refused = reason;
    }
    if (handle >= 0) close(handle);
    memory.before = status_mb("VmRSS");
    return memory;
}

MemoryUse memory_use(const Memory *memory) {
    double peak = status_mb("VmHWM");
    if (isnan(peak) || isnan(memory->before)) return (MemoryUse){NAN, NAN, "no /proc/self/status here"};
    double model = memory->refused ? NAN : fmax(0, peak - memory->before);
    return (MemoryUse){fmax(peak, memory->earlier), model, memory->refused};
}

/* Whether a page of a file lies in memory. */
static Cache cache_of(int handle, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page;
    unsigned char *there = allocate(pages, 1);
    void *view = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, handle, 0) : MAP_FAILED;
    if (view == MAP_FAILED) return UNKNOWN;
    Cache cache = mincore(view, size, (void *)there) == 0 ? COLD : UNKNOWN;
    for (size_t index = 0; index < pages && cache == COLD; index++)
        if (there[index] & 1) cache = WARM;
    munmap(view, size);
    free(there);
    return cache;
}

static Cache forget(const char *path) {
    int handle = open(path, O_RDONLY | O_CLOEXEC);
    if (handle < 0) return UNKNOWN;
    off_t size = lseek(handle, 0, SEEK_END);
    fsync(handle); /* what is not yet written would stay */
    bool told = size >= 0 && posix_fadvise(handle, 0, 0, POSIX_FADV_DONTNEED) == 0;
    Cache cache = told ? cache_of(handle, (size_t)size) : UNKNOWN;
    close(handle);
    return cache;
}

Cache forget_files(const Bundle *bundle) {
    const Json *files = json_get(bundle->manifest, "files");
    Cache all = COLD;
    for (size_t index = 0; index < files->count; index++) {
        Cache one = forget(path_in(bundle->folder, files->items[index].key));
        if (one == UNKNOWN) return UNKNOWN;
        if (one == WARM) all = WARM;
    }
    return all;
}
