#include "tensor/kernel_gemm.h"

#include "base/pool.h"

#include <cblas.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Rows [begin, end) of C. */
static void gemm_rows(const dppo_gemm *g, int64_t begin, int64_t end) {
    const float *A = g->A + (g->transpose_a ? begin : begin * g->lda);
    for (int64_t i = begin; g->start != NULL && i < end; i++)
        memcpy(g->C + i * g->ldc, g->start, (size_t)g->N * sizeof(float));
    cblas_sgemm(CblasRowMajor, g->transpose_a ? CblasTrans : CblasNoTrans,
                g->transpose_b ? CblasTrans : CblasNoTrans, (blasint)(end - begin), (blasint)g->N,
                (blasint)g->K, 1.0f, A, (blasint)g->lda, g->B, (blasint)g->ldb, g->beta,
                g->C + begin * g->ldc, (blasint)g->ldc);
}

/* OpenBLAS computes products below this many multiplications with other kernels: a chunk stays above. */
static const int64_t small_product = 1000000;
enum { MAX_VERDICTS = 256, MAX_PROBE_K = 1600 };

/* What a trial found, by what decides how OpenBLAS walks the matrices. M is 0 where any M will do. */
typedef struct verdict {
    bool transpose_a, transpose_b, beta, exact;
    int64_t M, N, K, grain;
} verdict;

static verdict verdicts[MAX_VERDICTS];
static int verdict_count;
static pthread_mutex_t verdict_lock = PTHREAD_MUTEX_INITIALIZER;

static void fill(float *values, size_t count, uint32_t seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
    }
}

/* Columns [begin, end) of C. */
static void gemm_columns(const dppo_gemm *g, int64_t begin, int64_t end) {
    dppo_gemm part = *g;
    part.N = end - begin;
    part.B += g->transpose_b ? begin * g->ldb : begin;
    part.C += begin;
    if (part.start != NULL) part.start += begin;
    gemm_rows(&part, 0, g->M);
}

typedef struct gemm_split {
    const dppo_gemm *whole;
    int64_t grain;
    bool columns;
} gemm_split;

static int64_t split_size(const gemm_split *split) {
    return split->columns ? split->whole->N : split->whole->M;
}

/* Chunks of `grain` rows or columns; the last takes the remainder along, so that none is small. */
static void split_chunk(void *context, int64_t begin, int64_t end) {
    const gemm_split *split = context;
    int64_t size = split_size(split), grain = split->grain;
    for (int64_t i = begin; i < end; i++)
        (split->columns ? gemm_columns : gemm_rows)(split->whole, i * grain,
                                                    i == size / grain - 1 ? size : (i + 1) * grain);
}

/* Random matrices of a product like another, and its C twice: for OpenBLAS, and for what shall equal it. */
typedef struct trial {
    dppo_gemm g; /* C is `whole` */
    float *memory, *whole, *other;
    size_t size; /* of C, in bytes */
} trial;

static bool trial_open(trial *t, const dppo_gemm *like, int64_t M, int64_t N, int64_t K) {
    size_t a = (size_t)(M * K), b = (size_t)(K * N), c = (size_t)(M * N);
    float *memory = malloc((a + b + 2 * c) * sizeof(float));
    if (memory == NULL) return false;
    *t = (trial){*like, memory, memory + a + b, memory + a + b + c, c * sizeof(float)};
    t->g.M = M, t->g.N = N, t->g.K = K;
    t->g.lda = like->transpose_a ? M : K, t->g.ldb = like->transpose_b ? K : N, t->g.ldc = N;
    t->g.A = memory, t->g.B = memory + a, t->g.C = t->whole, t->g.start = NULL; /* C holds something */
    fill(memory, a, 1);
    fill(memory + a, b, 2);
    fill(t->whole, c, 3);
    memcpy(t->other, t->whole, t->size);
    return true;
}

/* OpenBLAS' product into `whole`; from here on g writes `other`. */
static void trial_whole(trial *t) {
    gemm_rows(&t->g, 0, t->g.M);
    t->g.C = t->other;
}

