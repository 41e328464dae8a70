/* Creation of tensors, and random ones from the context's generator. Nothing here has a gradient. */
#include "autograd/functions.h"

#include <math.h>
#include <string.h>

dppo_tensor *dppo_full(dppo_cx *cx, dppo_dtype dtype, int ndim, const int64_t *shape, double value) {
    dppo_tensor *out = dppo_result(cx, dtype, ndim, shape);
    if (!out) return NULL;
    int64_t count = dppo_numel(out);
    for (int64_t i = 0; i < count; i++) {
        switch (dtype) {
        case DPPO_F32:
            dppo_f32(out)[i] = (float)value;
            break;
        case DPPO_F64:
            dppo_f64(out)[i] = value;
            break;
        case DPPO_I64:
            dppo_i64(out)[i] = (int64_t)value;
            break;
        case DPPO_BOOL:
            dppo_bool(out)[i] = value != 0;
            break;
        }
    }
    return out;
}

dppo_tensor *dppo_zeros(dppo_cx *cx, dppo_dtype dtype, int ndim, const int64_t *shape) {
    dppo_tensor *out = dppo_result(cx, dtype, ndim, shape);
    if (out) memset(out->data, 0, (size_t)dppo_numel(out) * dppo_dtype_size(dtype));
    return out;
}

dppo_tensor *dppo_ones(dppo_cx *cx, dppo_dtype dtype, int ndim, const int64_t *shape) {
    return dppo_full(cx, dtype, ndim, shape, 1.0);
}

dppo_tensor *dppo_full_like(dppo_cx *cx, dppo_tensor *input, double value) {
    return input ? dppo_full(cx, input->dtype, input->ndim, input->shape, value) : NULL;
}

dppo_tensor *dppo_zeros_like(dppo_cx *cx, dppo_tensor *input) {
    return input ? dppo_zeros(cx, input->dtype, input->ndim, input->shape) : NULL;
}

dppo_tensor *dppo_ones_like(dppo_cx *cx, dppo_tensor *input) {
    return dppo_full_like(cx, input, 1.0);
}

/* libtorch counts float32 ranges eight at a time, from a first that is rounded, while sixteen or more remain;
 * the first of i's eight, or i itself in the rest. */
static int64_t first_of_eight(int64_t i, int64_t count) {
    return i < count / 16 * 16 ? i / 8 * 8 : i;
}

static float arange_value(double start, double step, int64_t i, int64_t count) {
    int64_t first = first_of_eight(i, count);
    float base = (float)(start + step * (double)first);
    return i == first ? base : (float)((double)base + (double)(i - first) * step);
}

dppo_tensor *dppo_arange(dppo_cx *cx, dppo_dtype dtype, double start, double end, double step) {
    if (step == 0 || !isfinite(start) || !isfinite(end) || !isfinite(step))
        return dppo_context_fail(cx, DPPO_INVALID, "arange: start %g, end %g, step %g", start, end, step);
    if ((end - start) * step < 0)
        return dppo_context_fail(cx, DPPO_INVALID, "arange: step %g leads away from %g to %g", step, start,
                                 end);
    int64_t count = (int64_t)ceil((end - start) / step);
    dppo_tensor *out = dppo_result(cx, dtype, 1, &count);
    for (int64_t i = 0; out && i < count; i++) {
        double value = start + step * (double)i;
        switch (dtype) {
        case DPPO_F32:
            dppo_f32(out)[i] = arange_value(start, step, i, count);
            break;
        case DPPO_F64:
            dppo_f64(out)[i] = value;
            break;
        case DPPO_I64:
            dppo_i64(out)[i] = (int64_t)start + (int64_t)step * i;
            break;
        case DPPO_BOOL:
            dppo_bool(out)[i] = value != 0;
            break;
        }
    }
    return out;
}

/* The first half counts up from start and the second half down from end, by eights; the first of eight is
 * rounded once. */
dppo_tensor *dppo_linspace(dppo_cx *cx, double start, double end, int64_t steps) {
    if (steps < 0) return dppo_context_fail(cx, DPPO_INVALID, "linspace: steps %lld", (long long)steps);
    dppo_tensor *out = dppo_result(cx, DPPO_F32, 1, &steps);
    if (!out) return NULL;
    float first = (float)start, last = (float)end;
    float step = steps > 1 ? (last - first) / (float)(steps - 1) : 0;
    for (int64_t i = 0; i < steps; i++) {
        int64_t at = first_of_eight(i, steps);
        float base = at < steps / 2 || steps == 1 ? fmaf(step, (float)at, first)
                                                  : fmaf(-step, (float)(steps - at - 1), last);
        dppo_f32(out)[i] = base + (float)(i - at) * step;
    }
    return out;
}

