/* The kernels: the plain build against the AVX2 one bit for bit, any number of threads against one, nothing
 * written outside the outputs, and values known on paper. */
#include "base/pool.h"
#include "tensor/kernel.h"
#include "tensor/kernel_gemm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 16 };
static const float sentinel = -7.25e33f;

/* `n` floats between two rows of sentinels. */
static float *guarded(int64_t n) {
    float *memory = malloc((size_t)(n + 2 * GUARD) * sizeof(float));
    assert_non_null(memory);
    for (int64_t i = 0; i < n + 2 * GUARD; i++)
        memory[i] = sentinel;
    return memory + GUARD;
}

static void release(float *values, int64_t n) {
    for (int64_t i = 0; i < GUARD; i++) {
        assert_true(values[-1 - i] == sentinel);
        assert_true(values[n + i] == sentinel);
    }
    free(values - GUARD);
}

/* Numbers of both signs and several sizes, from a fixed seed. */
static float *numbers(int64_t n, uint32_t seed) {
    float *values = guarded(n);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        float unit = (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
        values[i] = (i % 11 == 3 ? 40.0f : 3.0f) * unit;
    }
    return values;
}

/* Equal in every bit; NaN equals NaN. */
static void assert_equal_bits(const float *a, const float *b, int64_t n, const char *what) {
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("%s: element %lld is %.9g and %.9g", what, (long long)i, (double)a[i], (double)b[i]);
}

static const char *const map_names[] = {
#define X(name, arity, cost) #name,
    DPPO_MAP_OPS(X)
#undef X
};

static void run_map(const dppo_kernels *build, dppo_map_op op, int64_t n, float *out, float *const in[3],
                    const int64_t stride[3]) {
    const float *operands[3] = {in[0], in[1], in[2]};
    dppo_kernels_use(build);
    dppo_kernel_map(op, n, out, operands, stride, (float[]){0.7f, 1.5f});
    dppo_kernels_use(NULL);
}

static void compare_map(dppo_map_op op, int64_t n, float *const in[3], const int64_t stride[3]) {
    float *plain = guarded(n), *fast = guarded(n);
    run_map(dppo_kernels_plain(), op, n, plain, in, stride);
    run_map(dppo_kernels_avx2(), op, n, fast, in, stride);
    assert_equal_bits(plain, fast, n, map_names[op]);
    if (n > 0) assert_true(plain[n - 1] != sentinel);
    release(plain, n);
    release(fast, n);
}

static void test_map_twins(void **state) {
    (void)state;
    static const int64_t lengths[] = {0, 1, 7, 8, 15, 16, 17, 31, 257, 1000};
    static const float special[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 1.0e-40f, 88.8f, -104.0f, 1.0f};
    enum { MOST = 1000, SPECIAL = 9 };
    float *in[3] = {numbers(MOST, 1), numbers(MOST, 2), numbers(MOST, 3)};
    for (int i = 0; i < SPECIAL * SPECIAL; i++) {
        in[0][100 + i] = special[i % SPECIAL];
        in[1][100 + i] = special[i / SPECIAL];
    }
    for (int op = 0; op < DPPO_MAP_COUNT; op++)
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            compare_map((dppo_map_op)op, lengths[k], in, (int64_t[]){1, 1, 1});
            compare_map((dppo_map_op)op, lengths[k], in, (int64_t[]){1, 0, 1});
            compare_map((dppo_map_op)op, lengths[k], in, (int64_t[]){0, 1, 0});
        }
    for (int i = 0; i < 3; i++)
        release(in[i], MOST);
}

typedef struct known {
    dppo_map_op op;
    float a, b, p, q, want;
} known;

