/* Door entries of the training loops: gae, RunningRewardScaler, and the short runs `pretrain` and
 * `ppo_updates`. */
#include "algorithms/advantages.h"
#include "algorithms/ppo.h"
#include "algorithms/reward_scaling.h"
#include "diffusion/diffusion.h"
#include "models/build.h"
#include "parity/door.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An input that must be there, be float64 and have `ndim` dims. */
static dppo_status float64_input(dppo_call *call, const char *name, int ndim, dppo_tensor **tensor) {
    DPPO_TRY(dppo_named_require(dppo_call_inputs(call, name), name, DPPO_F64, tensor));
    if ((*tensor)->ndim == ndim) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "in/%s: %d dims, not %d", name, (*tensor)->ndim, ndim);
}

static dppo_status must_match(const char *name, const dppo_tensor *tensor, const dppo_tensor *like) {
    char a[128], b[128];
    if (dppo_same_shape(tensor, like)) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "in/%s: shape %s, not %s", name,
                     dppo_shape_text(tensor->ndim, tensor->shape, a, sizeof a),
                     dppo_shape_text(like->ndim, like->shape, b, sizeof b));
}

/* -- gae: in/reward, terminated, value (T, N), next_value (N), all float64
 * ---------------------------------------- */

static dppo_status call_gae(dppo_call *call) {
    const dppo_config *args = dppo_call_case(call)->args;
    dppo_context *cx = dppo_call_context(call);
    dppo_gae_options options;
    dppo_tensor *reward, *terminated, *value, *next;
    DPPO_TRY(dppo_config_float(args, "gamma", &options.gamma));
    DPPO_TRY(dppo_config_float(args, "gae_lambda", &options.gae_lambda));
    DPPO_TRY(dppo_config_float_or(args, "reward_scale_const", 1.0, &options.reward_scale_const));
    DPPO_TRY(float64_input(call, "reward", 2, &reward));
    DPPO_TRY(float64_input(call, "terminated", 2, &terminated));
    DPPO_TRY(float64_input(call, "value", 2, &value));
    DPPO_TRY(float64_input(call, "next_value", 1, &next));
    DPPO_TRY(must_match("terminated", terminated, reward));
    DPPO_TRY(must_match("value", value, reward));
    int64_t n = reward->shape[1];
    if (next->shape[0] != n)
        return dppo_fail(DPPO_INVALID, "in/next_value: %lld values for %lld environments",
                         (long long)next->shape[0], (long long)n);
    dppo_tensor *discounted = dppo_result(cx, DPPO_F64, 1, &n);
    dppo_tensor *advantages = dppo_result(cx, DPPO_F64, 2, reward->shape);
    dppo_tensor *returns = dppo_result(cx, DPPO_F64, 2, reward->shape);
    if (!discounted || !advantages || !returns) return dppo_context_status(cx);
    for (int64_t i = 0; i < n; i++)
        dppo_f64(discounted)[i] = options.gamma * dppo_f64(next)[i];
    dppo_gae(options, reward->shape[0], n, dppo_f64(reward), dppo_f64(terminated), dppo_f64(value),
             dppo_f64(discounted), dppo_f64(advantages), dppo_f64(returns));
    DPPO_TRY(dppo_call_output_copy(call, "advantages", advantages));
    return dppo_call_output_copy(call, "returns", returns);
}

/* -- RunningRewardScaler: in/reward, first (calls, N, T)
 * ------------------------------------------------------------ */

/* One call: (N, T) in, scaled (N, T) out; the scaler itself works on (T, N). */
static dppo_status scale_call(dppo_reward_scaler *scaler, int64_t n, int64_t steps, const double *reward,
                              const double *first, double *scaled) {
    double *work = malloc((size_t)(2 * n * steps + 1) * sizeof *work);
    if (!work) return dppo_fail(DPPO_NO_MEMORY, "RunningRewardScaler: out of memory");
    for (int64_t i = 0; i < n; i++)
        for (int64_t t = 0; t < steps; t++) {
            work[t * n + i] = reward[i * steps + t];
            work[n * steps + t * n + i] = first[i * steps + t];
        }
    dppo_status status = dppo_reward_scaler_apply(scaler, steps, work + n * steps, work);
    for (int64_t i = 0; i < n; i++)
        for (int64_t t = 0; t < steps; t++)
            scaled[i * steps + t] = work[t * n + i];
    free(work);
    return status;
}

