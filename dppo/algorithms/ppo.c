#include "algorithms/ppo.h"
#include "algorithms/advantages.h"
#include "base/log.h"
#include "models/networks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- construction
 * --------------------------------------------------------------------------------------------- */

static dppo_status read_options(dppo_ppo_options *options, const dppo_config *config) {
    DPPO_TRY(dppo_config_int_from(config, "env.n_envs", 1, &options->n_envs));
    DPPO_TRY(dppo_config_int_from(config, "train.batch_size", 1, &options->batch_size));
    DPPO_TRY(dppo_config_int_or(config, "train.logprob_batch_size", 10000, &options->logprob_batch_size));
    DPPO_TRY(dppo_config_int_from(config, "train.update_epochs", 0, &options->update_epochs));
    DPPO_TRY(dppo_config_int(config, "train.n_critic_warmup_itr", &options->n_critic_warmup_itr));
    DPPO_TRY(dppo_config_float(config, "train.gamma", &options->gamma));
    DPPO_TRY(dppo_config_float_or(config, "train.gae_lambda", 0.95, &options->gae_lambda));
    DPPO_TRY(dppo_config_float_or(config, "train.ent_coef", 0, &options->ent_coef));
    DPPO_TRY(dppo_config_float_or(config, "train.vf_coef", 0, &options->vf_coef));
    DPPO_TRY(dppo_config_float_or(config, "train.bc_loss_coeff", 0, &options->bc_loss_coeff));
    DPPO_TRY(dppo_config_float_or(config, "train.reward_scale_const", 1, &options->reward_scale_const));
    DPPO_TRY(dppo_config_float_or(config, "train.target_kl", NAN, &options->target_kl));
    DPPO_TRY(dppo_config_float_or(config, "train.max_grad_norm", NAN, &options->max_grad_norm));
    DPPO_TRY(dppo_config_bool(config, "train.reward_scale_running", &options->reward_scale_running));
    DPPO_TRY(dppo_config_bool_or(config, "train.use_bc_loss", false, &options->use_bc_loss));
    if (options->logprob_batch_size < 1 || options->logprob_batch_size % options->n_envs != 0)
        return dppo_fail(DPPO_INVALID, "train.logprob_batch_size: %lld is not divisible by env.n_envs %lld",
                         (long long)options->logprob_batch_size, (long long)options->n_envs);
    return DPPO_OK;
}

dppo_status dppo_ppo_init(dppo_ppo *ppo, const dppo_config *config) {
    DPPO_TRY(read_options(&ppo->options, config));
    ppo->chunks = dppo_rows_new();
    ppo->states = dppo_rows_new();
    ppo->iteration = dppo_arena_new();
    if (!ppo->chunks || !ppo->states || !ppo->iteration)
        return dppo_fail(DPPO_NO_MEMORY, "no memory for a learner");
    DPPO_TRY(dppo_agent_base_init(&ppo->base, config));
    return ppo->options.reward_scale_running
               ? dppo_reward_scaler_init(&ppo->scaler, ppo->options.n_envs, 10.0, 0.99, false)
               : DPPO_OK;
}

dppo_status dppo_ppo_init_optimizers(dppo_ppo *ppo, const dppo_config *config, dppo_module *actor,
                                     dppo_module *critic) {
    double lr, weight_decay;
    ppo->critic_module = critic;
    DPPO_TRY(dppo_config_float(config, "train.actor_lr", &lr));
    DPPO_TRY(dppo_config_float(config, "train.actor_weight_decay", &weight_decay));
    DPPO_TRY(dppo_trained_init(&ppo->actor, actor, lr, weight_decay,
                               dppo_config_get(config, "train.actor_lr_scheduler")));
    DPPO_TRY(dppo_config_float(config, "train.critic_lr", &lr));
    DPPO_TRY(dppo_config_float(config, "train.critic_weight_decay", &weight_decay));
    return dppo_trained_init(&ppo->critic, critic, lr, weight_decay,
                             dppo_config_get(config, "train.critic_lr_scheduler"));
}

