/* PPO with a Gaussian policy, as TrainPPOGaussianAgent and PPO_Gaussian of the original do it (arXiv
 * 1707.06347): the baseline that DPPO is compared with, and what makes the project's own demonstrations. */
#include "algorithms/ppo.h"
#include "models/gaussian.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static dppo_status init(dppo_agent *agent, const dppo_config *config) {
    dppo_ppo *self = (dppo_ppo *)agent;
    DPPO_TRY(dppo_ppo_init(self, config));
    dppo_module *model = agent->model;
    if (strcmp(model->type, "PPO_GMM") == 0)
        return dppo_fail(DPPO_MISSING, "TrainPPOGaussianAgent does not train a PPO_GMM yet");
    if (strcmp(model->type, "PPO_Gaussian") != 0)
        return dppo_fail(DPPO_INVALID, "model._target_: TrainPPOGaussianAgent needs a PPO_Gaussian, not a %s",
                         model->type);
    return dppo_ppo_init_optimizers(self, config, dppo_gaussian_actor_ft(model), dppo_gaussian_critic(model));
}

static dppo_status act(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic, float *actions,
                       float *chains) {
    dppo_context *cx = agent->acting;
    dppo_context_reset(cx);
    dppo_tensor *state = dppo_agent_state(agent, cx, batch, obs);
    dppo_tensor *sample =
        dppo_vpg_gaussian_forward(cx, agent->model, dppo_cond_of(state), deterministic, false);
    if (!sample) return dppo_context_status(cx);
    dppo_tensor_pack(sample, actions);
    if (chains) dppo_tensor_pack(sample, chains);
    return DPPO_OK;
}

static dppo_status sample_logprobs(dppo_ppo *ppo, const dppo_ppo_data *data, int64_t begin, int64_t count,
                                   float *out) {
    dppo_agent *base = &ppo->base;
    dppo_context *cx = base->learning;
    int64_t shape[3] = {count, base->horizon_steps, base->action_dim};
    dppo_tensor *log_prob, *entropy, *std;
    bool before = dppo_set_grad_enabled(cx, false);
    dppo_tensor *state =
        dppo_agent_state(base, cx, count, data->obs + begin * base->cond_steps * base->obs_dim);
    dppo_tensor *actions =
        dppo_from_f32(cx, 3, shape, data->chains + begin * base->horizon_steps * base->action_dim);
    dppo_status status = dppo_vpg_gaussian_get_logprobs(cx, base->model, dppo_cond_of(state), actions, false,
                                                        &log_prob, &entropy, &std);
    dppo_set_grad_enabled(cx, before);
    if (status == DPPO_OK) dppo_tensor_pack(log_prob, out);
    return status;
}

static dppo_status minibatch_loss(dppo_ppo *ppo, const dppo_ppo_data *data, dppo_tensor *indices,
                                  dppo_ppo_loss *loss) {
    dppo_agent *base = &ppo->base;
    int64_t rows = data->rows;
    int64_t state_shape[3] = {0, base->cond_steps, base->obs_dim};
    int64_t chunk_shape[3] = {0, base->horizon_steps, base->action_dim};
    dppo_ppo_batch batch = {.returns = dppo_ppo_rows(ppo, data->returns, rows, indices, 1, NULL),
                            .oldvalues = dppo_ppo_rows(ppo, data->values, rows, indices, 1, NULL),
                            .advantages = dppo_ppo_rows(ppo, data->advantages, rows, indices, 1, NULL),
                            .oldlogprobs = dppo_ppo_rows(ppo, data->logprobs, rows, indices, 1, NULL)};
    return dppo_ppo_gaussian_loss(base->learning, base->model,
                                  dppo_cond_of(dppo_ppo_rows(ppo, data->obs, rows, indices, 3, state_shape)),
                                  dppo_ppo_rows(ppo, data->chains, rows, indices, 3, chunk_shape), batch,
                                  ppo->options.use_bc_loss, loss);
}

static dppo_status update(dppo_agent *agent, int64_t itr, const dppo_rollout *rollout,
                          dppo_update_metrics *metrics, dppo_trace *trace) {
    dppo_ppo *ppo = (dppo_ppo *)agent;
    dppo_ppo_data data = {0};
    dppo_trace own = {0};
    dppo_trace *rows = trace ? trace : &own;
    dppo_status status = dppo_ppo_prepare(ppo, rollout, 1, &(dppo_ppo_policy){sample_logprobs, 1}, &data);
    if (status == DPPO_OK)
        status = dppo_ppo_epochs(ppo, itr, &data, data.rows, &(dppo_ppo_minibatch){.loss = minibatch_loss},
                                 metrics, rows);
    if (status == DPPO_OK) {
        metrics->std = rows->count ? rows->rows[rows->count - 1].eta_or_std : NAN;
        metrics->bc_loss = NAN;
    }
    dppo_ppo_data_free(&data);
    free(own.rows);
    return status;
}

static dppo_status end_iteration(dppo_agent *agent, int64_t itr) {
    dppo_ppo_end_iteration((dppo_ppo *)agent, itr);
    return DPPO_OK;
}

static dppo_status save(const dppo_agent *agent, dppo_named *state) {
    return dppo_ppo_save((const dppo_ppo *)agent, state);
}

static dppo_status load(dppo_agent *agent, const dppo_named *state) {
    return dppo_ppo_load((dppo_ppo *)agent, state);
}

const dppo_algorithm dppo_ppo_gaussian = {
    .target = "TrainPPOGaussianAgent",
    .size = sizeof(dppo_ppo),
    .init = init,
    .release = dppo_ppo_release,
    .act = act,
    .update = update,
    .end_iteration = end_iteration,
    .save = save,
    .load = load,
};
