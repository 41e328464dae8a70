#include "distributions/normal.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

dppo_tensor *dppo_normal_log_prob(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, dppo_tensor *value) {
    dppo_tensor *var = dppo_pow_scalar(cx, scale, 2);
    dppo_tensor *log_scale = dppo_log(cx, scale);
    dppo_tensor *square = dppo_pow_scalar(cx, dppo_sub(cx, value, loc), 2);
    dppo_tensor *exponent = dppo_div(cx, dppo_neg(cx, square), dppo_mul_scalar(cx, var, 2));
    return dppo_sub_scalar(cx, dppo_sub(cx, exponent, log_scale), log(sqrt(2 * pi)));
}

dppo_tensor *dppo_normal_entropy(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale) {
    if (!loc || !scale) return NULL;
    if (!dppo_same_shape(loc, scale) && dppo_numel(scale) < dppo_numel(loc))
        scale = dppo_expand_as(cx, scale, loc);
    return dppo_add_scalar(cx, dppo_log(cx, scale), 0.5 + 0.5 * log(2 * pi));
}
