#include "autograd/rows.h"
#include "autograd/map.h"
#include "autograd/rows_internal.h"

#include <stdlib.h>
#include <string.h>

/* The two sums of one linear layer: dW (N, K) and db (N). dW is continued at multiples of `unit` rows, one
 * chunk or as many as make a product that is not small; EVERY_ROW: it is one product. db is a cascade that
 * goes on from chunk to chunk, or one sum in the end. */
typedef struct layer_sums {
    dppo_tensor *weight, *bias;
    int64_t N, K, unit;
    int64_t done, added; /* rows seen, and rows that are in dW */
    float *x, *g;  /* (room, K), (room, N): rows from `added` on; g of all rows for one sum in the end */
    float *levels; /* of db's cascade */
    int64_t total; /* rows there is room for */
} layer_sums;

enum { MAX_LAYERS = 64 };
static const int64_t EVERY_ROW = INT64_MAX / 4;

struct dppo_rows {
    int64_t total, begin, count;
    dppo_tensor *index; /* of repeated rows: borrowed; else NULL */
    layer_sums layers[MAX_LAYERS];
    int layer_count;
    bool incomplete; /* a gradient came that is not a linear layer's */
};

dppo_rows *dppo_rows_new(void) {
    return calloc(1, sizeof(dppo_rows));
}

static void free_buffers(layer_sums *layer) {
    free(layer->x), free(layer->g), free(layer->levels);
    layer->x = layer->g = layer->levels = NULL;
}

void dppo_rows_free(dppo_rows *rows) {
    if (!rows) return;
    for (int i = 0; i < rows->layer_count; i++)
        free_buffers(&rows->layers[i]);
    free(rows);
}

int64_t dppo_rows_count(int64_t total) {
    return total < 2 * DPPO_ROWS_CHUNK ? 1 : total / DPPO_ROWS_CHUNK;
}

int64_t dppo_rows_chunk(int64_t total, int64_t i, int64_t *count) {
    bool last = i == dppo_rows_count(total) - 1;
    *count = last ? total - i * DPPO_ROWS_CHUNK : DPPO_ROWS_CHUNK;
    return i * DPPO_ROWS_CHUNK;
}

void dppo_rows_set(dppo_context *cx, dppo_rows *rows, int64_t total, int64_t begin, int64_t count) {
    dppo_context_set_rows(cx, rows);
    if (!rows) return;
    rows->total = total;
    rows->begin = begin;
    rows->count = count;
    rows->index = NULL;
    if (begin > 0) return;
    rows->incomplete = false;
    for (int i = 0; i < rows->layer_count; i++)
        rows->layers[i].done = 0;
}

void dppo_rows_set_repeated(dppo_context *cx, dppo_rows *rows, int64_t count, dppo_tensor *index) {
    dppo_rows_set(cx, rows, dppo_numel(index), 0, count);
    rows->index = index;
}

void dppo_rows_refuse(dppo_rows *rows) {
    rows->incomplete = true;
}

bool dppo_rows_pads(const dppo_rows *rows, int64_t M, int64_t N, int64_t K) {
    return rows && M == rows->count && rows->count < rows->total && dppo_kernel_gemm_is_small(M, N, K) &&
           !dppo_kernel_gemm_is_small(rows->total, N, K);
}

/* -- one layer
 * --------------------------------------------------------------------------------------------------- */

/* Whether db is a cascade that goes on from chunk to chunk. */
static bool cascades(const layer_sums *layer) {
    return layer->N % DPPO_SUM_BLOCK == 0;
}

/* Layers of one shape share the trial, which multiplies thousands of rows. */
static int64_t unit_of(const dppo_rows *rows, int64_t N, int64_t K) {
    for (int i = 0; i < rows->layer_count; i++)
        if (rows->layers[i].N == N && rows->layers[i].K == K) return rows->layers[i].unit;
    int64_t unit = DPPO_ROWS_CHUNK;
    while (dppo_kernel_gemm_is_small(N, K, unit))
        unit += DPPO_ROWS_CHUNK;
    return K > 1 && dppo_kernel_gemm_accumulates(N, K, unit) ? unit : EVERY_ROW;
}

static layer_sums *find_layer(dppo_rows *rows, dppo_tensor *weight, dppo_tensor *bias) {
    for (int i = 0; i < rows->layer_count; i++)
        if (rows->layers[i].weight == weight && rows->layers[i].bias == bias) return &rows->layers[i];
    if (rows->layer_count == MAX_LAYERS) return NULL;
    layer_sums layer = {.weight = weight, .bias = bias, .N = weight->shape[0], .K = weight->shape[1]};
    layer.unit = unit_of(rows, layer.N, layer.K);
    rows->layers[rows->layer_count] = layer;
    return &rows->layers[rows->layer_count++];
}

