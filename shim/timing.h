/* What measurements ask of the libtorch side, beside what training does. Plain C11. */
#ifndef DPPO_SHIM_TIMING_H
#define DPPO_SHIM_TIMING_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The original evaluates the frozen network on every row and overwrites the fine-tuned ones. Told to skip,
 * the libtorch side leaves that out where all rows are fine-tuned; results are the same in every bit. For the
 * whole process; off at first. */
void shim_skip_frozen(bool skip);

#ifdef __cplusplus
}
#endif

#endif
