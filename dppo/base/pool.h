/* The worker pool: one set of threads for the process.
 *
 * Work is cut into chunks by `grain` alone, never by the number of threads, so that whatever a chunk computes
 * is the same for 1, 2 or 64 threads. Order between chunks is free: a chunk writes only what is its own. */
#ifndef DPPO_BASE_POOL_H
#define DPPO_BASE_POOL_H

#include <stdint.h>

/* Threads used by dppo_parallel_for(), the caller included; 0 asks for one per core. Call it from one thread
 * while no work is running. OpenBLAS is set to one thread: workers call it side by side. */
void dppo_set_threads(int count);
int dppo_threads(void);

/* Calls body(context, begin, end) for consecutive chunks of at most `grain` indices of [0, count); returns
 * when all are done. A call from inside a body runs its chunks in the calling thread. */
void dppo_parallel_for(int64_t count, int64_t grain, void (*body)(void *context, int64_t begin, int64_t end),
                       void *context);

#endif
