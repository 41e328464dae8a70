/* Our own product of matrices, for processors with AVX-512: what OpenBLAS computes there, in its order over
 * k, without packing what is read only once. In between tile and memory:
 *
 *   C (rows, lanes) = R (rows, K) L (K, lanes)
 *
 * One operand lies along the lanes of vectors; it is packed into strips of up to 48 lanes, (k, lanes) each.
 * Of the other one number at a time is broadcast, from where it lies. Lanes are the columns of C; or where
 * rows are few and a weight would be packed for them alone, the lanes are the rows of C (`turned`). */
#include "tensor/kernel_gemm.h"

#include "base/pool.h"

#include <stddef.h>
#include <stdlib.h>

#if defined(__x86_64__)

#include "tensor/kernel_tile.h"

#include <pthread.h>
#include <sys/mman.h>

enum {
    GROUP = 48,          /* rows that are packed together: whole tiles, whole vectors */
    AHEAD = 8,           /* rows of a matrix that packing asks the memory for in advance */
    PACK_ALONE = 1 << 13 /* floats that one thread packs sooner than two would */
};

/* Floats packed at a time. */
static const int64_t max_packed = (int64_t)1 << 21;

/* An operand packed: panels, in each strips of `width`, in each (k, width). The last strip is narrower, of
 * what is left; zeros fill it up to a multiple of 8. */
typedef struct strips {
    operand from;
    int64_t size, padded, width, count;
    float *packed;
} strips;

typedef struct product {
    const dppo_gemm *g;
    strips lanes, rows; /* rows.packed is NULL where they are read from where they lie */
    bool turned;
    int64_t depth, begin, end; /* of k: the panels of this pass */
    int64_t lane_parts, tiles_per_chunk;
} product;

/* Where a tile is written, and what it is added to: rows of C, `ldc` and `step` apart. */
typedef struct target {
    float *C;
    int64_t ldc;
    const float *begin;
    int64_t step;
    int lanes; /* that are no padding */
} target;

/* -- the tile
 * ------------------------------------------------------------------------------------------------------- */

typedef void tile_function(int64_t K, const float *lanes, const operand *rows, const target *to);

INLINE_FN void tile(int R, int V, int64_t K, const float *lanes, const operand *rows, const target *to) {
    __m512 sums[TILE_ROWS][3];
    __m256 half[TILE_ROWS];
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++)
            _mm_prefetch((const char *)(to->C + r * to->ldc + 16 * v), _MM_HINT_T0);
    sum_tile(R, V, false, K, lanes, rows, sums, half);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
        for (int v = 0; v < V; v++) {
            __mmask16 mask = first_lanes(to->lanes - 16 * v);
            __m512 begin = _mm512_maskz_loadu_ps(mask, to->begin + r * to->step + 16 * v);
            _mm512_mask_storeu_ps(to->C + r * to->ldc + 16 * v, mask, _mm512_add_ps(begin, sums[r][v]));
        }
    }
}

/* Eight lanes of eight rows: each lane's floats side by side. */
INLINE_FN void store_turned(__m256 x[8], const target *to, int lane) {
    transpose8(x);
    for (int i = 0; i < 8 && lane + i < to->lanes; i++) {
        __m256 begin = _mm256_loadu_ps(to->begin + (lane + i) * to->step);
        _mm256_storeu_ps(to->C + (lane + i) * to->ldc, _mm256_add_ps(begin, x[i]));
    }
}

INLINE_FN void turned_tile(int V, bool H, int64_t K, const float *lanes, const operand *rows,
                           const target *to) {
    __m512 sums[TILE_ROWS][3];
    __m256 half[TILE_ROWS], x[8];
    sum_tile(TURNED_ROWS, V, H, K, lanes, rows, sums, half);
#pragma GCC unroll 3
    for (int v = 0; v < V; v++) {
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++)
            x[r] = _mm512_castps512_ps256(sums[r][v]);
        store_turned(x, to, 16 * v);
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++)
            x[r] = _mm512_extractf32x8_ps(sums[r][v], 1);
        store_turned(x, to, 16 * v + 8);
    }
    if (H) store_turned(half, to, 16 * V);
}

