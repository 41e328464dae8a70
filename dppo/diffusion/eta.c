/* EtaFixed, EtaAction: how much noise DDIM adds, kept as unbounded logits: one number, or one for each action
 * dimension. Nothing depends on the state. */
#include "diffusion/diffusion.h"
#include "models/build.h"

#include <string.h>

typedef struct eta_logit {
    dppo_module module;
    double min, max;
    dppo_tensor *eta_logit; /* (1), or (Da) */
} eta_logit;

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
static dppo_status set_logits(eta_logit *eta, double base, int64_t count) {
    const int64_t one[] = {1};
    const float normalized = (float)(2 * (base - eta->min) / (eta->max - eta->min) - 1);
    eta->eta_logit = dppo_module_parameter(&eta->module, "eta_logit", 1, &count);
    dppo_context *cx = dppo_context_new(NULL);
    if (!eta->eta_logit || !cx) {
        dppo_context_free(cx);
        return dppo_fail(DPPO_NO_MEMORY, "no memory for eta_logit");
    }
    float logit = (float)dppo_item(cx, dppo_atanh(cx, dppo_from_f32(cx, 1, one, &normalized)));
    for (int64_t i = 0; i < count; i++)
        dppo_f32(eta->eta_logit)[i] = logit;
    dppo_status status = dppo_context_status(cx);
    dppo_context_free(cx);
    return status;
}

static dppo_status fill(eta_logit *eta, const dppo_config *config, int64_t count) {
    double base = 0;
    if (count < 1) return dppo_fail(DPPO_INVALID, "action_dim: %lld", (long long)count);
    DPPO_TRY(dppo_config_float_or(config, "base_eta", 0.5, &base));
    DPPO_TRY(dppo_config_float_or(config, "min_eta", 0.1, &eta->min));
    DPPO_TRY(dppo_config_float_or(config, "max_eta", 1, &eta->max));
    return set_logits(eta, base, count);
}

dppo_status dppo_build_eta_fixed(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    (void)generator;
    eta_logit *eta = dppo_module_new(sizeof *eta, "EtaFixed");
    if (!eta) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(eta, config, 1), &eta->module, module);
}

dppo_status dppo_build_eta_action(const dppo_config *config, dppo_generator *generator,
                                  dppo_module **module) {
    (void)generator;
    int64_t action_dim = 0;
    DPPO_TRY(dppo_config_int(config, "action_dim", &action_dim));
    eta_logit *eta = dppo_module_new(sizeof *eta, "EtaAction");
    if (!eta) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(eta, config, action_dim), &eta->module, module);
}

/* eta = (tanh(logit) + 1) / 2 (max - min) + min */
static dppo_tensor *eta_of_logits(dppo_cx *cx, const eta_logit *eta) {
    dppo_tensor *half = dppo_mul_scalar(cx, dppo_add_scalar(cx, dppo_tanh(cx, eta->eta_logit), 1), 0.5);
    return dppo_add_scalar(cx, dppo_mul_scalar(cx, half, eta->max - eta->min), eta->min);
}

/* The original takes the number out of its graph, so nothing learns. */
dppo_tensor *dppo_eta_fixed_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond) {
    const int64_t shape[] = {cond.state->shape[0], 1};
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *value = eta_of_logits(cx, (const eta_logit *)module);
    dppo_tensor *etas = dppo_full(cx, DPPO_F32, 2, shape, dppo_item(cx, value));
    dppo_set_grad_enabled(cx, grad_enabled);
    return etas;
}

dppo_tensor *dppo_eta_action_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond) {
    const int64_t repeats[] = {cond.state->shape[0], 1};
    return dppo_repeat(cx, eta_of_logits(cx, (const eta_logit *)module), 2, repeats);
}
