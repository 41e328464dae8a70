/* DQLDiffusion: diffusion Q-learning (arXiv 2208.06193). The policy imitates its own samples while gradients
 * of Q flow through all denoising steps:
 *
 *   L_pi = L_bc(a, s) + eta L_q,  a = the first act_steps of a sample drawn with gradients,
 *   L_q = -mean Q1(s, a) / sg(mean |Q2(s, a)|), or with Q1 and Q2 exchanged, by the toss of a coin;
 *   y = r + gamma (1 - d) min(Q1', Q2')(s', a'),  L_Q = mean (Q1(s, a) - y)^2 + mean (Q2(s, a) - y)^2
 *
 * L_bc is DiffusionModel's loss; it, too, passes gradients on to the sample. sg stops gradients. */
#include "diffusion/explorer.h"
#include "models/build.h"

#include <math.h>

dppo_status dppo_build_dql_diffusion(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    dppo_diffusion *model;
    dppo_status status =
        dppo_explorer_with_critic_new("DQLDiffusion", "critic", "critic_target", config, generator, &model);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* Any final_action_clip_value but None and 0 clips to [-1, 1] here, as in the original. */
dppo_tensor *dppo_dql_diffusion_forward_train(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                              bool deterministic) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    bool clipped = !isnan(model->final_action_clip_value) && model->final_action_clip_value != 0;
    return dppo_explorer_sample(cx, model, model->network, cond, deterministic, clipped ? 1 : NAN);
}

/* -mean(raised) / sg(mean |scale|): the scale of Q does not matter. */
static dppo_tensor *q_loss(dppo_cx *cx, dppo_tensor *raised, dppo_tensor *scale) {
    dppo_tensor *magnitude = dppo_detach(cx, dppo_mean(cx, dppo_abs(cx, scale), 0, NULL, false));
    return dppo_div(cx, dppo_neg(cx, dppo_mean(cx, raised, 0, NULL, false)), magnitude);
}

dppo_tensor *dppo_dql_diffusion_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs, double eta,
                                           int64_t act_steps) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    double coin = 0;
    dppo_tensor *action = dppo_dql_diffusion_forward_train(cx, module, obs, false), *q2;
    if (!action) return NULL;
    if (act_steps < action->shape[1]) action = dppo_narrow(cx, action, 1, 0, act_steps);
    dppo_tensor *q1 = dppo_critic_obs_act_forward(cx, model->critic, obs, action, &q2);
    dppo_tensor *bc_loss = dppo_diffusion_loss(cx, module, action, obs);
    if (!bc_loss) return NULL;
    dppo_status drawn = dppo_draw_np_uniform(dppo_context_generator(cx), &coin);
    if (drawn != DPPO_OK) return dppo_context_fail(cx, drawn, "%s", dppo_message());
    dppo_tensor *loss = coin > 0.5 ? q_loss(cx, q1, q2) : q_loss(cx, q2, q1);
    return dppo_add(cx, bc_loss, dppo_mul_scalar(cx, loss, eta));
}

dppo_tensor *dppo_dql_diffusion_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                            double gamma) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    dppo_tensor *next_q = dppo_explorer_next_q(cx, model, model->network, batch->next_obs);
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *target = dppo_td_target(cx, batch, next_q, gamma);
    dppo_set_grad_enabled(cx, grad_enabled);
    return dppo_twin_q_loss(cx, model->critic, batch, target);
}