/* Exact on paper, in lanes and in the remainder alike. */
static void test_map_values(void **state) {
    (void)state;
    static const known cases[] = {
        {DPPO_MAP_RELU, -2, 0, 0, 0, 0},       {DPPO_MAP_RELU, 3, 0, 0, 0, 3},
        {DPPO_MAP_SIGN, -3, 0, 0, 0, -1},      {DPPO_MAP_ROUND, 2.5f, 0, 0, 0, 2},
        {DPPO_MAP_CLAMP, 5, 0, -1, 2, 2},      {DPPO_MAP_CLAMP, -5, 0, -1, 2, -1},
        {DPPO_MAP_EXP, 0, 0, 0, 0, 1},         {DPPO_MAP_LOG, 1, 0, 0, 0, 0},
        {DPPO_MAP_SUB, 5, 3, 0, 0, 2},         {DPPO_MAP_DIV, 7, 2, 0, 0, 3.5f},
        {DPPO_MAP_MAXIMUM, 2, 3, 0, 0, 3},     {DPPO_MAP_MINIMUM, 2, 3, 0, 0, 2},
        {DPPO_MAP_SIGMOID, 0, 0, 0, 0, 0.5f},  {DPPO_MAP_TANH_GRAD, 4, 0.5f, 0, 0, 3},
        {DPPO_MAP_RELU_GRAD, 4, 0, 0, 0, 0},   {DPPO_MAP_RELU_GRAD, 4, 1, 0, 0, 4},
        {DPPO_MAP_CLAMP_GRAD, 4, 2, -1, 2, 4}, {DPPO_MAP_CLAMP_GRAD, 4, 2.5f, -1, 2, 0},
        {DPPO_MAP_MISH, 0, 0, 0, 0, 0},        {DPPO_MAP_SOFTPLUS, 30, 0, 1, 20, 30},
        {DPPO_MAP_ELU, 2, 0, 1, 0, 2},         {DPPO_MAP_SQUARED_DIFFERENCE, 5, 2, 0, 0, 9},
    };
    enum { N = 19 };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const known *c = &cases[k];
        float out[N];
        const float *in[3] = {&c->a, &c->b, &c->b};
        dppo_kernel_map(c->op, N, out, in, (int64_t[]){0, 0, 0}, (float[]){c->p, c->q});
        for (int i = 0; i < N; i++)
            if (!(out[i] == c->want))
                fail_msg("%s(%g, %g) is %g, not %g", map_names[c->op], (double)c->a, (double)c->b,
                         (double)out[i], (double)c->want);
    }
}

/* A derivative kernel against a difference quotient of its function, in double where the step matters. */
static void test_map_slopes(void **state) {
    (void)state;
    static const dppo_map_op pairs[][2] = {{DPPO_MAP_MISH, DPPO_MAP_MISH_GRAD},
                                           {DPPO_MAP_GELU, DPPO_MAP_GELU_GRAD},
                                           {DPPO_MAP_ELU, DPPO_MAP_ELU_GRAD},
                                           {DPPO_MAP_SOFTPLUS, DPPO_MAP_SOFTPLUS_GRAD}};
    const float h = 0.01f, one = 1.0f, params[2] = {1.0f, 20.0f};
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
        for (float x = -3.05f; x < 3.0f; x += 0.3f) {
            float ends[2] = {x - h, x + h}, y[2], slopes[17]; /* 16 by lanes, one by the C library */
            const float *in[3] = {ends, NULL, NULL}, *grad_in[3] = {&one, &x, NULL};
            dppo_kernel_map(pairs[k][0], 2, y, in, (int64_t[]){1, 1, 1}, params);
            dppo_kernel_map(pairs[k][1], 17, slopes, grad_in, (int64_t[]){0, 0, 0}, params);
            double quotient = ((double)y[1] - (double)y[0]) / ((double)ends[1] - (double)ends[0]);
            for (int i = 0; i < 17; i += 16)
                if (!(fabs(quotient - (double)slopes[i]) <= 2e-4))
                    fail_msg("%s at %g: slope %g, quotient %g", map_names[pairs[k][0]], (double)x,
                             (double)slopes[i], quotient);
        }
}

/* -- sums
 * ------------------------------------------------------------------------------------------------------- */

static void run_sum(const dppo_kernels *build, int threads, const dppo_sum_shape *shape, float *out,
                    int64_t n, const float *in) {
    memset(out, 0, (size_t)n * sizeof(float));
    dppo_kernels_use(build);
    dppo_set_threads(threads);
    dppo_kernel_sum(shape, out, in, false);
    dppo_set_threads(1);
    dppo_kernels_use(NULL);
}

/* (rows, columns) row-major, over rows or over columns: both builds, 1 and 3 threads, and double as the
 * truth. */