dppo_status dppo_ppo_init_eta_optimizer(dppo_ppo *ppo, const dppo_config *config, dppo_module *eta) {
    double lr, weight_decay;
    if (!eta) return dppo_fail(DPPO_INVALID, "model.learn_eta: model.eta is missing");
    DPPO_TRY(dppo_config_int(config, "train.eta_update_interval", &ppo->eta_update_interval));
    if (ppo->eta_update_interval < 1)
        return dppo_fail(DPPO_INVALID, "train.eta_update_interval: %lld",
                         (long long)ppo->eta_update_interval);
    ppo->minibatches = DPPO_WHOLE; /* chunks know no gradient of the entropy term */
    DPPO_TRY(dppo_config_float(config, "train.eta_lr", &lr));
    DPPO_TRY(dppo_config_float(config, "train.eta_weight_decay", &weight_decay));
    return dppo_trained_init(&ppo->eta, eta, lr, weight_decay,
                             dppo_config_get(config, "train.eta_lr_scheduler"));
}

void dppo_ppo_release(dppo_agent *agent) {
    dppo_ppo *ppo = (dppo_ppo *)agent;
    dppo_trained_free(&ppo->actor);
    dppo_trained_free(&ppo->critic);
    dppo_trained_free(&ppo->eta);
    dppo_reward_scaler_free(&ppo->scaler);
    dppo_rows_free(ppo->chunks);
    dppo_rows_free(ppo->states);
    dppo_arena_free(ppo->iteration);
    dppo_agent_base_release(agent);
}

dppo_status dppo_ppo_save(const dppo_ppo *ppo, dppo_named *state) {
    DPPO_TRY(dppo_agent_base_save(&ppo->base, state));
    DPPO_TRY(dppo_trained_save(&ppo->actor, "actor", state));
    DPPO_TRY(dppo_trained_save(&ppo->critic, "critic", state));
    if (ppo->eta.optimizer) DPPO_TRY(dppo_trained_save(&ppo->eta, "eta", state));
    return ppo->options.reward_scale_running ? dppo_reward_scaler_save(&ppo->scaler, "reward_scaler/", state)
                                             : DPPO_OK;
}

dppo_status dppo_ppo_load(dppo_ppo *ppo, const dppo_named *state) {
    DPPO_TRY(dppo_agent_base_load(&ppo->base, state));
    DPPO_TRY(dppo_trained_load(&ppo->actor, "actor", state));
    DPPO_TRY(dppo_trained_load(&ppo->critic, "critic", state));
    if (ppo->eta.optimizer) DPPO_TRY(dppo_trained_load(&ppo->eta, "eta", state));
    return ppo->options.reward_scale_running ? dppo_reward_scaler_load(&ppo->scaler, "reward_scaler/", state)
                                             : DPPO_OK;
}

/* -- from the rollout to data
 * ------------------------------------------------------------------------------------ */

/* V(s) of `count` observations into `out` (count), without gradients. */
static dppo_status values_of(dppo_ppo *ppo, const float *obs, int64_t count, float *out) {
    dppo_context *cx = ppo->base.learning;
    bool before = dppo_set_grad_enabled(cx, false);
    dppo_tensor *state = dppo_agent_state(&ppo->base, cx, count, obs);
    dppo_tensor *values =
        dppo_contiguous(cx, dppo_critic_forward(cx, ppo->critic_module, dppo_cond_of(state)));
    dppo_set_grad_enabled(cx, before);
    if (values) memcpy(out, values->data, (size_t)count * sizeof *out);
    return dppo_context_status(cx);
}

/* The same of rows of the data, as a dppo_ppo_logprobs. */
static dppo_status critic_rows(dppo_ppo *ppo, const dppo_ppo_data *data, int64_t begin, int64_t count,
                               float *out) {
    return values_of(ppo, data->obs + begin * ppo->base.cond_steps * ppo->base.obs_dim, count, out);
}

/* What is evaluated without gradients, and how many floats a row of data gives. */
typedef struct evaluation {
    dppo_ppo_policy of;
    int64_t floats_per_row;
    dppo_ppo_chunking *chunking;
} evaluation;

