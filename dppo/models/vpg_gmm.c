/* VPG_GMM: a mixture policy with a critic. Unlike VPG_Gaussian it keeps no copy of where it started. */
#include "models/build.h"
#include "models/gmm_internal.h"

/* Registration in the original's order: network, actor_ft (the network again), critic. */
static dppo_status adopt_all(dppo_gmm *model, dppo_module **actor, dppo_module **critic) {
    dppo_module *module = &model->module;
    DPPO_TRY(dppo_build_adopt(module, "network", actor, &model->network));
    DPPO_TRY(dppo_module_alias(module, "actor_ft", model->network));
    return dppo_build_adopt(module, "critic", critic, &model->critic);
}

dppo_status dppo_vpg_gmm_new(const char *type, const dppo_config *config, dppo_generator *generator,
                             dppo_gmm **model) {
    dppo_module *actor = NULL, *critic = NULL;
    const dppo_nested nested[] = {{"actor", dppo_gmm_networks, &actor, false},
                                  {"critic", dppo_critics, &critic, false}};
    *model = NULL;
    DPPO_TRY(dppo_build_nested(config, generator, 2, nested));
    dppo_status status = dppo_gmm_new(type, config, model);
    if (status == DPPO_OK) status = adopt_all(*model, &actor, &critic);
    dppo_module_free(actor);
    dppo_module_free(critic);
    if (status == DPPO_OK) return DPPO_OK;
    if (*model) dppo_module_free(&(*model)->module);
    *model = NULL;
    return status;
}

dppo_status dppo_build_vpg_gmm(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    dppo_gmm *model = NULL;
    dppo_status status = dppo_vpg_gmm_new("VPG_GMM", config, generator, &model);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

dppo_tensor *dppo_vpg_gmm_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic) {
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *actions = dppo_gmm_forward(cx, module, cond, deterministic);
    dppo_set_grad_enabled(cx, grad_enabled);
    return actions;
}

dppo_status dppo_vpg_gmm_get_logprobs(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_tensor *actions,
                                      dppo_tensor **log_prob, dppo_tensor **entropy, dppo_tensor **std) {
    dppo_gmm_distribution dist;
    *log_prob = *entropy = *std = NULL;
    if (!dppo_gmm_forward_train(cx, dppo_gmm_of(module), cond, false, &dist)) return dppo_context_status(cx);
    *log_prob = dppo_gmm_log_prob(cx, &dist, actions);
    *entropy = dist.entropy;
    *std = dist.std;
    return dppo_context_status(cx);
}
