/* DiffusionModel: a policy that denoises its actions, sampled with DDPM or DDIM and trained to predict the
 * noise. */
#include "diffusion/steps.h"
#include "models/build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- construction -------------------------------------------------------------------------------------------
 */

static void destroy(dppo_module *self) {
    dppo_diffusion *model = (dppo_diffusion *)self;
    dppo_schedule_free(&model->schedule);
    dppo_config_free(model->network_config);
    for (size_t i = 0; i < model->retired_count; i++)
        dppo_module_free(model->retired[i]);
    free(model->retired);
}

/* The destructor marks our modules: a class name could belong to somebody else's struct. */
dppo_diffusion *dppo_diffusion_of(dppo_module *module) {
    return module && module->destroy == destroy ? (dppo_diffusion *)module : NULL;
}

/* None of these, in Python, means no clipping: NaN here. */
static dppo_status read_clipping(const dppo_config *config, dppo_diffusion *model) {
    DPPO_TRY(dppo_config_float_or_none(config, "denoised_clip_value", 1, &model->denoised_clip_value));
    DPPO_TRY(dppo_config_float_or_none(config, "randn_clip_value", 10, &model->randn_clip_value));
    DPPO_TRY(
        dppo_config_float_or_none(config, "final_action_clip_value", NAN, &model->final_action_clip_value));
    DPPO_TRY(dppo_config_float_or_none(config, "eps_clip_value", NAN, &model->eps_clip_value));
    return DPPO_OK;
}

/* DDIM recomputes the noise from x_0, which makes no sense for a network that predicts x_0 itself. */
static dppo_status read_ddim(const dppo_config *config, dppo_diffusion *model) {
    const char *discretize = NULL;
    DPPO_TRY(dppo_config_bool_or(config, "use_ddim", false, &model->use_ddim));
    DPPO_TRY(dppo_config_string_or(config, "ddim_discretize", "uniform", &discretize));
    if (!model->use_ddim) return DPPO_OK;
    if (!model->predict_epsilon) return dppo_fail(DPPO_INVALID, "use_ddim needs predict_epsilon: true");
    if (strcmp(discretize, "uniform") != 0)
        return dppo_fail(DPPO_INVALID, "ddim_discretize: %s is not \"uniform\"", discretize);
    DPPO_TRY(dppo_config_int(config, "ddim_steps", &model->ddim_steps));
    if (model->ddim_steps < 1)
        return dppo_fail(DPPO_INVALID, "ddim_steps: %lld is not positive", (long long)model->ddim_steps);
    return DPPO_OK;
}

static dppo_status read_options(const dppo_config *config, dppo_diffusion *model) {
    DPPO_TRY(dppo_config_int(config, "horizon_steps", &model->horizon_steps));
    DPPO_TRY(dppo_config_int(config, "obs_dim", &model->obs_dim));
    DPPO_TRY(dppo_config_int(config, "action_dim", &model->action_dim));
    DPPO_TRY(dppo_config_int_or(config, "denoising_steps", 100, &model->denoising_steps));
    DPPO_TRY(dppo_config_bool_or(config, "predict_epsilon", true, &model->predict_epsilon));
    DPPO_TRY(read_clipping(config, model));
    DPPO_TRY(read_ddim(config, model));
    return dppo_schedule_init(&model->schedule, model->denoising_steps, model->ddim_steps);
}

dppo_status dppo_read_ft_denoising_steps(const dppo_config *config, dppo_diffusion *model) {
    int64_t most = dppo_sampling_steps(model);
    DPPO_TRY(dppo_config_int(config, "ft_denoising_steps", &model->ft_denoising_steps));
    if (model->ft_denoising_steps >= 0 && model->ft_denoising_steps <= most) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "ft_denoising_steps: %lld is not in 0..%lld, the number of sampling steps",
                     (long long)model->ft_denoising_steps, (long long)most);
}

dppo_status dppo_diffusion_new(const char *type, const dppo_config *config, const dppo_config *network,
                               dppo_diffusion **model) {
    *model = dppo_module_new(sizeof **model, type);
    if (!*model) return DPPO_NO_MEMORY;
    (*model)->module.destroy = destroy;
    dppo_status status = read_options(config, *model);
    if (status == DPPO_OK && network && !((*model)->network_config = dppo_config_copy(network)))
        status = dppo_fail(DPPO_NO_MEMORY, "no memory for a copy of the network's config");
    if (status == DPPO_OK) return DPPO_OK;
    dppo_module_free(&(*model)->module);
    *model = NULL;
    return status;
}