static dppo_status scaler_outputs(dppo_call *call, const dppo_reward_scaler *scaler) {
    dppo_named state = {0};
    dppo_status status = dppo_reward_scaler_save(scaler, "", &state);
    const char *names[] = {"mean", "var", "count"};
    for (size_t i = 0; i < 3 && status == DPPO_OK; i++)
        status = dppo_call_output_copy(call, names[i], dppo_named_get(&state, names[i]));
    dppo_named_free(&state);
    return status;
}

static dppo_status call_reward_scaler(dppo_call *call) {
    const dppo_config *args = dppo_call_case(call)->args;
    dppo_reward_scaler scaler = {0};
    int64_t n_envs;
    double cliprew, gamma;
    bool per_env;
    dppo_tensor *reward, *first;
    DPPO_TRY(dppo_config_int(args, "num_envs", &n_envs));
    DPPO_TRY(dppo_config_float_or(args, "cliprew", 10.0, &cliprew));
    DPPO_TRY(dppo_config_float_or(args, "gamma", 0.99, &gamma));
    DPPO_TRY(dppo_config_bool_or(args, "per_env", false, &per_env));
    DPPO_TRY(float64_input(call, "reward", 3, &reward));
    DPPO_TRY(float64_input(call, "first", 3, &first));
    DPPO_TRY(must_match("first", first, reward));
    if (reward->shape[1] != n_envs)
        return dppo_fail(DPPO_INVALID, "in/reward: %lld environments, num_envs is %lld",
                         (long long)reward->shape[1], (long long)n_envs);
    dppo_tensor *scaled = dppo_result(dppo_call_context(call), DPPO_F64, 3, reward->shape);
    if (!scaled) return dppo_context_status(dppo_call_context(call));
    DPPO_TRY(dppo_reward_scaler_init(&scaler, n_envs, cliprew, gamma, per_env));
    int64_t steps = reward->shape[2], size = n_envs * steps;
    dppo_status status = DPPO_OK;
    for (int64_t c = 0; c < reward->shape[0] && status == DPPO_OK; c++)
        status = scale_call(&scaler, n_envs, steps, dppo_f64(reward) + c * size, dppo_f64(first) + c * size,
                            dppo_f64(scaled) + c * size);
    if (status == DPPO_OK) status = dppo_call_output_copy(call, "scaled", scaled);
    if (status == DPPO_OK) status = scaler_outputs(call, &scaler);
    dppo_reward_scaler_free(&scaler);
    return status;
}

/* -- ppo_updates: epochs of PPO minibatches on given data
 * ------------------------------------------------------------- */

/* A PPO learner around the case's model, without environments or schedules: fields that a config would fill.
 */
typedef struct updates {
    dppo_ppo ppo;
    int64_t chain_length;
} updates;

static dppo_status own_trained(dppo_trained *trained, dppo_module *module, double lr) {
    dppo_optimizer_options options = dppo_optimizer_defaults(DPPO_ADAMW);
    options.lr = lr;
    options.weight_decay = 0;
    trained->count = dppo_module_parameters(module, NULL, NULL, 0);
    trained->parameters = calloc(trained->count + 1, sizeof *trained->parameters);
    if (!trained->parameters) return dppo_fail(DPPO_NO_MEMORY, "optimizer: out of memory");
    (void)dppo_module_parameters(module, trained->parameters, NULL, trained->count);
    trained->optimizer = dppo_optimizer_new(DPPO_ADAMW, options, trained->count, trained->parameters);
    return trained->optimizer ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "optimizer: out of memory");
}

