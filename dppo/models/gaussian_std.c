#include "models/build.h"
#include "models/parts.h"

#include <math.h>

/* A parameter holding log(std^2), in float32 as torch.log takes it. */
static dppo_status add_logvar(dppo_module *owner, const char *name, int ndim, int64_t size, double std,
                              dppo_tensor **added) {
    dppo_context *cx = dppo_context_new(NULL);
    if (!cx) return dppo_fail(DPPO_NO_MEMORY, "no memory for %s", name);
    float logvar = (float)dppo_item(cx, dppo_log(cx, dppo_scalar(cx, pow(std, 2))));
    dppo_status status = dppo_context_status(cx);
    dppo_context_free(cx);
    DPPO_TRY(status);
    *added = dppo_module_parameter(owner, name, ndim, &size);
    if (!*added) return DPPO_NO_MEMORY;
    for (int64_t i = 0; i < dppo_numel(*added); i++)
        dppo_f32(*added)[i] = logvar;
    return DPPO_OK;
}

dppo_status dppo_add_gaussian_std(dppo_module *owner, const dppo_config *config, dppo_gaussian_std *std) {
    bool learned = false;
    double min = 0, max = 0;
    DPPO_TRY(dppo_config_int(config, "action_dim", &std->action_dim));
    DPPO_TRY(dppo_config_int(config, "horizon_steps", &std->horizon_steps));
    DPPO_TRY(dppo_config_float_or_none(config, "fixed_std", NAN, &std->fixed_std));
    DPPO_TRY(dppo_config_bool_or(config, "learn_fixed_std", false, &learned));
    DPPO_TRY(dppo_config_float_or(config, "std_min", 0.01, &min));
    DPPO_TRY(dppo_config_float_or(config, "std_max", 1, &max));
    if (learned && isnan(std->fixed_std))
        return dppo_fail(DPPO_INVALID, "learn_fixed_std: needs fixed_std to start from");
    int64_t count = std->action_dim * (std->num_modes > 0 ? std->num_modes : 1);
    if (learned) DPPO_TRY(add_logvar(owner, "logvar", 1, count, std->fixed_std, &std->logvar));
    DPPO_TRY(add_logvar(owner, "logvar_min", 0, 1, min, &std->logvar_min));
    DPPO_TRY(add_logvar(owner, "logvar_max", 0, 1, max, &std->logvar_max));
    std->logvar_min->requires_grad = std->logvar_max->requires_grad = false;
    return DPPO_OK;
}

dppo_tensor *dppo_gaussian_std_of(dppo_cx *cx, dppo_tensor *logvar) {
    return dppo_exp(cx, dppo_mul_scalar(cx, logvar, 0.5));
}

dppo_tensor *dppo_gaussian_std_clamped(dppo_cx *cx, const dppo_gaussian_std *std, dppo_tensor *logvar) {
    return dppo_gaussian_std_of(cx, dppo_clamp_tensor(cx, logvar, std->logvar_min, std->logvar_max));
}

/* A learned one is the clamped log-variance of each action dimension, repeated over the chunk. */
dppo_tensor *dppo_gaussian_std_constant(dppo_cx *cx, const dppo_gaussian_std *std, dppo_tensor *mean) {
    if (!mean) return NULL;
    if (!std->logvar) return dppo_mul_scalar(cx, dppo_ones_like(cx, mean), std->fixed_std);
    int ndim = std->num_modes > 0 ? 3 : 2;
    int64_t row[] = {1, std->num_modes, 0}, repeats[] = {mean->shape[0], 1, 1};
    row[ndim - 1] = std->action_dim;
    repeats[ndim - 1] = std->horizon_steps;
    dppo_tensor *scale = dppo_gaussian_std_clamped(cx, std, std->logvar);
    return dppo_repeat(cx, dppo_reshape(cx, scale, ndim, row), ndim, repeats);
}
