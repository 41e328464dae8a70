/* dppo_kernel_*: pure loops over arrays. No gradients, no allocation (but where a thread's matrices are
 * packed, once), no errors; sizes and pointers are the caller's promise. Each exists twice, as AVX2/FMA code
 * chosen at run time and as plain C with the same order of rounding; both follow the order of libtorch 1.13
 * (ATEN_CPU_CAPABILITY=avx2, one thread). Products of matrices are OpenBLAS' or, with AVX-512, our own.
 *
 * Nothing depends on the number of threads: work is split only where the split cannot change a bit. */
#ifndef DPPO_TENSOR_KERNEL_H
#define DPPO_TENSOR_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Elementwise functions: name, number of operands, cost: functions of the exponential's kind cost as much as
 * ten of the others. a, b, c are the operands, p and q the parameters. "_GRAD" functions take the upstream
 * gradient first. */
#define DPPO_MAP_OPS(X)                                                                                      \
    X(NEG, 1, CHEAP)                                                                                         \
    X(ABS, 1, CHEAP)                                                                                         \
    X(SIGN, 1, CHEAP)                                                                                        \
    X(EXP, 1, COSTLY)                                                                                        \
    X(LOG, 1, COSTLY)                                                                                        \
    X(LOG1P, 1, COSTLY)                                                                                      \
    X(SQRT, 1, CHEAP)                                                                                        \
    X(RSQRT, 1, CHEAP)                                                                                       \
    X(SIN, 1, COSTLY)                                                                                        \
    X(COS, 1, COSTLY)                                                                                        \
    X(TANH, 1, COSTLY)                                                                                       \
    X(ATANH, 1, COSTLY)                                                                                      \
    X(SIGMOID, 1, COSTLY)                                                                                    \
    X(ERF, 1, COSTLY)                                                                                        \
    X(ROUND, 1, CHEAP)                                                                                       \
    X(RECIPROCAL, 1, CHEAP)                                                                                  \
    X(POW, 1, COSTLY)  /* a to the power p */                                                                \
    X(CLAMP, 1, CHEAP) /* between p and q */                                                                 \
    X(RELU, 1, CHEAP)                                                                                        \
    X(ELU, 1, COSTLY) /* p = alpha */                                                                        \
    X(GELU, 1, COSTLY)                                                                                       \
    X(MISH, 1, COSTLY)                                                                                       \
    X(MISH_GATE, 1, COSTLY) /* tanh(softplus(a)), of which mish is a times as much */                        \
    X(SOFTPLUS, 1, COSTLY)  /* p = beta, q = threshold */                                                    \
    X(ADD, 2, CHEAP)                                                                                         \
    X(SUB, 2, CHEAP)                                                                                         \
    X(MUL, 2, CHEAP)                                                                                         \
    X(DIV, 2, CHEAP)                                                                                         \
    X(MAXIMUM, 2, CHEAP)                                                                                     \
    X(MINIMUM, 2, CHEAP)                                                                                     \
    X(SQUARED_DIFFERENCE, 2, CHEAP)                                                                          \
    X(RELU_GRAD, 2, CHEAP)    /* of the result b */                                                          \
    X(TANH_GRAD, 2, CHEAP)    /* of the result b */                                                          \
    X(SIGMOID_GRAD, 2, CHEAP) /* of the result b */                                                          \
    X(ELU_GRAD, 2, COSTLY)                                                                                   \
    X(GELU_GRAD, 2, COSTLY)                                                                                  \
    X(MISH_GRAD, 2, COSTLY)                                                                                  \
    X(SOFTPLUS_GRAD, 2, COSTLY)                                                                              \
    X(CLAMP_GRAD, 2, CHEAP)   /* a where p <= b <= q, else 0 */                                              \
    X(CLAMP_TENSOR, 3, CHEAP) /* a between b and c */                                                        \
    X(MAXIMUM_GRAD, 3, CHEAP) /* a where b > c, half where equal, else 0 */                                  \
    X(MINIMUM_GRAD, 3, CHEAP)                                                                                \
    X(GATED_MISH_GRAD, 3, COSTLY)        /* MISH_GRAD, c being MISH_GATE of b */                             \
    X(WITHIN_GRAD, 3, CHEAP)             /* a where b >= c, else 0 */                                        \
    X(OUTSIDE_GRAD, 3, CHEAP)            /* a where b < c, else 0 */                                         \
    X(SQUARED_DIFFERENCE_GRAD, 3, CHEAP) /* p (b - c) a */

typedef enum dppo_map_op {
#define X(name, arity, cost) DPPO_MAP_##name,
    DPPO_MAP_OPS(X)
#undef X
        DPPO_MAP_COUNT
} dppo_map_op;

int dppo_kernel_map_arity(dppo_map_op op);

/* out[i] = op(in[0][i], ...) for n elements. stride[k] is 1, or 0 for an operand that is one number. libtorch
 * computes the first n - n % 16 elements of some functions with vector code and the rest with the C library:
 * so does this. */
void dppo_kernel_map(dppo_map_op op, int64_t n, float *out, const float *const in[3], const int64_t stride[3],
                     const float params[2]);

/* MISH of x, and MISH_GATE of it for the gradient; all (n). */
void dppo_kernel_gated_mish(int64_t n, float *out, float *gate, const float *x);

/* A reduction over two dimensions with strides in elements; the output's stride is 0 in the reduced ones.
 * out is added to. */
typedef struct dppo_sum_shape {
    int64_t size[2], in_stride[2], out_stride[2];
} dppo_sum_shape;

/* Cascaded sums: partial sums of 16 or more in four levels, several columns at a time. Splits over the
 * workers by output. */
