/* DPPO: policy gradients through the denoising chain (Ren et al., arXiv 2409.00588), as
 * TrainPPODiffusionAgent and PPODiffusion of the original do it.
 *
 * An iteration collects T steps of N environments. Each action comes from a chain of K denoising steps, of
 * which the last K' belong to the fine-tuned actor; every one of these is a step of the policy with a
 * Gaussian likelihood. The update draws a permutation of all T N K' (row, step) pairs and takes PPO
 * minibatches from it.
 *
 * With learn_eta DDIM's eta has an optimizer of its own, which steps at every eta_update_interval-th
 * minibatch. (To an EtaFixed no gradient flows, here as there: it stays what it is.)
 *
 * Where it departs from the original:
 * 1. The frozen network is not evaluated on rows that the fine-tuned one overwrites; the numbers are the
 * same. */
#include "algorithms/ppo.h"
#include "diffusion/diffusion.h"

#include <math.h>
#include <string.h>

typedef struct ppo_diffusion {
    dppo_ppo ppo;
    int64_t reward_horizon;
} ppo_diffusion;

static dppo_status init(dppo_agent *base, const dppo_config *config) {
    ppo_diffusion *self = (ppo_diffusion *)base;
    DPPO_TRY(dppo_ppo_init(&self->ppo, config));
    dppo_diffusion *model = dppo_diffusion_of(base->model);
    if (!model || strcmp(base->model->type, "PPODiffusion") != 0)
        return dppo_fail(DPPO_INVALID,
                         "model._target_: TrainPPODiffusionAgent needs a PPODiffusion, not a %s",
                         base->model->type);
    if (model->learn_eta) DPPO_TRY(dppo_ppo_init_eta_optimizer(&self->ppo, config, model->eta));
    DPPO_TRY(dppo_config_int_or(config, "reward_horizon", base->act_steps, &self->reward_horizon));
    return dppo_ppo_init_optimizers(&self->ppo, config, model->actor_ft, model->critic);
}

static dppo_status act(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic, float *actions,
                       float *chains) {
    dppo_context *cx = agent->acting;
    dppo_tensor *trajectories, *chain = NULL;
    dppo_context_reset(cx);
    dppo_tensor *state = dppo_agent_state(agent, cx, batch, obs);
    DPPO_TRY(dppo_vpg_diffusion_forward(cx, agent->model, dppo_cond_of(state), deterministic, chains != NULL,
                                        false, &trajectories, &chain));
    dppo_tensor_pack(trajectories, actions);
    if (chains) dppo_tensor_pack(chain, chains);
    return DPPO_OK;
}

/* Old log-probabilities of whole chains: (count, K', Ta, Da). */
static dppo_status chain_logprobs(dppo_ppo *ppo, const dppo_ppo_data *data, int64_t begin, int64_t count,
                                  float *out) {
    dppo_agent *base = &ppo->base;
    dppo_context *cx = base->learning;
    int64_t chain_length = dppo_diffusion_ft_denoising_steps(base->model) + 1;
    int64_t shape[4] = {count, chain_length, base->horizon_steps, base->action_dim};
    bool before = dppo_set_grad_enabled(cx, false);
    dppo_tensor *state =
        dppo_agent_state(base, cx, count, data->obs + begin * base->cond_steps * base->obs_dim);
    dppo_tensor *chains = dppo_from_f32(
        cx, 4, shape, data->chains + begin * chain_length * base->horizon_steps * base->action_dim);
    dppo_tensor *logprobs =
        dppo_vpg_diffusion_get_logprobs(cx, base->model, dppo_cond_of(state), chains, false, NULL);
    dppo_set_grad_enabled(cx, before);
    if (logprobs) dppo_tensor_pack(logprobs, out);
    return dppo_context_status(cx);
}

/* (row, denoising step) pairs of a minibatch, each (B) int64: their indices, rows and steps, and where the
 * two samples of the transition are in the flattened chains (R (K'+1), Ta, Da). */
typedef struct pairs {
    dppo_tensor *index, *row, *step, *previous, *next;
    dppo_ppo_diffusion_batch shaped; /* of the whole minibatch */
} pairs;

static dppo_status split_pairs(dppo_context *cx, dppo_tensor *indices, int64_t rows, int64_t steps,
                               pairs *p) {
    dppo_tensor *parts[2];
    if (!dppo_unravel_index(cx, indices, 2, (int64_t[]){rows, steps}, parts)) return dppo_context_status(cx);
    *p = (pairs){.index = indices, .row = parts[0], .step = parts[1]};
    p->previous = dppo_result(cx, DPPO_I64, 1, indices->shape);
    p->next = dppo_result(cx, DPPO_I64, 1, indices->shape);
    for (int64_t i = 0; p->previous && p->next && i < indices->shape[0]; i++) {
        int64_t at = dppo_i64(p->row)[i] * (steps + 1) + dppo_i64(p->step)[i];
        dppo_i64(p->previous)[i] = at;
        dppo_i64(p->next)[i] = at + 1;
    }
    return dppo_context_status(cx);
}

