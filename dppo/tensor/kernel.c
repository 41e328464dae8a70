#include "tensor/kernel.h"

#include "base/pool.h"
#include "tensor/kernel_set.h"

#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

/* Elements a worker takes at a time: cheap loops need many to be worth a thread. A multiple of 16, so that
 * only the last chunk has a remainder (kernel_map_body.h, MIXED). */
enum { CHEAP_GRAIN = 1 << 15, COSTLY_GRAIN = 1 << 12, MAP_BLOCK = 256, COLUMN_GRAIN = 32 };

static _Atomic(const dppo_kernels *) chosen;

static const dppo_kernels *kernels(void) {
    const dppo_kernels *set = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (set != NULL) return set;
    set = dppo_kernels_avx2();
    if (set == NULL) set = dppo_kernels_plain();
    atomic_store_explicit(&chosen, set, memory_order_relaxed);
    return set;
}

void dppo_kernels_use(const dppo_kernels *set) {
    atomic_store(&chosen, set);
}

int dppo_kernel_map_arity(dppo_map_op op) {
    static const int arity[DPPO_MAP_COUNT] = {
#define X(name, arity, cost) arity,
        DPPO_MAP_OPS(X)
#undef X
    };
    return arity[op];
}

typedef struct map_job {
    dppo_map_function *function;
    int arity;
    float *out;
    const float *const *in;
    const int64_t *stride;
    const float *params;
} map_job;

/* An operand that is one number becomes a block of copies, so that the loops know only contiguous operands.
 */
static void map_blocks(const map_job *job, int64_t begin, int64_t end) {
    float copies[3][MAP_BLOCK];
    for (int k = 0; k < job->arity; k++)
        for (int i = 0; job->stride[k] == 0 && i < MAP_BLOCK && i < end - begin; i++)
            copies[k][i] = *job->in[k];
    for (int64_t i = begin; i < end; i += MAP_BLOCK) {
        const float *in[3] = {NULL, NULL, NULL};
        for (int k = 0; k < job->arity; k++)
            in[k] = job->stride[k] == 0 ? copies[k] : job->in[k] + i;
        job->function(end - i < MAP_BLOCK ? end - i : MAP_BLOCK, job->out + i, in, job->params);
    }
}

static void map_chunk(void *context, int64_t begin, int64_t end) {
    const map_job *job = context;
    bool contiguous = true;
    for (int k = 0; k < job->arity; k++)
        contiguous = contiguous && job->stride[k] != 0;
    if (!contiguous) {
        map_blocks(job, begin, end);
        return;
    }
    const float *in[3] = {NULL, NULL, NULL};
    for (int k = 0; k < job->arity; k++)
        in[k] = job->in[k] + begin;
    job->function(end - begin, job->out + begin, in, job->params);
}

static int64_t map_grain(dppo_map_op op) {
    static const int grain[DPPO_MAP_COUNT] = {
#define X(name, arity, cost) cost##_GRAIN,
        DPPO_MAP_OPS(X)
#undef X
    };
    return grain[op];
}

void dppo_kernel_map(dppo_map_op op, int64_t n, float *out, const float *const in[3], const int64_t stride[3],
                     const float params[2]) {
    map_job job = {kernels()->map[op], dppo_kernel_map_arity(op), out, in, stride, params};
    dppo_parallel_for(n, map_grain(op), map_chunk, &job);
}

typedef struct mish_job {
    float *out, *gate;
    const float *x;
} mish_job;

/* In blocks, whose gates are still in the cache when x is multiplied by them. */
static void mish_chunk(void *context, int64_t begin, int64_t end) {
    const mish_job *job = context;
    const float unused[2] = {0.0f, 0.0f};
    for (int64_t i = begin; i < end; i += MAP_BLOCK) {
        int64_t n = end - i < MAP_BLOCK ? end - i : MAP_BLOCK;
        const float *in[3] = {job->x + i, job->gate + i, NULL};
        kernels()->map[DPPO_MAP_MISH_GATE](n, job->gate + i, in, unused);
        kernels()->map[DPPO_MAP_MUL](n, job->out + i, in, unused);
    }
}