static bool trial_close(trial *t) {
    bool equal = memcmp(t->whole, t->other, t->size) == 0;
    free(t->memory);
    return equal;
}

/* Whether chunks equal the whole in every bit; of rows, two and a half are tried. */
static bool split_is_exact(const dppo_gemm *like, int64_t grain, bool columns) {
    trial t;
    int64_t M = columns ? like->M : 2 * grain + grain / 2 - 5;
    if (!trial_open(&t, like, M, like->N, like->K < MAX_PROBE_K ? like->K : MAX_PROBE_K + like->K % 64))
        return false;
    trial_whole(&t);
    gemm_split split = {&t.g, grain, columns};
    split_chunk(&split, 0, split_size(&split) / grain);
    return trial_close(&t);
}

static bool known_exact(const dppo_gemm *g, int64_t grain, bool columns) {
    int64_t K = g->K < MAX_PROBE_K ? g->K : MAX_PROBE_K + g->K % 64;
    verdict now = {g->transpose_a, g->transpose_b, g->beta != 0.0f, false, columns ? g->M : 0, g->N, K,
                   grain};
    pthread_mutex_lock(&verdict_lock);
    int found = -1;
    for (int i = 0; i < verdict_count && found < 0; i++) {
        const verdict *v = &verdicts[i];
        if (v->transpose_a == now.transpose_a && v->transpose_b == now.transpose_b && v->beta == now.beta &&
            v->M == now.M && v->N == now.N && v->K == now.K && v->grain == grain)
            found = i;
    }
    if (found >= 0) {
        now.exact = verdicts[found].exact;
    } else if (verdict_count < MAX_VERDICTS) {
        now.exact = split_is_exact(g, grain, columns);
        verdicts[verdict_count++] = now;
    }
    pthread_mutex_unlock(&verdict_lock);
    return now.exact;
}

/* A share of `size` for each thread, in whole tiles. */
static int64_t share(int64_t size, int64_t tile) {
    int64_t tiles = size / dppo_threads() / tile;
    return tiles > 0 ? tiles * tile : tile;
}

/* Rows per chunk: multiples of the micro-kernel's tile, one chunk a thread, for each packs the whole of B
 * again; more where there are many rows, so that threads end together. The whole of M where a trial saw a bit
 * change. The sum over k is never split. */
static int64_t grain_for(const dppo_gemm *g) {
    if (dppo_threads() < 2 || g->M < 192 || g->M * g->N * g->K < 4 * small_product) return g->M;
    int64_t grain = g->M >= 12288 ? 768 : g->M >= 1536 ? share(g->M, 480) : share(g->M, 128);
    while (grain < g->M && grain * g->N * g->K <= 2 * small_product)
        grain *= 2;
    if (2 * grain > g->M) return g->M;
    return known_exact(g, grain, false) ? grain : g->M;
}

/* The same of columns, for the few rows of a policy that acts or learns from few: one piece a thread, a
 * multiple of the tile's width. Pieces of a small product are small ones; those of another must not become
 * small. Gradients of weights (A transposed) have rows enough;
 * where columns are the rows of a batch, each number of them would want a trial. */
static int64_t column_grain_for(const dppo_gemm *g) {
    enum { TILE = 64, LEAST = 1 << 17, MOST_COLUMNS = 4096 };
    int64_t size = g->M * g->N * g->K, grain = share(g->N, TILE);
    bool small = size <= small_product;
    if (dppo_threads() < 2 || g->N < 2 * TILE || g->N > MOST_COLUMNS || size < LEAST) return g->N;
    if (g->M >= (g->transpose_a ? 192 : 1536)) return g->N;
    while (!small && grain < g->N && g->M * grain * g->K <= 2 * small_product)
        grain += TILE;
    if (2 * grain > g->N) return g->N;
    return known_exact(g, grain, true) ? grain : g->N;
}

bool dppo_kernel_gemm_is_small(int64_t M, int64_t N, int64_t K) {
    return M * N * K <= small_product;
}

