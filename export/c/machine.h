/* What this runs on, and what it takes of it. NULL or NAN where the system does not tell. */
#pragma once

#include <stddef.h>

/* The board's name, else the CPU's: ARM's cpuinfo names neither. */
const char *cpu_name(void);

/* Cores that this process may use. */
int usable_cores(void);

/* Runnable processes over the last minute. */
double load_average(void);

/* Most memory that this process ever held, in MB (10^6 bytes). */
double peak_rss_mb(void);
