/* The draws of torch's CPU generator: which raw numbers of the stream each takes, in what order, and what
 * becomes of them. Every public function first asks whether a recorded draw is to be handed out instead. */
#include "random/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- replay and record --------------------------------------------------------------------------------------
 */

/* Copies the next recorded draw into `out` and sets *done; leaves *done false when nothing is replayed. */
static dppo_status replayed(dppo_generator *generator, const char *kind, dppo_tensor *out, bool *done) {
    *done = generator->replay != NULL;
    if (!*done) return DPPO_OK;
    char name[32], wanted[128], found[128];
    size_t index = generator->replayed;
    snprintf(name, sizeof name, "%zu", index);
    dppo_shape_text(out->ndim, out->shape, wanted, sizeof wanted);
    const dppo_named *draws = generator->replay;
    const dppo_named_entry *entry = NULL;
    for (size_t i = 0; i < draws->count && !entry; i++)
        if (strcmp(draws->entries[i].name, name) == 0) entry = &draws->entries[i];
    if (!entry)
        return dppo_fail(DPPO_INVALID, "draws/%zu is missing: %s %s was asked for", index, kind, wanted);
    dppo_shape_text(entry->tensor->ndim, entry->tensor->shape, found, sizeof found);
    if (!entry->kind || strcmp(entry->kind, kind) != 0 || !dppo_same_shape(entry->tensor, out))
        return dppo_fail(DPPO_INVALID, "draws/%zu is %s %s, asked for was %s %s", index,
                         entry->kind ? entry->kind : "(no kind)", found, kind, wanted);
    DPPO_TRY(dppo_tensor_copy(out, entry->tensor));
    generator->replayed++;
    return DPPO_OK;
}

static dppo_status recorded(dppo_generator *generator, const char *kind, const dppo_tensor *out) {
    if (!generator->record) return DPPO_OK;
    char name[32];
    snprintf(name, sizeof name, "%zu", generator->recorded);
    DPPO_TRY(dppo_named_put(generator->record, name, out));
    for (size_t i = 0; i < generator->record->count; i++) {
        dppo_named_entry *entry = &generator->record->entries[i];
        if (strcmp(entry->name, name) != 0) continue;
        free(entry->kind);
        entry->kind = strdup(kind);
        if (!entry->kind) return dppo_fail(DPPO_NO_MEMORY, "draws/%s: out of memory", name);
    }
    generator->recorded++;
    return DPPO_OK;
}

static dppo_status check(const char *kind, const dppo_tensor *out, dppo_dtype dtype) {
    if (out->dtype != dtype)
        return dppo_fail(DPPO_INVALID, "%s: the result is %s, not %s", kind, dppo_dtype_name(dtype),
                         dppo_dtype_name(out->dtype));
    if (!dppo_is_contiguous(out)) return dppo_fail(DPPO_INVALID, "%s: the result must be contiguous", kind);
    return DPPO_OK;
}

/* -- uniform and normal
 * --------------------------------------------------------------------------------------- */

static inline float uniform24(dppo_generator *generator) {
    return (float)(dppo_random32(generator) & 0xffffffu) * 0x1p-24f;
}

static void fill_uniform(dppo_generator *generator, float *out, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        out[i] = uniform24(generator);
}

dppo_status dppo_draw_rand(dppo_generator *generator, dppo_tensor *out) {
    DPPO_TRY(check("rand", out, DPPO_F32));
    bool done;
    DPPO_TRY(replayed(generator, "rand", out, &done));
    if (!done) fill_uniform(generator, dppo_f32(out), dppo_numel(out));
    return recorded(generator, "rand", out);
}

dppo_status dppo_draw_uniform(dppo_generator *generator, dppo_tensor *out, double from, double to) {
    DPPO_TRY(check("uniform", out, DPPO_F32));
    if (!(from <= to) || !isfinite(to - from))
        return dppo_fail(DPPO_INVALID, "uniform: the interval [%g, %g) makes no sense", from, to);
    bool done;
    DPPO_TRY(replayed(generator, "uniform", out, &done));
    if (!done) {
        float low = (float)from, range = (float)to - low;
        float *values = dppo_f32(out);
        int64_t count = dppo_numel(out);
        for (int64_t i = 0; i < count; i++)
            values[i] = fmaf(uniform24(generator), range, low);
    }
    return recorded(generator, "uniform", out);
}

/* One of a Box-Muller pair in double precision; the other waits in the generator. */
static double scalar_normal(dppo_generator *generator) {
    if (generator->has_normal) {
        generator->has_normal = false;
        return generator->normal;
    }
    double u1 = dppo_random_double(generator), u2 = dppo_random_double(generator);
    double radius = sqrt(-2.0 * log(1.0 - u2)), theta = 2.0 * 3.14159265358979323846 * u1;
    generator->normal = radius * sin(theta);
    generator->has_normal = true;
    return radius * cos(theta);
}

/* From 16 values on torch draws all uniforms first and transforms them in blocks; a last incomplete block
 * becomes complete by drawing the last 16 anew. */
