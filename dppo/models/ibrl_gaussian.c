/* IBRL_Gaussian: imitation bootstrapped reinforcement learning (arXiv 2311.02198). A frozen policy trained on
 * demonstrations proposes an action beside the learning one; the critics choose, when acting and in targets:
 *
 *   y = r + gamma (1 - d) max over a' of min(Q_i', Q_j')(s', a'),  a' in { bc(s'), a ~ pi'(s') }
 *   L_Q = mean_{n, B} (Q_n(s, a) - y)^2
 *   L_pi = -mean min_n Q_n(s, a),  a ~ pi(s), reparameterised
 *
 * Acting: the action with the larger min(Q_i, Q_j) of critic_networks; or, soft, one drawn with probabilities
 * softmax(exp(beta Q)). Actions are not squashed. i and j are drawn anew each time. */
#include "models/build.h"
#include "models/critic_ensemble.h"
#include "models/gaussian_internal.h"
#include "models/offpolicy_gaussian.h"

/* -- construction -------------------------------------------------------------------------------------------
 */

/* Registration in the original's order: network, target_actor, bc_policy (frozen), the critics. */
static dppo_status adopt_all(const dppo_config *config, dppo_gaussian *model, dppo_module **actor,
                             const dppo_module *critic) {
    dppo_module *module = &model->module;
    DPPO_TRY(dppo_config_bool_or(config, "soft_action_sample", false, &model->soft_action_sample));
    DPPO_TRY(dppo_config_float_or(config, "soft_action_sample_beta", 10, &model->soft_action_sample_beta));
    DPPO_TRY(dppo_build_adopt(module, "network", actor, &model->network));
    DPPO_TRY(
        dppo_build_target(module, "target_actor", config, "actor", model->network, &model->target_actor));
    DPPO_TRY(dppo_build_target(module, "bc_policy", config, "actor", model->network, &model->bc_policy));
    dppo_module_requires_grad(model->bc_policy, false);
    return dppo_ensemble_adopt(model, config, critic);
}

dppo_status dppo_build_ibrl_gaussian(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    static const char *const keys[] = {
        "actor", "critic", "n_critics", "soft_action_sample", "soft_action_sample_beta", DPPO_GAUSSIAN_KEYS,
        NULL};
    dppo_module *actor = NULL, *critic = NULL;
    const dppo_nested nested[] = {{"actor", dppo_gaussian_networks, &actor, false},
                                  {"critic", dppo_q_functions, &critic, false}};
    DPPO_TRY(dppo_config_allow(config, "IBRL_Gaussian", keys));
    DPPO_TRY(dppo_build_nested(config, generator, 2, nested));
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_gaussian_new("IBRL_Gaussian", config, &model);
    if (status == DPPO_OK) status = adopt_all(config, model, &actor, critic);
    dppo_module_free(actor);
    dppo_module_free(critic);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* -- acting -------------------------------------------------------------------------------------------------
 */

/* What the demonstrations' policy would do, nearly without noise: (B, Ta, Da). */
static dppo_tensor *imitated(dppo_cx *cx, dppo_module *module, dppo_cond cond) {
    const dppo_gaussian_options options = {.deterministic = true,
                                           .network_override = dppo_gaussian_of(module)->bc_policy};
    return dppo_gaussian_forward(cx, module, cond, options, NULL);
}

/* Whether a row takes the imitated action, drawn in proportion to softmax(exp(beta Q)): (B) bool. */
static dppo_tensor *draw_imitation(dppo_cx *cx, const dppo_gaussian *model, dppo_tensor *q_bc,
                                   dppo_tensor *q_rl) {
    double beta = model->soft_action_sample_beta;
    dppo_tensor *weights[2];
    weights[0] = dppo_exp(cx, dppo_mul_scalar(cx, q_bc, beta));
    weights[1] = dppo_exp(cx, dppo_mul_scalar(cx, q_rl, beta));
    if (!weights[0] || !weights[1]) return NULL;
    dppo_tensor *probabilities = dppo_softmax(cx, dppo_stack(cx, 2, weights, -1), -1);
    dppo_tensor *drawn = dppo_squeeze_dim(cx, dppo_multinomial(cx, probabilities, 1, false), 1);
    return drawn ? dppo_eq(cx, drawn, dppo_zeros_like(cx, drawn)) : NULL;
}

/* The choice has no gradient: (B) bool. */
static dppo_tensor *prefer_imitation(dppo_cx *cx, const dppo_gaussian *model, dppo_cond cond,
                                     const int64_t picked[2], bool greedy, dppo_tensor *bc_action,
                                     dppo_tensor *rl_action) {
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *q_bc = dppo_ensemble_min_q(cx, model->critic_networks, picked, cond, bc_action);
    dppo_tensor *q_rl = dppo_ensemble_min_q(cx, model->critic_networks, picked, cond, rl_action);
    dppo_tensor *chosen = greedy ? dppo_gt(cx, q_bc, q_rl) : draw_imitation(cx, model, q_bc, q_rl);
    dppo_set_grad_enabled(cx, grad_enabled);
    return chosen;
}

dppo_tensor *dppo_ibrl_gaussian_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic,
                                        bool reparameterize) {
    const dppo_gaussian *model = dppo_gaussian_of(module);
    const dppo_gaussian_options options = {.deterministic = deterministic, .reparameterize = reparameterize};
    bool greedy = deterministic || !model->soft_action_sample;
    int64_t picked[2];
    if (!dppo_ensemble_pick(cx, model, picked)) return NULL;
    dppo_tensor *bc_action = imitated(cx, module, cond);
    dppo_tensor *rl_action = dppo_gaussian_forward(cx, module, cond, options, NULL);
    dppo_tensor *chosen = prefer_imitation(cx, model, cond, picked, greedy, bc_action, rl_action);
    if (!chosen) return NULL;
    chosen = dppo_reshape(cx, chosen, 3, (const int64_t[]){-1, 1, 1});
    return dppo_where(cx, chosen, bc_action, rl_action);
}

