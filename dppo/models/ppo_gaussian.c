/* PPO_Gaussian: PPO's loss (arXiv 1707.06347) for a Gaussian policy over action chunks. */
#include "models/build.h"
#include "models/gaussian_internal.h"

#include <math.h>

dppo_status dppo_build_ppo_gaussian(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    static const char *const keys[] = {
        "actor", "critic", "clip_ploss_coef", "clip_vloss_coef", "norm_adv", DPPO_GAUSSIAN_KEYS, NULL};
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_vpg_gaussian_new("PPO_Gaussian", keys, config, generator, &model);
    if (status == DPPO_OK) status = dppo_config_float(config, "clip_ploss_coef", &model->clip_ploss_coef);
    if (status == DPPO_OK)
        status = dppo_config_float_or_none(config, "clip_vloss_coef", NAN, &model->clip_vloss_coef);
    if (status == DPPO_OK) status = dppo_config_bool_or(config, "norm_adv", true, &model->norm_adv);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* Log-probabilities of actions (B), clipped to [-5, 2]. */
static dppo_tensor *clipped_logprobs(dppo_cx *cx, dppo_tensor *logprobs) {
    return dppo_clamp(cx, logprobs, -5, 2);
}

/* Probability, under the trained policy, of what the frozen one would do (arXiv 2403.03949, eq. 2). */
static dppo_tensor *behaviour_cloning_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond) {
    dppo_tensor *logprobs, *entropy, *std;
    dppo_tensor *samples = dppo_vpg_gaussian_forward(cx, module, cond, false, true);
    if (dppo_vpg_gaussian_get_logprobs(cx, module, cond, samples, false, &logprobs, &entropy, &std) !=
        DPPO_OK)
        return NULL;
    return dppo_neg(cx, dppo_mean(cx, clipped_logprobs(cx, logprobs), 0, NULL, false));
}

/* approx_kl is Schulman's k3 estimator, mean((r - 1) - log r), passing over NaN. */
static void diagnose(dppo_cx *cx, const dppo_gaussian *model, dppo_tensor *logratio, dppo_tensor *ratio,
                     dppo_tensor *std, dppo_ppo_loss *loss) {
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *kl = dppo_sub(cx, dppo_sub_scalar(cx, ratio, 1), logratio);
    dppo_tensor *bound = dppo_scalar(cx, model->clip_ploss_coef);
    dppo_tensor *clipped = dppo_gt(cx, dppo_abs(cx, dppo_sub_scalar(cx, ratio, 1)), bound);
    loss->approx_kl = dppo_item(cx, dppo_nanmean(cx, kl, 0, NULL, false));
    loss->clipfrac = dppo_item(cx, dppo_mean(cx, dppo_to_dtype(cx, clipped, DPPO_F32), 0, NULL, false));
    loss->ratio = dppo_item(cx, dppo_mean(cx, ratio, 0, NULL, false));
    loss->eta_or_std = dppo_item(cx, std);
    dppo_set_grad_enabled(cx, grad_enabled);
}

dppo_status dppo_ppo_gaussian_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_tensor *actions,
                                   dppo_tensor *returns, dppo_tensor *oldvalues, dppo_tensor *advantages,
                                   dppo_tensor *oldlogprobs, bool use_bc_loss, dppo_ppo_loss *loss) {
    const int64_t flat[] = {-1};
    const dppo_gaussian *model = dppo_gaussian_of(module);
    double clip = model->clip_ploss_coef;
    dppo_tensor *newlogprobs, *entropy, *std;
    *loss = (dppo_ppo_loss){0};
    DPPO_TRY(dppo_vpg_gaussian_get_logprobs(cx, module, cond, actions, false, &newlogprobs, &entropy, &std));
    newlogprobs = clipped_logprobs(cx, newlogprobs);
    oldlogprobs = clipped_logprobs(cx, oldlogprobs);
    loss->entropy_loss = dppo_neg(cx, entropy);
    if (use_bc_loss) loss->bc_loss = behaviour_cloning_loss(cx, module, cond);

    dppo_tensor *logratio = dppo_sub(cx, newlogprobs, oldlogprobs);
    dppo_tensor *ratio = dppo_exp(cx, logratio);
    diagnose(cx, model, logratio, ratio, std, loss);

    if (model->norm_adv) advantages = dppo_normalize_advantages(cx, advantages);
    loss->pg_loss = dppo_clipped_surrogate(cx, advantages, ratio, dppo_clamp(cx, ratio, 1 - clip, 1 + clip));
    dppo_tensor *newvalues = dppo_reshape(cx, dppo_critic_forward(cx, model->critic, cond), 1, flat);
    loss->v_loss = dppo_clipped_value_loss(cx, newvalues, oldvalues, returns, model->clip_vloss_coef);
    return dppo_context_status(cx);
}
