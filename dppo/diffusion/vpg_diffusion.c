/* VPGDiffusion: a diffusion policy whose last K' denoising steps are fine-tuned by policy gradient. */
#include "diffusion/steps.h"
#include "distributions/normal.h"
#include "models/build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- which network says what --------------------------------------------------------------------------------
 */

/* Rows that belong to the fine-tuned steps: t < K', with DDIM index >= ddim_steps - K'. */
static dppo_tensor *fine_tuned_rows(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *t,
                                    dppo_tensor *index, int64_t *count) {
    int64_t batch = t->shape[0];
    dppo_tensor *rows = dppo_result(cx, DPPO_I64, 1, &batch);
    *count = 0;
    for (int64_t i = 0; rows && i < batch; i++) {
        double value = dppo_tensor_at(model->use_ddim ? index : t, i);
        bool fine_tuned = model->use_ddim ? value >= (double)(model->ddim_steps - model->ft_denoising_steps)
                                          : value < (double)model->ft_denoising_steps;
        if (fine_tuned) dppo_i64(rows)[(*count)++] = i;
    }
    return dppo_narrow(cx, rows, 0, 0, *count);
}

/* The original evaluates the frozen network on every row and then overwrites the fine-tuned rows. With all
 * rows on one side only one network is needed, unless the other draws from the generator; a mixed batch does
 * as the original, for its rounding depends on the batch. */
static dppo_tensor *predicted_noise(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *x, dppo_tensor *t,
                                    dppo_cond cond, dppo_tensor *index, bool use_base_policy) {
    if (!x || !t || !cond.state || (model->use_ddim && !index)) return NULL;
    int64_t count = 0;
    const dppo_module *actor = use_base_policy ? model->actor : model->actor_ft;
    dppo_tensor *rows = fine_tuned_rows(cx, model, t, index, &count);
    if (!rows) return NULL;
    if (count == t->shape[0]) {
        if (model->actor->draws) (void)dppo_noise_network_forward(cx, model->actor, x, t, cond);
        return dppo_noise_network_forward(cx, actor, x, t, cond);
    }
    dppo_tensor *noise = dppo_noise_network_forward(cx, model->actor, x, t, cond);
    if (count == 0) return noise;
    dppo_tensor *x_ft = dppo_index_select(cx, x, 0, rows), *t_ft = dppo_index_select(cx, t, 0, rows);
    dppo_cond cond_ft = dppo_cond_index_select(cx, cond, rows);
    dppo_tensor *noise_ft = dppo_noise_network_forward(cx, actor, x_ft, t_ft, cond_ft);
    return dppo_index_put_rows(cx, noise, rows, noise_ft);
}

/* eta of each row, (B, 1, 1), or of each of its action dimensions, (B, 1, Da). */
static dppo_tensor *row_etas(dppo_cx *cx, const dppo_diffusion *model, dppo_cond cond, bool deterministic) {
    const int64_t shape[] = {cond.state->shape[0], 1, 1};
    if (deterministic) return dppo_zeros(cx, DPPO_F32, 3, shape);
    if (!model->eta) return dppo_context_fail(cx, DPPO_INVALID, "use_ddim: sampling with noise needs eta");
    return dppo_unsqueeze(cx, dppo_eta_forward(cx, model->eta, cond), 1);
}

/* sigma = eta sqrt((1 - a_prev) / (1 - a) (1 - a / a_prev)), at least 1e-10 */
static dppo_tensor *ddim_sigma(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *etas,
                               dppo_tensor *index) {
    dppo_tensor *alpha = dppo_extract(cx, model->schedule.ddim_alphas, index, 3);
    dppo_tensor *alpha_prev = dppo_extract(cx, model->schedule.ddim_alphas_prev, index, 3);
    dppo_tensor *ratio = dppo_div(cx, dppo_rsub_scalar(cx, alpha_prev, 1), dppo_rsub_scalar(cx, alpha, 1));
    dppo_tensor *rest = dppo_rsub_scalar(cx, dppo_div(cx, alpha, alpha_prev), 1);
    dppo_tensor *root = dppo_pow_scalar(cx, dppo_mul(cx, ratio, rest), 0.5);
    return dppo_clamp(cx, dppo_mul(cx, etas, root), 1e-10, INFINITY);
}

