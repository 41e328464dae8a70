/* One denoising step, in the pieces that the classes of diffusion policies share. Internal to diffusion/. */
#ifndef DPPO_DIFFUSION_STEPS_H
#define DPPO_DIFFUSION_STEPS_H

#include "diffusion/diffusion.h"

/* x_0 (B, Ta, Da) from x_t and what the network said (*noise (B, Ta, Da)), clipped; with DDIM *noise becomes
 * the noise that goes with the clipped x_0. */
dppo_tensor *dppo_predict_x0(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *x, dppo_tensor *t,
                             dppo_tensor *index, dppo_tensor **noise);

/* Mean of p(x_{t-1} | x_t, x_0); *logvar (B, 1, 1). */
dppo_tensor *dppo_ddpm_mean(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *x0, dppo_tensor *x,
                            dppo_tensor *t, dppo_tensor **logvar);
/* The same of DDIM with noise level sigma (B, 1, 1) or (B, 1, Da). */
dppo_tensor *dppo_ddim_mean(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *x0, dppo_tensor *noise,
                            dppo_tensor *index, dppo_tensor *sigma, dppo_tensor **logvar);

/* How many steps a sampler takes, and step i of them: t (B) and index (B); returns the value of t. */
int64_t dppo_sampling_steps(const dppo_diffusion *model);
int64_t dppo_sampling_step(dppo_cx *cx, const dppo_diffusion *model, int64_t batch, int64_t i,
                           dppo_tensor **t, dppo_tensor **index);

/* The sample to start from, and the next one: mean + std * clipped noise, clamped after the last step. */
dppo_tensor *dppo_initial_noise(dppo_cx *cx, const dppo_diffusion *model, int64_t batch);
dppo_tensor *dppo_next_sample(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *mean, dppo_tensor *std,
                              bool last);

/* The same with the last clamp's bound given, NaN for none. */
dppo_tensor *dppo_next_sample_within(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *mean,
                                     dppo_tensor *std, double bound);

/* exp(logvar / 2), no smaller than `min` (0: as it is). */
dppo_tensor *dppo_step_std(dppo_cx *cx, dppo_tensor *logvar, double min);
/* The noise level of samplers that explore. */
dppo_tensor *dppo_exploring_std(dppo_cx *cx, const dppo_diffusion *model, dppo_tensor *logvar,
                                bool deterministic, bool last);

/* p(x_{t-1} | x_t) of one network: mu (B, Ta, Da), *logvar (B, 1, 1) (diffusion.c). */
dppo_tensor *dppo_network_p_mean_var(dppo_cx *cx, const dppo_diffusion *model, const dppo_module *network,
                                     dppo_tensor *x, dppo_tensor *t, dppo_cond cond, dppo_tensor *index,
                                     dppo_tensor **logvar);

/* -- construction (diffusion.c) -- */
/* A module of that type without networks, the arguments of DiffusionModel read; keeps a copy of `network` (a
 * config, or NULL). *model is NULL after a failure. */
dppo_status dppo_diffusion_new(const char *type, const dppo_config *config, const dppo_config *network,
                               dppo_diffusion **model);
/* ft_denoising_steps, at most as many as a sampler takes. */
dppo_status dppo_read_ft_denoising_steps(const dppo_config *config, dppo_diffusion *model);
/* VPGDiffusion and its heirs, whose own arguments are read next (vpg_diffusion.c). */
dppo_status dppo_vpg_diffusion_new(const char *type, const dppo_config *config, dppo_generator *generator,
                                   dppo_diffusion **model);

#endif