static void fill_normal(dppo_generator *generator, float *out, int64_t count, double mean, double std) {
    if (count < DPPO_NORMAL_BLOCK) {
        for (int64_t i = 0; i < count; i++)
            out[i] = (float)fma(scalar_normal(generator), std, mean);
        return;
    }
    fill_uniform(generator, out, count);
    dppo_normal_blocks(out, count, (float)mean, (float)std);
    if (count % DPPO_NORMAL_BLOCK != 0) {
        float *last = out + count - DPPO_NORMAL_BLOCK;
        fill_uniform(generator, last, DPPO_NORMAL_BLOCK);
        dppo_normal_blocks(last, DPPO_NORMAL_BLOCK, (float)mean, (float)std);
    }
}

dppo_status dppo_draw_randn(dppo_generator *generator, dppo_tensor *out) {
    DPPO_TRY(check("randn", out, DPPO_F32));
    bool done;
    DPPO_TRY(replayed(generator, "randn", out, &done));
    if (!done) fill_normal(generator, dppo_f32(out), dppo_numel(out), 0, 1);
    return recorded(generator, "randn", out);
}

dppo_status dppo_draw_normal(dppo_generator *generator, dppo_tensor *out, double mean, double std) {
    DPPO_TRY(check("normal", out, DPPO_F32));
    if (!(std >= 0)) return dppo_fail(DPPO_INVALID, "normal: std %g is not >= 0", std);
    bool done;
    DPPO_TRY(replayed(generator, "normal", out, &done));
    if (!done) fill_normal(generator, dppo_f32(out), dppo_numel(out), mean, std);
    return recorded(generator, "normal", out);
}

dppo_status dppo_draw_np_uniform(dppo_generator *generator, double *value) {
    dppo_tensor out = {.dtype = DPPO_F64, .data = value};
    bool done;
    DPPO_TRY(replayed(generator, "np.uniform", &out, &done));
    if (!done) *value = dppo_random_double(generator);
    return recorded(generator, "np.uniform", &out);
}

/* -- integers
 * --------------------------------------------------------------------------------------------------- */

dppo_status dppo_draw_randint(dppo_generator *generator, dppo_tensor *out, int64_t low, int64_t high) {
    DPPO_TRY(check("randint", out, out->dtype == DPPO_F32 ? DPPO_F32 : DPPO_I64));
    if (low >= high)
        return dppo_fail(DPPO_INVALID, "randint: low %" PRId64 " is not below high %" PRId64, low, high);
    bool done;
    DPPO_TRY(replayed(generator, "randint", out, &done));
    uint64_t range = (uint64_t)high - (uint64_t)low;
    bool wide = range >= (uint64_t)1 << 32;
    int64_t count = done ? 0 : dppo_numel(out);
    for (int64_t i = 0; i < count; i++) {
        uint64_t raw = wide ? dppo_random64(generator) : dppo_random32(generator);
        int64_t value = (int64_t)(raw % range + (uint64_t)low);
        if (out->dtype == DPPO_F32)
            dppo_f32(out)[i] = (float)value;
        else
            dppo_i64(out)[i] = value;
    }
    return recorded(generator, "randint", out);
}

/* Beyond this many torch draws 64 bits a step, by another algorithm. */
static const int64_t RANDPERM_LIMIT = UINT32_MAX / 20;

dppo_status dppo_draw_randperm(dppo_generator *generator, dppo_tensor *out) {
    DPPO_TRY(check("randperm", out, DPPO_I64));
    int64_t n = dppo_numel(out);
    if (out->ndim != 1 || n >= RANDPERM_LIMIT)
        return dppo_fail(DPPO_INVALID,
                         "randperm: %" PRId64 " values in %d dimensions; one dimension below %" PRId64, n,
                         out->ndim, RANDPERM_LIMIT);
    bool done;
    DPPO_TRY(replayed(generator, "randperm", out, &done));
    if (!done) {
        int64_t *p = dppo_i64(out);
        for (int64_t i = 0; i < n; i++)
            p[i] = i;
        for (int64_t i = 0; i < n - 1; i++) {
            int64_t other = i + (int64_t)((uint64_t)dppo_random32(generator) % (uint64_t)(n - i));
            int64_t kept = p[i];
            p[i] = p[other];
            p[other] = kept;
        }
    }
    return recorded(generator, "randperm", out);
}

/* -- multinomial
 * -------------------------------------------------------------------------------------------------- */

/* Inverse transform: cumulative probabilities in float32, normalised, searched with a 53-bit uniform. */
static void sample_with_replacement(dppo_generator *generator, float *weights, int64_t n, int64_t samples,
                                    int64_t *out) {
    float sum = 0;
    for (int64_t j = 0; j < n; j++)
        weights[j] = sum += weights[j];
    for (int64_t j = 0; j < n; j++)
        weights[j] /= sum;
    weights[n - 1] = 1;
    for (int64_t s = 0; s < samples; s++) {
        double u = dppo_random_double(generator);
        int64_t low = 0, high = n;
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            if ((double)weights[middle] < u)
                low = middle + 1;
            else
                high = middle;
        }
        out[s] = low;
    }
}