dppo_tensor *dppo_vpg_diffusion_p_mean_var(dppo_cx *cx, dppo_module *module, dppo_tensor *x, dppo_tensor *t,
                                           dppo_cond cond, dppo_tensor *index, bool use_base_policy,
                                           bool deterministic, dppo_tensor **logvar, dppo_tensor **eta) {
    dppo_diffusion *model = dppo_diffusion_of(module);
    *logvar = *eta = NULL;
    dppo_tensor *noise = predicted_noise(cx, model, x, t, cond, index, use_base_policy);
    if (!noise) return NULL;
    dppo_tensor *x0 = dppo_predict_x0(cx, model, x, t, index, &noise);
    if (!model->use_ddim) {
        dppo_tensor *mu = dppo_ddpm_mean(cx, model, x0, x, t, logvar);
        *eta = dppo_ones_like(cx, mu);
        return mu;
    }
    *eta = row_etas(cx, model, cond, deterministic);
    return dppo_ddim_mean(cx, model, x0, noise, index, ddim_sigma(cx, model, *eta, index), logvar);
}

/* -- sampling
 * ------------------------------------------------------------------------------------------------ */

typedef struct chain {
    dppo_tensor **samples;
    int count;
} chain;

/* Keeps the last K'+1 of the `steps` + 1 samples, x_K the first of all. */
static void keep(chain *kept, const dppo_diffusion *model, int64_t position, int64_t steps, dppo_tensor *x) {
    if (kept->samples && position >= steps - model->ft_denoising_steps) kept->samples[kept->count++] = x;
}

static dppo_tensor *sample(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic,
                           bool use_base_policy, chain *kept) {
    dppo_diffusion *model = dppo_diffusion_of(module);
    int64_t batch = cond.state->shape[0], steps = dppo_sampling_steps(model);
    dppo_tensor *x = dppo_initial_noise(cx, model, batch);
    keep(kept, model, 0, steps, x);
    for (int64_t i = 0; i < steps && x; i++) {
        dppo_tensor *t, *index, *logvar, *eta;
        dppo_sampling_step(cx, model, batch, i, &t, &index);
        dppo_tensor *mean = dppo_vpg_diffusion_p_mean_var(cx, module, x, t, cond, index, use_base_policy,
                                                          deterministic, &logvar, &eta);
        bool last = i + 1 == steps;
        dppo_tensor *std = dppo_exploring_std(cx, model, logvar, deterministic, last);
        x = dppo_next_sample(cx, model, mean, std, last);
        keep(kept, model, i + 1, steps, x);
    }
    return x;
}

dppo_status dppo_vpg_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic,
                                       bool return_chain, bool use_base_policy, dppo_tensor **trajectories,
                                       dppo_tensor **chains) {
    chain kept = {NULL, 0};
    size_t length = (size_t)dppo_diffusion_of(module)->ft_denoising_steps + 1;
    *trajectories = NULL;
    if (!cond.state) return dppo_context_status(cx);
    if (return_chain) {
        *chains = NULL;
        kept.samples = dppo_arena_alloc(dppo_context_arena(cx), length * sizeof *kept.samples);
        if (!kept.samples)
            dppo_context_fail(cx, DPPO_NO_MEMORY, "no memory for a chain of %zu samples", length);
    }
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    *trajectories = sample(cx, module, cond, deterministic, use_base_policy, &kept);
    if (kept.samples && *trajectories) *chains = dppo_stack(cx, kept.count, kept.samples, 1);
    dppo_set_grad_enabled(cx, grad_enabled);
    return dppo_context_status(cx);
}

/* -- log-probabilities
 * ---------------------------------------------------------------------------------------- */

