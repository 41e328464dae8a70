/* SAC_Gaussian: soft actor-critic with a learned temperature (arXiv 1812.05905). log p is the log-probability
 * of the squashed action, summed over its dimensions:
 *
 *   y = r + gamma (1 - d) (min(Q1', Q2')(s', a') - alpha log p(a'|s')),  a' ~ pi(s')
 *   L_Q = mean (Q1(s, a) - y)^2 + mean (Q2(s, a) - y)^2
 *   L_pi = mean( alpha log p(a|s) - min(Q1, Q2)(s, a) ),  a ~ pi(s), reparameterised
 *   L_alpha = -mean alpha (log p(a|s) + H), a and log p constants, H the target entropy
 */
#include "models/build.h"
#include "models/gaussian_internal.h"
#include "models/offpolicy_gaussian.h"

/* Registration in the original's order: network, critic, target_critic. */
static dppo_status adopt_all(const dppo_config *config, dppo_gaussian *model, dppo_module **actor,
                             dppo_module **critic) {
    dppo_module *module = &model->module;
    DPPO_TRY(dppo_require_double_q(config, "critic", true));
    DPPO_TRY(dppo_build_adopt(module, "network", actor, &model->network));
    DPPO_TRY(dppo_build_adopt(module, "critic", critic, &model->critic));
    return dppo_build_target(module, "target_critic", config, "critic", model->critic, &model->target_critic);
}

dppo_status dppo_sac_gaussian_new(const char *type, const char *const *keys, const dppo_config *config,
                                  dppo_generator *generator, dppo_gaussian **model) {
    dppo_module *actor = NULL, *critic = NULL;
    const dppo_nested nested[] = {{"actor", dppo_gaussian_networks, &actor, false},
                                  {"critic", dppo_q_functions, &critic, false}};
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

dppo_status dppo_build_sac_gaussian(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    static const char *const keys[] = {"actor", "critic", DPPO_GAUSSIAN_KEYS, NULL};
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_sac_gaussian_new("SAC_Gaussian", keys, config, generator, &model);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

static dppo_tensor *soft_target(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch, double gamma,
                                double alpha) {
    const dppo_gaussian *model = dppo_gaussian_of(module);
    dppo_tensor *logprob;
    dppo_tensor *action = dppo_gaussian_forward(cx, module, batch->next_obs,
                                                (dppo_gaussian_options){.get_logprob = true}, &logprob);
    dppo_tensor *next_q = dppo_min_q(cx, model->target_critic, batch->next_obs, action);
    next_q = dppo_sub(cx, next_q, dppo_mul_scalar(cx, logprob, alpha));
    return dppo_td_target(cx, batch, next_q, gamma);
}

dppo_tensor *dppo_sac_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                           double gamma, double alpha) {
    const dppo_module *critic = dppo_gaussian_of(module)->critic;
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *target = soft_target(cx, module, batch, gamma, alpha);
    dppo_set_grad_enabled(cx, grad_enabled);
    dppo_tensor *q2, *q1 = dppo_critic_obs_act_forward(cx, critic, batch->obs, batch->actions, &q2);
    dppo_tensor *loss1 = dppo_mse_loss(cx, q1, target);
    dppo_tensor *loss2 = dppo_mse_loss(cx, q2, target);
    return dppo_add(cx, loss1, loss2);
}

dppo_tensor *dppo_sac_gaussian_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs, double alpha) {
    const dppo_gaussian_options options = {.reparameterize = true, .get_logprob = true};
    dppo_tensor *logprob, *action = dppo_gaussian_forward(cx, module, obs, options, &logprob);
    dppo_tensor *q = dppo_min_q(cx, dppo_gaussian_of(module)->critic, obs, action);
    dppo_tensor *loss = dppo_add(cx, dppo_neg(cx, q), dppo_mul_scalar(cx, logprob, alpha));
    return dppo_mean(cx, loss, 0, NULL, false);
}

dppo_tensor *dppo_sac_gaussian_loss_temperature(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                                dppo_tensor *alpha, double target_entropy) {
    const dppo_gaussian_options options = {.get_logprob = true};
    dppo_tensor *logprob;
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    (void)dppo_gaussian_forward(cx, module, obs, options, &logprob);
    dppo_tensor *excess = dppo_add_scalar(cx, logprob, target_entropy);
    dppo_set_grad_enabled(cx, grad_enabled);
    return dppo_neg(cx, dppo_mean(cx, dppo_mul(cx, alpha, excess), 0, NULL, false));
}

dppo_status dppo_gaussian_update_target_critic(dppo_module *module, double tau) {
    const dppo_gaussian *model = dppo_gaussian_of(module);
    if (model->target_critic) return dppo_update_target(model->target_critic, model->critic, 0, tau);
    if (!model->target_networks) return dppo_fail(DPPO_INVALID, "a %s has no target critic", module->type);
    for (int64_t n = 0; n < model->n_critics; n++)
        DPPO_TRY(
            dppo_update_target(model->target_networks->entries[n].child, model->ensemble_params, n, tau));
    return DPPO_OK;
}
