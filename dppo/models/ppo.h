/* What the PPO losses of diffusion and Gaussian policies have in common. */
#ifndef DPPO_MODELS_PPO_H
#define DPPO_MODELS_PPO_H

#include "models/networks.h"

/* The eight results of the original's PPO loss(). */
typedef struct dppo_ppo_loss {
    dppo_tensor *pg_loss, *entropy_loss, *v_loss; /* rank 0, differentiable */
    dppo_tensor *bc_loss; /* rank 0; NULL unless use_bc_loss (then the original has 0) */
    double clipfrac, approx_kl, ratio, eta_or_std;
} dppo_ppo_loss;

/* Arguments of the clipped losses over action chunks (PPO_Gaussian, PPO_GMM). */
typedef struct dppo_ppo_clipping {
    double clip_ploss_coef;
    double clip_vloss_coef; /* None: values are not clipped */
    bool norm_adv;          /* true */
} dppo_ppo_clipping;
dppo_status dppo_read_ppo_clipping(const dppo_config *config, dppo_ppo_clipping *clipping);

/* What a PPO loss over action chunks knows of its samples; each (B). */
typedef struct dppo_ppo_batch {
    dppo_tensor *returns, *oldvalues, *advantages, *oldlogprobs;
} dppo_ppo_batch;

/* Log-probabilities of chunks (B), clipped to [-5, 2]. */
dppo_tensor *dppo_clip_logprobs(dppo_cx *cx, dppo_tensor *logprobs);

/* From log-probabilities that are clipped already: pg_loss, v_loss and the diagnostics of `loss`; the others
 * are the policy's to set. approx_kl is Schulman's k3 estimator, mean((r - 1) - log r), passing over NaN. */
void dppo_ppo_chunk_loss(dppo_cx *cx, const dppo_ppo_clipping *clipping, dppo_tensor *newlogprobs,
                         const dppo_ppo_batch *batch, const dppo_module *critic, dppo_cond cond,
                         dppo_ppo_loss *loss);

/* What a PPO loss is made of, row by row, so that rows can be evaluated in chunks. All (B) but eta_or_std,
 * which may have more dimensions; the first two are differentiable. */
typedef struct dppo_ppo_terms {
    dppo_tensor *surrogate;   /* max(-A r, -A clamp(r)) */
    dppo_tensor *value_error; /* (V - R)^2, or its clipped form */
    dppo_tensor *kl, *clipped, *ratio, *eta_or_std;
} dppo_ppo_terms;
#define DPPO_PPO_TERMS(X) X(surrogate) X(value_error) X(kl) X(clipped) X(ratio) X(eta_or_std)

/* The losses and diagnostics: means over all rows. entropy_loss is -mean eta_or_std; bc_loss is the caller's.
 */
dppo_status dppo_ppo_loss_of_terms(dppo_cx *cx, const dppo_ppo_terms *terms, dppo_ppo_loss *loss);

/* (A - mean A) / (std A + 1e-8), std with Bessel's correction. */
dppo_tensor *dppo_normalize_advantages(dppo_cx *cx, dppo_tensor *advantages);

/* max(-A r, -A clamp(r, low, high)), the terms of PPO's clipped surrogate (arXiv 1707.06347, eq. 7).
 * advantages, ratio (B); `clamped` is the ratio after clamping. */
dppo_tensor *dppo_clipped_surrogate(dppo_cx *cx, dppo_tensor *advantages, dppo_tensor *ratio,
                                    dppo_tensor *clamped);

/* (V - R)^2; with a clip_coef, the maximum of that and of V held within clip_coef of the old values. All (B).
 * clip_coef NaN: no clipping. */
dppo_tensor *dppo_clipped_value_error(dppo_cx *cx, dppo_tensor *newvalues, dppo_tensor *oldvalues,
                                      dppo_tensor *returns, double clip_coef);

#endif
