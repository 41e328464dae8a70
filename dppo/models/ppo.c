#include "models/ppo.h"

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
    return dppo_mean(cx, dppo_maximum(cx, pg_loss1, pg_loss2), 0, NULL, false);
}

dppo_tensor *dppo_clipped_value_loss(dppo_cx *cx, dppo_tensor *newvalues, dppo_tensor *oldvalues,
                                     dppo_tensor *returns, double clip_coef) {
    dppo_tensor *error = dppo_pow_scalar(cx, dppo_sub(cx, newvalues, returns), 2);
    if (!isnan(clip_coef)) {
        /* V_old + clamp(V - V_old, -c, c) */
        dppo_tensor *moved = dppo_clamp(cx, dppo_sub(cx, newvalues, oldvalues), -clip_coef, clip_coef);
        dppo_tensor *v_clipped = dppo_add(cx, oldvalues, moved);
        error = dppo_maximum(cx, error, dppo_pow_scalar(cx, dppo_sub(cx, v_clipped, returns), 2));
    }
    return dppo_mul_scalar(cx, dppo_mean(cx, error, 0, NULL, false), 0.5);
}