/* Two chunks and a half against the whole. */
static bool chunks_accumulate(int64_t M, int64_t N, int64_t rows) {
    trial t;
    int64_t K = 2 * rows + rows / 2 - 5;
    if (!trial_open(&t, &(dppo_gemm){.transpose_a = true}, M, N, K)) return false;
    trial_whole(&t);
    for (int64_t i = 0; i < 2; i++) {
        t.g.K = i == 0 ? rows : K - rows, t.g.beta = (float)i;
        gemm_rows(&t.g, 0, M);
        t.g.A += rows * M, t.g.B += rows * N;
    }
    return trial_close(&t);
}

bool dppo_kernel_gemm_accumulates(int64_t M, int64_t N, int64_t rows) {
    return !dppo_kernel_gemm_is_small(M, N, rows) && chunks_accumulate(M, N, rows);
}

/* -- our own product
 * ----------------------------------------------------------------------------------------------------- */

/* OpenBLAS' panels of k for products of a kind, 0 where ours does not give its bits. */
typedef struct order {
    bool transpose_a, transpose_b;
    int64_t M, N, K, depth;
} order;

enum { MAX_ORDERS = 1024 };
static order orders[MAX_ORDERS];
static int order_count;

/* The kind that stands for a product: as it is, if it is a small one; else of not many rows, columns and k.
 * OpenBLAS walks all tiles alike but the last ones, which depend on the remainder, and all panels but the
 * last two. */
static order kind_of(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K) {
    enum { ROWS = 64, COLUMNS = 768, PANELS = 1920, TILE = 64 }; /* PANELS: a multiple of each depth */
    order kind = {transpose_a, transpose_b, M, N, K, 0};
    if (dppo_kernel_gemm_is_small(M, N, K)) return kind;
    if (M >= 2 * ROWS) kind.M = ROWS + M % ROWS;
    if (N >= COLUMNS + TILE) kind.N = COLUMNS + N % TILE;
    if (K >= 2 * PANELS) kind.K = PANELS + K % PANELS;
    while (dppo_kernel_gemm_is_small(kind.M, kind.N, kind.K))
        kind.M += ROWS;
    return kind;
}

static int64_t try_order(const order *o) {
    static const int64_t depths[] = {320, 384, 240, 192, 640};
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        trial t;
        dppo_gemm like = {.transpose_a = o->transpose_a, .transpose_b = o->transpose_b, .beta = 1.0f};
        if (!trial_open(&t, &like, o->M, o->N, o->K)) return 0;
        trial_whole(&t);
        bool computed = dppo_gemm_panels(&t.g, depths[i]), equal = trial_close(&t);
        if (computed && equal) return depths[i];
        if (!computed) return 0;
    }
    return 0;
}

static bool same_kind(const order *a, const order *b) {
    return a->transpose_a == b->transpose_a && a->transpose_b == b->transpose_b && a->M == b->M &&
           a->N == b->N && a->K == b->K;
}

static const order *find_order(const order *kind) {
    for (int i = 0; i < order_count; i++)
        if (same_kind(&orders[i], kind)) return &orders[i];
    return NULL;
}

/* The depth of our product's panels where a trial saw OpenBLAS' bits, else 0. Nobody holds the lock while it
 * tries: a trial waits for the pool, whose workers multiply as well. Who tries the same meanwhile finds the
 * same. */
static int64_t panel_depth(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K) {
    if (M < 1 || N < 1 || K < 1) return 0;
    order now = kind_of(transpose_a, transpose_b, M, N, K);
    pthread_mutex_lock(&verdict_lock);
    const order *found = find_order(&now);
    bool full = order_count == MAX_ORDERS;
    if (found) now.depth = found->depth;
    pthread_mutex_unlock(&verdict_lock);
    if (found || full) return now.depth;
    now.depth = try_order(&now);
    pthread_mutex_lock(&verdict_lock);
    if (order_count < MAX_ORDERS && !find_order(&now)) orders[order_count++] = now;
    pthread_mutex_unlock(&verdict_lock);
    return now.depth;
}

static int64_t layer_depth(int64_t M, const dppo_kernel_layer *layer) {
    return panel_depth(false, true, M, layer->out, layer->in);
}

