/* VPG_Gaussian: a Gaussian policy with a critic and a frozen copy of where it started. */
#include "distributions/normal.h"
#include "models/build.h"
#include "models/gaussian_internal.h"

/* Registration in the original's order: network, critic, actor_ft (the network again), actor (its frozen
 * copy). */
static dppo_status adopt_all(const dppo_config *config, dppo_gaussian *model, dppo_module **actor,
                             dppo_module **critic) {
    dppo_module *module = &model->module, *copy = NULL;
    DPPO_TRY(dppo_build_adopt(module, "network", actor, &model->network));
    DPPO_TRY(dppo_build_adopt(module, "critic", critic, &model->critic));
    DPPO_TRY(dppo_module_alias(module, "actor_ft", model->network));
    DPPO_TRY(dppo_build_copy(dppo_config_get(config, "actor"), model->network, &copy));
    DPPO_TRY(dppo_build_adopt(module, "actor", &copy, &model->actor));
    model->actor_ft = model->network;
    dppo_module_requires_grad(model->actor, false);
    return DPPO_OK;
}

dppo_status dppo_vpg_gaussian_new(const char *type, const char *const *keys, const dppo_config *config,
                                  dppo_generator *generator, dppo_gaussian **model) {
    dppo_module *actor = NULL, *critic = NULL;
    const dppo_nested nested[] = {{"actor", dppo_gaussian_networks, &actor, false},
                                  {"critic", dppo_critics, &critic, false}};
    *model = NULL;
    DPPO_TRY(dppo_config_allow(config, type, keys));
    DPPO_TRY(dppo_build_nested(config, generator, 2, nested));
    dppo_status status = dppo_gaussian_new(type, config, model);
    if (status == DPPO_OK) status = adopt_all(config, *model, &actor, &critic);
    dppo_module_free(actor);
    dppo_module_free(critic);
    if (status == DPPO_OK) return DPPO_OK;
    if (*model) dppo_module_free(&(*model)->module);
    *model = NULL;
    return status;
}

dppo_status dppo_build_vpg_gaussian(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    static const char *const keys[] = {"actor", "critic", DPPO_GAUSSIAN_KEYS, NULL};
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_vpg_gaussian_new("VPG_Gaussian", keys, config, generator, &model);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

dppo_tensor *dppo_vpg_gaussian_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic,
                                       bool use_base_policy) {
    dppo_gaussian_options options = {.deterministic = deterministic, .use_base_policy = use_base_policy};
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *actions = dppo_gaussian_forward(cx, module, cond, options, NULL);
    dppo_set_grad_enabled(cx, grad_enabled);
    return actions;
}

dppo_status dppo_vpg_gaussian_get_logprobs(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                           dppo_tensor *actions, bool use_base_policy, dppo_tensor **log_prob,
                                           dppo_tensor **entropy, dppo_tensor **std) {
    const int last[] = {-1};
    dppo_tensor *mean, *scale;
    *log_prob = *entropy = *std = NULL;
    if (!dppo_gaussian_distribution(cx, dppo_gaussian_of(module), cond, false, use_base_policy, &mean,
                                    &scale))
        return dppo_context_status(cx);
    dppo_tensor *density = dppo_normal_log_prob(cx, mean, scale, dppo_flatten_rows(cx, actions));
    *log_prob = dppo_mean(cx, density, 1, last, false);
    *entropy = dppo_mean(cx, dppo_normal_entropy(cx, mean, scale), 0, NULL, false);
    *std = dppo_mean(cx, scale, 0, NULL, false);
    return dppo_context_status(cx);
}
