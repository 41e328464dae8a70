#include "diffusion/explorer.h"
#include "models/build.h"

#include <math.h>

dppo_status dppo_explorer_new(const char *type, const dppo_config *config, dppo_diffusion **model) {
    DPPO_TRY(dppo_diffusion_new(type, config, NULL, model));
    (*model)->off_policy = true;
    dppo_status status = dppo_config_float_or(config, "min_sampling_denoising_std", 0.1,
                                              &(*model)->min_sampling_denoising_std);
    if (status == DPPO_OK && (*model)->use_ddim)
        status = dppo_fail(DPPO_INVALID, "use_ddim: %s samples with DDPM only", type);
    if (status == DPPO_OK) return DPPO_OK;
    dppo_module_free(&(*model)->module);
    *model = NULL;
    return status;
}

static dppo_status adopt_all(dppo_diffusion *model, const char *critic_name, const char *target_name,
                             const dppo_config *config, dppo_module **actor, dppo_module **critic) {
    dppo_module *module = &model->module;
    DPPO_TRY(dppo_require_double_q(config, "critic", true));
    DPPO_TRY(dppo_build_adopt(module, "network", actor, &model->network));
    DPPO_TRY(dppo_build_adopt(module, critic_name, critic, &model->critic));
    DPPO_TRY(dppo_build_target(module, target_name, config, "critic", model->critic, &model->critic_target));
    return dppo_module_alias(module, "actor", model->network);
}

dppo_status dppo_explorer_with_critic_new(const char *type, const char *critic_name, const char *target_name,
                                          const dppo_config *config, dppo_generator *generator,
                                          dppo_diffusion **model) {
    dppo_module *actor = NULL, *critic = NULL;
    const dppo_nested nested[] = {{"actor", dppo_noise_networks, &actor, false},
                                  {"critic", dppo_q_functions, &critic, false}};
    *model = NULL;
    DPPO_TRY(dppo_build_nested(config, generator, 2, nested));
    dppo_status status = dppo_explorer_new(type, config, model);
    if (status == DPPO_OK) status = adopt_all(*model, critic_name, target_name, config, &actor, &critic);
    dppo_module_free(actor);
    dppo_module_free(critic);
    if (status == DPPO_OK) return DPPO_OK;
    if (*model) dppo_module_free(&(*model)->module);
    *model = NULL;
    return status;
}

dppo_tensor *dppo_explorer_sample(dppo_cx *cx, const dppo_diffusion *model, const dppo_module *network,
                                  dppo_cond cond, bool deterministic, double bound) {
    if (!cond.state) return NULL;
    int64_t batch = cond.state->shape[0], steps = dppo_sampling_steps(model);
    dppo_tensor *x = dppo_initial_noise(cx, model, batch);
    for (int64_t i = 0; i < steps && x; i++) {
        dppo_tensor *t, *index, *logvar = NULL;
        bool last = i + 1 == steps;
        dppo_sampling_step(cx, model, batch, i, &t, &index);
        dppo_tensor *mean = dppo_network_p_mean_var(cx, model, network, x, t, cond, index, &logvar);
        dppo_tensor *std = dppo_exploring_std(cx, model, logvar, deterministic, last);
        x = dppo_next_sample_within(cx, model, mean, std, last ? bound : NAN);
    }
    return x;
}

dppo_tensor *dppo_explorer_act(dppo_cx *cx, const dppo_diffusion *model, const dppo_module *network,
                               dppo_cond cond, bool deterministic) {
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *x =
        dppo_explorer_sample(cx, model, network, cond, deterministic, model->final_action_clip_value);
    dppo_set_grad_enabled(cx, grad_enabled);
    return x;
}

dppo_tensor *dppo_explorer_next_q(dppo_cx *cx, const dppo_diffusion *model, const dppo_module *network,
                                  dppo_cond next_obs) {
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *actions = dppo_explorer_act(cx, model, network, next_obs, false);
    dppo_tensor *next_q = dppo_min_q(cx, model->critic_target, next_obs, actions);
    dppo_set_grad_enabled(cx, grad_enabled);
    return next_q;
}

dppo_status dppo_diffusion_update_target_critic(dppo_module *module, double tau) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    if (!model->critic_target) return dppo_fail(DPPO_INVALID, "a %s has no target critic", module->type);
    return dppo_update_target(model->critic_target, model->critic, 0, tau);
}
