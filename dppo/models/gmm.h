/* Mixture policies: GMMModel, VPG_GMM, PPO_GMM of the original (model/common/gmm.py, model/rl).
 *
 * state_dict: GMMModel: network.*; VPG_GMM and PPO_GMM: network.*, actor_ft.* (the network under a second
 * name), critic.*. There is no frozen copy, so no behaviour cloning loss. M modes. */
#ifndef DPPO_MODELS_GMM_H
#define DPPO_MODELS_GMM_H

#include "models/networks.h"
#include "models/ppo.h"

typedef struct dppo_gmm {
    dppo_module module; /* "GMMModel", "VPG_GMM" or "PPO_GMM" */
    int64_t horizon_steps;
    dppo_ppo_clipping clipping; /* PPO_GMM */
    dppo_module *network;       /* of DPPO_GMM_NETWORKS: the policy; VPG: also actor_ft */
    dppo_module *critic;        /* VPG, PPO: of DPPO_CRITICS; else NULL */
} dppo_gmm;

/* The struct of a module built as one of the three; NULL for any other. */
dppo_gmm *dppo_gmm_of(dppo_module *module);

/* GMMModel.forward: actions (B, Ta, Da), without gradient. Draws a mode for each row (B, 1), then randn
 * (B, M, Ta Da): a sample of every mode. deterministic: the modes' std is 1e-4; which mode is still drawn. */
dppo_tensor *dppo_gmm_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic);
/* VPG_GMM.forward: the same, recording nothing. */
dppo_tensor *dppo_vpg_gmm_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic);

/* GMMModel.loss: -mean log p(true_action), rank 0. true_action (B, Ta, Da); *entropy rank 0, approximated by
 * the modes' own, weighted. */
dppo_tensor *dppo_gmm_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *true_action, dppo_cond cond,
                           dppo_tensor **entropy);

/* VPG_GMM.get_logprobs: actions (B, Ta, Da) -> *log_prob (B), of the whole chunk; *entropy, *std rank 0. */
dppo_status dppo_vpg_gmm_get_logprobs(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_tensor *actions,
                                      dppo_tensor **log_prob, dppo_tensor **entropy, dppo_tensor **std);

/* PPO_GMM.loss: actions (B, Ta, Da). */
dppo_status dppo_ppo_gmm_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_tensor *actions,
                              dppo_ppo_batch batch, dppo_ppo_loss *loss);

#endif