void dppo_kernel_gated_mish(int64_t n, float *out, float *gate, const float *x) {
    mish_job job = {out, gate, x};
    dppo_parallel_for(n, map_grain(DPPO_MAP_MISH_GATE), mish_chunk, &job);
}

typedef struct sum_job {
    dppo_sum_shape shape;
    float *out;
    const float *in;
    bool skip_nan;
    int64_t step; /* outputs per chunk; the last chunk takes the remainder along */
} sum_job;

/* Chunks of outputs; blocks of 32 columns keep the grouping that one call would have. */
static void sum_chunk(void *context, int64_t begin, int64_t end) {
    const sum_job *job = context;
    dppo_sum_shape shape = job->shape;
    int64_t first = begin * job->step, all = job->shape.size[1];
    shape.size[1] = (end == all / job->step ? all : end * job->step) - first;
    kernels()->sum(&shape, job->out + first * shape.out_stride[1], job->in + first * shape.in_stride[1],
                   job->skip_nan);
}

static void swap_dims(dppo_sum_shape *s) {
    int64_t *pairs[] = {s->size, s->in_stride, s->out_stride};
    for (int i = 0; i < 3; i++) {
        int64_t first = pairs[i][0];
        pairs[i][0] = pairs[i][1];
        pairs[i][1] = first;
    }
}

void dppo_kernel_sum(const dppo_sum_shape *shape, float *out, const float *in, bool skip_nan) {
    sum_job job = {*shape, out, in, skip_nan, 0};
    dppo_sum_shape *s = &job.shape;
    if (s->out_stride[0] != 0 && s->out_stride[1] == 0) swap_dims(s);
    if (s->size[0] == 0 || s->size[1] == 0) return;
    bool rows = s->in_stride[0] == 1 && s->size[0] >= 8, columns = s->in_stride[1] == 1 && s->size[1] >= 64;
    job.step = s->size[1];
    if (s->out_stride[1] != 0 && (rows || columns) && s->size[0] * s->size[1] > 2 * CHEAP_GRAIN)
        job.step = rows ? 1 + CHEAP_GRAIN / (s->size[0] + 1) : COLUMN_GRAIN;
    if (job.step > s->size[1]) job.step = s->size[1];
    dppo_parallel_for(s->size[1] / job.step, 1, sum_chunk, &job);
}

typedef struct cascade_job {
    float *state;
    const float *in;
    const int64_t *index;
    int64_t N, total, done, count;
} cascade_job;

static void cascade_chunk(void *context, int64_t begin, int64_t end) {
    const cascade_job *job = context;
    for (int64_t block = begin; block < end; block++)
        kernels()->continue_column_sums(job->state + block * DPPO_SUM_LEVELS * DPPO_SUM_BLOCK,
                                        job->in + block * DPPO_SUM_BLOCK, job->index, job->N, job->total,
                                        job->done, job->count);
}

void dppo_kernel_column_sums(float *state, int64_t N, const float *in, const int64_t *index, int64_t total,
                             int64_t done, int64_t count) {
    cascade_job job = {state, in, index, N, total, done, count};
    dppo_parallel_for(N / DPPO_SUM_BLOCK, 2, cascade_chunk, &job);
}

void dppo_kernel_column_sums_end(const float *state, int64_t N, float *out) {
    for (int64_t j = 0; j < N; j++) {
        const float *levels =
            state + j / DPPO_SUM_BLOCK * DPPO_SUM_LEVELS * DPPO_SUM_BLOCK + j % DPPO_SUM_BLOCK;
        float sum = levels[0];
        for (int l = 1; l < DPPO_SUM_LEVELS; l++)
            sum += levels[l * DPPO_SUM_BLOCK];
        out[j] += sum;
    }
}

