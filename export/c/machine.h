/* What this runs on. NAN where the system does not tell. */
#pragma once

/* The board's name, else the CPU's: ARM's cpuinfo names neither. */
const char *cpu_name(void);

/* Runnable processes over the last minute. */
double load_average(void);

/* How often another process took this one's CPU. */
long involuntary_switches(void);