/* t of the fine-tuned steps, from the noisiest on, and with DDIM their indices; (K'). */
static dppo_tensor *fine_tuned_times(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor **indices) {
    int64_t fine_tuned = model->ft_denoising_steps, first = model->ddim_steps - fine_tuned;
    *indices = NULL;
    if (!model->use_ddim) return dppo_arange(cx, DPPO_I64, (double)(fine_tuned - 1), -1, -1);
    *indices = dppo_arange(cx, DPPO_I64, (double)first, (double)model->ddim_steps, 1);
    return dppo_narrow(cx, model->schedule.ddim_t, 0, first, fine_tuned);
}

/* log N(next; mu(prev), max(exp(logvar / 2), min_logprob_denoising_std)^2), element by element. */
static dppo_tensor *transition_log_prob(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                        dppo_tensor *chains_prev, dppo_tensor *chains_next, dppo_tensor *t,
                                        dppo_tensor *index, bool use_base_policy, dppo_tensor **eta) {
    dppo_tensor *logvar, *etas;
    dppo_tensor *mean = dppo_vpg_diffusion_p_mean_var(cx, module, chains_prev, t, cond, index,
                                                      use_base_policy, false, &logvar, &etas);
    dppo_tensor *std = dppo_step_std(cx, logvar, dppo_diffusion_of(module)->min_logprob_denoising_std);
    if (eta) *eta = etas;
    /* Normal() expands its std first, so that a gradient is summed once; without one that changes nothing. */
    if (std && std->requires_grad) std = dppo_expand_as(cx, std, mean);
    return dppo_normal_log_prob(cx, mean, std, chains_next);
}

/* (n) -> (B n), the whole sequence B times. */
static dppo_tensor *tile(dppo_cx *cx, dppo_tensor *input, int64_t batch) {
    return input ? dppo_repeat(cx, input, 1, &batch) : NULL;
}

/* chains[:, start : start + K'], first two dimensions joined: (B K', Ta, Da). */
static dppo_tensor *transitions(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *chains,
                                int64_t start) {
    const int64_t shape[] = {-1, model->horizon_steps, model->action_dim};
    return dppo_reshape(cx, dppo_narrow(cx, chains, 1, start, chains->shape[1] - 1), 3, shape);
}

dppo_tensor *dppo_vpg_diffusion_get_logprobs(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                             dppo_tensor *chains, bool use_base_policy, dppo_tensor **eta) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    if (eta) *eta = NULL;
    if (!cond.state || !chains) return NULL;
    if (chains->ndim != 4 || chains->shape[1] != model->ft_denoising_steps + 1)
        return dppo_context_fail(cx, DPPO_INVALID, "chains must hold ft_denoising_steps + 1 = %lld samples",
                                 (long long)model->ft_denoising_steps + 1);
    int64_t batch = chains->shape[0];
    dppo_tensor *index, *t = fine_tuned_times(cx, model, &index);
    /* One statement each: nodes must reach the tape in the same order whatever the compiler. */
    cond = dppo_cond_repeat_rows(cx, cond, model->ft_denoising_steps);
    t = tile(cx, t, batch);
    index = tile(cx, index, batch);
    dppo_tensor *prev = transitions(cx, model, chains, 0), *next = transitions(cx, model, chains, 1);
    return transition_log_prob(cx, module, cond, prev, next, t, index, use_base_policy, eta);
}

dppo_tensor *dppo_vpg_diffusion_get_logprobs_subsample(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                                       dppo_tensor *chains_prev, dppo_tensor *chains_next,
                                                       dppo_tensor *denoising_inds, bool use_base_policy,
                                                       dppo_tensor **eta) {
    dppo_tensor *index, *t = fine_tuned_times(cx, dppo_diffusion_of(module), &index);
    if (eta) *eta = NULL;
    if (!denoising_inds) return NULL;
    t = dppo_index_select(cx, t, 0, denoising_inds);
    if (index) index = dppo_index_select(cx, index, 0, denoising_inds);
    return transition_log_prob(cx, module, cond, chains_prev, chains_next, t, index, use_base_policy, eta);
}

