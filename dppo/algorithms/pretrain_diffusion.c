/* Pre-training of a diffusion policy on demonstrations, as TrainDiffusionAgent of the original does it: noise
 * prediction (Ho et al., arXiv 2006.11239), AdamW with warm restarts, and an exponential moving average of
 * the weights. */
#include "algorithms/learner.h"
#include "diffusion/diffusion.h"
#include "models/build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct pretrain {
    dppo_agent base;
    dppo_trained trained;
    dppo_module *ema;             /* owned: the averaged copy of base.model */
    dppo_tensor **ema_parameters; /* owned array, in the order of trained.parameters */
    double ema_decay;
} pretrain;

static void release(dppo_agent *agent) {
    pretrain *self = (pretrain *)agent;
    dppo_trained_free(&self->trained);
    free(self->ema_parameters);
    if (self->ema) dppo_module_free(self->ema);
    dppo_agent_base_release(agent);
}

static dppo_status init(dppo_agent *agent, const dppo_config *config) {
    pretrain *self = (pretrain *)agent;
    double lr, weight_decay;
    DPPO_TRY(dppo_agent_base_init(agent, config));
    const dppo_diffusion *model = dppo_diffusion_of(self->base.model);
    if (!model || model->off_policy)
        return dppo_fail(DPPO_INVALID, "model._target_: TrainDiffusionAgent needs a DiffusionModel, not a %s",
                         self->base.model->type);
    DPPO_TRY(dppo_config_float(config, "train.learning_rate", &lr));
    DPPO_TRY(dppo_config_float(config, "train.weight_decay", &weight_decay));
    DPPO_TRY(dppo_config_float(config, "ema.decay", &self->ema_decay));
    DPPO_TRY(dppo_trained_init(&self->trained, self->base.model, lr, weight_decay,
                               dppo_config_get(config, "train.lr_scheduler")));
    DPPO_TRY(dppo_build_copy(dppo_config_get(config, "model"), self->base.model, &self->ema));
    self->ema_parameters = calloc(self->trained.count + 1, sizeof *self->ema_parameters);
    if (!self->ema_parameters) return dppo_fail(DPPO_NO_MEMORY, "agent: out of memory");
    (void)dppo_module_parameters(self->ema, self->ema_parameters, NULL, self->trained.count);
    return DPPO_OK;
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
    pretrain *self = (pretrain *)agent;
    dppo_context *cx = agent->learning;
    int64_t shape[3] = {batch, agent->horizon_steps, agent->action_dim};
    dppo_context_reset(cx);
    dppo_tensor *x = dppo_from_f32(cx, 3, shape, actions), *state = dppo_agent_state(agent, cx, batch, obs);
    dppo_tensor *result = dppo_diffusion_loss(cx, agent->model, x, dppo_cond_of(state));
    dppo_optimizer_zero_grad(self->trained.optimizer);
    DPPO_TRY(dppo_backward(cx, 1, &result, NULL));
    *loss = dppo_item(cx, result);
    *grad_norm = dppo_trained_grad_norm(&self->trained);
    dppo_optimizer_step(self->trained.optimizer);
    if (ema_mode == 1) return dppo_module_copy(self->ema, agent->model);
    if (ema_mode == 2)
        dppo_ema_update(self->trained.count, self->ema_parameters, self->trained.parameters, self->ema_decay);
    return dppo_context_status(cx);
}

static dppo_status pretrain_end_epoch(dppo_agent *agent) {
    dppo_trained_step_schedule(&((pretrain *)agent)->trained);
    return DPPO_OK;
}

static dppo_status save(const dppo_agent *agent, dppo_named *state) {
    const pretrain *self = (const pretrain *)agent;
    DPPO_TRY(dppo_agent_base_save(agent, state));
    DPPO_TRY(dppo_module_state_dict(self->ema, "ema/", state));
    return dppo_trained_save(&self->trained, "", state);
}

static dppo_status load(dppo_agent *agent, const dppo_named *state) {
    pretrain *self = (pretrain *)agent;
    DPPO_TRY(dppo_agent_base_load(agent, state));
    DPPO_TRY(dppo_module_load_state_dict(self->ema, "ema/", state, true));
    return dppo_trained_load(&self->trained, "", state);
}

const dppo_algorithm dppo_pretrain_diffusion = {
    .target = "TrainDiffusionAgent",
    .size = sizeof(pretrain),
    .init = init,
    .release = release,
    .act = act,
    .pretrain_step = pretrain_step,
    .pretrain_end_epoch = pretrain_end_epoch,
    .save = save,
    .load = load,
};
