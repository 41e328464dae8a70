/* PPODiffusion: DPPO's loss (arXiv 2409.00588). Each denoising step is an action of a two-layer decision
 * process; PPO's clipped surrogate is taken over (environment step, denoising step) pairs. */
#include "diffusion/steps.h"
#include "models/build.h"

#include <math.h>

static dppo_status read_options(const dppo_config *config, dppo_diffusion *model) {
    DPPO_TRY(dppo_config_float(config, "gamma_denoising", &model->gamma_denoising));
    DPPO_TRY(dppo_config_float(config, "clip_ploss_coef", &model->clip_ploss_coef));
    DPPO_TRY(dppo_config_float_or(config, "clip_ploss_coef_base", 1e-3, &model->clip_ploss_coef_base));
    DPPO_TRY(dppo_config_float_or(config, "clip_ploss_coef_rate", 3, &model->clip_ploss_coef_rate));
    DPPO_TRY(dppo_config_float_or(config, "clip_vloss_coef", NAN, &model->clip_vloss_coef));
    DPPO_TRY(dppo_config_float_or(config, "clip_advantage_lower_quantile", 0,
                                  &model->clip_advantage_lower_quantile));
    DPPO_TRY(dppo_config_float_or(config, "clip_advantage_upper_quantile", 1,
                                  &model->clip_advantage_upper_quantile));
    return dppo_config_bool_or(config, "norm_adv", true, &model->norm_adv);
}

dppo_status dppo_build_ppo_diffusion(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    dppo_diffusion *model = NULL;
    dppo_status status = dppo_vpg_diffusion_new("PPODiffusion", config, generator, &model);
    if (status == DPPO_OK) status = read_options(config, model);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* Clipped to [-5, 2], then the mean over the first reward_horizon action steps and all action dimensions:
 * (B). */
static dppo_tensor *mean_logprobs(dppo_cx *cx, dppo_tensor *logprobs, int64_t reward_horizon) {
    const int dims[] = {-1, -2};
    dppo_tensor *clamped = dppo_clamp(cx, logprobs, -5, 2);
    if (!clamped) return NULL;
    if (reward_horizon < clamped->shape[1]) clamped = dppo_narrow(cx, clamped, 1, 0, reward_horizon);
    return dppo_mean(cx, clamped, 2, dims, false);
}

/* gamma_denoising^(K' - i - 1) for each index i; a float32 power, as torch computes it: (B). */
static dppo_tensor *denoising_discount(dppo_cx *cx, const dppo_diffusion *model,
                                       dppo_tensor *denoising_inds) {
    dppo_tensor *discount = dppo_result(cx, DPPO_F32, 1, denoising_inds->shape);
    for (int64_t i = 0; discount && i < denoising_inds->shape[0]; i++) {
        double steps = (double)(model->ft_denoising_steps - 1) - dppo_tensor_at(denoising_inds, i);
        dppo_f32(discount)[i] = powf((float)model->gamma_denoising, (float)steps);
    }
    return discount;
}

/* Normalised, kept between two quantiles, discounted over denoising steps: (B). */
static dppo_tensor *shaped_advantages(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *advantages,
                                      dppo_tensor *denoising_inds) {
    if (model->norm_adv) advantages = dppo_normalize_advantages(cx, advantages);
    dppo_tensor *min = dppo_quantile(cx, advantages, model->clip_advantage_lower_quantile);
    dppo_tensor *max = dppo_quantile(cx, advantages, model->clip_advantage_upper_quantile);
    if (!min || !max) return NULL;
    advantages = dppo_clamp_tensor(cx, advantages, min, max);
    return dppo_mul(cx, advantages, denoising_discount(cx, model, denoising_inds));
}

/* Noisier steps are clipped harder: base + (coef - base) (exp(rate t) - 1) / (exp(rate) - 1), t = i / (K' -
 * 1): (B). */
static dppo_tensor *clip_coefficients(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *denoising_inds) {
    double base = model->clip_ploss_coef_base, rate = model->clip_ploss_coef_rate;
    dppo_tensor *t = dppo_div_scalar(cx, dppo_to_dtype(cx, denoising_inds, DPPO_F32),
                                     (double)(model->ft_denoising_steps - 1));
    dppo_tensor *growth = dppo_sub_scalar(cx, dppo_exp(cx, dppo_mul_scalar(cx, t, rate)), 1);
    dppo_tensor *scaled = dppo_mul_scalar(cx, growth, model->clip_ploss_coef - base);
    return dppo_add_scalar(cx, dppo_div_scalar(cx, scaled, exp(rate) - 1), base);
}

/* Probability, under the fine-tuned policy, of what the frozen one would do (arXiv 2403.03949, eq. 2). */
static dppo_tensor *behaviour_cloning_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond) {
    const int dims[] = {-1, -2};
    dppo_tensor *trajectories, *chains;
    if (dppo_vpg_diffusion_forward(cx, module, cond, false, true, true, &trajectories, &chains) != DPPO_OK)
        return NULL;
    dppo_tensor *logprobs = dppo_vpg_diffusion_get_logprobs(cx, module, cond, chains, false, NULL);
    logprobs = dppo_mean(cx, dppo_clamp(cx, logprobs, -5, 2), 2, dims, false);
    return dppo_neg(cx, dppo_mean(cx, logprobs, 0, NULL, false));
}

