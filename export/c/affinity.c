#include "affinity.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "failure.h"

static bool digit(char character) {
    return character >= '0' && character <= '9';
}

/* The number at `*at`, which is moved behind it; no core where there is none. */
static size_t core_at(const char **at) {
    char *end;
    if (!digit(**at)) return CPU_SETSIZE;
    unsigned long number = strtoul(*at, &end, 10);
    *at = end;
    return number < CPU_SETSIZE ? number : CPU_SETSIZE;
}

Cores cores_of(const char *text, const char *source) {
    bool wanted[CPU_SETSIZE] = {false};
    for (const char *at = text;; at++) {
        size_t first = core_at(&at), last = *at == '-' ? (at++, core_at(&at)) : first;
        if (first > last || last == CPU_SETSIZE || (*at && *at != ','))
            fail(BAD_INPUT, "%s: no cores: '%s'; expected such as 0,4-7", source, text);
        for (size_t core = first; core <= last; core++) wanted[core] = true;
        if (!*at) break;
    }
    Cores cores = {allocate(CPU_SETSIZE, sizeof(size_t)), 0};
    for (size_t core = 0; core < CPU_SETSIZE; core++)
        if (wanted[core]) cores.numbers[cores.count++] = core;
    return cores;
}

void pin(const Cores *cores) {
    cpu_set_t here, wanted;
    CPU_ZERO(&wanted);
    if (sched_getaffinity(0, sizeof here, &here) != 0) fail(BAD_INPUT, "--affinity: this system has none");
    for (size_t index = 0; index < cores->count; index++) {
        size_t core = cores->numbers[index];
        if (!CPU_ISSET(core, &here)) fail(BAD_INPUT, "no core %zu here: choose others by --affinity", core);
        CPU_SET(core, &wanted);
    }
    if (cores->count && sched_setaffinity(0, sizeof wanted, &wanted) != 0)
        fail(FAILED, "the system does not let this process choose its cores");
}

size_t usable_cores(void) {
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof usable, &usable) == 0) return (size_t)CPU_COUNT(&usable);
    return (size_t)sysconf(_SC_NPROCESSORS_ONLN);
}
