#include "algorithms/regression_weights.h"

#include "algorithms/numpy.h"

#include <math.h>

static dppo_tensor *weights(dppo_cx *cx, dppo_tensor *x, double beta, double max_weight) {
    return dppo_clamp(cx, dppo_exp(cx, dppo_mul_scalar(cx, x, beta)), -INFINITY, max_weight);
}

dppo_tensor *dppo_advantage_weights(dppo_cx *cx, dppo_tensor *advantages, double beta, double max_weight) {
    dppo_tensor *centered = dppo_sub(cx, advantages, dppo_mean(cx, advantages, 0, NULL, false));
    dppo_tensor *spread = dppo_add_scalar(cx, dppo_std(cx, advantages, 0, NULL, 1, false), 1e-6);
    return weights(cx, dppo_div(cx, centered, spread), beta, max_weight);
}

dppo_tensor *dppo_reward_weights(dppo_cx *cx, int64_t count, const double *returns, double beta,
                                 double max_weight) {
    double mean = dppo_np_mean(returns, count), spread = sqrt(dppo_np_var(returns, count)) + 1e-3;
    dppo_tensor *x = dppo_result(cx, DPPO_F32, 1, &count);
    for (int64_t i = 0; x && i < count; i++)
        dppo_f32(x)[i] = (float)((returns[i] - mean) / spread);
    return weights(cx, x, beta, max_weight);
}