static void check_sum(int64_t rows, int64_t columns, bool over_rows) {
    dppo_sum_shape shape = {{columns, rows}, {1, columns}, {0, 1}};
    if (over_rows) shape = (dppo_sum_shape){{rows, columns}, {columns, 1}, {0, 1}};
    int64_t n = over_rows ? columns : rows, count = over_rows ? rows : columns;
    float *x = numbers(rows * columns, 7), *plain = guarded(n), *fast = guarded(n), *spread = guarded(n);
    run_sum(dppo_kernels_plain(), 1, &shape, plain, n, x);
    run_sum(dppo_kernels_avx2(), 1, &shape, fast, n, x);
    run_sum(NULL, 3, &shape, spread, n, x);
    assert_equal_bits(plain, fast, n, "sum, builds");
    assert_equal_bits(fast, spread, n, "sum, threads");
    for (int64_t j = 0; j < n; j++) {
        double truth = 0.0, size = 0.0;
        for (int64_t i = 0; i < count; i++) {
            double term = (double)(over_rows ? x[i * columns + j] : x[j * columns + i]);
            truth += term;
            size += fabs(term);
        }
        if (!(fabs((double)fast[j] - truth) <= 1e-6 * size + 1e-30))
            fail_msg("sum %lld of (%lld, %lld): %g, not %g", (long long)j, (long long)rows,
                     (long long)columns, (double)fast[j], truth);
    }
    release(x, rows * columns);
    release(plain, n);
    release(fast, n);
    release(spread, n);
}

static void test_sums(void **state) {
    (void)state;
    static const int64_t sizes[][2] = {{1, 1},    {1, 9},    {3, 8},     {7, 31},    {40, 33},
                                       {129, 64}, {513, 70}, {2000, 99}, {5, 20011}, {3000, 3}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        check_sum(sizes[k][0], sizes[k][1], true);
        check_sum(sizes[k][0], sizes[k][1], false);
    }
}

/* -- rows
 * ---------------------------------------------------------------------------------------------------------
 */

enum { ROWS = 37 };

typedef struct norm_run {
    float *y, *mean, *rstd, *dx, *dweight, *dbias, *soft, *dsoft;
} norm_run;

static norm_run run_rows(const dppo_kernels *build, int threads, int64_t N, const float *x, const float *dy,
                         const float *weight, const float *bias) {
    norm_run r = {guarded(ROWS * N), guarded(ROWS), guarded(ROWS),     guarded(ROWS * N),
                  guarded(N),        guarded(N),    guarded(ROWS * N), guarded(ROWS * N)};
    dppo_kernels_use(build);
    dppo_set_threads(threads);
    dppo_kernel_layer_norm(ROWS, N, r.y, r.mean, r.rstd, x, weight, bias, 1e-5f);
    dppo_kernel_layer_norm_grad(ROWS, N, r.dx, r.dweight, r.dbias, dy, x, r.mean, r.rstd, weight);
    dppo_kernel_softmax(ROWS, N, r.soft, x, false);
    dppo_kernel_softmax_grad(ROWS, N, r.dsoft, dy, r.soft, false);
    dppo_set_threads(1);
    dppo_kernels_use(NULL);
    return r;
}

static void compare_rows(const norm_run *a, const norm_run *b, int64_t N) {
    assert_equal_bits(a->y, b->y, ROWS * N, "layer_norm");
    assert_equal_bits(a->rstd, b->rstd, ROWS, "layer_norm rstd");
    assert_equal_bits(a->dx, b->dx, ROWS * N, "layer_norm dx");
    assert_equal_bits(a->dweight, b->dweight, N, "layer_norm dweight");
    assert_equal_bits(a->dbias, b->dbias, N, "layer_norm dbias");
    assert_equal_bits(a->soft, b->soft, ROWS * N, "softmax");
    assert_equal_bits(a->dsoft, b->dsoft, ROWS * N, "softmax gradient");
}

static void release_rows(norm_run *r, int64_t N) {
    release(r->y, ROWS * N), release(r->mean, ROWS), release(r->rstd, ROWS), release(r->dx, ROWS * N);
    release(r->dweight, N), release(r->dbias, N), release(r->soft, ROWS * N), release(r->dsoft, ROWS * N);
}

