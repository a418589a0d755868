#include "machine.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

/* The value of the first of the lines "key : value" with one of the keys; NULL where there is none. */
static char *field(char *text, const char *const *keys) {
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *colon = strchr(line, ':');
        size_t length = colon ? (size_t)(colon - line) : 0;
        while (length && strchr(" \t", line[length - 1])) length--;
        for (const char *const *key = keys; *key && length; key++)
            if (strlen(*key) == length && strncmp(*key, line, length) == 0) return colon + 1 + strspn(colon + 1, " \t");
    }
    return NULL;
}

const char *cpu_name(void) {
    static const char *const KEYS[] = {"model name", "Hardware", "Model", NULL};
    char *board = read_text("/proc/device-tree/model", NULL), *cpuinfo = read_text("/proc/cpuinfo", NULL);
    if (board && *board) return board;
    const char *name = cpuinfo ? field(cpuinfo, KEYS) : NULL;
    return name && *name ? name : "unknown";
}

int usable_cores(void) {
    cpu_set_t usable;
    if (sched_getaffinity(0, sizeof usable, &usable) == 0) return CPU_COUNT(&usable);
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

double load_average(void) {
    const char *text = read_text("/proc/loadavg", NULL);
    char *end;
    double load = text ? strtod(text, &end) : NAN;
    return text && end != text ? load : NAN;
}

double peak_rss_mb(void) {
    static const char *const KEYS[] = {"VmHWM", NULL};
    char *status = read_text("/proc/self/status", NULL);
    const char *peak = status ? field(status, KEYS) : NULL;
    return peak ? strtod(peak, NULL) * 1024 / 1e6 : NAN;
}