/* Rows of data in a chunk: a multiple of OpenBLAS' tiles, and about DPPO_ROWS_CHUNK rows of the network. */
static int64_t chunk_rows(const evaluation *e) {
    int64_t per_tile = DPPO_ROWS_TILE * e->of.pairs_per_row;
    return DPPO_ROWS_TILE * ((DPPO_ROWS_CHUNK + per_tile - 1) / per_tile);
}

/* Rows [begin, begin + count), in chunks of `chunk` rows; the last takes the remainder along. */
static dppo_status evaluate_rows(dppo_ppo *ppo, const dppo_ppo_data *data, const evaluation *e, int64_t begin,
                                 int64_t count, int64_t chunk, float *out) {
    int64_t chunks = count / chunk > 0 ? count / chunk : 1, pairs = e->of.pairs_per_row;
    for (int64_t i = 0; i < chunks; i++) {
        int64_t from = i * chunk, rows = i == chunks - 1 ? count - from : chunk;
        dppo_context_reset(ppo->base.learning);
        dppo_rows_set(ppo->base.learning, ppo->chunks, count * pairs, from * pairs, rows * pairs);
        DPPO_TRY(e->of.logprobs(ppo, data, begin + from, rows, out + from * e->floats_per_row));
    }
    return DPPO_OK;
}

/* Two chunks and a half of the data, whole and in chunks. */
static dppo_status check_evaluation(dppo_ppo *ppo, const dppo_ppo_data *data, const evaluation *e) {
    int64_t chunk = chunk_rows(e), rows = 2 * chunk + chunk / 2 - 5, size = rows * e->floats_per_row;
    float *out = malloc((size_t)(2 * size) * sizeof *out);
    if (!out) return dppo_fail(DPPO_NO_MEMORY, "update: out of memory");
    dppo_status status = evaluate_rows(ppo, data, e, 0, rows, rows, out);
    if (status == DPPO_OK) status = evaluate_rows(ppo, data, e, 0, rows, chunk, out + size);
    if (status == DPPO_OK)
        *e->chunking = memcmp(out, out + size, (size_t)size * sizeof *out) == 0 ? DPPO_IN_CHUNKS : DPPO_WHOLE;
    free(out);
    return status;
}

/* In pieces of logprob_batch_size rows, as the original does to save memory; these in chunks. */
static dppo_status evaluate(dppo_ppo *ppo, const dppo_ppo_data *data, const evaluation *e, float *out) {
    int64_t piece = ppo->options.logprob_batch_size, chunk = chunk_rows(e);
    bool worth_it = (piece < data->rows ? piece : data->rows) >= 3 * chunk;
    if (worth_it && *e->chunking == DPPO_CHUNKS_UNKNOWN) DPPO_TRY(check_evaluation(ppo, data, e));
    if (!worth_it || *e->chunking == DPPO_WHOLE) chunk = piece;
    for (int64_t begin = 0; begin < data->rows; begin += piece) {
        int64_t count = piece < data->rows - begin ? piece : data->rows - begin;
        DPPO_TRY(evaluate_rows(ppo, data, e, begin, count, chunk, out + begin * e->floats_per_row));
    }
    return DPPO_OK;
}

static dppo_status evaluate_policy(dppo_ppo *ppo, const dppo_ppo_policy *policy, dppo_ppo_data *data) {
    const evaluation critic = {{critic_rows, 1}, 1, &ppo->values};
    const evaluation actor = {*policy, data->logprobs_per_row, &ppo->logprobs};
    DPPO_TRY(evaluate(ppo, data, &critic, data->values));
    dppo_lap(&ppo->watch, &ppo->watch.spent.values_seconds);
    DPPO_TRY(evaluate(ppo, data, &actor, data->logprobs));
    dppo_lap(&ppo->watch, &ppo->watch.spent.logprobs_seconds);
    return DPPO_OK;
}

