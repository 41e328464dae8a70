#include "algorithms/temperature.h"

#include "models/offpolicy_gaussian.h"

#include <math.h>
#include <stdio.h>

dppo_temperature dppo_temperature_new(double init_temperature, double target_entropy, double lr) {
    return (dppo_temperature){.log_alpha = log(init_temperature), .target_entropy = target_entropy, .lr = lr};
}

double dppo_temperature_alpha(const dppo_temperature *temperature) {
    return exp(temperature->log_alpha);
}

/* Adam with its default betas and epsilon on one float64, rounding where libtorch's operations round (as
 * optim/adam.c does for float32). */
static void adam_step(dppo_temperature *t, double gradient) {
    const double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    t->step++;
    t->exp_avg = fma(gradient, 1 - beta1, t->exp_avg * beta1);
    t->exp_avg_sq = fma((1 - beta2) * gradient, gradient, t->exp_avg_sq * beta2);
    double step_size = t->lr / (1 - pow(beta1, (double)t->step));
    double denominator = sqrt(t->exp_avg_sq) / sqrt(1 - pow(beta2, (double)t->step)) + eps;
    t->log_alpha += -step_size * t->exp_avg / denominator;
}

/* The loss sees alpha in float32, as torch does of a rank-0 float64 that meets a float32 vector; its slope
 * goes back to float64: dL/d log alpha = dL/d alpha exp(log alpha). */
dppo_status dppo_temperature_update(dppo_cx *cx, dppo_temperature *temperature, dppo_module *model,
                                    dppo_cond obs, float *loss) {
    double alpha = dppo_temperature_alpha(temperature);
    dppo_tensor *at = dppo_scalar(cx, alpha), *slope;
    if (!at) return dppo_context_status(cx);
    bool grad_enabled = dppo_set_grad_enabled(cx, true);
    at->requires_grad = true;
    dppo_tensor *value = dppo_sac_gaussian_loss_temperature(cx, model, obs, at, temperature->target_entropy);
    dppo_status status = dppo_context_status(cx);
    if (status == DPPO_OK) status = dppo_grad(cx, 1, &value, (dppo_tensor *[]){NULL}, 1, &at, false, &slope);
    dppo_set_grad_enabled(cx, grad_enabled);
    DPPO_TRY(status);
    *loss = (float)dppo_item(cx, value);
    adam_step(temperature, dppo_item(cx, slope) * alpha);
    return dppo_context_status(cx);
}

#define PREFIXED(name) (snprintf(path, sizeof path, "%s%s", prefix, name), path)

dppo_status dppo_temperature_save(const dppo_temperature *temperature, const char *prefix, dppo_named *into) {
    char path[256];
    DPPO_TRY(dppo_named_put_f64(into, PREFIXED("log_alpha"), temperature->log_alpha));
    DPPO_TRY(dppo_named_put_i64(into, PREFIXED("step"), temperature->step));
    DPPO_TRY(dppo_named_put_f64(into, PREFIXED("exp_avg"), temperature->exp_avg));
    return dppo_named_put_f64(into, PREFIXED("exp_avg_sq"), temperature->exp_avg_sq);
}

dppo_status dppo_temperature_load(dppo_temperature *temperature, const char *prefix, const dppo_named *from) {
    char path[256];
    dppo_tensor *log_alpha, *step, *exp_avg, *exp_avg_sq;
    DPPO_TRY(dppo_named_require(from, PREFIXED("log_alpha"), DPPO_F64, &log_alpha));
    DPPO_TRY(dppo_named_require(from, PREFIXED("step"), DPPO_I64, &step));
    DPPO_TRY(dppo_named_require(from, PREFIXED("exp_avg"), DPPO_F64, &exp_avg));
    DPPO_TRY(dppo_named_require(from, PREFIXED("exp_avg_sq"), DPPO_F64, &exp_avg_sq));
    temperature->log_alpha = *dppo_f64(log_alpha);
    temperature->step = *dppo_i64(step);
    temperature->exp_avg = *dppo_f64(exp_avg);
    temperature->exp_avg_sq = *dppo_f64(exp_avg_sq);
    return DPPO_OK;
}
