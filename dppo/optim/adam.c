/* Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019), rounding where libtorch's chain of
 * tensor operations rounds: each of its steps, in the order of the comments, is one line of update(). */
#include "optim/optim.h"

#include "base/pool.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Elements a worker takes at a time: 4 arrays of 32 KiB stay in its cache. */
enum { CHUNK = 8192 };

typedef struct slot {
    dppo_tensor *parameter;      /* borrowed */
    float *exp_avg, *exp_avg_sq; /* (numel), parts of `memory` */
    int64_t step;
    int64_t first_chunk;          /* of this slot, in the sequence of all slots' chunks */
    float mean_scale, root_scale; /* of the current step: -lr / (1 - beta1^t), sqrt(1 - beta2^t) */
} slot;

struct dppo_optimizer {
    dppo_optimizer_kind kind;
    dppo_optimizer_options options;
    size_t count;
    slot *slots;
    int64_t chunks;
    float *memory;
};

dppo_optimizer_options dppo_optimizer_defaults(dppo_optimizer_kind kind) {
    return (dppo_optimizer_options){1e-3, 0.9, 0.999, 1e-8, kind == DPPO_ADAMW ? 1e-2 : 0};
}

dppo_optimizer *dppo_optimizer_new(dppo_optimizer_kind kind, dppo_optimizer_options options, size_t count,
                                   dppo_tensor *const *parameters) {
    dppo_optimizer *optimizer = calloc(1, sizeof *optimizer);
    if (!optimizer) return NULL;
    int64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += dppo_numel(parameters[i]);
    *optimizer = (dppo_optimizer){.kind = kind,
                                  .options = options,
                                  .count = count,
                                  .slots = calloc(count + 1, sizeof(slot)),
                                  .memory = calloc(2 * (size_t)total + 1, sizeof(float))};
    if (!optimizer->slots || !optimizer->memory) {
        dppo_optimizer_free(optimizer);
        return NULL;
    }
    float *next = optimizer->memory;
    for (size_t i = 0; i < count; i++) {
        int64_t numel = dppo_numel(parameters[i]);
        optimizer->slots[i] = (slot){.parameter = parameters[i],
                                     .exp_avg = next,
                                     .exp_avg_sq = next + numel,
                                     .first_chunk = optimizer->chunks};
        next += 2 * numel;
        optimizer->chunks += (numel + CHUNK - 1) / CHUNK;
    }
    return optimizer;
}

void dppo_optimizer_free(dppo_optimizer *optimizer) {
    if (!optimizer) return;
    free(optimizer->memory);
    free(optimizer->slots);
    free(optimizer);
}

/* -- the step
 * ------------------------------------------------------------------------------------------------------- */

typedef struct coefficients {
    float beta1, one_minus_beta1, beta2, one_minus_beta2, eps;
    float decay; /* AdamW: p *= 1 - lr weight_decay */
    float l2;    /* Adam: g += weight_decay p */
    float root_scale, mean_scale;
} coefficients;

enum { BLOCK = 64 };

#define INLINE __attribute__((always_inline)) static inline

/* A block's values, in arrays of a fixed size that cannot overlap: what the compiler vectorises. */
typedef struct block {
    float p[BLOCK], g[BLOCK], m[BLOCK], v[BLOCK];
} block;

INLINE void update_block(const coefficients *c, block *b) {
    const coefficients k = *c;
    for (int i = 0; i < BLOCK; i++) {
        float x = b->p[i] * k.decay;           /* param.mul_(1 - lr * weight_decay) */
        float added = fmaf(x, k.l2, b->g[i]);  /* grad.add(param, weight_decay) */
        float g = k.l2 != 0 ? added : b->g[i]; /*     (without one, -0 stays -0) */
        float m =
            fmaf(g, k.one_minus_beta1, b->m[i] * k.beta1); /* exp_avg.mul_(beta1).add_(grad, 1 - beta1) */
        float scaled = k.one_minus_beta2 * g;              /* exp_avg_sq.mul_(beta2) */
        float v = fmaf(scaled, g, b->v[i] * k.beta2);      /*     .addcmul_(grad, grad, 1 - beta2) */
        float denom = sqrtf(v) / k.root_scale + k.eps;     /* (exp_avg_sq.sqrt() / ..).add_(eps) */
        b->p[i] = x + k.mean_scale * m / denom;            /* param.addcdiv_(exp_avg, denom, -step_size) */
        b->m[i] = m;
        b->v[i] = v;
    }
}