/* Float64 columns of the estimator, and the float32 results the minibatches read. */
static dppo_status estimate_advantages(dppo_ppo *ppo, const dppo_rollout *rollout, dppo_ppo_data *data) {
    int64_t n = rollout->n_envs, rows = data->rows;
    double *work = dppo_arena_alloc(ppo->iteration, (size_t)(4 * rows + n) * sizeof *work);
    float *last = dppo_arena_alloc(ppo->iteration, (size_t)n * sizeof *last);
    if (!work || !last) return dppo_fail(DPPO_NO_MEMORY, "update: out of memory");
    double *reward = work, *values = work + rows, *advantages = work + 2 * rows, *returns = work + 3 * rows;
    double *discounted_next = work + 4 * rows;
    dppo_context_reset(ppo->base.learning);
    DPPO_TRY(values_of(ppo, rollout->last_obs, n, last));
    memcpy(reward, rollout->reward, (size_t)rows * sizeof *reward);
    if (ppo->options.reward_scale_running)
        DPPO_TRY(dppo_reward_scaler_apply(&ppo->scaler, rollout->n_steps, rollout->firsts, reward));
    for (int64_t i = 0; i < rows; i++)
        values[i] = (double)data->values[i];
    for (int64_t i = 0; i < n; i++) /* numpy multiplies a float32 array by a Python float in float32 */
        discounted_next[i] = (double)((float)ppo->options.gamma * last[i]);
    dppo_gae_options options = {ppo->options.gamma, ppo->options.gae_lambda, ppo->options.reward_scale_const};
    dppo_gae(options, rollout->n_steps, n, reward, rollout->terminated, values, discounted_next, advantages,
             returns);
    for (int64_t i = 0; i < rows; i++) {
        data->advantages[i] = (float)advantages[i];
        data->returns[i] = (float)returns[i];
    }
    dppo_lap(&ppo->watch, &ppo->watch.spent.advantages_seconds);
    return DPPO_OK;
}

static float *floats(dppo_ppo *ppo, int64_t count) {
    return dppo_arena_alloc(ppo->iteration, (size_t)count * sizeof(float));
}

dppo_status dppo_ppo_prepare(dppo_ppo *ppo, const dppo_rollout *rollout, int64_t logprobs_per_row,
                             const dppo_ppo_policy *policy, dppo_ppo_data *data) {
    int64_t rows = rollout->n_steps * rollout->n_envs;
    dppo_stopwatch_start(&ppo->watch);
    dppo_arena_reset(ppo->iteration);
    *data = (dppo_ppo_data){rows,
                            rollout->obs,
                            rollout->chains,
                            floats(ppo, rows),
                            floats(ppo, rows),
                            floats(ppo, rows),
                            floats(ppo, rows * logprobs_per_row),
                            logprobs_per_row};
    if (!data->values || !data->returns || !data->advantages || !data->logprobs)
        return dppo_fail(DPPO_NO_MEMORY, "update: out of memory");
    if (rollout->n_envs != ppo->options.n_envs)
        return dppo_fail(DPPO_INVALID, "update: a rollout of %lld environments, env.n_envs is %lld",
                         (long long)rollout->n_envs, (long long)ppo->options.n_envs);
    DPPO_TRY(evaluate_policy(ppo, policy, data));
    return estimate_advantages(ppo, rollout, data);
}

/* -- minibatches
 * ---------------------------------------------------------------------------------------------------- */

dppo_tensor *dppo_ppo_rows(dppo_ppo *ppo, const float *array, int64_t rows, dppo_tensor *indices, int ndim,
                           const int64_t *shape) {
    dppo_tensor whole = {.dtype = DPPO_F32, .ndim = ndim};
    int64_t stride = 1;
    for (int d = ndim - 1; d >= 0; d--) {
        whole.shape[d] = d == 0 ? rows : shape[d];
        whole.stride[d] = stride;
        stride *= whole.shape[d];
    }
    /* The array is only read: a view of it lives for the one call. */
    memcpy(&whole.data, &array, sizeof whole.data);
    return dppo_index_select(ppo->base.learning, &whole, 0, indices);
}

static double value_of(dppo_context *cx, dppo_tensor *scalar) {
    return scalar ? dppo_item(cx, scalar) : 0;
}

