/* PPOExactDiffusion: PPO (arXiv 1707.06347) for a diffusion policy whose actions' likelihood is computed
 * exactly, up to the estimate of a divergence (exact_likelihood.c), instead of that of its denoising steps.
 *
 * What is odd in the original, and kept:
 * 1. The divergence is always that of the frozen actor, also at the steps whose drift is the fine-tuned
 * one's; the latter learns through the drift and through where it carries x.
 * 2. actor_ft serves one step more than elsewhere: t <= K', not t < K'.
 * 3. Log-probabilities are in bits per dimension when they are clipped to [-5, 2] and enter the ratio.
 * 4. rtol and atol have no effect: the solvers that have them evaluate the end of the interval, for which the
 * schedule has no entry. The default sde_method, RK23, is no method of the original's solver: it must be
 * given.
 */
#include "diffusion/sde.h"
#include "diffusion/steps.h"
#include "models/build.h"

#include <string.h>

static dppo_status read_solver(const dppo_config *config, dppo_exact_options *exact) {
    const char *method, *hutchinson;
    double ignored;
    DPPO_TRY(dppo_config_string_or(config, "sde_method", "RK23", &method));
    dppo_status status = dppo_ode_method_of(method, &exact->method);
    if (status != DPPO_OK) return dppo_fail_in(status, "sde_method");
    DPPO_TRY(dppo_config_string_or(config, "sde_hutchinson_type", "Rademacher", &hutchinson));
    exact->gaussian = strcmp(hutchinson, "Gaussian") == 0;
    if (!exact->gaussian && strcmp(hutchinson, "Rademacher") != 0)
        return dppo_fail(DPPO_INVALID, "sde_hutchinson_type: %s is neither Rademacher nor Gaussian",
                         hutchinson);
    DPPO_TRY(dppo_config_float_or(config, "sde_rtol", 1e-4, &ignored));
    DPPO_TRY(dppo_config_float_or(config, "sde_atol", 1e-4, &ignored));
    DPPO_TRY(dppo_config_float_or(config, "sde_eps", 1e-4, &exact->eps));
    DPPO_TRY(dppo_config_float_or(config, "sde_step_size", 1e-3, &exact->step_size));
    DPPO_TRY(dppo_config_int_or(config, "sde_num_epsilon", 1, &exact->num_epsilon));
    if (!(exact->eps >= 0 && exact->eps < 1) || !(exact->step_size > 0) || exact->num_epsilon < 1)
        return dppo_fail(DPPO_INVALID, "sde_eps %g, sde_step_size %g, sde_num_epsilon %lld: out of range",
                         exact->eps, exact->step_size, (long long)exact->num_epsilon);
    return dppo_config_bool_or(config, "sde_probability_flow", false, &exact->probability_flow);
}

static dppo_status read_options(const dppo_config *config, dppo_diffusion *model) {
    double min_beta;
    if (!model->sde) return dppo_fail(DPPO_INVALID, "sde is missing");
    DPPO_TRY(dppo_read_ppo_clipping(config, &model->exact.clipping));
    DPPO_TRY(read_solver(config, &model->exact));
    DPPO_TRY(dppo_config_float_or(config, "sde_min_beta", 1e-2, &min_beta));
    return dppo_vpsde_set_betas(model->sde, model->schedule.betas, min_beta);
}

dppo_status dppo_build_ppo_exact_diffusion(const dppo_config *config, dppo_generator *generator,
                                           dppo_module **module) {
    dppo_diffusion *model = NULL;
    dppo_status status = dppo_vpg_diffusion_new("PPOExactDiffusion", config, generator, &model);
    if (status == DPPO_OK) status = read_options(config, model);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

dppo_status dppo_ppo_exact_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                          dppo_tensor *samples, dppo_ppo_batch batch, dppo_ppo_loss *loss) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    *loss = (dppo_ppo_loss){0};
    dppo_tensor *logprobs = dppo_ppo_exact_diffusion_get_exact_logprobs(cx, module, cond, samples);
    batch.oldlogprobs = dppo_clip_logprobs(cx, batch.oldlogprobs);
    dppo_ppo_chunk_loss(cx, &model->exact.clipping, dppo_clip_logprobs(cx, logprobs), &batch, model->critic,
                        cond, loss);
    return dppo_context_status(cx);
}