dppo_tensor *dppo_from_f32(dppo_cx *cx, int ndim, const int64_t *shape, const float *values) {
    dppo_tensor *out = dppo_result(cx, DPPO_F32, ndim, shape);
    if (out) memcpy(out->data, values, (size_t)dppo_numel(out) * sizeof *values);
    return out;
}

dppo_tensor *dppo_from_i64(dppo_cx *cx, int ndim, const int64_t *shape, const int64_t *values) {
    dppo_tensor *out = dppo_result(cx, DPPO_I64, ndim, shape);
    if (out) memcpy(out->data, values, (size_t)dppo_numel(out) * sizeof *values);
    return out;
}

dppo_tensor *dppo_scalar(dppo_cx *cx, double value) {
    return dppo_full(cx, DPPO_F32, 0, NULL, value);
}

/* -- random sampling
 * ----------------------------------------------------------------------------------------- */

/* Makes a failure of the generator the context's. */
static dppo_tensor *drawn(dppo_cx *cx, dppo_tensor *out, dppo_status status) {
    return status == DPPO_OK ? out : dppo_context_fail(cx, status, "%s", dppo_message());
}

static dppo_tensor *to_draw(dppo_cx *cx, dppo_dtype dtype, int ndim, const int64_t *shape) {
    if (!dppo_context_generator(cx)) return dppo_context_fail(cx, DPPO_INVALID, "a draw without a generator");
    return dppo_result(cx, dtype, ndim, shape);
}

dppo_tensor *dppo_randn(dppo_cx *cx, int ndim, const int64_t *shape) {
    dppo_tensor *out = to_draw(cx, DPPO_F32, ndim, shape);
    return out ? drawn(cx, out, dppo_draw_randn(dppo_context_generator(cx), out)) : NULL;
}

dppo_tensor *dppo_rand(dppo_cx *cx, int ndim, const int64_t *shape) {
    dppo_tensor *out = to_draw(cx, DPPO_F32, ndim, shape);
    return out ? drawn(cx, out, dppo_draw_rand(dppo_context_generator(cx), out)) : NULL;
}

dppo_tensor *dppo_randn_like(dppo_cx *cx, dppo_tensor *input) {
    return input ? dppo_randn(cx, input->ndim, input->shape) : NULL;
}

dppo_tensor *dppo_randint(dppo_cx *cx, int64_t low, int64_t high, int ndim, const int64_t *shape) {
    if (high <= low)
        return dppo_context_fail(cx, DPPO_INVALID, "randint: high %lld, low %lld", (long long)high,
                                 (long long)low);
    dppo_tensor *out = to_draw(cx, DPPO_I64, ndim, shape);
    return out ? drawn(cx, out, dppo_draw_randint(dppo_context_generator(cx), out, low, high)) : NULL;
}

dppo_tensor *dppo_randperm(dppo_cx *cx, int64_t n) {
    if (n < 0) return dppo_context_fail(cx, DPPO_INVALID, "randperm: n %lld", (long long)n);
    dppo_tensor *out = to_draw(cx, DPPO_I64, 1, &n);
    return out ? drawn(cx, out, dppo_draw_randperm(dppo_context_generator(cx), out)) : NULL;
}

dppo_tensor *dppo_multinomial(dppo_cx *cx, dppo_tensor *input, int64_t num_samples, bool replacement) {
    if (!input) return NULL;
    if (input->ndim < 1 || input->ndim > 2 || num_samples <= 0)
        return dppo_context_fail(cx, DPPO_INVALID, "multinomial: %d dims, %lld samples", input->ndim,
                                 (long long)num_samples);
    int64_t shape[2] = {input->shape[0], num_samples};
    if (input->ndim == 1) shape[0] = num_samples;
    dppo_tensor *out = to_draw(cx, DPPO_I64, input->ndim, shape);
    if (!out) return NULL;
    /* As it lies in memory: the order of the draws follows it. */
    return drawn(cx, out, dppo_draw_multinomial(dppo_context_generator(cx), input, replacement, out));
}
