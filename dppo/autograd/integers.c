#include "autograd/integers.h"

#include "autograd/dims.h"

#include <math.h>

static int rank_of(dppo_dtype dtype) {
    return dtype == DPPO_BOOL ? 0 : dtype == DPPO_I64 ? 1 : dtype == DPPO_F32 ? 2 : 3;
}

dppo_dtype dppo_promoted(dppo_dtype a, dppo_dtype b) {
    return rank_of(a) >= rank_of(b) ? a : b;
}

static bool is_integer(const dppo_tensor *tensor) {
    return tensor->dtype == DPPO_I64 || tensor->dtype == DPPO_BOOL;
}

/* Whole, or no bound at all. */
static bool whole(double bound) {
    return isinf(bound) || bound == floor(bound);
}

bool dppo_stays_integer(dppo_map_op op, dppo_tensor *const *inputs, double p, double q) {
    for (int k = 0; k < dppo_kernel_map_arity(op); k++)
        if (!inputs[k] || !is_integer(inputs[k])) return false;
    switch (op) {
    case DPPO_MAP_CLAMP:
        return whole(p) && whole(q);
    case DPPO_MAP_NEG:
    case DPPO_MAP_ABS:
    case DPPO_MAP_SIGN:
    case DPPO_MAP_ROUND:
    case DPPO_MAP_RELU:
    case DPPO_MAP_ADD:
    case DPPO_MAP_SUB:
    case DPPO_MAP_MUL:
    case DPPO_MAP_MAXIMUM:
    case DPPO_MAP_MINIMUM:
        return true;
    default:
        return false;
    }
}

dppo_tensor *dppo_float_operand(dppo_cx *cx, dppo_map_op op, dppo_tensor *input) {
    if (!input || !is_integer(input)) return input;
    switch (op) {
    case DPPO_MAP_ELU:
    case DPPO_MAP_GELU:
    case DPPO_MAP_MISH:
    case DPPO_MAP_SOFTPLUS:
        return input;
    default:
        return dppo_to_dtype(cx, input, DPPO_F32);
    }
}

static int64_t wrapped(uint64_t value) {
    return (int64_t)value;
}

static int64_t bounded(int64_t x, double low, double high) {
    if (isfinite(low) && x < (int64_t)low) x = (int64_t)low;
    if (isfinite(high) && x > (int64_t)high) x = (int64_t)high;
    return x;
}

static int64_t apply(dppo_map_op op, int64_t a, int64_t b, double p, double q) {
    switch (op) {
    case DPPO_MAP_NEG:
        return wrapped(0 - (uint64_t)a);
    case DPPO_MAP_ABS:
        return a < 0 ? wrapped(0 - (uint64_t)a) : a;
    case DPPO_MAP_SIGN:
        return (a > 0) - (a < 0);
    case DPPO_MAP_RELU:
        return a > 0 ? a : 0;
    case DPPO_MAP_CLAMP:
        return bounded(a, p, q);
    case DPPO_MAP_ADD:
        return wrapped((uint64_t)a + (uint64_t)b);
    case DPPO_MAP_SUB:
        return wrapped((uint64_t)a - (uint64_t)b);
    case DPPO_MAP_MUL:
        return wrapped((uint64_t)a * (uint64_t)b);
    case DPPO_MAP_MAXIMUM:
        return a > b ? a : b;
    case DPPO_MAP_MINIMUM:
        return a < b ? a : b;
    default:
        return a; /* round */
    }
}

dppo_tensor *dppo_integer_map(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs,
                              double p, double q) {
    int arity = dppo_kernel_map_arity(op), ndim = inputs[0]->ndim;
    int64_t shape[DPPO_MAX_DIMS];
    const dppo_tensor *in[2] = {NULL, NULL}, *last = inputs[arity - 1];
    if (!dppo_broadcast_shape(cx, function, inputs[0], last, &ndim, shape)) return NULL;
    for (int k = 0; k < arity; k++) {
        dppo_tensor *wide = dppo_expand(cx, dppo_to_dtype(cx, inputs[k], DPPO_I64), ndim, shape);
        in[k] = dppo_contiguous(cx, wide);
        if (!in[k]) return NULL;
    }
    dppo_tensor *out = dppo_result(cx, DPPO_I64, ndim, shape);
    for (int64_t i = 0, n = out ? dppo_numel(out) : 0; i < n; i++)
        dppo_i64(out)[i] = apply(op, dppo_i64(in[0])[i], in[1] ? dppo_i64(in[1])[i] : 0, p, q);
    return out;
}

int64_t dppo_integer_extreme(const int64_t *x, int64_t n, bool largest) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (largest ? x[i] > x[best] : x[i] < x[best]) best = i;
    return best;
}

int64_t dppo_integer_product(const int64_t *x, int64_t n) {
    uint64_t product = 1;
    for (int64_t i = 0; i < n; i++)
        product *= (uint64_t)x[i];
    return wrapped(product);
}
