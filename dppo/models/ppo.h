/* What the PPO losses of diffusion and Gaussian policies have in common. */
#ifndef DPPO_MODELS_PPO_H
#define DPPO_MODELS_PPO_H

#include "autograd/functions.h"

/* The eight results of the original's PPO loss(). */
typedef struct dppo_ppo_loss {
    dppo_tensor *pg_loss, *entropy_loss, *v_loss; /* rank 0, differentiable */
    dppo_tensor *bc_loss; /* rank 0; NULL unless use_bc_loss (then the original has 0) */
    double clipfrac, approx_kl, ratio, eta_or_std;
} dppo_ppo_loss;

/* (A - mean A) / (std A + 1e-8), std with Bessel's correction. */
dppo_tensor *dppo_normalize_advantages(dppo_cx *cx, dppo_tensor *advantages);

/* mean max(-A r, -A clamp(r, low, high)), PPO's clipped surrogate (arXiv 1707.06347, eq. 7). advantages,
 * ratio (B); `clamped` is the ratio after clamping. */
dppo_tensor *dppo_clipped_surrogate(dppo_cx *cx, dppo_tensor *advantages, dppo_tensor *ratio,
                                    dppo_tensor *clamped);

/* 1/2 mean (V - R)^2; with a clip_coef, 1/2 mean max of that and of V held within clip_coef of the old
 * values. All (B). clip_coef NaN: no clipping. */
dppo_tensor *dppo_clipped_value_loss(dppo_cx *cx, dppo_tensor *newvalues, dppo_tensor *oldvalues,
                                     dppo_tensor *returns, double clip_coef);

#endif
