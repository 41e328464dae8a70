#include "diffusion/steps.h"

#include <math.h>

/* a of the schedule at t, (B, 1, 1). */
static dppo_tensor *at(dppo_cx *cx, dppo_tensor *a, dppo_tensor *t) {
    return dppo_extract(cx, a, t, 3);
}

static dppo_tensor *clip(dppo_cx *cx, dppo_tensor *x, double bound) {
    return isnan(bound) ? x : dppo_clamp(cx, x, -bound, bound);
}

/* x_0 = sqrt(1 / abar_t) x_t - sqrt(1 / abar_t - 1) noise */
static dppo_tensor *x0_of_ddpm(dppo_cx *cx, const dppo_schedule *s, dppo_tensor *x, dppo_tensor *t,
                               dppo_tensor *noise) {
    dppo_tensor *signal = dppo_mul(cx, at(cx, s->sqrt_recip_alphas_cumprod, t), x);
    return dppo_sub(cx, signal, dppo_mul(cx, at(cx, s->sqrt_recipm1_alphas_cumprod, t), noise));
}

/* x_0 = (x_t - sqrt(1 - a) noise) / sqrt(a), and the other way round: noise = (x_t - sqrt(a) x_0) / sqrt(1 -
 * a) */
static dppo_tensor *x0_of_ddim(dppo_cx *cx, const dppo_schedule *s, dppo_tensor *x, dppo_tensor *index,
                               dppo_tensor *noise) {
    dppo_tensor *alpha = at(cx, s->ddim_alphas, index);
    dppo_tensor *sqrt_one_minus_alpha = at(cx, s->ddim_sqrt_one_minus_alphas, index);
    dppo_tensor *signal = dppo_sub(cx, x, dppo_mul(cx, sqrt_one_minus_alpha, noise));
    return dppo_div(cx, signal, dppo_pow_scalar(cx, alpha, 0.5));
}

static dppo_tensor *noise_of_ddim(dppo_cx *cx, const dppo_schedule *s, dppo_tensor *x, dppo_tensor *index,
                                  dppo_tensor *x0) {
    dppo_tensor *alpha = at(cx, s->ddim_alphas, index);
    dppo_tensor *sqrt_one_minus_alpha = at(cx, s->ddim_sqrt_one_minus_alphas, index);
    dppo_tensor *noise = dppo_sub(cx, x, dppo_mul(cx, dppo_pow_scalar(cx, alpha, 0.5), x0));
    return dppo_div(cx, noise, sqrt_one_minus_alpha);
}

/* Without clipping of x_0 the noise stays what the network said. eps_clip_value has no effect with DDPM,
 * whose mean is made from x_0 and x_t alone. */
dppo_tensor *dppo_predict_x0(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *x, dppo_tensor *t,
                             dppo_tensor *index, dppo_tensor **noise) {
    const dppo_schedule *s = &model->schedule;
    dppo_tensor *x0 = *noise;
    if (model->predict_epsilon)
        x0 = model->use_ddim ? x0_of_ddim(cx, s, x, index, *noise) : x0_of_ddpm(cx, s, x, t, *noise);
    x0 = clip(cx, x0, model->denoised_clip_value);
    if (model->use_ddim && !isnan(model->denoised_clip_value)) *noise = noise_of_ddim(cx, s, x, index, x0);
    if (model->use_ddim) *noise = clip(cx, *noise, model->eps_clip_value);
    return x0;
}

/* mu = beta_t sqrt(abar_{t-1}) / (1 - abar_t) x_0 + sqrt(alpha_t) (1 - abar_{t-1}) / (1 - abar_t) x_t */
dppo_tensor *dppo_ddpm_mean(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *x0, dppo_tensor *x,
                            dppo_tensor *t, dppo_tensor **logvar) {
    const dppo_schedule *s = &model->schedule;
    dppo_tensor *from_x0 = dppo_mul(cx, at(cx, s->ddpm_mu_coef1, t), x0);
    dppo_tensor *mu = dppo_add(cx, from_x0, dppo_mul(cx, at(cx, s->ddpm_mu_coef2, t), x));
    *logvar = at(cx, s->ddpm_logvar_clipped, t);
    return mu;
}

/* mu = sqrt(a_prev) x_0 + sqrt(1 - a_prev - sigma^2) noise; log sigma^2 */
dppo_tensor *dppo_ddim_mean(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *x0, dppo_tensor *noise,
                            dppo_tensor *index, dppo_tensor *sigma, dppo_tensor **logvar) {
    dppo_tensor *alpha_prev = at(cx, model->schedule.ddim_alphas_prev, index);
    dppo_tensor *rest = dppo_sub(cx, dppo_rsub_scalar(cx, alpha_prev, 1), dppo_pow_scalar(cx, sigma, 2));
    dppo_tensor *dir_xt_coef = dppo_sqrt(cx, dppo_clamp(cx, rest, 0, INFINITY));
    dppo_tensor *from_x0 = dppo_mul(cx, dppo_pow_scalar(cx, alpha_prev, 0.5), x0);
    dppo_tensor *mu = dppo_add(cx, from_x0, dppo_mul(cx, dir_xt_coef, noise));
    *logvar = dppo_log(cx, dppo_pow_scalar(cx, sigma, 2));
    return mu;
}

int64_t dppo_sampling_steps(const dppo_diffusion *model) {
    return model->use_ddim ? model->ddim_steps : model->denoising_steps;
}

int64_t dppo_sampling_step(dppo_cx *cx, const dppo_diffusion *model, int64_t batch, int64_t i,
                           dppo_tensor **t, dppo_tensor **index) {
    int64_t value = model->use_ddim ? dppo_i64(model->schedule.ddim_t)[i] : model->denoising_steps - 1 - i;
    *t = dppo_full(cx, DPPO_I64, 1, &batch, (double)value);
    *index = dppo_full(cx, DPPO_I64, 1, &batch, (double)i);
    return value;
}

dppo_tensor *dppo_initial_noise(dppo_cx *cx, const dppo_diffusion *model, int64_t batch) {
    const int64_t shape[] = {batch, model->horizon_steps, model->action_dim};
    return dppo_randn(cx, 3, shape);
}

/* The noise is drawn at every step, also where std is 0: the stream of draws does not depend on the options.
 */
dppo_tensor *dppo_next_sample_within(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *mean,
                                     dppo_tensor *std, double bound) {
    dppo_tensor *noise = clip(cx, dppo_randn_like(cx, mean), model->randn_clip_value);
    return clip(cx, dppo_add(cx, mean, dppo_mul(cx, std, noise)), bound);
}

dppo_tensor *dppo_next_sample(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *mean, dppo_tensor *std,
                              bool last) {
    return dppo_next_sample_within(cx, model, mean, std, last ? model->final_action_clip_value : NAN);
}

dppo_tensor *dppo_step_std(dppo_cx *cx, dppo_tensor *logvar, double min) {
    dppo_tensor *std = dppo_exp(cx, dppo_mul_scalar(cx, logvar, 0.5));
    return min > 0 ? dppo_clamp(cx, std, min, INFINITY) : std;
}

/* DDPM keeps the schedule's noise when deterministic, but none at the last step; exploration has a higher
 * minimum. */
dppo_tensor *dppo_exploring_std(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *logvar,
                                bool deterministic, bool last) {
    double minimum = model->min_sampling_denoising_std;
    if (deterministic) minimum = model->use_ddim ? 0 : 1e-3;
    dppo_tensor *std = dppo_step_std(cx, logvar, minimum);
    return deterministic && (model->use_ddim || last) ? dppo_zeros_like(cx, std) : std;
}
