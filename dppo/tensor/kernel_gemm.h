/* Between kernel_gemm.c, which decides who multiplies, and our own products: kernel_gemm_avx512.c and
 * kernel_layers_avx512.c. */
#ifndef DPPO_TENSOR_KERNEL_GEMM_H
#define DPPO_TENSOR_KERNEL_GEMM_H

#include "tensor/kernel.h"

/* Row-major C (M, N) = begin + op(A) (M, K) op(B) (K, N). */
typedef struct dppo_gemm {
    bool transpose_a, transpose_b;
    int64_t M, N, K, lda, ldb, ldc;
    const float *A, *B;
    float beta;
    float *C;
    const float *start;   /* (N): what every row of C begins with; NULL: what it holds, times beta */
    const int64_t *index; /* (K): the rows of A and B that are meant, A alone transposed; or NULL: all */
} dppo_gemm;

/* The sum over k in OpenBLAS' order: panels of at most `depth`, each summed from 0 with one fused
 * multiply-add a k, then added to C. Spread over the workers; equal in every bit however it is spread.
 * False, and C untouched, where the processor has no AVX-512, beta is another than 0 or 1, or no memory is
 * left. */
bool dppo_gemm_panels(const dppo_gemm *g, int64_t depth);

/* dppo_kernel_residual_layers() with the depth of each layer's panels, where dppo_gemm_panels() can. */
void dppo_gemm_layers(int64_t M, size_t count, const dppo_kernel_layer *layers, const int64_t *depths,
                      const float *x, float *out, float *memory);

#endif