#define TILE(R)                                                                                              \
    FN void tile_##R##_16(int64_t K, const float *lanes, const operand *rows, const target *to) {            \
        tile(R, 1, K, lanes, rows, to);                                                                      \
    }                                                                                                        \
    FN void tile_##R##_32(int64_t K, const float *lanes, const operand *rows, const target *to) {            \
        tile(R, 2, K, lanes, rows, to);                                                                      \
    }
TILE(1)
TILE(2)
TILE(4)
TILE(8)
TILE(12)

#define TURNED_TILE(width)                                                                                   \
    FN void turned_##width(int64_t K, const float *lanes, const operand *rows, const target *to) {           \
        turned_tile((width) / 16, (width) % 16 != 0, K, lanes, rows, to);                                    \
    }
TURNED_TILE(8)
TURNED_TILE(16)
TURNED_TILE(24)
TURNED_TILE(32)
TURNED_TILE(40)
TURNED_TILE(48)

/* The tile of the most rows that are there, and how many these are. */
static tile_function *tile_for(bool turned, int width, int64_t rows, int *count) {
    static tile_function *const turned_tiles[] = {turned_8,  turned_16, turned_24,
                                                  turned_32, turned_40, turned_48};
    static const int sizes[] = {12, 8, 4, 2, 1};
    static tile_function *const tiles[][2] = {{tile_12_16, tile_12_32},
                                              {tile_8_16, tile_8_32},
                                              {tile_4_16, tile_4_32},
                                              {tile_2_16, tile_2_32},
                                              {tile_1_16, tile_1_32}};
    if (turned) {
        *count = TURNED_ROWS;
        return turned_tiles[width / 8 - 1];
    }
    int i = 0;
    while (sizes[i] > rows)
        i++;
    *count = sizes[i];
    return tiles[i][width / 16 - 1];
}

/* -- packing
 * -------------------------------------------------------------------------------------------------------- */

static int strip_width(const strips *x, int64_t s) {
    int64_t left = x->padded - s * x->width;
    return (int)(left < x->width ? left : x->width);
}

/* How many of a strip are no padding. */
static int strip_size(const strips *x, int64_t s) {
    int64_t left = x->size - s * x->width;
    return (int)(left < x->width ? left : x->width);
}

/* `length` numbers of k from the panel's first on, which is `k` from the pass' first. */
static float *strip_at(const strips *x, int64_t k, int64_t length, int64_t s) {
    return x->packed + k * x->padded + s * x->width * length;
}

/* Rows [begin, end) of the panel of `length` rows from `k` on: (k, all strips) become (strips, k, width). */
FN void pack_along(const product *p, const strips *x, int64_t k, int64_t length, int64_t begin, int64_t end) {
    const int64_t *index = p->g->index;
    for (int64_t row = begin; row < end; row++) {
        int64_t at = k + row, later = at + AHEAD < p->g->K ? at + AHEAD : at;
        const float *in = x->from.data + (index ? index[at] : at) * x->from.k_step;
        const float *ahead = x->from.data + (index ? index[later] : later) * x->from.k_step;
        for (int64_t s = 0; s < x->count; s++, in += x->width, ahead += x->width) {
            int width = strip_width(x, s), size = strip_size(x, s);
            float *out = strip_at(x, k - p->begin, length, s) + row * width;
            for (int i = 0; i < width; i += 16) {
                _mm_prefetch((const char *)(ahead + i), _MM_HINT_T0);
                __m512 values = _mm512_maskz_loadu_ps(first_lanes(size - i), in + i);
                _mm512_mask_storeu_ps(out + i, first_lanes(width - i), values);
            }
        }
    }
}

typedef struct packing {
    const product *p;
    const strips *x;
    int64_t pieces; /* of a panel */
} packing;

static void pack_piece(const packing *job, int64_t i) {
    const product *p = job->p;
    const strips *x = job->x;
    int64_t piece = i % job->pieces, k = p->begin;
    for (int64_t skip = i / job->pieces; skip > 0; skip--)
        k += panel(p->g->K - k, p->depth);
    int64_t length = panel(p->g->K - k, p->depth);
    const float *strip = x->from.data + k * x->from.k_step + piece * x->width * x->from.step;
    if (x->from.step == 1)
        pack_along(p, x, k, length, length * piece / job->pieces, length * (piece + 1) / job->pieces);
    else
        pack_across(strip_at(x, k - p->begin, length, piece), length, strip_width(x, piece),
                    strip_size(x, piece), strip, x->from.step);
}

