/* RLPD_Gaussian: soft actor-critic with an ensemble of N critics, for learning online with prior data (arXiv
 * 2302.02948). i and j are drawn anew for each target:
 *
 *   y = r + gamma (1 - d) min(Q_i', Q_j')(s', a') [- gamma (1 - d) alpha log p(a'|s') with backup_entropy]
 *   L_Q = mean_{n, B} (Q_n(s, a) - y)^2
 *   L_pi = -mean( mean_n Q_n(s, a) - alpha log p(a|s) ),  a ~ pi(s), reparameterised
 *
 * The loss of the temperature is SAC_Gaussian's. */
#include "models/build.h"
#include "models/critic_ensemble.h"
#include "models/gaussian_internal.h"
#include "models/offpolicy_gaussian.h"

dppo_status dppo_build_rlpd_gaussian(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    static const char *const keys[] = {"actor",          "critic",           "n_critics",
                                       "backup_entropy", DPPO_GAUSSIAN_KEYS, NULL};
    dppo_module *actor = NULL, *critic = NULL;
    const dppo_nested nested[] = {{"actor", dppo_gaussian_networks, &actor, false},
                                  {"critic", dppo_q_functions, &critic, false}};
    DPPO_TRY(dppo_config_allow(config, "RLPD_Gaussian", keys));
    DPPO_TRY(dppo_build_nested(config, generator, 2, nested));
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_gaussian_new("RLPD_Gaussian", config, &model);
    if (status == DPPO_OK)
        status = dppo_config_bool_or(config, "backup_entropy", false, &model->backup_entropy);
    if (status == DPPO_OK) status = dppo_build_adopt(&model->module, "network", &actor, &model->network);
    if (status == DPPO_OK) status = dppo_ensemble_adopt(model, config, critic);
    dppo_module_free(actor);
    dppo_module_free(critic);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* -gamma (1 - d) alpha log p: (B). */
static dppo_tensor *entropy_bonus(dppo_cx *cx, const dppo_transitions *batch, dppo_tensor *logprob,
                                  double gamma, double alpha) {
    dppo_tensor *discount = dppo_mul_scalar(cx, dppo_rsub_scalar(cx, batch->terminated, 1), gamma);
    return dppo_mul(cx, dppo_mul_scalar(cx, discount, alpha), dppo_neg(cx, logprob));
}

static dppo_tensor *critic_target(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                  double gamma, double alpha) {
    const dppo_gaussian *model = dppo_gaussian_of(module);
    const dppo_gaussian_options options = {.get_logprob = true};
    int64_t picked[2];
    if (!dppo_ensemble_pick(cx, model, picked)) return NULL;
    dppo_tensor *logprob, *action = dppo_gaussian_forward(cx, module, batch->next_obs, options, &logprob);
    dppo_tensor *next_q = dppo_ensemble_min_q(cx, model->target_networks, picked, batch->next_obs, action);
    dppo_tensor *target = dppo_td_target(cx, batch, next_q, gamma);
    if (!model->backup_entropy) return target;
    return dppo_add(cx, target, entropy_bonus(cx, batch, logprob, gamma, alpha));
}

dppo_tensor *dppo_rlpd_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                            double gamma, double alpha) {
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *target = critic_target(cx, module, batch, gamma, alpha);
    dppo_set_grad_enabled(cx, grad_enabled);
    return dppo_ensemble_loss(cx, dppo_gaussian_of(module), batch, target);
}

dppo_tensor *dppo_rlpd_gaussian_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs, double alpha) {
    const int members[] = {0};
    const dppo_gaussian_options options = {.reparameterize = true, .get_logprob = true};
    dppo_tensor *logprob, *action = dppo_gaussian_forward(cx, module, obs, options, &logprob);
    dppo_tensor *q = dppo_ensemble_q(cx, dppo_gaussian_of(module), obs, action);
    q = dppo_mean(cx, q, 1, members, false);
    q = dppo_add(cx, q, dppo_mul_scalar(cx, dppo_neg(cx, logprob), alpha));
    return dppo_neg(cx, dppo_mean(cx, q, 0, NULL, false));
}