/* -- REINFORCE
 * -------------------------------------------------------------------------------------------------- */

/* Mean over denoising steps, then over action steps, of the log-probability summed over action dimensions:
 * (B). */
static dppo_tensor *chain_logprobs(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *logprobs) {
    const int last[] = {-1}, denoising[] = {-2};
    const int64_t shape[] = {-1, model->denoising_steps, model->horizon_steps};
    dppo_tensor *summed = dppo_sum(cx, dppo_narrow(cx, logprobs, 2, 0, model->action_dim), 1, last, false);
    dppo_tensor *steps = dppo_mean(cx, dppo_reshape(cx, summed, 3, shape), 1, denoising, false);
    return dppo_mean(cx, steps, 1, last, false);
}

dppo_status dppo_vpg_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_tensor *chains,
                                    dppo_tensor *reward, dppo_tensor **loss_actor, dppo_tensor **loss_critic,
                                    dppo_tensor **eta) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *value = dppo_squeeze(cx, dppo_critic_forward(cx, model->critic, cond));
    dppo_set_grad_enabled(cx, grad_enabled);
    dppo_tensor *advantage = dppo_sub(cx, reward, value);

    /* L = mean(-log p A); the critic regresses on the reward to go. */
    dppo_tensor *logprobs = dppo_vpg_diffusion_get_logprobs(cx, module, cond, chains, false, eta);
    dppo_tensor *weighted = dppo_mul(cx, dppo_neg(cx, chain_logprobs(cx, model, logprobs)), advantage);
    *loss_actor = dppo_mean(cx, weighted, 0, NULL, false);
    dppo_tensor *pred = dppo_squeeze(cx, dppo_critic_forward(cx, model->critic, cond));
    *loss_critic = dppo_mse_loss(cx, pred, reward);
    return dppo_context_status(cx);
}

/* -- annealing
 * ---------------------------------------------------------------------------------------------------- */

static dppo_module_entry *entry_of(dppo_module *module, const char *name) {
    size_t i = 0;
    while (strcmp(module->entries[i].name, name) != 0)
        i++;
    return &module->entries[i];
}

/* The frozen actor leaves the registry, but optimizers may still point to its parameters. */
static dppo_status retire(dppo_diffusion *model, const dppo_module_entry *actor) {
    if (actor->alias) return DPPO_OK;
    dppo_module **retired = realloc(model->retired, (model->retired_count + 1) * sizeof *retired);
    if (!retired) return dppo_fail(DPPO_NO_MEMORY, "no memory to anneal ft_denoising_steps");
    model->retired = retired;
    retired[model->retired_count++] = actor->child;
    return DPPO_OK;
}

/* actor = actor_ft, frozen; actor_ft = a copy of it */
static dppo_status promote(dppo_diffusion *model) {
    dppo_module_entry *actor = entry_of(&model->module, "actor"),
                      *actor_ft = entry_of(&model->module, "actor_ft");
    dppo_module *copy = NULL;
    DPPO_TRY(dppo_build_copy(model->network_config, model->actor_ft, &copy));
    dppo_status status = retire(model, actor);
    if (status != DPPO_OK) {
        dppo_module_free(copy);
        return status;
    }
    dppo_module_train(copy, model->module.training);
    dppo_module_requires_grad(model->actor_ft, false);
    actor->alias = false;
    actor->child = model->actor = model->actor_ft;
    actor_ft->child = model->actor_ft = copy;
    return DPPO_OK;
}

dppo_status dppo_vpg_diffusion_step(dppo_module *module) {
    dppo_diffusion *model = dppo_diffusion_of(module);
    int64_t by = model->ft_denoising_steps_d, every = model->ft_denoising_steps_t;
    model->ft_denoising_steps_cnt++;
    if (by <= 0 || every <= 0 || model->ft_denoising_steps_cnt % every != 0) return DPPO_OK;
    DPPO_TRY(promote(model));
    model->ft_denoising_steps = model->ft_denoising_steps > by ? model->ft_denoising_steps - by : 0;
    return DPPO_OK;
}