typedef struct ranked {
    float key;
    int64_t index;
} ranked;

/* Largest key first; the lower index first where keys are equal (categories of probability zero). */
static int by_key(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->key != y->key) return x->key > y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* The `samples` largest of p / q with q ~ Exp(1) (the exponential race). */
static void sample_without_replacement(const float *keys, int64_t n, int64_t samples, ranked *order,
                                       int64_t *out) {
    for (int64_t j = 0; j < n; j++)
        order[j] = (ranked){keys[j], j};
    if (samples == 1) {
        int64_t best = 0;
        for (int64_t j = 1; j < n; j++)
            if (keys[j] > keys[best]) best = j;
        out[0] = best;
        return;
    }
    qsort(order, (size_t)n, sizeof *order, by_key);
    for (int64_t s = 0; s < samples; s++)
        out[s] = order[s].index;
}

/* weights (rows, n) become p / q. The exponentials follow the memory of the probabilities: torch draws them
 * into an empty_like(), which is transposed when its input is. */
static void divide_by_exponentials(dppo_generator *generator, bool transposed, int64_t rows, int64_t n,
                                   float *weights) {
    int64_t outer = transposed ? n : rows, inner = transposed ? rows : n;
    for (int64_t i = 0; i < outer; i++)
        for (int64_t j = 0; j < inner; j++) {
            float *w = transposed ? &weights[j * n + i] : &weights[i * n + j];
            *w /= (float)(-log(1.0 - dppo_random_double(generator)));
        }
}

static dppo_status check_weights(const float *weights, int64_t rows, int64_t n) {
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < n; j++) {
            float w = weights[i * n + j];
            if (!(w >= 0) || isinf(w))
                return dppo_fail(DPPO_INVALID, "multinomial: probability [%" PRId64 ", %" PRId64 "] is %g", i,
                                 j, (double)w);
            sum += (double)w;
        }
        if (!(sum > 0))
            return dppo_fail(DPPO_INVALID, "multinomial: the probabilities of row %" PRId64 " sum to %g", i,
                             sum);
    }
    return DPPO_OK;
}

static void *scratch_of(dppo_generator *generator, size_t size) {
    if (size <= generator->scratch_size) return generator->scratch;
    void *scratch = realloc(generator->scratch, size);
    if (!scratch) return NULL;
    generator->scratch_size = size;
    return generator->scratch = scratch;
}

static dppo_status multinomial(dppo_generator *generator, const dppo_tensor *probabilities, bool replacement,
                               int64_t rows, int64_t n, int64_t samples, int64_t *out) {
    ranked *order = scratch_of(generator, (size_t)n * (sizeof *order + (size_t)rows * sizeof(float)));
    if (!order) return dppo_fail(DPPO_NO_MEMORY, "multinomial: out of memory");
    float *weights = (float *)(order + n);
    dppo_tensor_pack(probabilities, weights);
    DPPO_TRY(check_weights(weights, rows, n));
    if (!replacement) {
        const int64_t *stride = probabilities->stride;
        bool transposed = probabilities->ndim == 2 && stride[0] == 1 && stride[1] == rows && rows > 1;
        divide_by_exponentials(generator, transposed, rows, n, weights);
    }
    for (int64_t i = 0; i < rows; i++) {
        if (replacement)
            sample_with_replacement(generator, weights + i * n, n, samples, out + i * samples);
        else
            sample_without_replacement(weights + i * n, n, samples, order, out + i * samples);
    }
    return DPPO_OK;
}

dppo_status dppo_draw_multinomial(dppo_generator *generator, const dppo_tensor *probabilities,
                                  bool replacement, dppo_tensor *out) {
    DPPO_TRY(check("multinomial", out, DPPO_I64));
    int ndim = probabilities->ndim;
    if (probabilities->dtype != DPPO_F32 || (ndim != 1 && ndim != 2) || out->ndim != ndim ||
        (ndim == 2 && out->shape[0] != probabilities->shape[0]))
        return dppo_fail(DPPO_INVALID,
                         "multinomial: probabilities are float32 (n) or (rows, n), the result alike");
    int64_t rows = ndim == 2 ? probabilities->shape[0] : 1;
    int64_t n = probabilities->shape[ndim - 1], samples = out->shape[ndim - 1];
    if (samples < 1 || n < 1 || (!replacement && samples > n))
        return dppo_fail(DPPO_INVALID, "multinomial: %" PRId64 " samples of %" PRId64 " categories%s",
                         samples, n, replacement ? "" : " without replacement");
    bool done;
    DPPO_TRY(replayed(generator, "multinomial", out, &done));
    if (!done) DPPO_TRY(multinomial(generator, probabilities, replacement, rows, n, samples, dppo_i64(out)));
    return recorded(generator, "multinomial", out);
}