/* approx_kl is Schulman's k3 estimator, mean((r - 1) - log r). */
static void diagnose(dppo_cx *cx, dppo_tensor *logratio, dppo_tensor *clip_coef, dppo_ppo_terms *terms) {
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *ratio = terms->ratio;
    terms->kl = dppo_sub(cx, dppo_sub_scalar(cx, ratio, 1), logratio);
    dppo_tensor *clipped = dppo_gt(cx, dppo_abs(cx, dppo_sub_scalar(cx, ratio, 1)), clip_coef);
    terms->clipped = dppo_to_dtype(cx, clipped, DPPO_F32);
    dppo_set_grad_enabled(cx, grad_enabled);
}

static dppo_tensor *value_error(dppo_cx *cx, const dppo_diffusion *model, const dppo_ppo_diffusion_batch *b) {
    const int64_t flat[] = {-1};
    dppo_tensor *newvalues = b->newvalues;
    if (!newvalues) newvalues = dppo_reshape(cx, dppo_critic_forward(cx, model->critic, b->cond), 1, flat);
    return dppo_clipped_value_error(cx, newvalues, b->oldvalues, b->returns, model->clip_vloss_coef);
}

dppo_status dppo_ppo_diffusion_shape(dppo_cx *cx, dppo_module *module, dppo_ppo_diffusion_batch *b) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    if (model->ft_denoising_steps < 2)
        return dppo_fail(DPPO_INVALID, "ft_denoising_steps: %lld; the clip schedule needs 2 steps at least",
                         (long long)model->ft_denoising_steps);
    b->shaped_advantages = shaped_advantages(cx, model, b->advantages, b->denoising_inds);
    b->clip_coef = clip_coefficients(cx, model, b->denoising_inds);
    return dppo_context_status(cx);
}

dppo_status dppo_ppo_diffusion_terms(dppo_cx *cx, dppo_module *module, const dppo_ppo_diffusion_batch *b,
                                     int64_t reward_horizon, dppo_ppo_terms *terms) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    dppo_tensor *newlogprobs = dppo_vpg_diffusion_get_logprobs_subsample(
        cx, module, b->cond, b->chains_prev, b->chains_next, b->denoising_inds, false, &terms->eta_or_std);
    newlogprobs = mean_logprobs(cx, newlogprobs, reward_horizon);
    dppo_tensor *oldlogprobs = mean_logprobs(cx, b->oldlogprobs, reward_horizon);
    dppo_tensor *logratio = dppo_sub(cx, newlogprobs, oldlogprobs);
    terms->ratio = dppo_exp(cx, logratio);
    diagnose(cx, logratio, b->clip_coef, terms);
    dppo_tensor *low = dppo_rsub_scalar(cx, b->clip_coef, 1), *high = dppo_add_scalar(cx, b->clip_coef, 1);
    dppo_tensor *clamped = dppo_clamp_tensor(cx, terms->ratio, low, high);
    terms->surrogate = dppo_clipped_surrogate(cx, b->shaped_advantages, terms->ratio, clamped);
    terms->value_error = value_error(cx, model, b);
    return dppo_context_status(cx);
}

dppo_status dppo_ppo_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_ppo_diffusion_batch *b,
                                    bool use_bc_loss, int64_t reward_horizon, dppo_ppo_loss *loss) {
    dppo_ppo_terms terms = {0};
    *loss = (dppo_ppo_loss){0};
    DPPO_TRY(dppo_ppo_diffusion_shape(cx, module, b));
    DPPO_TRY(dppo_ppo_diffusion_terms(cx, module, b, reward_horizon, &terms));
    dppo_tensor *bc_loss = use_bc_loss ? behaviour_cloning_loss(cx, module, b->cond) : NULL;
    DPPO_TRY(dppo_ppo_loss_of_terms(cx, &terms, loss));
    loss->bc_loss = bc_loss;
    return dppo_context_status(cx);
}