/* -- construction
 * --------------------------------------------------------------------------------------------------- */

/* DDPM's eta is 1 by definition: learning it is a mistake there, here an error. */
static dppo_status read_options(const dppo_config *config, dppo_diffusion *model) {
    DPPO_TRY(dppo_read_ft_denoising_steps(config, model));
    DPPO_TRY(dppo_config_int_or(config, "ft_denoising_steps_d", 0, &model->ft_denoising_steps_d));
    DPPO_TRY(dppo_config_int_or(config, "ft_denoising_steps_t", 0, &model->ft_denoising_steps_t));
    DPPO_TRY(
        dppo_config_float_or(config, "min_sampling_denoising_std", 0.1, &model->min_sampling_denoising_std));
    DPPO_TRY(
        dppo_config_float_or(config, "min_logprob_denoising_std", 0.1, &model->min_logprob_denoising_std));
    DPPO_TRY(dppo_config_bool_or(config, "learn_eta", false, &model->learn_eta));
    if (model->learn_eta && !model->use_ddim)
        return dppo_fail(DPPO_INVALID, "learn_eta: DDPM has no eta to learn");
    return DPPO_OK;
}

/* Registration in the original's order: network, eta, actor, actor_ft, critic. */
static dppo_status adopt_all(const dppo_config *config, dppo_diffusion *model, dppo_module **actor,
                             dppo_module **eta, dppo_module **critic, dppo_module **sde) {
    dppo_module *module = &model->module, *copy = NULL;
    DPPO_TRY(dppo_build_copy(dppo_config_get(config, "actor"), *actor, &copy));
    dppo_status status = dppo_build_adopt(module, "network", actor, &model->network);
    if (status == DPPO_OK && *eta) status = dppo_build_adopt(module, "eta", eta, &model->eta);
    if (status == DPPO_OK) status = dppo_module_alias(module, "actor", model->network);
    if (status != DPPO_OK) {
        dppo_module_free(copy);
        return status;
    }
    DPPO_TRY(dppo_build_adopt(module, "actor_ft", &copy, &model->actor_ft));
    DPPO_TRY(dppo_build_adopt(module, "critic", critic, &model->critic));
    if (*sde) DPPO_TRY(dppo_build_adopt(module, "sde", sde, &model->sde));
    model->actor = model->network;
    dppo_module_requires_grad(model->actor, false);
    if (model->eta && !model->learn_eta) dppo_module_requires_grad(model->eta, false);
    return DPPO_OK;
}

dppo_status dppo_vpg_diffusion_new(const char *type, const dppo_config *config, dppo_generator *generator,
                                   dppo_diffusion **model) {
    static const char *const sdes[] = {"VPSDE", NULL};
    dppo_module *actor = NULL, *critic = NULL, *eta = NULL, *sde = NULL;
    const dppo_nested nested[] = {{"actor", dppo_noise_networks, &actor, false},
                                  {"critic", dppo_critics, &critic, false},
                                  {"eta", dppo_etas, &eta, true},
                                  {"sde", sdes, &sde, true}}; /* has no state; PPOExactDiffusion's */
    *model = NULL;
    DPPO_TRY(dppo_build_nested(config, generator, 4, nested));
    dppo_status status = dppo_diffusion_new(type, config, dppo_config_get(config, "actor"), model);
    if (status == DPPO_OK) status = read_options(config, *model);
    if (status == DPPO_OK) status = adopt_all(config, *model, &actor, &eta, &critic, &sde);
    dppo_module_free(actor);
    dppo_module_free(critic);
    dppo_module_free(eta);
    dppo_module_free(sde);
    if (status == DPPO_OK) return DPPO_OK;
    if (*model) dppo_module_free(&(*model)->module);
    *model = NULL;
    return status;
}

dppo_status dppo_build_vpg_diffusion(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    dppo_diffusion *model;
    DPPO_TRY(dppo_vpg_diffusion_new("VPGDiffusion", config, generator, &model));
    *module = &model->module;
    return DPPO_OK;
}