dppo_tensor *dppo_ppo_total_loss(const dppo_ppo *ppo, const dppo_ppo_loss *loss) {
    dppo_context *cx = ppo->base.learning;
    dppo_tensor *total =
        dppo_add(cx, loss->pg_loss, dppo_mul_scalar(cx, loss->entropy_loss, ppo->options.ent_coef));
    total = dppo_add(cx, total, dppo_mul_scalar(cx, loss->v_loss, ppo->options.vf_coef));
    if (loss->bc_loss)
        total = dppo_add(cx, total, dppo_mul_scalar(cx, loss->bc_loss, ppo->options.bc_loss_coeff));
    return total;
}

void dppo_ppo_zero_grad(dppo_ppo *ppo) {
    dppo_optimizer_zero_grad(ppo->actor.optimizer);
    dppo_optimizer_zero_grad(ppo->critic.optimizer);
    if (ppo->eta.optimizer) dppo_optimizer_zero_grad(ppo->eta.optimizer);
}

/* The gradients are there: the numbers of the trace, and the optimizers' steps. */
static dppo_status finish_step(dppo_ppo *ppo, const dppo_ppo_loss *loss, dppo_tensor *total, bool train_actor,
                               dppo_trace_row *row) {
    dppo_context *cx = ppo->base.learning;
    *row = (dppo_trace_row){.pg_loss = value_of(cx, loss->pg_loss),
                            .entropy_loss = value_of(cx, loss->entropy_loss),
                            .v_loss = value_of(cx, loss->v_loss),
                            .bc_loss = value_of(cx, loss->bc_loss),
                            .loss = value_of(cx, total),
                            .clipfrac = loss->clipfrac,
                            .approx_kl = loss->approx_kl,
                            .ratio = loss->ratio,
                            .eta_or_std = loss->eta_or_std,
                            .actor_grad_norm = dppo_trained_grad_norm(&ppo->actor),
                            .critic_grad_norm = dppo_trained_grad_norm(&ppo->critic)};
    if (train_actor) {
        if (!isnan(ppo->options.max_grad_norm))
            (void)dppo_clip_grad_norm(ppo->actor.count, ppo->actor.parameters, ppo->options.max_grad_norm);
        dppo_optimizer_step(ppo->actor.optimizer);
    }
    dppo_optimizer_step(ppo->critic.optimizer);
    dppo_lap(&ppo->watch, &ppo->watch.spent.optimizer_seconds);
    return dppo_context_status(cx);
}

dppo_status dppo_ppo_step(dppo_ppo *ppo, const dppo_ppo_loss *loss, bool train_actor, dppo_trace_row *row) {
    dppo_tensor *total = dppo_ppo_total_loss(ppo, loss);
    dppo_lap(&ppo->watch, &ppo->watch.spent.forward_seconds);
    dppo_ppo_zero_grad(ppo);
    DPPO_TRY(dppo_backward(ppo->base.learning, 1, &total, NULL));
    dppo_lap(&ppo->watch, &ppo->watch.spent.backward_seconds);
    return finish_step(ppo, loss, total, train_actor, row);
}

/* Gradients and step of one minibatch. */
static dppo_status run_minibatch(dppo_ppo *ppo, const dppo_ppo_data *data,
                                 const dppo_ppo_minibatch *minibatch, dppo_tensor *indices, bool train_actor,
                                 dppo_trace_row *row) {
    dppo_ppo_loss loss = {0};
    if (ppo->minibatches != DPPO_IN_CHUNKS || dppo_rows_count(dppo_numel(indices)) < 3) {
        DPPO_TRY(minibatch->loss(ppo, data, indices, &loss));
        return dppo_ppo_step(ppo, &loss, train_actor, row);
    }
    DPPO_TRY(dppo_ppo_gradients_in_chunks(ppo, data, minibatch, indices, &loss));
    dppo_tensor *total = dppo_ppo_total_loss(ppo, &loss);
    dppo_lap(&ppo->watch, &ppo->watch.spent.forward_seconds);
    return finish_step(ppo, &loss, total, train_actor, row);
}

typedef struct epoch_state {
    dppo_trace_row last;
    double clipfrac_sum;
    int64_t minibatches;
    bool stop; /* the KL divergence reached its target */
} epoch_state;