INLINE void update(const coefficients *c, int64_t n, float *p, const float *gradient, float *m, float *v) {
    block b = {0};
    for (int64_t i = 0; i < n; i += BLOCK) {
        size_t bytes = (size_t)(n - i < BLOCK ? n - i : BLOCK) * sizeof(float);
        memcpy(b.p, p + i, bytes);
        memcpy(b.g, gradient + i, bytes);
        memcpy(b.m, m + i, bytes);
        memcpy(b.v, v + i, bytes);
        update_block(c, &b);
        memcpy(p + i, b.p, bytes);
        memcpy(m + i, b.m, bytes);
        memcpy(v + i, b.v, bytes);
    }
}

static void update_plain(const coefficients *c, int64_t n, float *p, const float *g, float *m, float *v) {
    update(c, n, p, g, m, v);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void update_avx2(const coefficients *c, int64_t n, float *p,
                                                            const float *g, float *m, float *v) {
    update(c, n, p, g, m, v);
}

static bool have_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
static bool have_avx2(void) {
    return false;
}
#define update_avx2 update_plain
#endif

static coefficients coefficients_of(const dppo_optimizer *optimizer, const slot *s) {
    const dppo_optimizer_options *o = &optimizer->options;
    bool decoupled = optimizer->kind == DPPO_ADAMW;
    return (coefficients){
        .beta1 = (float)o->beta1,
        .one_minus_beta1 = (float)(1 - o->beta1),
        .beta2 = (float)o->beta2,
        .one_minus_beta2 = (float)(1 - o->beta2),
        .eps = (float)o->eps,
        .decay = decoupled ? (float)(1 - o->lr * o->weight_decay) : 1,
        .l2 = decoupled ? 0 : (float)o->weight_decay,
        .root_scale = s->root_scale,
        .mean_scale = s->mean_scale,
    };
}

static void update_chunks(void *context, int64_t begin, int64_t end) {
    const dppo_optimizer *optimizer = context;
    bool fast = have_avx2();
    size_t i = 0;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        while (i + 1 < optimizer->count && optimizer->slots[i + 1].first_chunk <= chunk)
            i++;
        const slot *s = &optimizer->slots[i];
        if (!s->parameter->grad) continue;
        int64_t first = (chunk - s->first_chunk) * CHUNK, n = dppo_numel(s->parameter) - first;
        if (n > CHUNK) n = CHUNK;
        coefficients c = coefficients_of(optimizer, s);
        (fast ? update_avx2 : update_plain)(&c, n, dppo_f32(s->parameter) + first,
                                            dppo_f32(s->parameter->grad) + first, s->exp_avg + first,
                                            s->exp_avg_sq + first);
    }
}

void dppo_optimizer_step(dppo_optimizer *optimizer) {
    const dppo_optimizer_options *o = &optimizer->options;
    for (size_t i = 0; i < optimizer->count; i++) {
        slot *s = &optimizer->slots[i];
        if (!s->parameter->grad) continue;
        s->step++;
        s->mean_scale = (float)-(o->lr / (1 - pow(o->beta1, (double)s->step)));
        s->root_scale = (float)sqrt(1 - pow(o->beta2, (double)s->step));
    }
    dppo_parallel_for(optimizer->chunks, 1, update_chunks, optimizer);
}

void dppo_optimizer_zero_grad(dppo_optimizer *optimizer) {
    for (size_t i = 0; i < optimizer->count; i++) {
        dppo_tensor *parameter = optimizer->slots[i].parameter;
        if (parameter->grad) memset(parameter->grad->data, 0, (size_t)dppo_numel(parameter) * sizeof(float));
    }
}

void dppo_optimizer_set_lr(dppo_optimizer *optimizer, double lr) {
    optimizer->options.lr = lr;
}

double dppo_optimizer_lr(const dppo_optimizer *optimizer) {
    return optimizer->options.lr;
}

/* -- state
 * ----------------------------------------------------------------------------------------------------------
 */

enum { MAX_NAME = 512 };

static dppo_status name_of(char *name, const char *prefix, size_t index, const char *field) {
    int written = snprintf(name, MAX_NAME, "%s%zu/%s", prefix, index, field);
    if (written < 0 || written >= MAX_NAME)
        return dppo_fail(DPPO_INVALID, "optimizer: prefix '%.40s...' is too long", prefix);
    return DPPO_OK;
}

