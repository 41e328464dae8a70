#include "algorithms/supervised.h"
#include "models/build.h"

#include <stdlib.h>

dppo_status dppo_supervised_init(dppo_supervised *self, const dppo_config *config) {
    double lr, weight_decay;
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

void dppo_supervised_release(dppo_agent *agent) {
    dppo_supervised *self = (dppo_supervised *)agent;
    dppo_trained_free(&self->trained);
    free(self->ema_parameters);
    if (self->ema) dppo_module_free(self->ema);
    dppo_agent_base_release(agent);
}

dppo_tensor *dppo_supervised_batch(dppo_agent *agent, int64_t batch, const float *actions, const float *obs,
                                   dppo_cond *cond) {
    dppo_context *cx = agent->learning;
    int64_t shape[3] = {batch, agent->horizon_steps, agent->action_dim};
    dppo_context_reset(cx);
    dppo_tensor *x = dppo_from_f32(cx, 3, shape, actions);
    *cond = dppo_cond_of(dppo_agent_state(agent, cx, batch, obs));
    return x;
}

dppo_status dppo_supervised_step(dppo_agent *agent, dppo_tensor *loss_tensor, int ema_mode, double *loss,
                                 double *grad_norm) {
    dppo_supervised *self = (dppo_supervised *)agent;
    dppo_optimizer_zero_grad(self->trained.optimizer);
    DPPO_TRY(dppo_backward(agent->learning, 1, &loss_tensor, NULL));
    *loss = dppo_item(agent->learning, loss_tensor);
    *grad_norm = dppo_trained_grad_norm(&self->trained);
    dppo_optimizer_step(self->trained.optimizer);
    if (ema_mode == 1) return dppo_module_copy(self->ema, agent->model);
    if (ema_mode == 2)
        dppo_ema_update(self->trained.count, self->ema_parameters, self->trained.parameters, self->ema_decay);
    return dppo_context_status(agent->learning);
}

dppo_status dppo_supervised_end_epoch(dppo_agent *agent) {
    dppo_trained_step_schedule(&((dppo_supervised *)agent)->trained);
    return DPPO_OK;
}

dppo_status dppo_supervised_save(const dppo_agent *agent, dppo_named *state) {
    const dppo_supervised *self = (const dppo_supervised *)agent;
    DPPO_TRY(dppo_agent_base_save(agent, state));
    DPPO_TRY(dppo_module_state_dict(self->ema, "ema/", state));
    return dppo_trained_save(&self->trained, "", state);
}

dppo_status dppo_supervised_load(dppo_agent *agent, const dppo_named *state) {
    dppo_supervised *self = (dppo_supervised *)agent;
    DPPO_TRY(dppo_agent_base_load(agent, state));
    DPPO_TRY(dppo_module_load_state_dict(self->ema, "ema/", state, true));
    return dppo_trained_load(&self->trained, "", state);
}