static dppo_status run_epoch(dppo_ppo *ppo, int64_t itr, const dppo_ppo_data *data, dppo_tensor *permutation,
                             const dppo_ppo_minibatch *minibatch, dppo_trace *trace, epoch_state *state) {
    int64_t total = dppo_numel(permutation), batch = ppo->options.batch_size;
    int64_t count = total / batch > 0 ? total / batch : 1;
    bool train_actor = itr >= ppo->options.n_critic_warmup_itr;
    for (int64_t b = 0; b < count && !state->stop; b++) {
        int64_t length = batch < total - b * batch ? batch : total - b * batch;
        dppo_context_reset(ppo->base.learning);
        dppo_tensor *indices =
            dppo_from_i64(ppo->base.learning, 1, &length, dppo_i64(permutation) + b * batch);
        DPPO_TRY(run_minibatch(ppo, data, minibatch, indices, train_actor, &state->last));
        if (train_actor && ppo->eta.optimizer && b % ppo->eta_update_interval == 0)
            dppo_optimizer_step(ppo->eta.optimizer);
        dppo_lap(&ppo->watch, &ppo->watch.spent.optimizer_seconds);
        if (trace) DPPO_TRY(dppo_trace_add(trace, &state->last));
        state->clipfrac_sum += state->last.clipfrac;
        state->minibatches++;
        state->stop = state->last.approx_kl > ppo->options.target_kl;
    }
    return DPPO_OK;
}

static void fill_metrics(dppo_ppo *ppo, const dppo_ppo_data *data, const epoch_state *state,
                         dppo_update_metrics *metrics) {
    metrics->loss = state->last.loss;
    metrics->pg_loss = state->last.pg_loss;
    metrics->value_loss = state->last.v_loss;
    metrics->bc_loss = state->last.bc_loss;
    metrics->entropy = -state->last.entropy_loss;
    metrics->approx_kl = state->last.approx_kl;
    metrics->ratio = state->last.ratio;
    metrics->clipfrac = state->clipfrac_sum / (double)state->minibatches;
    metrics->explained_variance = NAN;
    float *rest = floats(ppo, data->rows);
    if (rest)
        metrics->explained_variance = dppo_explained_variance(data->rows, data->values, data->returns, rest);
    metrics->actor_lr = dppo_optimizer_lr(ppo->actor.optimizer);
    metrics->critic_lr = dppo_optimizer_lr(ppo->critic.optimizer);
    metrics->std = metrics->eta = state->minibatches > 0 ? state->last.eta_or_std : NAN;
    metrics->min_sampling_std = NAN;
    dppo_lap(&ppo->watch, &ppo->watch.spent.advantages_seconds); /* their explained variance */
    metrics->phases = ppo->watch.spent;
}

dppo_status dppo_ppo_epochs(dppo_ppo *ppo, int64_t itr, const dppo_ppo_data *data, int64_t total,
                            const dppo_ppo_minibatch *minibatch, dppo_update_metrics *metrics,
                            dppo_trace *trace) {
    epoch_state state = {0};
    dppo_tensor *permutation = dppo_tensor_new(ppo->iteration, DPPO_I64, 1, &total);
    if (!permutation) return dppo_fail(DPPO_NO_MEMORY, "update: out of memory");
    dppo_status status = DPPO_OK;
    for (int64_t epoch = 0; epoch < ppo->options.update_epochs && !state.stop && status == DPPO_OK; epoch++) {
        status = dppo_draw_randperm(ppo->base.generator, permutation);
        if (status == DPPO_OK) status = dppo_ppo_check_chunks(ppo, data, minibatch, permutation);
        if (status == DPPO_OK) status = run_epoch(ppo, itr, data, permutation, minibatch, trace, &state);
    }
    if (status == DPPO_OK) fill_metrics(ppo, data, &state, metrics);
    return status;
}

void dppo_ppo_end_iteration(dppo_ppo *ppo, int64_t itr) {
    bool train_actor = itr >= ppo->options.n_critic_warmup_itr;
    if (train_actor) dppo_trained_step_schedule(&ppo->actor);
    if (train_actor && ppo->eta.optimizer) dppo_trained_step_schedule(&ppo->eta);
    dppo_trained_step_schedule(&ppo->critic);
}