int64_t dppo_kernel_residual_memory(int64_t M, size_t count, const dppo_kernel_layer *layers) {
    enum { LANES = 8, ACTIVATIONS = 3, MOST_ROWS = 768, TILE = 8 };
    if (M > MOST_ROWS || count > DPPO_KERNEL_LAYERS) return 0;
    for (size_t i = 0; i < count; i++)
        if (layers[i].out % TILE != 0 || layer_depth(M, &layers[i]) == 0) return 0;
    return (M + LANES - 1) / LANES * LANES * (ACTIVATIONS * layers->out + layers->in);
}

void dppo_kernel_residual_layers(int64_t M, size_t count, const dppo_kernel_layer *layers, const float *x,
                                 float *out, float *memory) {
    int64_t depths[DPPO_KERNEL_LAYERS];
    for (size_t i = 0; i < count; i++)
        depths[i] = layer_depth(M, &layers[i]);
    dppo_gemm_layers(M, count, layers, depths, x, out, memory);
}

static void scale_all(const dppo_gemm *g) {
    for (int64_t i = 0; i < g->M; i++)
        for (int64_t j = 0; j < g->N; j++)
            g->C[i * g->ldc + j] = g->start          ? g->start[j]
                                   : g->beta == 0.0f ? 0.0f
                                                     : g->beta * g->C[i * g->ldc + j];
}

static void multiply(const dppo_gemm *g) {
    if (g->M == 0 || g->N == 0) return;
    if (g->K == 0) {
        scale_all(g);
        return;
    }
    bool small = dppo_kernel_gemm_is_small(g->M, g->N, g->K);
    int64_t depth = small ? 0 : panel_depth(g->transpose_a, g->transpose_b, g->M, g->N, g->K);
    if (depth > 0 && dppo_gemm_panels(g, depth)) return;
    gemm_split rows = {g, grain_for(g), false}, columns = {g, column_grain_for(g), true};
    gemm_split *split = columns.grain < g->N ? &columns : &rows;
    dppo_parallel_for(split_size(split) / split->grain, 1, split_chunk, split);
}

void dppo_kernel_gemm(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K, const float *A,
                      int64_t lda, const float *B, int64_t ldb, float beta, float *C, int64_t ldc) {
    multiply(&(dppo_gemm){transpose_a, transpose_b, M, N, K, lda, ldb, ldc, A, B, beta, C, NULL, NULL});
}

void dppo_kernel_gemm_from(bool transpose_a, bool transpose_b, int64_t M, int64_t N, int64_t K,
                           const float *A, int64_t lda, const float *B, int64_t ldb, const float *start,
                           float *C, int64_t ldc) {
    multiply(&(dppo_gemm){transpose_a, transpose_b, M, N, K, lda, ldb, ldc, A, B, 1.0f, C, start, NULL});
}

bool dppo_kernel_gemm_gathered(int64_t M, int64_t N, int64_t K, const float *A, int64_t lda, const float *B,
                               int64_t ldb, const int64_t *index, float *C, int64_t ldc) {
    dppo_gemm g = {true, false, M, N, K, lda, ldb, ldc, A, B, 1.0f, C, NULL, index};
    if (dppo_kernel_gemm_is_small(M, N, K)) return false;
    int64_t depth = panel_depth(true, false, M, N, K);
    return depth > 0 && dppo_gemm_panels(&g, depth);
}

float dppo_kernel_dot(int64_t n, const float *a, const float *b) {
    return cblas_sdot((blasint)n, a, 1, b, 1);
}

void dppo_kernel_gemv(bool column_major, int64_t M, int64_t N, const float *A, int64_t lda, const float *x,
                      float *out) {
    if (N == 0) memset(out, 0, (size_t)M * sizeof(float));
    if (M == 0 || N == 0) return;
    cblas_sgemv(column_major ? CblasColMajor : CblasRowMajor, CblasNoTrans, (blasint)M, (blasint)N, 1.0f, A,
                (blasint)lda, x, 1, 0.0f, out, 1);
}
