/* Pre-training of a Gaussian or a mixture policy on demonstrations, as TrainGaussianAgent of the original
 * does it: maximum likelihood with an entropy bonus, ent_coef, which a mixture ignores. */
#include "algorithms/supervised.h"
#include "models/gaussian.h"
#include "models/gmm.h"

#include <string.h>

typedef struct pretrain_gaussian {
    dppo_supervised supervised;
    double ent_coef;
} pretrain_gaussian;

static dppo_status init(dppo_agent *agent, const dppo_config *config) {
    pretrain_gaussian *self = (pretrain_gaussian *)agent;
    DPPO_TRY(dppo_agent_base_init(agent, config));
    const char *type = agent->model->type;
    if (strcmp(type, "GaussianModel") != 0 && strcmp(type, "GMMModel") != 0)
        return dppo_fail(DPPO_INVALID,
                         "model._target_: TrainGaussianAgent needs a GaussianModel or GMMModel, not a %s",
                         type);
    DPPO_TRY(dppo_config_float_or(config, "train.ent_coef", 0, &self->ent_coef));
    return dppo_supervised_init(&self->supervised, config);
}

static dppo_status act(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic, float *actions,
                       float *chains) {
    dppo_context *cx = agent->acting;
    dppo_gaussian_options options = {.deterministic = deterministic};
    if (chains) return dppo_fail(DPPO_INVALID, "TrainGaussianAgent: keeps no chains");
    dppo_context_reset(cx);
    bool before = dppo_set_grad_enabled(cx, false);
    dppo_cond cond = dppo_cond_of(dppo_agent_state(agent, cx, batch, obs));
    dppo_tensor *sample = dppo_gmm_of(agent->model)
                              ? dppo_gmm_forward(cx, agent->model, cond, deterministic)
                              : dppo_gaussian_forward(cx, agent->model, cond, options, NULL);
    dppo_set_grad_enabled(cx, before);
    if (sample) dppo_tensor_pack(sample, actions);
    return dppo_context_status(cx);
}

static dppo_status pretrain_step(dppo_agent *agent, int64_t batch, const float *actions, const float *obs,
                                 int ema_mode, double *loss, double *grad_norm) {
    dppo_cond cond;
    dppo_tensor *entropy, *result;
    double ent_coef = ((pretrain_gaussian *)agent)->ent_coef;
    dppo_tensor *x = dppo_supervised_batch(agent, batch, actions, obs, &cond);
    if (dppo_gmm_of(agent->model))
        result = dppo_gmm_loss(agent->learning, agent->model, x, cond, &entropy);
    else
        result = dppo_gaussian_loss(agent->learning, agent->model, x, cond, ent_coef, &entropy);
    return dppo_supervised_step(agent, result, ema_mode, loss, grad_norm);
}

const dppo_algorithm dppo_pretrain_gaussian = {
    .target = "TrainGaussianAgent",
    .size = sizeof(pretrain_gaussian),
    .init = init,
    .release = dppo_supervised_release,
    .act = act,
    .pretrain_step = pretrain_step,
    .pretrain_end_epoch = dppo_supervised_end_epoch,
    .save = dppo_supervised_save,
    .load = dppo_supervised_load,
};
