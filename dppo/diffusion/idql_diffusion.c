/* IDQLDiffusion: implicit diffusion Q-learning (arXiv 2304.10573). The policy only imitates; what is better
 * than average is chosen among its samples when acting. The critics never ask the policy:
 *
 *   L_V = mean |tau - 1(A <= 0)| A^2,  A = min(Q1', Q2')(s, a) - V(s),  tau = 0.8
 *   L_Q = mean (Q1(s, a) - y)^2 + mean (Q2(s, a) - y)^2,  y = r + gamma (1 - d) V(s')
 *
 * Acting: of num_sample samples the one with the largest min(Q1', Q2'); or when exploring one drawn with
 * weights critic_hyperparam where A > 0 and 1 - critic_hyperparam elsewhere. p_losses and loss are
 * DiffusionModel's. */
#include "diffusion/explorer.h"
#include "models/build.h"

/* -- construction -------------------------------------------------------------------------------------------
 */

/* Registration in the original's order: network, critic_q, target_q, critic_v, actor (the network again). */
static dppo_status adopt_all(const dppo_config *config, dppo_diffusion *model, dppo_module **actor,
                             dppo_module **critic_q, dppo_module **critic_v) {
    dppo_module *module = &model->module;
    DPPO_TRY(dppo_require_double_q(config, "critic_q", true));
    DPPO_TRY(dppo_build_adopt(module, "network", actor, &model->network));
    DPPO_TRY(dppo_build_adopt(module, "critic_q", critic_q, &model->critic));
    DPPO_TRY(dppo_build_target(module, "target_q", config, "critic_q", model->critic, &model->critic_target));
    DPPO_TRY(dppo_build_adopt(module, "critic_v", critic_v, &model->critic_v));
    return dppo_module_alias(module, "actor", model->network);
}

dppo_status dppo_build_idql_diffusion(const dppo_config *config, dppo_generator *generator,
                                      dppo_module **module) {
    dppo_module *actor = NULL, *critic_q = NULL, *critic_v = NULL;
    const dppo_nested nested[] = {{"actor", dppo_noise_networks, &actor, false},
                                  {"critic_q", dppo_q_functions, &critic_q, false},
                                  {"critic_v", dppo_critics, &critic_v, false}};
    DPPO_TRY(dppo_build_nested(config, generator, 3, nested));
    dppo_diffusion *model = NULL;
    dppo_status status = dppo_explorer_new("IDQLDiffusion", config, &model);
    if (status == DPPO_OK) status = adopt_all(config, model, &actor, &critic_q, &critic_v);
    dppo_module_free(actor);
    dppo_module_free(critic_q);
    dppo_module_free(critic_v);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* -- losses -------------------------------------------------------------------------------------------------
 */

/* `above` where x > 0, 1 - above elsewhere. */
static dppo_tensor *one_sided(dppo_cx *cx, dppo_tensor *x, double above) {
    dppo_tensor *positive = dppo_gt(cx, x, dppo_scalar(cx, 0));
    return dppo_where(cx, positive, dppo_scalar(cx, above), dppo_scalar(cx, 1 - above));
}

dppo_tensor *dppo_expectile_loss(dppo_cx *cx, dppo_tensor *diff, double expectile) {
    return dppo_mul(cx, one_sided(cx, diff, expectile), dppo_pow_scalar(cx, diff, 2));
}

dppo_tensor *dppo_idql_diffusion_compute_advantages(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                                    dppo_tensor *actions) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *q = dppo_min_q(cx, model->critic_target, obs, actions);
    dppo_set_grad_enabled(cx, grad_enabled);
    dppo_tensor *v = dppo_flatten(cx, dppo_critic_forward(cx, model->critic_v, obs), 0, -1);
    return dppo_sub(cx, q, v);
}

