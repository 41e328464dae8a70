/* VPSDE, the stochastic differential equation of a DDPM schedule. Internal to diffusion/. */
#ifndef DPPO_DIFFUSION_SDE_H
#define DPPO_DIFFUSION_SDE_H

#include "diffusion/diffusion.h"

/* The schedule, betas (K), no smaller than min_beta. */
dppo_status dppo_vpsde_set_betas(dppo_module *sde, dppo_tensor *betas, double min_beta);

/* dx/dt of the reverse SDE, or with probability_flow of the ODE, at x (B, Ta, Da) and t (B) int64 in [0, K).
 * `output` is what the network says there: the noise (predict_epsilon) or the mean of the step before. */
dppo_tensor *dppo_vpsde_reverse_drift(dppo_cx *cx, const dppo_module *sde, dppo_tensor *x, dppo_tensor *t,
                                      dppo_tensor *output, bool predict_epsilon, bool probability_flow);

/* log N(z; 0, 1) summed over Ta and Da: z (B, Ta, Da) -> (B). */
dppo_tensor *dppo_vpsde_prior_logp(dppo_cx *cx, dppo_tensor *z);

#endif