static dppo_status updates_options(updates *self, const dppo_config *args, dppo_diffusion *model) {
    dppo_ppo_options *o = &self->ppo.options;
    double actor_lr, critic_lr;
    *o = (dppo_ppo_options){.target_kl = NAN, .n_envs = 1, .logprob_batch_size = 1};
    DPPO_TRY(dppo_config_int(args, "epochs", &o->update_epochs));
    DPPO_TRY(dppo_config_int(args, "batch_size", &o->batch_size));
    DPPO_TRY(dppo_config_float(args, "vf_coef", &o->vf_coef));
    DPPO_TRY(dppo_config_float_or(args, "max_grad_norm", NAN, &o->max_grad_norm));
    DPPO_TRY(dppo_config_float(args, "actor_lr", &actor_lr));
    DPPO_TRY(dppo_config_float(args, "critic_lr", &critic_lr));
    if (o->batch_size < 1 || o->update_epochs < 0) return dppo_fail(DPPO_INVALID, "args: epochs, batch_size");
    DPPO_TRY(own_trained(&self->ppo.actor, model->actor_ft, actor_lr));
    return own_trained(&self->ppo.critic, model->critic, critic_lr);
}

static dppo_status updates_minibatch(updates *self, dppo_call *call, const float *logprobs, int64_t begin,
                                     int64_t count, const dppo_tensor *permutation, double *losses) {
    dppo_ppo *ppo = &self->ppo;
    dppo_context *cx = dppo_call_context(call);
    dppo_diffusion *model = dppo_diffusion_of(ppo->base.model);
    int64_t steps = self->chain_length - 1, row_count;
    int64_t chunk[3] = {0, model->horizon_steps, model->action_dim};
    dppo_tensor *state, *chains, *returns, *values, *advantages, *parts[2];
    DPPO_TRY(dppo_call_input(call, "state", &state));
    DPPO_TRY(dppo_call_input(call, "chains", &chains));
    DPPO_TRY(dppo_call_input(call, "returns", &returns));
    DPPO_TRY(dppo_call_input(call, "values", &values));
    DPPO_TRY(dppo_call_input(call, "advantages", &advantages));
    row_count = state->shape[0];
    dppo_tensor *indices = dppo_from_i64(cx, 1, &count, dppo_i64(permutation) + begin);
    if (!dppo_unravel_index(cx, indices, 2, (int64_t[]){row_count, steps}, parts))
        return dppo_context_status(cx);
    dppo_tensor *previous = dppo_result(cx, DPPO_I64, 1, &count),
                *next = dppo_result(cx, DPPO_I64, 1, &count);
    if (!previous || !next) return dppo_context_status(cx);
    for (int64_t i = 0; i < count; i++) {
        dppo_i64(previous)[i] = dppo_i64(parts[0])[i] * (steps + 1) + dppo_i64(parts[1])[i];
        dppo_i64(next)[i] = dppo_i64(previous)[i] + 1;
    }
    dppo_ppo_loss loss = {0};
    dppo_trace_row row;
    dppo_ppo_diffusion_batch batch = {
        .cond = dppo_cond_of(dppo_index_select(cx, state, 0, parts[0])),
        .chains_prev = dppo_ppo_rows(ppo, dppo_f32(chains), row_count * (steps + 1), previous, 3, chunk),
        .chains_next = dppo_ppo_rows(ppo, dppo_f32(chains), row_count * (steps + 1), next, 3, chunk),
        .oldlogprobs = dppo_ppo_rows(ppo, logprobs, row_count * steps, indices, 3, chunk),
        .denoising_inds = parts[1],
        .returns = dppo_index_select(cx, returns, 0, parts[0]),
        .oldvalues = dppo_index_select(cx, values, 0, parts[0]),
        .advantages = dppo_index_select(cx, advantages, 0, parts[0])};
    DPPO_TRY(dppo_ppo_diffusion_loss(cx, ppo->base.model, &batch, false, model->horizon_steps, &loss));
    DPPO_TRY(dppo_ppo_step(ppo, &loss, true, &row));
    const double all[8] = {row.pg_loss,   row.entropy_loss, row.v_loss,  row.clipfrac,
                           row.approx_kl, row.ratio,        row.bc_loss, row.eta_or_std};
    memcpy(losses, all, sizeof all);
    return DPPO_OK;
}