static void pack_chunk(void *context, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++)
        pack_piece(context, i);
}

static void pack(const product *p, const strips *x, int64_t panels) {
    packing job = {p, x, x->from.step == 1 ? 4 : x->count};
    int64_t floats = (p->end - p->begin) * x->padded, items = panels * job.pieces;
    dppo_parallel_for(items, floats < PACK_ALONE ? items : 1, pack_chunk, &job);
}

/* -- the product
 * ----------------------------------------------------------------------------------------------------- */

static const float zeros[TURNED_STRIP];

/* `rows` times strips [first, last) of a panel; the first of the rows is number `row`. */
static void multiply_strips(const product *p, const operand *rows, int64_t row,
                            tile_function *const functions[2], int64_t k, int64_t length, int64_t first,
                            int64_t last) {
    const dppo_gemm *g = p->g;
    for (int64_t s = first; s < last; s++) {
        int64_t lane = s * p->lanes.width;
        float *C = p->turned ? g->C + lane * g->ldc + row : g->C + row * g->ldc + lane;
        target to = {C, g->ldc, C, g->ldc, strip_size(&p->lanes, s)};
        if (k == 0 && (g->start || g->beta == 0.0f)) {
            to.begin = !g->start ? zeros : g->start + (p->turned ? row : lane);
            to.step = 0;
        }
        functions[s == p->lanes.count - 1](length, strip_at(&p->lanes, k - p->begin, length, s), rows, &to);
    }
}

static operand rows_at(const product *p, int64_t row, int64_t k, int64_t length) {
    const operand *from = &p->rows.from;
    if (!p->rows.packed)
        return (operand){from->data + row * from->step + k * from->k_step, from->step, from->k_step};
    int64_t s = row / GROUP;
    return (operand){strip_at(&p->rows, k - p->begin, length, s) + row % GROUP, 1, strip_width(&p->rows, s)};
}

/* Chunk number i: some tiles of rows against a part of the strips. */
static void multiply_piece(const product *p, int64_t i) {
    int64_t most = p->turned ? TURNED_ROWS : TILE_ROWS;
    int64_t size = p->tiles_per_chunk * most, begin = i / p->lane_parts * size, part = i % p->lane_parts;
    int64_t end = begin + size < p->rows.size ? begin + size : p->rows.size, strip_count = p->lanes.count;
    int64_t first = strip_count * part / p->lane_parts, last = strip_count * (part + 1) / p->lane_parts;
    for (int64_t k = p->begin, length; k < p->end; k += length) {
        length = panel(p->g->K - k, p->depth);
        int count;
        for (int64_t row = begin; row < end; row += count) {
            tile_function *functions[2];
            functions[0] = tile_for(p->turned, strip_width(&p->lanes, 0), end - row, &count);
            functions[1] = tile_for(p->turned, strip_width(&p->lanes, strip_count - 1), end - row, &count);
            operand rows = rows_at(p, row, k, length);
            multiply_strips(p, &rows, row, functions, k, length, first, last);
        }
    }
}

static void multiply_chunk(void *context, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++)
        multiply_piece(context, i);
}

/* Tiles a chunk, so that the thread with the most has the least; of equals the larger. Few would read the
 * strips of a panel from the outer cache for too little work. */
static int64_t fair(int64_t tiles) {
    enum { FEW = 4, MANY = 12 };
    int64_t best = 1, least = INT64_MAX, threads = dppo_threads();
    for (int64_t size = MANY; size >= FEW; size--) {
        int64_t chunks = (tiles + size - 1) / size, most = (chunks + threads - 1) / threads * size;
        if (most < least) best = size, least = most;
    }
    return best;
}

/* Pieces of rows where there are many, else of strips. */
static int64_t cut(product *p) {
    int64_t most = p->turned ? TURNED_ROWS : TILE_ROWS, tiles = (p->rows.size + most - 1) / most;
    int64_t pieces = 4 * (int64_t)dppo_threads();
    p->lane_parts = 1, p->tiles_per_chunk = fair(tiles);
    if (tiles < 2 * pieces) {
        p->lane_parts = p->lanes.count < pieces ? p->lanes.count : pieces;
        p->tiles_per_chunk = (tiles * p->lane_parts + pieces - 1) / pieces;
    }
    return (tiles + p->tiles_per_chunk - 1) / p->tiles_per_chunk * p->lane_parts;
}

