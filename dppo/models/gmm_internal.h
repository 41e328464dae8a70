/* What the files of the mixture policies share. Internal to models/. */
#ifndef DPPO_MODELS_GMM_INTERNAL_H
#define DPPO_MODELS_GMM_INTERNAL_H

#include "config/config.h"
#include "models/gmm.h"

/* A module without networks, the arguments of GMMModel read; its signature ends in **kwargs. *model is NULL
 * after a failure. */
dppo_status dppo_gmm_new(const char *type, const dppo_config *config, dppo_gmm **model);

/* forward_train: the mixture, the weighted mean of its modes' entropies and stds (rank 0). */
typedef struct dppo_gmm_distribution {
    dppo_tensor *means, *scales; /* (B, M, Ta Da) */
    dppo_tensor *logits;         /* (B, M) */
    dppo_tensor *entropy, *std;
} dppo_gmm_distribution;
/* False after a failure. */
bool dppo_gmm_forward_train(dppo_cx *cx, const dppo_gmm *model, dppo_cond cond, bool deterministic,
                            dppo_gmm_distribution *dist);
/* actions (B, Ta, Da) -> (B) */
dppo_tensor *dppo_gmm_log_prob(dppo_cx *cx, const dppo_gmm_distribution *dist, dppo_tensor *actions);

/* VPG_GMM and its heir (vpg_gmm.c). */
dppo_status dppo_vpg_gmm_new(const char *type, const dppo_config *config, dppo_generator *generator,
                             dppo_gmm **model);

#endif