dppo_tensor *dppo_idql_diffusion_loss_critic_v(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                               dppo_tensor *actions) {
    dppo_tensor *advantages = dppo_idql_diffusion_compute_advantages(cx, module, obs, actions);
    return dppo_mean(cx, dppo_expectile_loss(cx, advantages, 0.8), 0, NULL, false);
}

dppo_tensor *dppo_idql_diffusion_loss_critic_q(dppo_cx *cx, dppo_module *module,
                                               const dppo_transitions *batch, double gamma) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *next_v = dppo_critic_forward(cx, model->critic_v, batch->next_obs);
    dppo_set_grad_enabled(cx, grad_enabled);
    return dppo_twin_q_loss(cx, model->critic, batch, dppo_td_target(cx, batch, next_v, gamma));
}

/* -- acting -------------------------------------------------------------------------------------------------
 */

dppo_idql_options dppo_idql_defaults(void) {
    return (dppo_idql_options){.num_sample = 10, .critic_hyperparam = 0.7, .use_expectile_exploration = true};
}

/* (S B) -> (S, B): row s B + b is sample s of observation b. */
static dppo_tensor *by_sample(dppo_cx *cx, dppo_tensor *x, int64_t samples) {
    return dppo_reshape(cx, x, 2, (const int64_t[]){samples, -1});
}

/* One of the S samples of each observation, drawn in proportion to its weight: (B) int64. */
static dppo_tensor *draw_sample(dppo_cx *cx, dppo_tensor *advantages, double weight) {
    dppo_tensor *weights = one_sided(cx, advantages, weight);
    weights = dppo_div(cx, weights, dppo_sum(cx, weights, 1, (const int[]){0}, false));
    /* Left transposed in memory: the draw follows it. */
    weights = dppo_transpose(cx, weights, 0, 1);
    return dppo_squeeze_dim(cx, dppo_multinomial(cx, weights, 1, false), 1);
}

/* Which sample each observation gets: (B) int64. */
static dppo_tensor *choose(dppo_cx *cx, const dppo_diffusion *model, dppo_cond repeated, dppo_tensor *actions,
                           dppo_idql_options options) {
    dppo_tensor *q =
        by_sample(cx, dppo_min_q(cx, model->critic_target, repeated, actions), options.num_sample);
    if (options.deterministic || !options.use_expectile_exploration) return dppo_argmax(cx, q, 0, false);
    dppo_tensor *v = by_sample(cx, dppo_critic_forward(cx, model->critic_v, repeated), options.num_sample);
    return draw_sample(cx, dppo_sub(cx, q, v), options.critic_hyperparam);
}

static dppo_tensor *act(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_idql_options options) {
    int64_t batch = cond.state->shape[0];
    const int64_t repeats[] = {options.num_sample, 1, 1};
    cond.state = dppo_repeat(cx, cond.state, 3, repeats);
    dppo_tensor *actions = dppo_rwr_diffusion_forward(cx, module, cond, options.deterministic);
    dppo_tensor *chosen = choose(cx, dppo_diffusion_of(module), cond, actions, options);
    if (!chosen) return NULL;
    dppo_tensor *rows = dppo_result(cx, DPPO_I64, 1, &batch);
    for (int64_t b = 0; rows && b < batch; b++)
        dppo_i64(rows)[b] = (int64_t)dppo_tensor_at(chosen, b) * batch + b;
    return dppo_index_select(cx, actions, 0, rows);
}

dppo_tensor *dppo_idql_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                         dppo_idql_options options) {
    if (!cond.state) return NULL;
    if (cond.rgb) return dppo_context_fail(cx, DPPO_INVALID, "IDQLDiffusion: takes no images");
    if (options.num_sample < 1)
        return dppo_context_fail(cx, DPPO_INVALID, "num_sample: %lld is not positive",
                                 (long long)options.num_sample);
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *actions = act(cx, module, cond, options);
    dppo_set_grad_enabled(cx, grad_enabled);
    return actions;
}
