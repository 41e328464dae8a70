/* The original's Python code as a side of a benchmark: ci/original/measure.py in a process of its own. */
#ifndef DPPO_CLI_BENCH_ORIGINAL_H
#define DPPO_CLI_BENCH_ORIGINAL_H

#include "base/status.h"

#include <stdint.h>

typedef struct dppo_bench_original dppo_bench_original;

/* Starts python3 of the path ($DPPO_PYTHON names another) on `checkout`, a copy of the original's repository;
 * `batch` pairs in a minibatch of the update, 0: as many as its configuration has.
 * DPPO_MISSING says what is not there: python3, torch, the original. */
dppo_status dppo_bench_original_new(const char *checkout, int threads, int64_t batch,
                                    dppo_bench_original **original);
/* "torch 1.13.0a0"; borrowed. */
const char *dppo_bench_original_version(const dppo_bench_original *original);
/* Of torch and of its OpenBLAS, from here on. */
dppo_status dppo_bench_original_threads(dppo_bench_original *original, int threads);
/* Ends the process too. */
void dppo_bench_original_free(dppo_bench_original *original);

/* Runs one unit of `command`, a line that measure.py knows; seconds (count), as many as it answers.
 * DPPO_MISSING when the process is gone or answers something else. */
dppo_status dppo_bench_original_run(dppo_bench_original *original, const char *command, int count,
                                    double *seconds);

#endif
