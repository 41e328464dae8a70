/* PPO with a Gaussian or a mixture policy, as TrainPPOGaussianAgent, PPO_Gaussian and PPO_GMM of the original
 * do it (arXiv 1707.06347): the baseline that DPPO is compared with, and what makes the project's own
 * demonstrations. A mixture policy has no frozen copy: use_bc_loss changes nothing there. */
#include "algorithms/ppo.h"
#include "models/gaussian.h"
#include "models/gmm.h"

#include <math.h>
#include <string.h>

/* -- what is asked of either policy
 * ---------------------------------------------------------------------------------------- */

static dppo_tensor *sample_actions(dppo_cx *cx, dppo_module *model, dppo_cond cond, bool deterministic) {
    if (dppo_gmm_of(model)) return dppo_vpg_gmm_forward(cx, model, cond, deterministic);
    return dppo_vpg_gaussian_forward(cx, model, cond, deterministic, false);
}

static dppo_status get_logprobs(dppo_cx *cx, dppo_module *model, dppo_cond cond, dppo_tensor *actions,
                                dppo_tensor **log_prob) {
    dppo_tensor *entropy, *std;
    if (dppo_gmm_of(model))
        return dppo_vpg_gmm_get_logprobs(cx, model, cond, actions, log_prob, &entropy, &std);
    return dppo_vpg_gaussian_get_logprobs(cx, model, cond, actions, false, log_prob, &entropy, &std);
}

static dppo_status policy_loss(dppo_cx *cx, dppo_module *model, dppo_cond cond, dppo_tensor *actions,
                               dppo_ppo_batch batch, bool use_bc_loss, dppo_ppo_loss *loss) {
    if (dppo_gmm_of(model)) return dppo_ppo_gmm_loss(cx, model, cond, actions, batch, loss);
    return dppo_ppo_gaussian_loss(cx, model, cond, actions, batch, use_bc_loss, loss);
}

/* -- the agent
 * -------------------------------------------------------------------------------------------------- */

static dppo_status init(dppo_agent *agent, const dppo_config *config) {
    dppo_ppo *self = (dppo_ppo *)agent;
    DPPO_TRY(dppo_ppo_init(self, config));
    dppo_module *model = agent->model;
    const dppo_gmm *gmm = dppo_gmm_of(model);
    if (strcmp(model->type, "PPO_Gaussian") != 0 && strcmp(model->type, "PPO_GMM") != 0)
        return dppo_fail(DPPO_INVALID,
                         "model._target_: TrainPPOGaussianAgent needs a PPO_Gaussian or PPO_GMM, not a %s",
                         model->type);
    if (gmm) return dppo_ppo_init_optimizers(self, config, gmm->network, gmm->critic);
    return dppo_ppo_init_optimizers(self, config, dppo_gaussian_actor_ft(model), dppo_gaussian_critic(model));
}

static dppo_status act(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic, float *actions,
                       float *chains) {
    dppo_context *cx = agent->acting;
    dppo_context_reset(cx);
    dppo_tensor *state = dppo_agent_state(agent, cx, batch, obs);
    dppo_tensor *sample = sample_actions(cx, agent->model, dppo_cond_of(state), deterministic);
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
    dppo_tensor *log_prob;
    bool before = dppo_set_grad_enabled(cx, false);
    dppo_tensor *state =
        dppo_agent_state(base, cx, count, data->obs + begin * base->cond_steps * base->obs_dim);
    dppo_tensor *actions =
        dppo_from_f32(cx, 3, shape, data->chains + begin * base->horizon_steps * base->action_dim);
    dppo_status status = get_logprobs(cx, base->model, dppo_cond_of(state), actions, &log_prob);
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
    return policy_loss(base->learning, base->model,
                       dppo_cond_of(dppo_ppo_rows(ppo, data->obs, rows, indices, 3, state_shape)),
                       dppo_ppo_rows(ppo, data->chains, rows, indices, 3, chunk_shape), batch,
                       ppo->options.use_bc_loss, loss);
}

static dppo_status update(dppo_agent *agent, int64_t itr, const dppo_rollout *rollout,
                          dppo_update_metrics *metrics, dppo_trace *trace) {
    dppo_ppo *ppo = (dppo_ppo *)agent;
    dppo_ppo_data data = {0};
    dppo_status status = dppo_ppo_prepare(ppo, rollout, 1, &(dppo_ppo_policy){sample_logprobs, 1}, &data);
    if (status == DPPO_OK)
        status = dppo_ppo_epochs(ppo, itr, &data, data.rows, &(dppo_ppo_minibatch){.loss = minibatch_loss},
                                 metrics, trace);
    if (status == DPPO_OK) metrics->eta = metrics->bc_loss = NAN;
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
