/* DIPODiffusion: diffusion policies improved through their actions (arXiv 2305.13122). Actions of the replay
 * buffer are moved along dQ/da (algorithms/action_gradient.h), and the policy is trained to generate the
 * moved ones with DiffusionModel's own loss. The critics learn from the target actor's actions:
 *
 *   y = r + gamma (1 - d) min(Q1', Q2')(s', a'),  a' ~ pi'(s')
 *   L_Q = mean (Q1(s, a) - y)^2 + mean (Q2(s, a) - y)^2
 */
#include "diffusion/explorer.h"
#include "models/build.h"

/* Last in the original's order: actor_target. */
dppo_status dppo_build_dipo_diffusion(const dppo_config *config, dppo_generator *generator,
                                      dppo_module **module) {
    dppo_diffusion *model;
    dppo_status status =
        dppo_explorer_with_critic_new("DIPODiffusion", "critic", "critic_target", config, generator, &model);
    if (status == DPPO_OK)
        status = dppo_build_target(&model->module, "actor_target", config, "actor", model->network,
                                   &model->actor_target);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

dppo_tensor *dppo_dipo_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                         bool deterministic) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    return dppo_explorer_act(cx, model, model->actor_target, cond, deterministic);
}

dppo_tensor *dppo_dipo_diffusion_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                             double gamma) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    dppo_tensor *next_q = dppo_explorer_next_q(cx, model, model->actor_target, batch->next_obs);
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *target = dppo_td_target(cx, batch, next_q, gamma);
    dppo_set_grad_enabled(cx, grad_enabled);
    return dppo_twin_q_loss(cx, model->critic, batch, target);
}

dppo_status dppo_dipo_diffusion_update_target_actor(dppo_module *module, double tau) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    return dppo_update_target(model->actor_target, model->network, 0, tau);
}
