/* What the files of the Gaussian policies share. Internal to models/. */
#ifndef DPPO_MODELS_GAUSSIAN_INTERNAL_H
#define DPPO_MODELS_GAUSSIAN_INTERNAL_H

#include "config/config.h"
#include "models/gaussian.h"

/* Keys of GaussianModel besides its network; a signature without **kwargs: others are mistakes. */
#define DPPO_GAUSSIAN_KEYS "horizon_steps", "network_path", "device", "randn_clip_value", "tanh_output"

/* A module without networks, the arguments of GaussianModel read; *model is NULL after a failure. */
dppo_status dppo_gaussian_new(const char *type, const dppo_config *config, dppo_gaussian **model);

/* forward_train: mean and standard deviation, each (B, Ta Da); false after a failure. */
bool dppo_gaussian_distribution(dppo_cx *cx, const dppo_gaussian *model, dppo_cond cond, bool deterministic,
                                bool use_base_policy, dppo_tensor **mean, dppo_tensor **scale);

/* VPG_Gaussian and its heirs (vpg_gaussian.c); `keys` is what the config may have. */
dppo_status dppo_vpg_gaussian_new(const char *type, const char *const *keys, const dppo_config *config,
                                  dppo_generator *generator, dppo_gaussian **model);
/* SAC_Gaussian and CalQL_Gaussian: network, critic, target_critic (sac_gaussian.c). */
dppo_status dppo_sac_gaussian_new(const char *type, const char *const *keys, const dppo_config *config,
                                  dppo_generator *generator, dppo_gaussian **model);

#endif