/* Rows wait for others: those of a chunk are not added to dW as they come. */
static bool waits(const layer_sums *layer) {
    return layer->unit > DPPO_ROWS_CHUNK;
}

/* The most rows that wait: up to a unit that is not full, a chunk, and less than a unit that is left. */
static int64_t most_waiting(const layer_sums *layer, int64_t total) {
    int64_t most = 2 * layer->unit + 2 * DPPO_ROWS_CHUNK;
    return most < total ? most : total;
}

static dppo_status make_room(layer_sums *layer, int64_t total) {
    if (layer->total >= total) return DPPO_OK;
    bool whole_g = !cascades(layer), keep_g = waits(layer) || whole_g;
    int64_t waiting = most_waiting(layer, total);
    size_t cell = sizeof(float);
    free_buffers(layer);
    if (waits(layer)) layer->x = malloc((size_t)(waiting * layer->K) * cell);
    if (keep_g) layer->g = malloc((size_t)((whole_g ? total : waiting) * layer->N) * cell);
    if (!whole_g) layer->levels = malloc((size_t)(DPPO_SUM_LEVELS * layer->N) * cell);
    bool enough = (layer->x || !waits(layer)) && (layer->g || !keep_g) && (layer->levels || whole_g);
    layer->total = enough ? total : 0; /* all or none: the next update asks for them again */
    if (enough) return DPPO_OK;
    free_buffers(layer);
    return dppo_fail(DPPO_NO_MEMORY, "backward: no memory for %lld rows", (long long)total);
}

/* A gradient of zeros where there is none yet. */
static float *grad_of(dppo_tensor *leaf) {
    if (!leaf->grad) {
        leaf->grad = dppo_tensor_heap(leaf->dtype, leaf->ndim, leaf->shape);
        if (leaf->grad) memset(leaf->grad->data, 0, (size_t)dppo_numel(leaf) * sizeof(float));
    }
    return leaf->grad ? dppo_f32(leaf->grad) : NULL;
}

/* dW (N, K) += g' x over `count` rows. */
static bool add_weight(dppo_cx *cx, layer_sums *layer, float *g, float *x, int64_t count) {
    float *dW = grad_of(layer->weight);
    dppo_tensor a = {.dtype = DPPO_F32, .ndim = 2, .shape = {layer->N, count}, .stride = {1, layer->N}};
    dppo_tensor b = {.dtype = DPPO_F32, .ndim = 2, .shape = {count, layer->K}, .stride = {layer->K, 1}};
    a.data = g, b.data = x;
    return dW && dppo_multiply_into(cx, dW, &a, &b, 1.0f);
}

/* `count` rows of `from`, those that `index` names where there is one: at `to`, or where they are if that is
 * NULL. */
static float *place_rows(dppo_cx *cx, int64_t width, float *to, float *from, int64_t count,
                         const int64_t *index) {
    size_t row = (size_t)width * sizeof(float);
    if (!to && !index) return from;
    if (!to) to = dppo_arena_alloc(dppo_context_arena(cx), (size_t)count * row);
    if (to) dppo_kernel_copy_runs(count, row, to, row, from, row, index);
    return to;
}

/* db's cascade goes on: with the rows that `index` names of g, or that g is. */
static void add_levels(layer_sums *layer, const float *g, const int64_t *index, int64_t total, int64_t begin,
                       int64_t count) {
    if (begin == 0) memset(layer->levels, 0, (size_t)(DPPO_SUM_LEVELS * layer->N) * sizeof(float));
    dppo_kernel_column_sums(layer->levels, layer->N, g, index, total, begin, count);
}

/* A chunk that is added as it comes, read through `index` instead of gathered. False: it is not. */
static bool add_through(layer_sums *layer, const float *x, const float *g, const int64_t *index,
                        int64_t total, int64_t begin, int64_t count) {
    float *dW = index && !waits(layer) && cascades(layer) ? grad_of(layer->weight) : NULL;
    int64_t N = layer->N, K = layer->K;
    if (!dW || !dppo_kernel_gemm_gathered(N, K, count, g, N, x, K, index, dW, K)) return false;
    add_levels(layer, g, index, total, begin, count);
    layer->done = layer->added = begin + count;
    return true;
}