/* Mean 0 and variance 1 before weight and bias; softmax sums to 1. */
static void check_meaning(const norm_run *r, int64_t N, const float *weight, const float *bias) {
    for (int64_t i = 0; i < ROWS; i++) {
        double sum = 0.0, squares = 0.0, total = 0.0;
        for (int64_t j = 0; j < N; j++) {
            double z = ((double)r->y[i * N + j] - (double)bias[j]) / (double)weight[j];
            sum += z;
            squares += z * z;
            total += (double)r->soft[i * N + j];
        }
        assert_true(fabs(sum / (double)N) <= 1e-4);
        assert_true(fabs(squares / (double)N - 1.0) <= 1e-3);
        assert_true(fabs(total - 1.0) <= 1e-5);
    }
}

/* dx = rstd (g - mean g - z mean(g z)), g = dy weight, z = (x - mean) rstd; dweight = sum dy z, dbias = sum
 * dy: in double. */
static void check_gradients(const norm_run *r, int64_t N, const float *x, const float *dy,
                            const float *weight) {
    double *sums = calloc((size_t)(2 * N), sizeof *sums), *sizes = calloc((size_t)N, sizeof *sizes);
    assert_non_null(sums);
    assert_non_null(sizes);
    for (int64_t i = 0; i < ROWS; i++) {
        double rstd = (double)r->rstd[i], g_mean = 0.0, gz_mean = 0.0, most = 0.0;
        for (int64_t j = 0; j < N; j++) {
            double up = (double)dy[i * N + j], g = up * (double)weight[j];
            double z = ((double)x[i * N + j] - (double)r->mean[i]) * rstd;
            g_mean += g / (double)N;
            gz_mean += g * z / (double)N;
            most = fmax(most, fabs(g));
            sums[j] += up * z;
            sums[N + j] += up;
            sizes[j] += fabs(up) * (1.0 + fabs(z));
        }
        for (int64_t j = 0; j < N; j++) {
            double z = ((double)x[i * N + j] - (double)r->mean[i]) * rstd;
            double want = rstd * ((double)dy[i * N + j] * (double)weight[j] - g_mean - z * gz_mean);
            assert_true(fabs((double)r->dx[i * N + j] - want) <= 1e-4 * rstd * most);
        }
    }
    for (int64_t j = 0; j < N; j++) {
        assert_true(fabs((double)r->dweight[j] - sums[j]) <= 1e-5 * sizes[j]);
        assert_true(fabs((double)r->dbias[j] - sums[N + j]) <= 1e-5 * sizes[j]);
    }
    free(sums);
    free(sizes);
}

/* A constant row: the variance is 0, rstd 1 / sqrt(eps), the result the bias. */
static void test_constant_row(void **state) {
    (void)state;
    enum { N = 21 };
    float x[N], weight[N], bias[N], y[N], mean, rstd;
    for (int j = 0; j < N; j++)
        x[j] = 2.5f, weight[j] = 3.0f, bias[j] = (float)j;
    dppo_kernel_layer_norm(1, N, y, &mean, &rstd, x, weight, bias, 0.25f);
    assert_true(mean == 2.5f && rstd == 2.0f);
    for (int j = 0; j < N; j++)
        assert_true(y[j] == bias[j]);
}

static void test_rows(void **state) {
    (void)state;
    static const int64_t widths[] = {3, 8, 13, 64, 500, 1030};
    for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
        int64_t N = widths[k];
        float *x = numbers(ROWS * N, 11), *dy = numbers(ROWS * N, 12), *weight = numbers(N, 13),
              *bias = numbers(N, 14);
        for (int64_t j = 0; j < N; j++)
            weight[j] = 1.0f + 0.01f * fabsf(weight[j]);
        norm_run plain = run_rows(dppo_kernels_plain(), 1, N, x, dy, weight, bias);
        norm_run fast = run_rows(dppo_kernels_avx2(), 1, N, x, dy, weight, bias);
        norm_run spread = run_rows(NULL, 3, N, x, dy, weight, bias);
        compare_rows(&plain, &fast, N);
        compare_rows(&fast, &spread, N);
        check_meaning(&fast, N, weight, bias);
        check_gradients(&fast, N, x, dy, weight);
        release_rows(&plain, N), release_rows(&fast, N), release_rows(&spread, N);
        release(x, ROWS * N), release(dy, ROWS * N), release(weight, N), release(bias, N);
    }
}