/* The log-probabilities before the first step, (R, K', Ta, Da), in memory of the context. */
static dppo_status old_logprobs(updates *self, dppo_call *call, const float **out, int64_t *pairs) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *state, *chains;
    DPPO_TRY(dppo_call_input(call, "state", &state));
    DPPO_TRY(dppo_call_input(call, "chains", &chains));
    int64_t steps = dppo_diffusion_ft_denoising_steps(self->ppo.base.model);
    if (chains->ndim != 4 || chains->shape[1] != steps + 1)
        return dppo_fail(DPPO_INVALID, "in/chains: not (R, %lld, Ta, Da)", (long long)(steps + 1));
    self->chain_length = steps + 1;
    bool before = dppo_set_grad_enabled(cx, false);
    dppo_tensor *logprobs =
        dppo_contiguous(cx, dppo_vpg_diffusion_get_logprobs(cx, self->ppo.base.model, dppo_cond_of(state),
                                                            chains, false, NULL));
    dppo_set_grad_enabled(cx, before);
    if (!logprobs) return dppo_context_status(cx);
    *out = dppo_f32(logprobs);
    *pairs = chains->shape[0] * steps;
    return DPPO_OK;
}

static dppo_status run_updates(updates *self, dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    const float *logprobs = NULL;
    int64_t pairs = 0, at = 0, batch = self->ppo.options.batch_size;
    DPPO_TRY(old_logprobs(self, call, &logprobs, &pairs));
    int64_t minibatches = pairs / batch > 0 ? pairs / batch : 1;
    dppo_tensor *losses =
        dppo_result(cx, DPPO_F64, 2, (int64_t[]){self->ppo.options.update_epochs * minibatches, 8});
    for (int64_t epoch = 0; losses && epoch < self->ppo.options.update_epochs; epoch++) {
        dppo_tensor *permutation = dppo_randperm(cx, pairs);
        if (!permutation) return dppo_context_status(cx);
        for (int64_t b = 0; b < minibatches; b++) {
            int64_t count = batch < pairs - b * batch ? batch : pairs - b * batch;
            DPPO_TRY(updates_minibatch(self, call, logprobs, b * batch, count, permutation,
                                       dppo_f64(losses) + 8 * at++));
        }
    }
    return losses ? dppo_call_output_copy(call, "losses", losses) : dppo_context_status(cx);
}

static dppo_status call_ppo_updates(dppo_call *call) {
    const dppo_case *c = dppo_call_case(call);
    updates self = {0};
    DPPO_TRY(dppo_build_module(c->init, NULL, &self.ppo.base.model));
    dppo_module *module = self.ppo.base.model;
    dppo_diffusion *model = dppo_diffusion_of(module);
    bool fits = strcmp(module->type, "PPODiffusion") == 0;
    DPPO_TRY(dppo_call_module(call, module, true)); /* owns it from here on */
    if (!fits) return dppo_fail(DPPO_INVALID, "init: ppo_updates needs a PPODiffusion");
    self.ppo.base.learning = dppo_call_context(call);
    dppo_status status = updates_options(&self, c->args, model);
    if (status == DPPO_OK) status = run_updates(&self, call);
    dppo_trained_free(&self.ppo.actor);
    dppo_trained_free(&self.ppo.critic);
    return status;
}

/* -- pretrain: steps of AdamW on a diffusion model, with EMA
 * -------------------------------------------------------------- */

typedef struct pretraining {
    dppo_module *model, *ema;
    dppo_trained trained;
    dppo_tensor **averaged;
    double decay;
} pretraining;