typedef struct copy_job {
    size_t size, to_step, from_step;
    unsigned char *to;
    const unsigned char *from;
    const int64_t *index;
} copy_job;

static void copy_chunk(void *context, int64_t begin, int64_t end) {
    const copy_job *job = context;
    for (int64_t i = begin; i < end; i++) {
        size_t from = (size_t)(job->index != NULL ? job->index[i] : i);
        memcpy(job->to + (size_t)i * job->to_step, job->from + from * job->from_step, job->size);
    }
}

void dppo_kernel_copy_runs(int64_t count, size_t size, void *to, size_t to_step, const void *from,
                           size_t from_step, const int64_t *index) {
    enum { BYTES = 1 << 15, RUN = 32 }; /* that are worth a thread, and what a run costs beside its own */
    copy_job job = {size, to_step, from_step, to, from, index};
    if (size > 0) dppo_parallel_for(count, 1 + BYTES / ((int64_t)size + RUN), copy_chunk, &job);
}

typedef struct row_job {
    int64_t N;
    float *out, *mean, *rstd;
    const float *x, *dy, *weight, *bias;
    float eps;
    bool logarithm;
    int64_t M;
} row_job;

static int64_t row_grain(int64_t N) {
    return 1 + CHEAP_GRAIN / (4 * (N + 1));
}

static void moments_chunk(void *context, int64_t begin, int64_t end) {
    const row_job *job = context;
    kernels()->moments(end - begin, job->N, job->mean + begin, job->rstd + begin, job->x + begin * job->N);
}

void dppo_kernel_moments(int64_t M, int64_t N, float *mean, float *variance, const float *x) {
    row_job job = {.N = N, .x = x, .mean = mean, .rstd = variance};
    dppo_parallel_for(M, row_grain(N), moments_chunk, &job);
}

static void layer_norm_chunk(void *context, int64_t begin, int64_t end) {
    const row_job *job = context;
    int64_t at = begin * job->N;
    kernels()->layer_norm(end - begin, job->N, job->out + at, job->mean + begin, job->rstd + begin,
                          job->x + at, job->weight, job->bias, job->eps);
}

void dppo_kernel_layer_norm(int64_t M, int64_t N, float *out, float *mean, float *rstd, const float *x,
                            const float *weight, const float *bias, float eps) {
    row_job job = {
        .N = N, .out = out, .mean = mean, .rstd = rstd, .x = x, .weight = weight, .bias = bias, .eps = eps};
    dppo_parallel_for(M, row_grain(N), layer_norm_chunk, &job);
}

static void layer_norm_dx_chunk(void *context, int64_t begin, int64_t end) {
    const row_job *job = context;
    int64_t at = begin * job->N;
    kernels()->layer_norm_dx(end - begin, job->N, job->out + at, job->dy + at, job->x + at, job->mean + begin,
                             job->rstd + begin, job->weight);
}

typedef struct column_job {
    int64_t M, N;
    float *dweight, *dbias;
    const float *dy, *x, *mean, *rstd;
} column_job;

static void layer_norm_dweight_chunk(void *context, int64_t begin, int64_t end) {
    const column_job *job = context;
    kernels()->layer_norm_dweight(job->M, job->N, end - begin, job->dweight ? job->dweight + begin : NULL,
                                  job->dbias ? job->dbias + begin : NULL, job->dy + begin, job->x + begin,
                                  job->mean, job->rstd);
}

