#include "machine.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "files.h"

const char *cpu_name(void) {
    static const char *const KEYS[] = {"model name", "Hardware", "Model", NULL};
    const char *board = read_text("/proc/device-tree/model", NULL), *cpuinfo = read_text("/proc/cpuinfo", NULL);
    if (board && *board) return board;
    const char *name = cpuinfo ? text_field(cpuinfo, KEYS) : NULL;
    return name && *name ? name : "unknown";
}

double load_average(void) {
    const char *text = read_text("/proc/loadavg", NULL);
    char *end;
    double load = text ? strtod(text, &end) : NAN;
    return text && end != text ? load : NAN;
}

long involuntary_switches(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}