static pthread_key_t scratch_key; /* frees a thread's scratch when the thread ends */
static bool have_key;

static void make_key(void) {
    have_key = pthread_key_create(&scratch_key, free) == 0;
}

/* What is packed stays with the thread that asked: it is needed until its product is done. */
static float *scratch(int64_t floats) {
    enum { HUGE_PAGE = 1 << 21 };
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static _Thread_local float *memory;
    static _Thread_local int64_t size;
    if (floats <= size) return memory;
    (void)pthread_once(&once, make_key);
    if (!have_key) return NULL;
    free(memory);
    int64_t bytes = (floats * (int64_t)sizeof(float) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    memory = aligned_alloc(HUGE_PAGE, (size_t)bytes);
    if (memory) (void)madvise(memory, (size_t)bytes, MADV_HUGEPAGE); /* or without */
    if (pthread_setspecific(scratch_key, memory) != 0) free(memory), memory = NULL;
    size = memory ? bytes / (int64_t)sizeof(float) : 0;
    return memory;
}

/* Whether the rows of C lie along the lanes. */
static bool is_turned(const dppo_gemm *g) {
    enum { FEW = 192 };
    return g->transpose_b && !g->transpose_a && g->M <= FEW && 2 * g->M <= g->N && g->N % TURNED_ROWS == 0;
}

static strips strips_of(operand from, int64_t size, int64_t width, int64_t pad) {
    int64_t padded = (size + pad - 1) / pad * pad;
    return (strips){from, size, padded, width, (padded + width - 1) / width, NULL};
}

static bool multiply(const dppo_gemm *g, bool turned, int64_t depth) {
    operand a = {g->A, g->transpose_a ? 1 : g->lda, g->transpose_a ? g->lda : 1};
    operand b = {g->B, g->transpose_b ? g->ldb : 1, g->transpose_b ? 1 : g->ldb};
    product p = {.g = g, .turned = turned, .depth = depth};
    p.lanes = p.turned ? strips_of(a, g->M, TURNED_STRIP, 8) : strips_of(b, g->N, STRIP, 16);
    p.rows = p.turned ? strips_of(b, g->N, GROUP, 8) : strips_of(a, g->M, GROUP, 8);
    /* Of rows that lie across k, a line of the cache would serve one k and a tile. */
    bool pack_rows = p.rows.from.k_step != 1 || g->index;
    int64_t floats = p.lanes.padded + (pack_rows ? p.rows.padded : 0), most = max_packed / (floats * depth);
    if (most == 0) most = 1;
    int64_t length = g->K < most * depth ? g->K : most * depth;
    p.lanes.packed = scratch(floats * length);
    if (!p.lanes.packed) return false;
    if (pack_rows) p.rows.packed = p.lanes.packed + p.lanes.padded * length;
    int64_t chunks = cut(&p);
    for (int64_t panels = 0; p.begin < g->K; p.begin = p.end) {
        for (panels = 0, p.end = p.begin; panels < most && p.end < g->K; panels++)
            p.end += panel(g->K - p.end, depth);
        pack(&p, &p.lanes, panels);
        if (pack_rows) pack(&p, &p.rows, panels);
        dppo_parallel_for(chunks, 1, multiply_chunk, &p);
    }
    return true;
}

/* Columns by columns, where a panel of all would be more than is packed at a time. */
bool dppo_gemm_panels(const dppo_gemm *g, int64_t depth) {
    if (!tiles_supported() || (!g->start && g->beta != 0.0f && g->beta != 1.0f)) return false;
    bool done = true, turned = is_turned(g);
    int64_t most = turned ? g->N : max_packed / depth / STRIP * STRIP;
    for (int64_t n = 0; done && n < g->N; n += most) {
        dppo_gemm part = *g;
        part.N = g->N - n < most ? g->N - n : most;
        part.B += g->transpose_b ? n * g->ldb : n;
        part.C += n;
        if (g->start) part.start += n;
        done = multiply(&part, turned, depth); /* the first asks for as much memory as any */
    }
    return done;
}

#else

bool dppo_gemm_panels(const dppo_gemm *g, int64_t depth) {
    (void)g, (void)depth;
    return false;
}

#endif
