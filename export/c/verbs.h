/* build, verify, bench, predict: every record but `end`. */
#pragma once

#include "job.h"

/* False on a mismatch. */
bool run_verb(Job *job);