/* -- products
 * ------------------------------------------------------------------------------------------------------ */

/* C += op(A) op(B): three threads against one in every bit, and double as the truth. */
static void check_gemm(bool ta, bool tb, int64_t M, int64_t N, int64_t K) {
    float *A = numbers(M * K, 21), *B = numbers(K * N, 22), *one = numbers(M * N, 23),
          *three = numbers(M * N, 23);
    float *start = numbers(M * N, 23);
    int64_t lda = ta ? M : K, ldb = tb ? K : N;
    dppo_set_threads(1);
    dppo_kernel_gemm(ta, tb, M, N, K, A, lda, B, ldb, 1.0f, one, N);
    dppo_set_threads(3);
    dppo_kernel_gemm(ta, tb, M, N, K, A, lda, B, ldb, 1.0f, three, N);
    dppo_set_threads(1);
    assert_equal_bits(one, three, M * N, "gemm, threads");
    for (int64_t at = 0; at < M * N; at += 1 + M * N / 500) {
        int64_t i = at / N, j = at % N;
        double truth = (double)start[at], size = fabs(truth);
        for (int64_t k = 0; k < K; k++) {
            double term = (double)A[ta ? k * M + i : i * K + k] * (double)B[tb ? j * K + k : k * N + j];
            truth += term;
            size += fabs(term);
        }
        if (!(fabs((double)one[at] - truth) <= 1e-6 * size))
            fail_msg("gemm (%lld, %lld): %g, not %g", (long long)i, (long long)j, (double)one[at], truth);
    }
    release(A, M * K), release(B, K * N), release(one, M * N), release(three, M * N), release(start, M * N);
}

static void test_products(void **state) {
    (void)state;
    check_gemm(false, true, 1, 7, 39);
    check_gemm(false, true, 5, 1, 256);
    check_gemm(false, false, 33, 17, 9);
    check_gemm(true, false, 12, 20, 301);
    check_gemm(false, true, 1000, 256, 128); /* chunks of 96 rows and a remainder */
    check_gemm(false, true, 1601, 512, 39);  /* of 192 */
    check_gemm(false, true, 1000, 512, 512);
    check_gemm(false, false, 1700, 130, 300); /* not a multiple of the tile in N */
    check_gemm(true, false, 512, 200, 2000);  /* a weight gradient: the long sum stays whole */
}

/* What dppo_gemm_panels() promises, one element at a time. */
static void product_in_panels(const dppo_gemm *g, int64_t depth, float *out) {
    for (int64_t at = 0; at < g->M * g->N; at++) {
        int64_t i = at / g->N, j = at % g->N;
        float sum = g->start ? g->start[j] : g->beta == 0.0f ? 0.0f : out[i * g->ldc + j];
        for (int64_t k = 0, end; k < g->K; k = end) {
            int64_t left = g->K - k;
            end = left >= 2 * depth ? k + depth : left > depth ? k + (left / 2 + 15) / 16 * 16 : g->K;
            float part = 0.0f;
            for (int64_t l = k; l < end; l++) {
                int64_t row = g->index ? g->index[l] : l;
                part = fmaf(g->A[g->transpose_a ? row * g->lda + i : i * g->lda + row],
                            g->B[g->transpose_b ? j * g->ldb + row : row * g->ldb + j], part);
            }
            sum += part;
        }
        out[i * g->ldc + j] = sum;
    }
}

/* Our own product against its definition in every bit, for rows of C with a gap behind them, which stays.
 * mode: 0 C = .., 1 C += .., 2 from a start, 3 from rows that repeat. */
