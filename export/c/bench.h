/* Latency of an inference on fixed inputs, or the time per batch of a steady flow: the `latency` record. */
#pragma once

#include "job.h"

void bench(Job *job);