/* Rows [begin, begin + count) of the batch, which x and g hold or `index` picks from them. */
static dppo_status add_chunk(dppo_cx *cx, int64_t total, int64_t begin, int64_t count, layer_sums *layer,
                             float *x, float *g, const int64_t *index) {
    int64_t N = layer->N, K = layer->K, end = begin + count;
    if (begin == 0) layer->added = 0;
    if (add_through(layer, x, g, index, total, begin, count)) return DPPO_OK;
    int64_t first_g = cascades(layer) ? layer->added : 0; /* of those that are kept */
    x = place_rows(cx, K, layer->x ? layer->x + (begin - layer->added) * K : NULL, x, count, index);
    g = place_rows(cx, N, layer->g ? layer->g + (begin - first_g) * N : NULL, g, count, index);
    if (!x || !g) return dppo_fail(DPPO_NO_MEMORY, "backward: out of memory");
    if (cascades(layer)) add_levels(layer, g, NULL, total, begin, count);
    layer->done = end;
    bool full = end - layer->added >= layer->unit && total - end >= layer->unit;
    if (waits(layer) && !full && end < total) return DPPO_OK;
    if (waits(layer)) x = layer->x, g = layer->g + (layer->added - first_g) * N;
    if (!add_weight(cx, layer, g, x, end - layer->added))
        return dppo_fail(DPPO_NO_MEMORY, "backward: no memory for a gradient");
    layer->added = end;
    return DPPO_OK;
}

/* The rows of the batch one chunk after the other, each gathered from those it consists of. */
static dppo_status add_repeated(dppo_cx *cx, const dppo_rows *rows, layer_sums *layer, float *x, float *g) {
    dppo_context_mark mark = dppo_context_position(cx);
    int64_t count;
    for (int64_t i = 0; i < dppo_rows_count(rows->total); i++) {
        int64_t begin = dppo_rows_chunk(rows->total, i, &count);
        DPPO_TRY(add_chunk(cx, rows->total, begin, count, layer, x, g, dppo_i64(rows->index) + begin));
        dppo_context_rewind(cx, mark);
    }
    return DPPO_OK;
}

static dppo_status add_rows(dppo_cx *cx, const dppo_rows *rows, layer_sums *layer, dppo_tensor *x,
                            dppo_tensor *g) {
    DPPO_TRY(make_room(layer, rows->total));
    const dppo_tensor *xs = dppo_contiguous(cx, x), *gs = dppo_contiguous(cx, g);
    if (!xs || !gs) return dppo_context_status(cx);
    if (rows->index) return add_repeated(cx, rows, layer, dppo_f32(xs), dppo_f32(gs));
    return add_chunk(cx, rows->total, rows->begin, rows->count, layer, dppo_f32(xs), dppo_f32(gs), NULL);
}

bool dppo_rows_add(dppo_cx *cx, dppo_tensor *weight, dppo_tensor *bias, dppo_tensor *x, dppo_tensor *g) {
    dppo_rows *rows = dppo_context_rows(cx);
    bool leaves = rows && !weight->node && !bias->node && weight->requires_grad && bias->requires_grad;
    if (!leaves || g->shape[0] != rows->count) return false;
    layer_sums *layer = find_layer(rows, weight, bias);
    if (!layer || layer->done != rows->begin) {
        rows->incomplete = true; /* too many layers, or one used twice */
        return false;
    }
    if (add_rows(cx, rows, layer, x, g) != DPPO_OK)
        (void)dppo_context_fail(cx, DPPO_NO_MEMORY, "backward: out of memory for the gradients of a batch");
    return true;
}

/* db (N) from what was kept: the sum that autograd makes of a whole batch. */
static dppo_status add_bias(dppo_cx *cx, layer_sums *layer) {
    float *db = grad_of(layer->bias);
    if (!db) return dppo_fail(DPPO_NO_MEMORY, "backward: no memory for a gradient");
    if (layer->levels) {
        dppo_kernel_column_sums_end(layer->levels, layer->N, db);
        return DPPO_OK;
    }
    dppo_tensor g = {.dtype = DPPO_F32, .ndim = 2, .shape = {layer->done, layer->N}, .stride = {layer->N, 1}};
    g.data = layer->g;
    const dppo_tensor *sum = dppo_contiguous(cx, dppo_sum_to_size(cx, &g, 1, &layer->N));
    for (int64_t j = 0; sum && j < layer->N; j++)
        db[j] += dppo_f32(sum)[j];
    return dppo_context_status(cx);
}

dppo_status dppo_rows_finish(dppo_context *cx, dppo_rows *rows) {
    dppo_context_set_rows(cx, NULL);
    if (rows->incomplete)
        return dppo_fail(DPPO_MISSING, "backward: not all parameters are those of linear layers");
    bool before = dppo_set_grad_enabled(cx, false);
    dppo_status status = DPPO_OK;
    for (int i = 0; i < rows->layer_count && status == DPPO_OK; i++) {
        layer_sums *layer = &rows->layers[i];
        if (layer->done > 0) status = add_bias(cx, layer);
    }
    dppo_set_grad_enabled(cx, before);
    return status;
}
