/* EtaFixed: how much noise DDIM adds, one number kept as an unbounded logit. */
#include "diffusion/diffusion.h"
#include "models/build.h"

#include <string.h>

typedef struct eta_fixed {
    dppo_module module;
    double min, max;
    dppo_tensor *eta_logit; /* (1) */
} eta_fixed;

#define NAME(type, function) #type,
const char *const dppo_etas[] = {DPPO_ETAS(NAME) NULL};
#undef NAME

dppo_tensor *dppo_eta_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond) {
#define FORWARD(type_, name)                                                                                 \
    if (strcmp(module->type, #type_) == 0) return dppo_##name##_forward(cx, module, cond);
    DPPO_ETAS(FORWARD)
#undef FORWARD
    return dppo_context_fail(cx, DPPO_INVALID, "a %s is no eta", module->type);
}

/* logit = atanh(2 (base - min) / (max - min) - 1), so that the forward map gives base_eta. */
static dppo_status set_logit(eta_fixed *eta, double base) {
    const int64_t shape[] = {1};
    const float normalized = (float)(2 * (base - eta->min) / (eta->max - eta->min) - 1);
    eta->eta_logit = dppo_module_parameter(&eta->module, "eta_logit", 1, shape);
    dppo_context *cx = dppo_context_new(NULL);
    dppo_status status = DPPO_OK;
    if (!eta->eta_logit || !cx)
        status = dppo_fail(DPPO_NO_MEMORY, "no memory for an EtaFixed");
    else
        dppo_f32(eta->eta_logit)[0] =
            (float)dppo_item(cx, dppo_atanh(cx, dppo_from_f32(cx, 1, shape, &normalized)));
    if (status == DPPO_OK) status = dppo_context_status(cx);
    dppo_context_free(cx);
    return status;
}

dppo_status dppo_build_eta_fixed(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    (void)generator;
    double base = 0;
    eta_fixed *eta = dppo_module_new(sizeof *eta, "EtaFixed");
    if (!eta) return DPPO_NO_MEMORY;
    dppo_status status = dppo_config_float_or(config, "base_eta", 0.5, &base);
    if (status == DPPO_OK) status = dppo_config_float_or(config, "min_eta", 0.1, &eta->min);
    if (status == DPPO_OK) status = dppo_config_float_or(config, "max_eta", 1, &eta->max);
    if (status == DPPO_OK) status = set_logit(eta, base);
    return dppo_build_finish(status, &eta->module, module);
}

/* eta = (tanh(logit) + 1) / 2 (max - min) + min. The original takes the number out of its graph, so nothing
 * learns. */
dppo_tensor *dppo_eta_fixed_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond) {
    const eta_fixed *eta = (const eta_fixed *)module;
    const int64_t shape[] = {cond.state->shape[0], 1};
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *half = dppo_mul_scalar(cx, dppo_add_scalar(cx, dppo_tanh(cx, eta->eta_logit), 1), 0.5);
    dppo_tensor *value = dppo_add_scalar(cx, dppo_mul_scalar(cx, half, eta->max - eta->min), eta->min);
    dppo_tensor *etas = dppo_full(cx, DPPO_F32, 2, shape, dppo_item(cx, value));
    dppo_set_grad_enabled(cx, grad_enabled);
    return etas;
}
