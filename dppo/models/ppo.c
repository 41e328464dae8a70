#include "models/ppo.h"
#include "models/build.h"

#include <math.h>

dppo_tensor *dppo_normalize_advantages(dppo_cx *cx, dppo_tensor *advantages) {
    dppo_tensor *centred = dppo_sub(cx, advantages, dppo_mean(cx, advantages, 0, NULL, false));
    dppo_tensor *std = dppo_std(cx, advantages, 0, NULL, 1, false);
    return dppo_div(cx, centred, dppo_add_scalar(cx, std, 1e-8));
}

dppo_tensor *dppo_clipped_surrogate(dppo_cx *cx, dppo_tensor *advantages, dppo_tensor *ratio,
                                    dppo_tensor *clamped) {
    dppo_tensor *pg_loss1 = dppo_mul(cx, dppo_neg(cx, advantages), ratio);
    dppo_tensor *pg_loss2 = dppo_mul(cx, dppo_neg(cx, advantages), clamped);
    return dppo_maximum(cx, pg_loss1, pg_loss2);
}

dppo_tensor *dppo_clipped_value_error(dppo_cx *cx, dppo_tensor *newvalues, dppo_tensor *oldvalues,
                                      dppo_tensor *returns, double clip_coef) {
    dppo_tensor *error = dppo_pow_scalar(cx, dppo_sub(cx, newvalues, returns), 2);
    if (!isnan(clip_coef)) {
        /* V_old + clamp(V - V_old, -c, c) */
        dppo_tensor *moved = dppo_clamp(cx, dppo_sub(cx, newvalues, oldvalues), -clip_coef, clip_coef);
        dppo_tensor *v_clipped = dppo_add(cx, oldvalues, moved);
        error = dppo_maximum(cx, error, dppo_pow_scalar(cx, dppo_sub(cx, v_clipped, returns), 2));
    }
    return error;
}

/* PPO's clipped surrogate is the mean of its terms; the value loss half the mean error. */
static dppo_tensor *policy_loss(dppo_cx *cx, dppo_tensor *surrogate) {
    return dppo_mean(cx, surrogate, 0, NULL, false);
}
static dppo_tensor *value_loss(dppo_cx *cx, dppo_tensor *error) {
    return dppo_mul_scalar(cx, dppo_mean(cx, error, 0, NULL, false), 0.5);
}

static double mean_of(dppo_cx *cx, dppo_tensor *terms) {
    return dppo_item(cx, dppo_mean(cx, terms, 0, NULL, false));
}

dppo_status dppo_ppo_loss_of_terms(dppo_cx *cx, const dppo_ppo_terms *terms, dppo_ppo_loss *loss) {
    *loss = (dppo_ppo_loss){0};
    loss->pg_loss = policy_loss(cx, terms->surrogate);
    loss->v_loss = value_loss(cx, terms->value_error);
    loss->entropy_loss = dppo_neg(cx, dppo_mean(cx, terms->eta_or_std, 0, NULL, false));
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    loss->approx_kl = mean_of(cx, terms->kl);
    loss->clipfrac = mean_of(cx, terms->clipped);
    loss->ratio = mean_of(cx, terms->ratio);
    loss->eta_or_std = mean_of(cx, terms->eta_or_std);
    dppo_set_grad_enabled(cx, grad_enabled);
    return dppo_context_status(cx);
}

/* -- over action chunks
 * -------------------------------------------------------------------------------------------- */

dppo_status dppo_read_ppo_clipping(const dppo_config *config, dppo_ppo_clipping *clipping) {
    DPPO_TRY(dppo_config_float(config, "clip_ploss_coef", &clipping->clip_ploss_coef));
    DPPO_TRY(dppo_config_float_or_none(config, "clip_vloss_coef", NAN, &clipping->clip_vloss_coef));
    return dppo_config_bool_or(config, "norm_adv", true, &clipping->norm_adv);
}

dppo_tensor *dppo_clip_logprobs(dppo_cx *cx, dppo_tensor *logprobs) {
    return dppo_clamp(cx, logprobs, -5, 2);
}

static void diagnose(dppo_cx *cx, const dppo_ppo_clipping *clipping, dppo_tensor *logratio,
                     dppo_tensor *ratio, dppo_ppo_loss *loss) {
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *kl = dppo_sub(cx, dppo_sub_scalar(cx, ratio, 1), logratio);
    dppo_tensor *bound = dppo_scalar(cx, clipping->clip_ploss_coef);
    dppo_tensor *clipped = dppo_gt(cx, dppo_abs(cx, dppo_sub_scalar(cx, ratio, 1)), bound);
    loss->approx_kl = dppo_item(cx, dppo_nanmean(cx, kl, 0, NULL, false));
    loss->clipfrac = dppo_item(cx, dppo_mean(cx, dppo_to_dtype(cx, clipped, DPPO_F32), 0, NULL, false));
    loss->ratio = dppo_item(cx, dppo_mean(cx, ratio, 0, NULL, false));
    dppo_set_grad_enabled(cx, grad_enabled);
}

void dppo_ppo_chunk_loss(dppo_cx *cx, const dppo_ppo_clipping *clipping, dppo_tensor *newlogprobs,
                         const dppo_ppo_batch *batch, const dppo_module *critic, dppo_cond cond,
                         dppo_ppo_loss *loss) {
    const int64_t flat[] = {-1};
    double clip = clipping->clip_ploss_coef;
    dppo_tensor *logratio = dppo_sub(cx, newlogprobs, batch->oldlogprobs);
    dppo_tensor *ratio = dppo_exp(cx, logratio), *advantages = batch->advantages;
    diagnose(cx, clipping, logratio, ratio, loss);
    if (clipping->norm_adv) advantages = dppo_normalize_advantages(cx, advantages);
    dppo_tensor *clamped = dppo_clamp(cx, ratio, 1 - clip, 1 + clip);
    loss->pg_loss = policy_loss(cx, dppo_clipped_surrogate(cx, advantages, ratio, clamped));
    dppo_tensor *newvalues = dppo_reshape(cx, dppo_critic_forward(cx, critic, cond), 1, flat);
    loss->v_loss = value_loss(cx, dppo_clipped_value_error(cx, newvalues, batch->oldvalues, batch->returns,
                                                           clipping->clip_vloss_coef));
}
