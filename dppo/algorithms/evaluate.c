/* Acting without learning: EvalDiffusionAgent and EvalGaussianAgent of the original. */
#include "algorithms/learner.h"
#include "diffusion/diffusion.h"
#include "models/gaussian.h"
#include "models/gmm.h"
#include "models/offpolicy_gaussian.h"

#include <stdlib.h>

static dppo_status init_diffusion(dppo_agent *agent, const dppo_config *config) {
    DPPO_TRY(dppo_agent_base_init(agent, config));
    const dppo_diffusion *model = dppo_diffusion_of(agent->model);
    if (model && !model->off_policy) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "model._target_: EvalDiffusionAgent cannot run a %s", agent->model->type);
}

static dppo_status init_gaussian(dppo_agent *agent, const dppo_config *config) {
    DPPO_TRY(dppo_agent_base_init(agent, config));
    if (dppo_gaussian_of(agent->model) || dppo_gmm_of(agent->model)) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "model._target_: EvalGaussianAgent cannot run a %s", agent->model->type);
}

static dppo_status act_diffusion(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic,
                                 float *actions, float *chains) {
    dppo_tensor *trajectories;
    (void)chains; /* an evaluation keeps none */
    dppo_context_reset(agent->acting);
    dppo_tensor *state = dppo_agent_state(agent, agent->acting, batch, obs);
    DPPO_TRY(dppo_diffusion_forward(agent->acting, agent->model, dppo_cond_of(state), deterministic,
                                    &trajectories));
    dppo_tensor_pack(trajectories, actions);
    return DPPO_OK;
}

static dppo_status act_gaussian(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic,
                                float *actions, float *chains) {
    (void)chains;
    dppo_gaussian_options options = {.deterministic = deterministic};
    dppo_context_reset(agent->acting);
    bool before = dppo_set_grad_enabled(agent->acting, false);
    dppo_tensor *state = dppo_agent_state(agent, agent->acting, batch, obs);
    dppo_cond cond = dppo_cond_of(state);
    dppo_tensor *sample;
    if (dppo_gmm_of(agent->model))
        sample = dppo_gmm_forward(agent->acting, agent->model, cond, deterministic);
    else if (dppo_gaussian_of(agent->model)->bc_policy) /* IBRL chooses between two policies */
        sample = dppo_ibrl_gaussian_forward(agent->acting, agent->model, cond, deterministic, false);
    else
        sample = dppo_gaussian_forward(agent->acting, agent->model, cond, options, NULL);
    dppo_set_grad_enabled(agent->acting, before);
    if (sample) dppo_tensor_pack(sample, actions);
    return dppo_context_status(agent->acting);
}

const dppo_algorithm dppo_eval_diffusion = {
    .target = "EvalDiffusionAgent",
    .size = sizeof(dppo_agent),
    .init = init_diffusion,
    .release = dppo_agent_base_release,
    .act = act_diffusion,
    .save = dppo_agent_base_save,
    .load = dppo_agent_base_load,
};

const dppo_algorithm dppo_eval_gaussian = {
    .target = "EvalGaussianAgent",
    .size = sizeof(dppo_agent),
    .init = init_gaussian,
    .release = dppo_agent_base_release,
    .act = act_gaussian,
    .save = dppo_agent_base_save,
    .load = dppo_agent_base_load,
};