static dppo_status pretraining_init(pretraining *self, const dppo_case *c) {
    double lr, weight_decay;
    DPPO_TRY(dppo_config_float(c->args, "lr", &lr));
    DPPO_TRY(dppo_config_float(c->args, "weight_decay", &weight_decay));
    DPPO_TRY(dppo_config_float(c->args, "ema_decay", &self->decay));
    DPPO_TRY(dppo_build_copy(c->init, self->model, &self->ema));
    self->trained.count = dppo_module_parameters(self->model, NULL, NULL, 0);
    self->trained.parameters = calloc(self->trained.count + 1, sizeof(dppo_tensor *));
    self->averaged = calloc(self->trained.count + 1, sizeof(dppo_tensor *));
    if (!self->trained.parameters || !self->averaged)
        return dppo_fail(DPPO_NO_MEMORY, "pretrain: out of memory");
    (void)dppo_module_parameters(self->model, self->trained.parameters, NULL, self->trained.count);
    (void)dppo_module_parameters(self->ema, self->averaged, NULL, self->trained.count);
    dppo_optimizer_options options = dppo_optimizer_defaults(DPPO_ADAMW);
    options.lr = lr;
    options.weight_decay = weight_decay;
    self->trained.optimizer =
        dppo_optimizer_new(DPPO_ADAMW, options, self->trained.count, self->trained.parameters);
    return self->trained.optimizer ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "pretrain: out of memory");
}

static dppo_status pretraining_run(pretraining *self, dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *actions, *state;
    int64_t steps;
    DPPO_TRY(dppo_config_int(dppo_call_case(call)->args, "steps", &steps));
    DPPO_TRY(dppo_call_input(call, "actions", &actions));
    DPPO_TRY(dppo_call_input(call, "state", &state));
    if (actions->ndim < 1 || state->ndim < 1 || actions->shape[0] < steps || state->shape[0] < steps)
        return dppo_fail(DPPO_INVALID, "in/actions, in/state: fewer than %lld batches", (long long)steps);
    dppo_tensor *losses = dppo_result(cx, DPPO_F64, 1, &steps);
    for (int64_t i = 0; losses && i < steps; i++) {
        dppo_tensor *loss = dppo_diffusion_loss(cx, self->model, dppo_select(cx, actions, 0, i),
                                                dppo_cond_of(dppo_select(cx, state, 0, i)));
        dppo_optimizer_zero_grad(self->trained.optimizer);
        DPPO_TRY(dppo_backward(cx, 1, &loss, NULL));
        dppo_f64(losses)[i] = dppo_item(cx, loss);
        dppo_optimizer_step(self->trained.optimizer);
        dppo_ema_update(self->trained.count, self->averaged, self->trained.parameters, self->decay);
    }
    return losses ? dppo_call_output_copy(call, "loss", losses) : dppo_context_status(cx);
}

static dppo_status output_state(dppo_call *call, const dppo_module *module, const char *prefix) {
    dppo_named state = {0};
    dppo_status status = dppo_module_state_dict(module, prefix, &state);
    for (size_t i = 0; i < state.count && status == DPPO_OK; i++)
        status = dppo_call_output_copy(call, state.entries[i].name, state.entries[i].tensor);
    dppo_named_free(&state);
    return status;
}

static dppo_status call_pretrain(dppo_call *call) {
    const dppo_case *c = dppo_call_case(call);
    pretraining self = {0};
    DPPO_TRY(dppo_build_module(c->init, NULL, &self.model));
    bool fits = dppo_diffusion_of(self.model) != NULL;
    DPPO_TRY(dppo_call_module(call, self.model, true));
    if (!fits) return dppo_fail(DPPO_INVALID, "init: pretrain needs a DiffusionModel");
    dppo_status status = pretraining_init(&self, c);
    if (status == DPPO_OK) status = pretraining_run(&self, call);
    if (status == DPPO_OK) status = output_state(call, self.ema, "ema/");
    dppo_trained_free(&self.trained);
    free(self.averaged);
    if (self.ema) dppo_module_free(self.ema);
    return status;
}

const dppo_entry dppo_entries_algorithms[] = {{"gae", call_gae},
                                              {"RunningRewardScaler", call_reward_scaler},
                                              {"ppo_updates", call_ppo_updates},
                                              {"pretrain", call_pretrain},
                                              {NULL, NULL}};