static void check_panels(bool ta, bool tb, int64_t M, int64_t N, int64_t K, int mode) {
    enum { GAP = 3, DEPTH = 64 };
    float *A = numbers(M * K, 31), *B = numbers(K * N, 32), *start = numbers(N, 33);
    int64_t ldc = N + GAP, size = M * ldc - GAP;
    float *defined = numbers(size, 34), *ours = numbers(size, 34);
    dppo_gemm g = {ta, tb, M, N, K, ta ? M : K, tb ? K : N, ldc, A, B, (float)(mode > 0), ours, NULL, NULL};
    int64_t *index = calloc((size_t)K, sizeof *index);
    for (int64_t k = 0; k < K; k++)
        index[k] = k * k % K;
    if (mode == 2) g.start = start;
    if (mode == 3) g.index = index;
    product_in_panels(&g, DEPTH, defined);
    bool computed = dppo_gemm_panels(&g, DEPTH);
    if (computed) assert_equal_bits(defined, ours, size, "gemm in panels");
    free(index);
    release(A, M * K), release(B, K * N), release(start, N), release(defined, size), release(ours, size);
    if (!computed) skip(); /* a processor without AVX-512 */
}

static void test_panels(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{40, 64, 150},  {1, 8, 1},     {48, 96, 64},  {61, 200, 65},
                                       {13, 49, 129},  {192, 400, 9}, {193, 400, 9}, {7, 33, 700},
                                       {300, 12, 200}, {97, 31, 128}, {25, 16, 63},  {250, 130, 321}};
    for (int threads = 1; threads <= 3; threads += 2) {
        dppo_set_threads(threads);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int kind = 0; kind < 12; kind++)
                check_panels(kind & 1, kind & 2, sizes[i][0], sizes[i][1], sizes[i][2], kind / 4);
    }
    check_panels(true, false, 50, 70, 200, 3);
    check_panels(true, false, 1, 70, 200, 3);
    check_panels(true, false, 40, 3000, 2000, 3);
    check_panels(true, false, 40, 3000, 2000, 1); /* more than is packed at a time */
    check_panels(false, true, 3, 33001, 65, 2);   /* and more than a panel of all columns */
    dppo_set_threads(1);
}

/* y (M, out) = layer of x (M, in). */
static void one_layer(int64_t M, const dppo_kernel_layer *l, const float *x, float *y) {
    dppo_kernel_gemm_from(false, true, M, l->out, l->in, x, l->in, l->weight, l->in, l->bias, y, l->out);
}

static void two_operands(dppo_map_op op, int64_t n, float *out, const float *a, const float *b) {
    dppo_kernel_map(op, n, out, (const float *const[]){a, b, NULL}, (const int64_t[]){1, 1, 1},
                    (const float[]){0.0f, 0.0f});
}

/* Layers one by one. `x` (M, hidden) is the result. */
static void layers_apart(int64_t M, size_t count, const dppo_kernel_layer *layers, const float *in,
                         float *x) {
    int64_t size = M * layers[0].out;
    float *a = guarded(size), *b = guarded(size);
    one_layer(M, &layers[0], in, x);
    for (size_t i = 1; i < count; i += 2) {
        two_operands(DPPO_MAP_RELU, size, a, x, NULL);
        one_layer(M, &layers[i], a, b);
        two_operands(DPPO_MAP_RELU, size, b, b, NULL);
        one_layer(M, &layers[i + 1], b, a);
        two_operands(DPPO_MAP_ADD, size, x, a, x);
    }
    release(a, size), release(b, size);
}

static bool check_layers(int64_t M, int64_t in, int64_t hidden, size_t count) {
    enum { MOST = 5 };
    dppo_kernel_layer layers[MOST];
    float *weights[MOST], *biases[MOST], *x = numbers(M * in, 41);
    float *apart = guarded(M * hidden), *together = guarded(M * hidden);
    for (size_t i = 0; i < count; i++) {
        int64_t features = i == 0 ? in : hidden;
        weights[i] = numbers(hidden * features, 42 + (uint32_t)i);
        biases[i] = numbers(hidden, 52 + (uint32_t)i);
        layers[i] = (dppo_kernel_layer){weights[i], biases[i], features, hidden};
    }
    int64_t floats = dppo_kernel_residual_memory(M, count, layers);
    if (floats > 0) {
        float *memory = guarded(floats);
        dppo_kernel_residual_layers(M, count, layers, x, together, memory);
        layers_apart(M, count, layers, x, apart);
        assert_equal_bits(apart, together, M * hidden, "residual layers");
        release(memory, floats);
    }
    for (size_t i = 0; i < count; i++)
        release(weights[i], hidden * layers[i].in), release(biases[i], hidden);
    release(x, M * in), release(apart, M * hidden), release(together, M * hidden);
    return floats > 0;
}

