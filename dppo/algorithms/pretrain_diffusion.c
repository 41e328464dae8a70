/* Pre-training of a diffusion policy on demonstrations, as TrainDiffusionAgent of the original does it: noise
 * prediction (Ho et al., arXiv 2006.11239). */
#include "algorithms/supervised.h"
#include "diffusion/diffusion.h"

static dppo_status init(dppo_agent *agent, const dppo_config *config) {
    DPPO_TRY(dppo_agent_base_init(agent, config));
    const dppo_diffusion *model = dppo_diffusion_of(agent->model);
    if (!model || model->off_policy)
        return dppo_fail(DPPO_INVALID, "model._target_: TrainDiffusionAgent needs a DiffusionModel, not a %s",
                         agent->model->type);
    return dppo_supervised_init((dppo_supervised *)agent, config);
}

static dppo_status act(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic, float *actions,
                       float *chains) {
    dppo_tensor *trajectories;
    if (chains) return dppo_fail(DPPO_INVALID, "TrainDiffusionAgent: keeps no chains");
    dppo_context_reset(agent->acting);
    dppo_tensor *state = dppo_agent_state(agent, agent->acting, batch, obs);
    DPPO_TRY(dppo_diffusion_forward(agent->acting, agent->model, dppo_cond_of(state), deterministic,
                                    &trajectories));
    dppo_tensor_pack(trajectories, actions);
    return DPPO_OK;
}

static dppo_status pretrain_step(dppo_agent *agent, int64_t batch, const float *actions, const float *obs,
                                 int ema_mode, double *loss, double *grad_norm) {
    dppo_cond cond;
    dppo_tensor *x = dppo_supervised_batch(agent, batch, actions, obs, &cond);
    return dppo_supervised_step(agent, dppo_diffusion_loss(agent->learning, agent->model, x, cond), ema_mode,
                                loss, grad_norm);
}

const dppo_algorithm dppo_pretrain_diffusion = {
    .target = "TrainDiffusionAgent",
    .size = sizeof(dppo_supervised),
    .init = init,
    .release = dppo_supervised_release,
    .act = act,
    .pretrain_step = pretrain_step,
    .pretrain_end_epoch = dppo_supervised_end_epoch,
    .save = dppo_supervised_save,
    .load = dppo_supervised_load,
};
