/* DIPODiffusion: diffusion policies improved through their actions (arXiv 2305.13122). Actions of the replay
 * buffer are moved along dQ/da (algorithms/action_gradient.h), and the policy is trained to generate the
 * moved ones with DiffusionModel's own loss. The critics learn from the target actor's actions:
 *
 *   y = r + gamma (1 - d) min(Q1', Q2')(s', a'),  a' ~ pi'(s')
 *   L_Q = mean (Q1(s, a) - y)^2 + mean (Q2(s, a) - y)^2
 */
#include "diffusion/explorer.h"
#include "models/build.h"

/* Registration in the original's order: network, critic, critic_target, actor (the network again),
 * actor_target. */
static dppo_status adopt_all(const dppo_config *config, dppo_diffusion *model, dppo_module **actor,
                             dppo_module **critic) {
    dppo_module *module = &model->module;
    DPPO_TRY(dppo_require_double_q(config, "critic", true));
    DPPO_TRY(dppo_build_adopt(module, "network", actor, &model->network));
    DPPO_TRY(dppo_build_adopt(module, "critic", critic, &model->critic));
    DPPO_TRY(
        dppo_build_target(module, "critic_target", config, "critic", model->critic, &model->critic_target));
    DPPO_TRY(dppo_module_alias(module, "actor", model->network));
    return dppo_build_target(module, "actor_target", config, "actor", model->network, &model->actor_target);
}

dppo_status dppo_build_dipo_diffusion(const dppo_config *config, dppo_generator *generator,
                                      dppo_module **module) {
    dppo_module *actor = NULL, *critic = NULL;
    const dppo_nested nested[] = {{"actor", dppo_noise_networks, &actor, false},
                                  {"critic", dppo_q_functions, &critic, false}};
    DPPO_TRY(dppo_build_nested(config, generator, 2, nested));
    dppo_diffusion *model = NULL;
    dppo_status status = dppo_explorer_new("DIPODiffusion", config, &model);
    if (status == DPPO_OK) status = adopt_all(config, model, &actor, &critic);
    dppo_module_free(actor);
    dppo_module_free(critic);
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