void dppo_kernel_layer_norm_grad(int64_t M, int64_t N, float *dx, float *dweight, float *dbias,
                                 const float *dy, const float *x, const float *mean, const float *rstd,
                                 const float *weight) {
    if (dx != NULL) {
        row_job job = {.N = N,
                       .out = dx,
                       .dy = dy,
                       .x = x,
                       .mean = (float *)(uintptr_t)mean,
                       .rstd = (float *)(uintptr_t)rstd,
                       .weight = weight};
        dppo_parallel_for(M, row_grain(N), layer_norm_dx_chunk, &job);
    }
    if (dweight != NULL) memset(dweight, 0, (size_t)N * sizeof(float));
    if (dbias != NULL) memset(dbias, 0, (size_t)N * sizeof(float));
    if (dweight == NULL && dbias == NULL) return;
    column_job job = {M, N, dweight, dbias, dy, x, mean, rstd};
    dppo_parallel_for(N, 2 * COLUMN_GRAIN, layer_norm_dweight_chunk, &job);
}

static void softmax_chunk(void *context, int64_t begin, int64_t end) {
    const row_job *job = context;
    int64_t at = begin * job->N;
    kernels()->softmax(end - begin, job->N, job->out + at, job->x + at, job->logarithm);
}

void dppo_kernel_softmax(int64_t M, int64_t N, float *out, const float *x, bool logarithm) {
    if (N == 0) return;
    row_job job = {.N = N, .out = out, .x = x, .logarithm = logarithm};
    dppo_parallel_for(M, row_grain(N), softmax_chunk, &job);
}

void dppo_kernel_softmax_columns(int64_t outer, int64_t N, int64_t columns, float *out, const float *x,
                                 bool logarithm) {
    for (int64_t i = 0; N > 0 && i < outer; i++)
        kernels()->softmax_columns(N, columns, out + i * N * columns, x + i * N * columns, logarithm);
}

enum { GRAD_COLUMNS = 64 };

/* Up to 64 columns side by side: the upstream gradient's sum per column, then the gradient row by row. exp
 * comes from lanes for whole vectors of columns and from the C library for the rest. */
static void softmax_grad_block(int64_t N, int64_t stride, int64_t columns, float *dx, const float *dy,
                               const float *y, bool logarithm) {
    float total[GRAD_COLUMNS] = {0};
    int64_t whole = columns - columns % 8;
    for (int64_t i = 0; i < N * stride; i += stride)
        for (int64_t j = 0; j < columns; j++)
            total[j] = logarithm ? total[j] + dy[i + j] : fmaf(dy[i + j], y[i + j], total[j]);
    for (int64_t i = 0; i < N * stride; i += stride) {
        if (logarithm) {
            const float *in[3] = {y + i, NULL, NULL}, unused[2] = {0.0f, 0.0f};
            kernels()->map[DPPO_MAP_EXP](whole, dx + i, in, unused);
            for (int64_t j = whole; j < columns; j++)
                dx[i + j] = expf(y[i + j]);
        }
        for (int64_t j = 0; j < columns; j++)
            dx[i + j] = logarithm ? fmaf(-dx[i + j], total[j], dy[i + j]) : y[i + j] * (dy[i + j] - total[j]);
    }
}

void dppo_kernel_softmax_grad_columns(int64_t outer, int64_t N, int64_t columns, float *dx, const float *dy,
                                      const float *y, bool logarithm) {
    for (int64_t i = 0; i < outer; i++)
        for (int64_t j = 0; j < columns; j += GRAD_COLUMNS) {
            int64_t at = i * N * columns + j, left = columns - j;
            softmax_grad_block(N, columns, left < GRAD_COLUMNS ? left : GRAD_COLUMNS, dx + at, dy + at,
                               y + at, logarithm);
        }
}

static void softmax_grad_chunk(void *context, int64_t begin, int64_t end) {
    const row_job *job = context;
    int64_t at = begin * job->N;
    kernels()->softmax_grad(end - begin, job->N, job->out + at, job->dy + at, job->x + at, job->logarithm);
}

void dppo_kernel_softmax_grad(int64_t M, int64_t N, float *dx, const float *dy, const float *y,
                              bool logarithm) {
    if (N == 0) return;
    row_job job = {.N = N, .out = dx, .dy = dy, .x = y, .logarithm = logarithm};
    dppo_parallel_for(M, row_grain(N), softmax_grad_chunk, &job);
}