dppo_status dppo_build_diffusion_model(const dppo_config *config, dppo_generator *generator,
                                       dppo_module **module) {
    dppo_module *network = NULL;
    const dppo_nested nested[] = {{"network", dppo_noise_networks, &network, false}};
    DPPO_TRY(dppo_build_nested(config, generator, 1, nested));
    dppo_diffusion *model = NULL;
    dppo_status status = dppo_diffusion_new("DiffusionModel", config, NULL, &model);
    if (status == DPPO_OK) status = dppo_build_adopt(&model->module, "network", &network, &model->network);
    dppo_module_free(network);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* -- sampling
 * ------------------------------------------------------------------------------------------------ */

dppo_tensor *dppo_network_p_mean_var(dppo_cx *cx, const dppo_diffusion *model, const dppo_module *network,
                                     dppo_tensor *x, dppo_tensor *t, dppo_cond cond, dppo_tensor *index,
                                     dppo_tensor **logvar) {
    dppo_tensor *noise = dppo_noise_network_forward(cx, network, x, t, cond);
    dppo_tensor *x0 = dppo_predict_x0(cx, model, x, t, index, &noise);
    if (!model->use_ddim) return dppo_ddpm_mean(cx, model, x0, x, t, logvar);
    dppo_tensor *sigma = dppo_extract(cx, model->schedule.ddim_sigmas, index, 3);
    return dppo_ddim_mean(cx, model, x0, noise, index, sigma, logvar);
}

dppo_tensor *dppo_diffusion_p_mean_var(dppo_cx *cx, dppo_module *module, dppo_tensor *x, dppo_tensor *t,
                                       dppo_cond cond, dppo_tensor *index, dppo_tensor **logvar) {
    dppo_diffusion *model = dppo_diffusion_of(module);
    if (model->actor) { /* DiffusionEval: the frozen network first, the fine-tuned one for the last steps */
        dppo_tensor *eta;
        return dppo_vpg_diffusion_p_mean_var(cx, module, x, t, cond, index, false, true, logvar, &eta);
    }
    return dppo_network_p_mean_var(cx, model, model->network, x, t, cond, index, logvar);
}

dppo_status dppo_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic,
                                   dppo_tensor **trajectories) {
    (void)deterministic;
    *trajectories = NULL;
    dppo_diffusion *model = dppo_diffusion_of(module);
    if (!cond.state) return dppo_context_status(cx);
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    int64_t batch = cond.state->shape[0], steps = dppo_sampling_steps(model);
    dppo_tensor *x = dppo_initial_noise(cx, model, batch);
    for (int64_t i = 0; i < steps && x; i++) {
        dppo_tensor *t, *index, *logvar = NULL;
        int64_t time = dppo_sampling_step(cx, model, batch, i, &t, &index);
        dppo_tensor *mean = dppo_diffusion_p_mean_var(cx, module, x, t, cond, index, &logvar);
        dppo_tensor *std = dppo_step_std(cx, logvar, model->use_ddim ? 0 : 1e-3);
        if (model->use_ddim || time == 0) std = dppo_zeros_like(cx, std);
        x = dppo_next_sample(cx, model, mean, std, i + 1 == steps);
    }
    *trajectories = x;
    dppo_set_grad_enabled(cx, grad_enabled);
    return dppo_context_status(cx);
}

/* -- supervised training
 * -------------------------------------------------------------------------------------- */

dppo_tensor *dppo_diffusion_q_sample(dppo_cx *cx, dppo_module *module, dppo_tensor *x_start, dppo_tensor *t,
                                     dppo_tensor *noise) {
    const dppo_schedule *s = &dppo_diffusion_of(module)->schedule;
    if (!x_start) return NULL;
    if (!noise) noise = dppo_randn_like(cx, x_start);
    dppo_tensor *signal = dppo_mul(cx, dppo_extract(cx, s->sqrt_alphas_cumprod, t, x_start->ndim), x_start);
    dppo_tensor *scale = dppo_extract(cx, s->sqrt_one_minus_alphas_cumprod, t, x_start->ndim);
    return dppo_add(cx, signal, dppo_mul(cx, scale, noise));
}

dppo_tensor *dppo_diffusion_p_losses(dppo_cx *cx, dppo_module *module, dppo_tensor *x_start, dppo_cond cond,
                                     dppo_tensor *t) {
    dppo_diffusion *model = dppo_diffusion_of(module);
    dppo_tensor *noise = dppo_randn_like(cx, x_start);
    dppo_tensor *x_noisy = noise ? dppo_diffusion_q_sample(cx, module, x_start, t, noise) : NULL;
    dppo_tensor *predicted = dppo_noise_network_forward(cx, model->network, x_noisy, t, cond);
    return dppo_mse_loss(cx, predicted, model->predict_epsilon ? noise : x_start);
}

dppo_tensor *dppo_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *x, dppo_cond cond) {
    if (!x) return NULL;
    dppo_tensor *t = dppo_randint(cx, 0, dppo_diffusion_of(module)->denoising_steps, 1, x->shape);
    return dppo_diffusion_p_losses(cx, module, x, cond, t);
}

/* -- what agents need
 * ------------------------------------------------------------------------------------------ */

#define ACCESSOR(type, field, none)                                                                          \
    type dppo_diffusion_##field(dppo_module *module) {                                                       \
        dppo_diffusion *model = dppo_diffusion_of(module);                                                   \
        return model ? model->field : none;                                                                  \
    }
ACCESSOR(int64_t, ft_denoising_steps, 0)
ACCESSOR(int64_t, denoising_steps, 0)
ACCESSOR(int64_t, horizon_steps, 0)
ACCESSOR(int64_t, action_dim, 0)
ACCESSOR(double, min_sampling_denoising_std, 0)
ACCESSOR(double, gamma_denoising, 0)
ACCESSOR(dppo_module *, network, NULL)
ACCESSOR(dppo_module *, actor_ft, NULL)
ACCESSOR(dppo_module *, critic, NULL)
