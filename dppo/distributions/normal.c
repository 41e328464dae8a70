#include "distributions/normal.h"

#include "autograd/dims.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

dppo_tensor *dppo_normal_log_prob(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, dppo_tensor *value) {
    dppo_tensor *var = dppo_pow_scalar(cx, scale, 2);
    dppo_tensor *log_scale = dppo_log(cx, scale);
    dppo_tensor *square = dppo_neg(cx, dppo_pow_scalar(cx, dppo_sub(cx, value, loc), 2));
    dppo_tensor *exponent = dppo_div(cx, square, dppo_mul_scalar(cx, var, 2));
    return dppo_sub_scalar(cx, dppo_sub(cx, exponent, log_scale), log(sqrt(2 * pi)));
}

dppo_tensor *dppo_normal_entropy(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale) {
    if (!loc || !scale) return NULL;
    if (!dppo_same_shape(loc, scale) && dppo_numel(scale) < dppo_numel(loc))
        scale = dppo_expand_as(cx, scale, loc);
    return dppo_add_scalar(cx, dppo_log(cx, scale), 0.5 + 0.5 * log(2 * pi));
}

dppo_tensor *dppo_normal_cdf(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, dppo_tensor *value) {
    dppo_tensor *distance = dppo_mul(cx, dppo_sub(cx, value, loc), dppo_rdiv_scalar(cx, scale, 1));
    dppo_tensor *tail = dppo_erf(cx, dppo_div_scalar(cx, distance, sqrt(2)));
    return dppo_mul_scalar(cx, dppo_add_scalar(cx, tail, 1), 0.5);
}

/* -- draws ------------------------------------------------------------------------------------------------
 */

static dppo_tensor *standard(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, int sample_ndim,
                             const int64_t *sample_shape) {
    if (!loc || !scale) return NULL;
    int64_t shape[2 * DPPO_MAX_DIMS];
    int ndim;
    if (sample_ndim < 0 || sample_ndim > DPPO_MAX_DIMS)
        return dppo_context_fail(cx, DPPO_INVALID, "Normal: a sample shape of %d dimensions", sample_ndim);
    for (int i = 0; i < sample_ndim; i++)
        shape[i] = sample_shape[i];
    if (!dppo_broadcast_shape(cx, "Normal", loc, scale, &ndim, shape + sample_ndim)) return NULL;
    if (sample_ndim + ndim > DPPO_MAX_DIMS)
        return dppo_context_fail(cx, DPPO_INVALID, "Normal: a sample of %d dimensions", sample_ndim + ndim);
    return dppo_randn(cx, sample_ndim + ndim, shape);
}

/* torch.normal(): the draw is scaled, then shifted, each rounded. */
dppo_tensor *dppo_normal_sample(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, int sample_ndim,
                                const int64_t *sample_shape) {
    bool enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *draw = standard(cx, loc, scale, sample_ndim, sample_shape);
    dppo_tensor *result = dppo_add(cx, dppo_mul(cx, draw, scale), loc);
    (void)dppo_set_grad_enabled(cx, enabled);
    return result;
}

dppo_tensor *dppo_normal_rsample(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, int sample_ndim,
                                 const int64_t *sample_shape) {
    dppo_tensor *draw = standard(cx, loc, scale, sample_ndim, sample_shape);
    return dppo_add(cx, loc, dppo_mul(cx, draw, scale));
}