void dppo_kernel_sum(const dppo_sum_shape *shape, float *out, const float *in, bool skip_nan);

/* The same over the rows of (total, N), N a multiple of DPPO_SUM_BLOCK, as they come: rows [done, done +
 * count) are at `in`, or those of `in` that index (count) names, where it is given. `state` is
 * (DPPO_SUM_LEVELS, N), zero before the first; at the end out (N) is added to.
 */
enum { DPPO_SUM_BLOCK = 32, DPPO_SUM_LEVELS = 4 };
void dppo_kernel_column_sums(float *state, int64_t N, const float *in, const int64_t *index, int64_t total,
                             int64_t done, int64_t count);
void dppo_kernel_column_sums_end(const float *state, int64_t N, float *out);

/* Mean and variance (divided by N) of rows of N. */
void dppo_kernel_moments(int64_t M, int64_t N, float *mean, float *variance, const float *x);

/* Rows of N. mean, rstd (M) are written. weight and bias (N) may be NULL. */
void dppo_kernel_layer_norm(int64_t M, int64_t N, float *out, float *mean, float *rstd, const float *x,
                            const float *weight, const float *bias, float eps);
/* Any of dx (M, N), dweight (N), dbias (N) may be NULL. */
void dppo_kernel_layer_norm_grad(int64_t M, int64_t N, float *dx, float *dweight, float *dbias,
                                 const float *dy, const float *x, const float *mean, const float *rstd,
                                 const float *weight);

/* Rows of N; logarithm: of the log. The gradients take the upstream gradient and the result. */
void dppo_kernel_softmax(int64_t M, int64_t N, float *out, const float *x, bool logarithm);
/* Over the middle of (outer, N, columns), contiguous. */
void dppo_kernel_softmax_columns(int64_t outer, int64_t N, int64_t columns, float *out, const float *x,
                                 bool logarithm);
void dppo_kernel_softmax_grad_columns(int64_t outer, int64_t N, int64_t columns, float *dx, const float *dy,
                                      const float *y, bool logarithm);
void dppo_kernel_softmax_grad(int64_t M, int64_t N, float *dx, const float *dy, const float *y,
                              bool logarithm);

/* `count` runs of `size` bytes: number i goes to `to` + i to_step, from `from` + i from_step, or with an
 * index from index[i] from_step. */
void dppo_kernel_copy_runs(int64_t count, size_t size, void *to, size_t to_step, const void *from,
                           size_t from_step, const int64_t *index);

/* Row-major C (M, N) = beta C + op(A) (M, K) op(B) (K, N), op the transposition where the flag is set. The
 * bits are those of OpenBLAS in one thread, as libtorch has them: by our own product where a trial saw them
 * (kernel_gemm.h), else by OpenBLAS, spread over the workers where a trial saw that it keeps every bit. */
void dppo_kernel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const float *A,
                      int64_t lda, const float *B, int64_t ldb, float beta, float *C, int64_t ldc);

/* The same with `start` (N) in every row of C before the sum. */
void dppo_kernel_gemm_from(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K,
                           const float *A, int64_t lda, const float *B, int64_t ldb, const float *start,
                           float *C, int64_t ldc);

/* C (M, N) += A' B over the K rows of A (.., M) and B (.., N) that index (K) names; bit for bit what
 * dppo_kernel_gemm() makes of these rows. False, and C untouched, where our own product does not do it. */
bool dppo_kernel_gemm_gathered(int64_t M, int64_t N, int64_t K, const float *A, int64_t lda, const float *B,
                               int64_t ldb, const int64_t *index, float *C, int64_t ldc);

/* A linear layer: weight (out, in), bias (out). */
typedef struct dppo_kernel_layer {
    const float *weight, *bias;
    int64_t in, out;
} dppo_kernel_layer;

/* The first layer, then pairs l1, l2 of residual blocks, x + l2(relu(l1(relu(x)))), for M rows x (M, in),
 * into out (M, hidden); bit for bit what the layers give one by one. `memory` holds as many floats as
 * dppo_kernel_residual_memory() says: 0 where these bits are not known to come out, or one by one is as fast.
 */
enum { DPPO_KERNEL_LAYERS = 16 };
int64_t dppo_kernel_residual_memory(int64_t M, size_t count, const dppo_kernel_layer *layers);
void dppo_kernel_residual_layers(int64_t M, size_t count, const dppo_kernel_layer *layers, const float *x,
                                 float *out, float *memory);

/* Whether, for products of this kind, C += A' B over consecutive chunks of `rows` rows of A and B equals one
 * product over all of them in every bit; and whether so few rows make OpenBLAS use its kernels for small
 * products. */
bool dppo_kernel_gemm_accumulates(int64_t M, int64_t N, int64_t rows);
bool dppo_kernel_gemm_is_small(int64_t M, int64_t N, int64_t K);

/* Vectors, through OpenBLAS: a (n) . b (n); out (M) = A (M, N) x (N), A column-major or else row-major. */
float dppo_kernel_dot(int64_t n, const float *a, const float *b);
void dppo_kernel_gemv(bool column_major, int64_t M, int64_t N, const float *A, int64_t lda, const float *x,
                      float *out);

/* The two builds, for the tests that compare them; avx2 is NULL where the processor has none. */
typedef struct dppo_kernels dppo_kernels;
const dppo_kernels *dppo_kernels_plain(void);
const dppo_kernels *dppo_kernels_avx2(void);
/* Uses that build from now on (NULL: the best). */
void dppo_kernels_use(const dppo_kernels *kernels);

#endif
