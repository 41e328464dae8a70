/* The hidden layers of a residual network for the few rows of a policy that acts, with AVX-512. Activations
 * stay as the products want them, (strips of up to 48 lanes, features, lanes), a lane being a row of the
 * batch: nothing is packed or turned between one layer and the next, and what follows a product is done by
 * the thread whose cache has it. */
#include "tensor/kernel_gemm.h"

#include "base/pool.h"

#if defined(__x86_64__)

#include "tensor/kernel_tile.h"

/* Rows of the batch: `count` of them in `padded` lanes. */
typedef struct lanes {
    int64_t count, padded;
} lanes;

/* One layer: sum = weight in + bias; then as far as they are given, x = sum + x, relu = max(0, x or sum), and
 * the (lanes, features) x becomes rows of `out`. */
typedef struct layer_job {
    const dppo_kernel_layer *layer;
    lanes lanes;
    int64_t depth;
    const float *in;
    float *sum, *x, *relu, *out;
} layer_job;

static int64_t strip_width(const lanes *l, int64_t first) {
    return l->padded - first < TURNED_STRIP ? l->padded - first : TURNED_STRIP;
}

typedef void layer_tile(int64_t K, const float *in, const operand *weight, const float *bias, float *sum);

/* Eight features of a strip; with a bias the sum begins, without it goes on. */
INLINE_FN void tile(int V, bool H, int64_t K, const float *in, const operand *weight, const float *bias,
                    float *sum) {
    __m512 sums[TILE_ROWS][3];
    __m256 half[TILE_ROWS];
    int width = 16 * V + (H ? 8 : 0);
    sum_tile(TURNED_ROWS, V, H, K, in, weight, sums, half);
#pragma GCC unroll 8
    for (int r = 0; r < TURNED_ROWS; r++) {
        float *to = sum + r * width;
#pragma GCC unroll 3
        for (int v = 0; v < V; v++) {
            __m512 begin = bias ? _mm512_set1_ps(bias[r]) : _mm512_loadu_ps(to + 16 * v);
            _mm512_storeu_ps(to + 16 * v, _mm512_add_ps(begin, sums[r][v]));
        }
        if (H) {
            __m256 begin = bias ? _mm256_set1_ps(bias[r]) : _mm256_loadu_ps(to + 16 * V);
            _mm256_storeu_ps(to + 16 * V, _mm256_add_ps(begin, half[r]));
        }
    }
}

#define LAYER_TILE(width)                                                                                    \
    FN void tile_##width(int64_t K, const float *in, const operand *weight, const float *bias, float *sum) { \
        tile((width) / 16, (width) % 16 != 0, K, in, weight, bias, sum);                                     \
    }
LAYER_TILE(8)
LAYER_TILE(16)
LAYER_TILE(24)
LAYER_TILE(32)
LAYER_TILE(40)
LAYER_TILE(48)

static layer_tile *const tiles[] = {tile_8, tile_16, tile_24, tile_32, tile_40, tile_48};

/* Features [begin, end) of a strip at `x` become columns of rows of `out`. */
FN void turn_back(const layer_job *job, const float *x, int64_t first, int width, int64_t begin,
                  int64_t end) {
    for (int i = 0; i < width; i += 8)
        for (int64_t n = begin; n < end; n += 8) {
            __m256 block[8];
            for (int j = 0; j < 8; j++)
                block[j] = _mm256_loadu_ps(x + (n + j) * width + i);
            transpose8(block);
            for (int j = 0; j < 8 && first + i + j < job->lanes.count; j++)
                _mm256_storeu_ps(job->out + (first + i + j) * job->layer->out + n, block[j]);
        }
}

static void map(dppo_map_op op, int64_t n, float *out, const float *a, const float *b) {
    dppo_kernel_map(op, n, out, (const float *const[]){a, b, NULL}, (const int64_t[]){1, 1, 1},
                    (const float[]){0.0f, 0.0f});
}

/* Features [begin, end) of the strip whose first lane is `first`. */
static void layer_strip(const layer_job *job, int64_t first, int64_t begin, int64_t end) {
    const dppo_kernel_layer *layer = job->layer;
    int width = (int)strip_width(&job->lanes, first);
    const float *in = job->in + first * layer->in;
    float *sum = job->sum + first * layer->out;
    for (int64_t k = 0, length; k < layer->in; k += length) {
        length = panel(layer->in - k, job->depth);
        for (int64_t n = begin; n < end; n += TURNED_ROWS) {
            operand weight = {layer->weight + n * layer->in + k, layer->in, 1};
            tiles[width / 8 - 1](length, in + k * width, &weight, k == 0 ? layer->bias + n : NULL,
                                 sum + n * width);
        }
    }
    int64_t at = first * layer->out + begin * width, count = (end - begin) * width;
    if (job->x) map(DPPO_MAP_ADD, count, job->x + at, job->sum + at, job->x + at);
    const float *result = job->x ? job->x : job->sum;
    if (job->relu) map(DPPO_MAP_RELU, count, job->relu + at, result + at, NULL);
    if (job->out) turn_back(job, result + first * layer->out, first, width, begin, end);
}

static void layer_chunk(void *context, int64_t begin, int64_t end) {
    const layer_job *job = context;
    for (int64_t first = 0; first < job->lanes.padded; first += TURNED_STRIP)
        layer_strip(job, first, begin * TURNED_ROWS, end * TURNED_ROWS);
}

static void run_layer(layer_job job) {
    enum { TILES_PER_CHUNK = 8 };
    dppo_parallel_for(job.layer->out / TURNED_ROWS, TILES_PER_CHUNK, layer_chunk, &job);
}

static void pack_rows(const lanes *l, int64_t K, const float *rows, float *out) {
    for (int64_t first = 0; first < l->padded; first += TURNED_STRIP) {
        int width = (int)strip_width(l, first);
        pack_across(out + first * K, K, width, (int)(l->count - first), rows + first * K, K);
    }
}

void dppo_gemm_layers(int64_t M, size_t count, const dppo_kernel_layer *layers, const int64_t *depths,
                      const float *rows, float *out, float *memory) {
    lanes l = {M, (M + 7) / 8 * 8};
    int64_t hidden = layers[0].out * l.padded;
    float *x = memory, *a = x + hidden, *b = a + hidden, *in = b + hidden;
    pack_rows(&l, layers[0].in, rows, in);
    run_layer((layer_job){&layers[0], l, depths[0], in, x, NULL, a, count == 1 ? out : NULL});
    for (size_t i = 1; i < count; i += 2) {
        run_layer((layer_job){&layers[i], l, depths[i], a, b, NULL, b, NULL});
        run_layer((layer_job){&layers[i + 1], l, depths[i + 1], b, a, x, a, i + 2 == count ? out : NULL});
    }
}

#else

void dppo_gemm_layers(int64_t M, size_t count, const dppo_kernel_layer *layers, const int64_t *depths,
                      const float *rows, float *out, float *memory) {
    (void)M, (void)count, (void)layers, (void)depths, (void)rows, (void)out, (void)memory;
}

#endif
