/* What one build of the kernels (plain or AVX2) offers to kernel.c. */
#ifndef DPPO_TENSOR_KERNEL_SET_H
#define DPPO_TENSOR_KERNEL_SET_H

#include "tensor/kernel.h"

typedef void dppo_map_function(int64_t n, float *out, const float *const in[3], const float params[2]);

struct dppo_kernels {
    dppo_map_function *map[DPPO_MAP_COUNT]; /* contiguous operands */
    void (*sum)(const dppo_sum_shape *shape, float *out, const float *in, bool skip_nan);
    /* A block of DPPO_SUM_BLOCK columns; kernel.h: dppo_kernel_column_sums(). */
    void (*continue_column_sums)(float *state, const float *in, const int64_t *index, int64_t row_stride,
                                 int64_t total, int64_t done, int64_t count);
    void (*moments)(int64_t M, int64_t N, float *mean, float *variance, const float *x);
    void (*layer_norm)(int64_t M, int64_t N, float *out, float *mean, float *rstd, const float *x,
                       const float *weight, const float *bias, float eps);
    void (*layer_norm_dx)(int64_t M, int64_t N, float *dx, const float *dy, const float *x, const float *mean,
                          const float *rstd, const float *weight);
    /* Columns [0, n) of rows with stride N, added over the M rows in order. */
    void (*layer_norm_dweight)(int64_t M, int64_t N, int64_t n, float *dweight, float *dbias, const float *dy,
                               const float *x, const float *mean, const float *rstd);
    void (*softmax)(int64_t M, int64_t N, float *out, const float *x, bool logarithm);
    void (*softmax_columns)(int64_t N, int64_t columns, float *out, const float *x, bool logarithm);
    void (*softmax_grad)(int64_t M, int64_t N, float *dx, const float *dy, const float *y, bool logarithm);
};

#endif