/* What the loss reads of those pairs, beside their advantages. */
static dppo_ppo_diffusion_batch gather(dppo_ppo *ppo, const dppo_ppo_data *data, const pairs *p) {
    dppo_agent *base = &ppo->base;
    int64_t steps = dppo_diffusion_ft_denoising_steps(base->model), rows = data->rows;
    int64_t state[3] = {0, base->cond_steps, base->obs_dim},
            chunk[3] = {0, base->horizon_steps, base->action_dim};
    return (dppo_ppo_diffusion_batch){
        .cond = dppo_cond_of(dppo_ppo_rows(ppo, data->obs, rows, p->row, 3, state)),
        .chains_prev = dppo_ppo_rows(ppo, data->chains, rows * (steps + 1), p->previous, 3, chunk),
        .chains_next = dppo_ppo_rows(ppo, data->chains, rows * (steps + 1), p->next, 3, chunk),
        .oldlogprobs = dppo_ppo_rows(ppo, data->logprobs, rows * steps, p->index, 3, chunk),
        .denoising_inds = p->step,
        .returns = dppo_ppo_rows(ppo, data->returns, rows, p->row, 1, NULL),
        .oldvalues = dppo_ppo_rows(ppo, data->values, rows, p->row, 1, NULL)};
}

static dppo_status minibatch_loss(dppo_ppo *ppo, const dppo_ppo_data *data, dppo_tensor *indices,
                                  dppo_ppo_loss *loss) {
    int64_t steps = dppo_diffusion_ft_denoising_steps(ppo->base.model);
    pairs p = {0};
    DPPO_TRY(split_pairs(ppo->base.learning, indices, data->rows, steps, &p));
    dppo_ppo_diffusion_batch batch = gather(ppo, data, &p);
    batch.advantages = dppo_ppo_rows(ppo, data->advantages, data->rows, p.row, 1, NULL);
    return dppo_ppo_diffusion_loss(ppo->base.learning, ppo->base.model, &batch, ppo->options.use_bc_loss,
                                   ((const ppo_diffusion *)ppo)->reward_horizon, loss);
}

static dppo_status minibatch_shape(dppo_ppo *ppo, const dppo_ppo_data *data, dppo_tensor *indices,
                                   void **shaped, dppo_tensor **rows) {
    dppo_context *cx = ppo->base.learning;
    int64_t steps = dppo_diffusion_ft_denoising_steps(ppo->base.model);
    pairs *p = *shaped = dppo_arena_alloc(dppo_context_arena(cx), sizeof *p);
    if (!p) return dppo_fail(DPPO_NO_MEMORY, "update: out of memory");
    DPPO_TRY(split_pairs(cx, indices, data->rows, steps, p));
    p->shaped.advantages = dppo_ppo_rows(ppo, data->advantages, data->rows, p->row, 1, NULL);
    p->shaped.denoising_inds = p->step;
    *rows = p->row;
    return dppo_ppo_diffusion_shape(cx, ppo->base.model, &p->shaped);
}

static dppo_status minibatch_terms(dppo_ppo *ppo, const dppo_ppo_data *data, const void *shaped,
                                   int64_t begin, int64_t count, dppo_tensor *newvalues,
                                   dppo_ppo_terms *terms) {
    dppo_context *cx = ppo->base.learning;
    const pairs *all = shaped;
    pairs p = {.index = dppo_narrow(cx, all->index, 0, begin, count),
               .row = dppo_narrow(cx, all->row, 0, begin, count),
               .step = dppo_narrow(cx, all->step, 0, begin, count),
               .previous = dppo_narrow(cx, all->previous, 0, begin, count),
               .next = dppo_narrow(cx, all->next, 0, begin, count)};
    DPPO_TRY(dppo_context_status(cx));
    dppo_ppo_diffusion_batch batch = gather(ppo, data, &p);
    batch.shaped_advantages = dppo_narrow(cx, all->shaped.shaped_advantages, 0, begin, count);
    batch.clip_coef = dppo_narrow(cx, all->shaped.clip_coef, 0, begin, count);
    batch.newvalues = newvalues;
    return dppo_ppo_diffusion_terms(cx, ppo->base.model, &batch, ((const ppo_diffusion *)ppo)->reward_horizon,
                                    terms);
}

static dppo_tensor *value_error(dppo_ppo *ppo, dppo_tensor *newvalues, dppo_tensor *oldvalues,
                                dppo_tensor *returns) {
    return dppo_clipped_value_error(ppo->base.learning, newvalues, oldvalues, returns,
                                    dppo_diffusion_of(ppo->base.model)->clip_vloss_coef);
}

