/* The kernels with AVX2 and FMA, chosen by kernel.c where the processor has both. */
#include "tensor/kernel_set.h"

#include <stddef.h>

/* clang passes a vector to another file's function (SLEEF's) in AVX registers only where the whole file is
 * compiled for AVX, as CMakeLists.txt has it. */
#if defined(__x86_64__) && (defined(__AVX2__) || !defined(__clang__))

#define DPPO_LANES_AVX2
#include "tensor/kernel_lanes.h"

#include "tensor/kernel_map_body.h"
#include "tensor/kernel_reduce_body.h"
#include "tensor/kernel_norm_body.h"
#include "tensor/kernel_table_body.h"

const dppo_kernels *dppo_kernels_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &table : NULL;
}

#else

const dppo_kernels *dppo_kernels_avx2(void) {
    return NULL;
}

#endif