/* One of a slot's moments as a contiguous tensor of the parameter's shape. */
static dppo_tensor moment(const slot *s, float *values) {
    dppo_tensor tensor = {.dtype = DPPO_F32, .ndim = s->parameter->ndim, .data = values};
    int64_t stride = 1;
    for (int d = tensor.ndim - 1; d >= 0; d--) {
        tensor.shape[d] = s->parameter->shape[d];
        tensor.stride[d] = stride;
        stride *= tensor.shape[d];
    }
    return tensor;
}

dppo_status dppo_optimizer_save(const dppo_optimizer *optimizer, const char *prefix, dppo_named *into) {
    char name[MAX_NAME];
    for (size_t i = 0; i < optimizer->count; i++) {
        const slot *s = &optimizer->slots[i];
        dppo_tensor mean = moment(s, s->exp_avg), square = moment(s, s->exp_avg_sq);
        DPPO_TRY(name_of(name, prefix, i, "step"));
        DPPO_TRY(dppo_named_put_i64(into, name, s->step));
        DPPO_TRY(name_of(name, prefix, i, "exp_avg"));
        DPPO_TRY(dppo_named_put(into, name, &mean));
        DPPO_TRY(name_of(name, prefix, i, "exp_avg_sq"));
        DPPO_TRY(dppo_named_put(into, name, &square));
    }
    snprintf(name, sizeof name, "%slr", prefix);
    return dppo_named_put_f64(into, name, optimizer->options.lr);
}

static dppo_status find_moment(const dppo_named *from, const char *prefix, size_t index, const char *field,
                               const dppo_tensor *parameter, dppo_tensor **found) {
    char name[MAX_NAME];
    DPPO_TRY(name_of(name, prefix, index, field));
    DPPO_TRY(dppo_named_require(from, name, DPPO_F32, found));
    if (dppo_same_shape(*found, parameter)) return DPPO_OK;
    char have[128], want[128];
    return dppo_fail(DPPO_INVALID, "%s has shape %s, the parameter %s", name,
                     dppo_shape_text((*found)->ndim, (*found)->shape, have, sizeof have),
                     dppo_shape_text(parameter->ndim, parameter->shape, want, sizeof want));
}

/* Once to check everything and once to write. */
static dppo_status load_slots(dppo_optimizer *optimizer, const char *prefix, const dppo_named *from,
                              bool write) {
    char name[MAX_NAME];
    for (size_t i = 0; i < optimizer->count; i++) {
        slot *s = &optimizer->slots[i];
        dppo_tensor *step, *mean, *square;
        DPPO_TRY(name_of(name, prefix, i, "step"));
        DPPO_TRY(dppo_named_require(from, name, DPPO_I64, &step));
        if (dppo_numel(step) != 1 || dppo_i64(step)[0] < 0)
            return dppo_fail(DPPO_INVALID, "%s is not a count of steps", name);
        DPPO_TRY(find_moment(from, prefix, i, "exp_avg", s->parameter, &mean));
        DPPO_TRY(find_moment(from, prefix, i, "exp_avg_sq", s->parameter, &square));
        if (!write) continue;
        s->step = dppo_i64(step)[0];
        dppo_tensor_pack(mean, s->exp_avg);
        dppo_tensor_pack(square, s->exp_avg_sq);
    }
    return DPPO_OK;
}

dppo_status dppo_optimizer_load(dppo_optimizer *optimizer, const char *prefix, const dppo_named *from) {
    char name[MAX_NAME], beyond[MAX_NAME];
    dppo_tensor *lr;
    DPPO_TRY(name_of(beyond, prefix, optimizer->count, "step"));
    snprintf(name, sizeof name, "%slr", prefix);
    DPPO_TRY(dppo_named_require(from, name, DPPO_F64, &lr));
    if (dppo_numel(lr) != 1) return dppo_fail(DPPO_INVALID, "%s is not one number", name);
    if (dppo_named_get(from, beyond))
        return dppo_fail(DPPO_INVALID, "%s: the optimizer has only %zu parameters", beyond, optimizer->count);
    DPPO_TRY(load_slots(optimizer, prefix, from, false));
    optimizer->options.lr = dppo_f64(lr)[0];
    return load_slots(optimizer, prefix, from, true);
}