static void test_residual_layers(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{40, 39, 512}, {1, 39, 512},  {7, 300, 512},   {50, 39, 256},
                                       {61, 9, 264},  {192, 20, 96}, {100, 401, 200}, {769, 20, 96}};
    int together = 0;
    for (int threads = 1; threads <= 3; threads += 2) {
        dppo_set_threads(threads);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (size_t count = 1; count <= 5; count += 2)
                together += check_layers(sizes[i][0], sizes[i][1], sizes[i][2], count);
    }
    dppo_set_threads(1);
    if (together == 0) skip(); /* a processor without AVX-512 */
    print_message("%d of 48 at once\n", together);
}

/* Products of sizes that nobody has asked for: each is tried first. */
enum { STRANGERS = 12, LEAST_ROWS = 66, COLUMNS = 130, TERMS = 151 };

typedef struct strangers {
    const float *A, *B;
    float *C[STRANGERS];
    int64_t first_row;
} strangers;

static void multiply_strangers(void *context, int64_t begin, int64_t end) {
    strangers *s = context;
    for (int64_t i = begin; i < end; i++)
        dppo_kernel_gemm(false, false, s->first_row + i, COLUMNS, TERMS, s->A, TERMS, s->B, COLUMNS, 0.0f,
                         s->C[i], COLUMNS);
}

static void *multiply_in_workers(void *context) {
    dppo_parallel_for(STRANGERS, 1, multiply_strangers, context);
    return NULL;
}

/* Two threads ask: one of its workers, the other itself, so that it wants the pool for each trial. */
static void test_products_of_two_threads(void **state) {
    (void)state;
    pthread_t other;
    strangers of_one = {.first_row = LEAST_ROWS}, of_other = {.first_row = LEAST_ROWS + STRANGERS};
    int64_t size = (LEAST_ROWS + 2 * STRANGERS) * COLUMNS;
    float *A = numbers((LEAST_ROWS + 2 * STRANGERS) * TERMS, 61), *B = numbers(COLUMNS * TERMS, 62);
    float *again = guarded(size);
    strangers *both[] = {&of_one, &of_other};
    dppo_set_threads(3);
    for (int i = 0; i < 2 * STRANGERS; i++)
        both[i % 2]->C[i / 2] = guarded(size), both[i % 2]->A = A, both[i % 2]->B = B;
    assert_int_equal(pthread_create(&other, NULL, multiply_in_workers, &of_other), 0);
    multiply_strangers(&of_one, 0, STRANGERS);
    assert_int_equal(pthread_join(other, NULL), 0);
    dppo_set_threads(1);
    for (int i = 0; i < 2 * STRANGERS; i++) {
        strangers *s = both[i % 2];
        int64_t M = s->first_row + i / 2;
        dppo_kernel_gemm(false, false, M, COLUMNS, TERMS, A, TERMS, B, COLUMNS, 0.0f, again, COLUMNS);
        assert_equal_bits(again, s->C[i / 2], M * COLUMNS, "product of one of two threads");
        release(s->C[i / 2], size);
    }
    release(A, (LEAST_ROWS + 2 * STRANGERS) * TERMS), release(B, COLUMNS * TERMS), release(again, size);
}

/* Nothing to compute is no failure: no rows, no features. */
static void test_empty_layers(void **state) {
    (void)state;
    const float number = 0.0f;
    dppo_kernel_layer layer = {&number, &number, 8, 8}, of_nothing = {&number, &number, 0, 8};
    assert_int_equal(dppo_kernel_residual_memory(0, 1, &layer), 0);
    assert_int_equal(dppo_kernel_residual_memory(1, 1, &of_nothing), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_twins),
        cmocka_unit_test(test_map_values),
        cmocka_unit_test(test_map_slopes),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_constant_row),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_panels),
        cmocka_unit_test(test_residual_layers),
        cmocka_unit_test(test_products_of_two_threads),
        cmocka_unit_test(test_empty_layers),
    };
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
