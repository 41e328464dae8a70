/* What the off-policy diffusion policies share. Internal to diffusion/. */
#ifndef DPPO_DIFFUSION_EXPLORER_H
#define DPPO_DIFFUSION_EXPLORER_H

#include "diffusion/offpolicy.h"
#include "diffusion/steps.h"

/* A module of that type without networks: the arguments of DiffusionModel and min_sampling_denoising_std;
 * use_ddim is DPPO_INVALID. *model is NULL after a failure. */
dppo_status dppo_explorer_new(const char *type, const dppo_config *config, dppo_diffusion **model);

/* DIPO, DQL and QSM: the same with what `actor` and `critic` describe, which must estimate Q twice.
 * Registered in the original's order: network, the critic and its target copy under those names, actor (the
 * network again). */
dppo_status dppo_explorer_with_critic_new(const char *type, const char *critic_name, const char *target_name,
                                          const dppo_config *config, dppo_generator *generator,
                                          dppo_diffusion **model);

/* Samples `network`'s actions (B, Ta, Da) with DDPM, the noise of a step no smaller than
 * min_sampling_denoising_std; deterministic: no smaller than 1e-3, and none at the last step. The last sample
 * is kept within +- bound (NaN: not). Gradients flow as the context says. Draws randn (B, Ta, Da) once, then
 * once a step. */
dppo_tensor *dppo_explorer_sample(dppo_cx *cx, const dppo_diffusion *model, const dppo_module *network,
                                  dppo_cond cond, bool deterministic, double bound);
/* The forward() of these classes: without gradients, within final_action_clip_value. */
dppo_tensor *dppo_explorer_act(dppo_cx *cx, const dppo_diffusion *model, const dppo_module *network,
                               dppo_cond cond, bool deterministic);

/* min(Q1', Q2')(s', a'), a' sampled from `network`, Q' the target critic; without gradients: (B). */
dppo_tensor *dppo_explorer_next_q(dppo_cx *cx, const dppo_diffusion *model, const dppo_module *network,
                                  dppo_cond next_obs);

#endif