/* The loss of behaviour cloning samples the whole minibatch at once; of the entropy, where eta learns, no
 * gradient is taken row by row. */
static dppo_ppo_minibatch minibatch_of(const dppo_ppo *ppo) {
    dppo_ppo_minibatch minibatch = {.loss = minibatch_loss};
    bool eta_learns = dppo_diffusion_of(ppo->base.model)->learn_eta;
    if (!ppo->options.use_bc_loss && !eta_learns)
        minibatch.shape = minibatch_shape, minibatch.terms = minibatch_terms,
        minibatch.value_error = value_error;
    return minibatch;
}

static dppo_status update(dppo_agent *agent, int64_t itr, const dppo_rollout *rollout,
                          dppo_update_metrics *metrics, dppo_trace *trace) {
    dppo_ppo *ppo = (dppo_ppo *)agent;
    int64_t steps = dppo_diffusion_ft_denoising_steps(agent->model);
    dppo_ppo_data data = {0};
    if (rollout->chain_length != steps + 1)
        return dppo_fail(DPPO_INVALID, "update: chains of %lld samples, ft_denoising_steps is %lld",
                         (long long)rollout->chain_length, (long long)steps);
    dppo_status status = dppo_ppo_prepare(ppo, rollout, steps * agent->horizon_steps * agent->action_dim,
                                          &(dppo_ppo_policy){chain_logprobs, steps}, &data);
    const dppo_ppo_minibatch minibatch = minibatch_of(ppo);
    if (status == DPPO_OK)
        status = dppo_ppo_epochs(ppo, itr, &data, data.rows * steps, &minibatch, metrics, trace);
    if (status == DPPO_OK) {
        metrics->std = metrics->entropy = NAN;
        metrics->min_sampling_std = dppo_diffusion_min_sampling_denoising_std(agent->model);
    }
    return status;
}

static dppo_status end_iteration(dppo_agent *agent, int64_t itr) {
    dppo_ppo_end_iteration((dppo_ppo *)agent, itr);
    return dppo_vpg_diffusion_step(agent->model);
}

static dppo_status save(const dppo_agent *agent, dppo_named *state) {
    DPPO_TRY(dppo_ppo_save((const dppo_ppo *)agent, state));
    return dppo_named_put_i64(state, "ft_denoising_steps_cnt",
                              dppo_diffusion_of(agent->model)->ft_denoising_steps_cnt);
}

/* The optimizer goes on with the parameters it was made for, which annealing has frozen: they get no gradient
 * any more, but keep one of zeros from earlier updates, so that momentum and weight decay still move them. */
static dppo_status keep_zero_gradients(dppo_trained *trained) {
    for (size_t i = 0; i < trained->count; i++) {
        dppo_tensor *parameter = trained->parameters[i];
        if (parameter->grad) continue;
        parameter->grad = dppo_tensor_heap(parameter->dtype, parameter->ndim, parameter->shape);
        if (!parameter->grad) return dppo_fail(DPPO_NO_MEMORY, "no memory for a gradient");
    }
    return DPPO_OK;
}

/* Annealing replaces networks and shortens chains: it is repeated up to the saved count, then values are
 * loaded. */
static dppo_status load(dppo_agent *agent, const dppo_named *state) {
    dppo_diffusion *model = dppo_diffusion_of(agent->model);
    bool anneals = model->ft_denoising_steps_d > 0 && model->ft_denoising_steps_t > 0;
    dppo_tensor *count;
    DPPO_TRY(dppo_named_require(state, "ft_denoising_steps_cnt", DPPO_I64, &count));
    int64_t target = *dppo_i64(count), now = model->ft_denoising_steps_cnt;
    if (target < (anneals ? now : 0) || target > (int64_t)1 << 24)
        return dppo_fail(DPPO_INVALID, "ft_denoising_steps_cnt: %lld, this agent is at %lld",
                         (long long)target, (long long)now);
    while (anneals && model->ft_denoising_steps_cnt < target)
        DPPO_TRY(dppo_vpg_diffusion_step(agent->model));
    model->ft_denoising_steps_cnt = target;
    if (anneals && target >= model->ft_denoising_steps_t)
        DPPO_TRY(keep_zero_gradients(&((dppo_ppo *)agent)->actor));
    return dppo_ppo_load((dppo_ppo *)agent, state);
}

const dppo_algorithm dppo_ppo_diffusion = {
    .target = "TrainPPODiffusionAgent",
    .size = sizeof(ppo_diffusion),
    .init = init,
    .release = dppo_ppo_release,
    .act = act,
    .update = update,
    .end_iteration = end_iteration,
    .save = save,
    .load = load,
};