/* -- losses -------------------------------------------------------------------------------------------------
 */

static dppo_tensor *bootstrapped_target(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                        double gamma) {
    const dppo_gaussian *model = dppo_gaussian_of(module);
    const dppo_gaussian_options options = {.network_override = model->target_actor};
    dppo_cond next_obs = batch->next_obs;
    int64_t picked[2];
    if (!dppo_ensemble_pick(cx, model, picked)) return NULL;
    dppo_tensor *bc_action = imitated(cx, module, next_obs);
    dppo_tensor *rl_action = dppo_gaussian_forward(cx, module, next_obs, options, NULL);
    dppo_tensor *q_bc = dppo_ensemble_min_q(cx, model->target_networks, picked, next_obs, bc_action);
    dppo_tensor *q_rl = dppo_ensemble_min_q(cx, model->target_networks, picked, next_obs, rl_action);
    dppo_tensor *next_q = dppo_where(cx, dppo_gt(cx, q_bc, q_rl), q_bc, q_rl);
    return dppo_td_target(cx, batch, next_q, gamma);
}

dppo_tensor *dppo_ibrl_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                            double gamma) {
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *target = bootstrapped_target(cx, module, batch, gamma);
    dppo_set_grad_enabled(cx, grad_enabled);
    return dppo_ensemble_loss(cx, dppo_gaussian_of(module), batch, target);
}

dppo_tensor *dppo_ibrl_gaussian_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs) {
    const dppo_gaussian_options options = {.reparameterize = true};
    dppo_tensor *action = dppo_gaussian_forward(cx, module, obs, options, NULL), *indices;
    dppo_tensor *q = dppo_ensemble_q(cx, dppo_gaussian_of(module), obs, action);
    dppo_tensor *smallest = dppo_min_dim(cx, q, 0, false, &indices);
    return dppo_neg(cx, dppo_mean(cx, smallest, 0, NULL, false));
}

dppo_status dppo_ibrl_gaussian_update_target_actor(dppo_module *module, double tau) {
    const dppo_gaussian *model = dppo_gaussian_of(module);
    return dppo_update_target(model->target_actor, model->network, 0, tau);
}
