/* Gaussian policies: GaussianModel, VPG_Gaussian, PPO_Gaussian of the original (model/common/gaussian.py,
 * model/rl).
 *
 * state_dict: GaussianModel: network.*; VPG_Gaussian and PPO_Gaussian: network.*, critic.*, actor_ft.* (the
 * network under a second name), actor.* (its frozen copy). */
#ifndef DPPO_MODELS_GAUSSIAN_H
#define DPPO_MODELS_GAUSSIAN_H

#include "models/networks.h"
#include "models/ppo.h"

/* Arguments of the constructors, by the original's names; NaN stands for Python's None. */
typedef struct dppo_gaussian {
    dppo_module module; /* "GaussianModel", "VPG_Gaussian" or "PPO_Gaussian" */
    int64_t horizon_steps;
    double randn_clip_value;    /* samples are kept within so many standard deviations of the mean; 10 */
    bool tanh_output;           /* squash the sample (SAC); false */
    dppo_ppo_clipping clipping; /* PPO_Gaussian */

    /* Off-policy classes (offpolicy_gaussian.h) */
    int64_t n_critics;
    bool backup_entropy;
    double cql_clip_diff_min, cql_clip_diff_max, cql_min_q_weight;
    int64_t cql_n_actions;
    bool soft_action_sample;
    double soft_action_sample_beta;

    dppo_module *network;        /* of DPPO_GAUSSIAN_NETWORKS: the policy; VPG: also actor_ft */
    dppo_module *actor_ft;       /* VPG, PPO: the network, trained */
    dppo_module *actor, *critic; /* VPG, PPO: the frozen copy; a CriticObs; else NULL */
    /* Off-policy classes, whose `actor` above stays NULL; `critic` is theirs */
    dppo_module *target_critic;
    dppo_module *critic_networks, *target_networks; /* ModuleLists of n_critics Q functions */
    dppo_module *ensemble_params;                   /* the trained critics, stacked */
    dppo_module *target_actor, *bc_policy;
} dppo_gaussian;

/* The struct of a module built as one of these or of offpolicy_gaussian.h; NULL for others. */
dppo_gaussian *dppo_gaussian_of(dppo_module *module);

typedef struct dppo_gaussian_options {
    bool deterministic;                  /* std 1e-4 */
    bool use_base_policy;                /* sample from the frozen actor (VPG, PPO) */
    const dppo_module *network_override; /* sample from this network, not the model's; or NULL */
    bool reparameterize;                 /* rsample: gradients flow through the sample */
    bool get_logprob;
} dppo_gaussian_options;

/* GaussianModel.forward: state (B, To, Do) -> actions (B, Ta, Da); draws randn (B, Ta Da). With get_logprob
 * the sum of log-probabilities (B) goes to *log_prob, which may be NULL otherwise. */
dppo_tensor *dppo_gaussian_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                   dppo_gaussian_options options, dppo_tensor **log_prob);
/* VPG_Gaussian.forward: the same without gradients. */
dppo_tensor *dppo_vpg_gaussian_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic,
                                       bool use_base_policy);

/* GaussianModel.loss: -mean log p(true_action) - ent_coef entropy, rank 0. true_action (B, Ta, Da); *entropy
 * rank 0. */
dppo_tensor *dppo_gaussian_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *true_action, dppo_cond cond,
                                double ent_coef, dppo_tensor **entropy);

/* VPG_Gaussian.get_logprobs: actions (B, Ta, Da) -> *log_prob (B), mean over Ta Da; *entropy, *std rank 0. */
dppo_status dppo_vpg_gaussian_get_logprobs(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                           dppo_tensor *actions, bool use_base_policy, dppo_tensor **log_prob,
                                           dppo_tensor **entropy, dppo_tensor **std);

/* PPO_Gaussian.loss: actions (B, Ta, Da). */
dppo_status dppo_ppo_gaussian_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_tensor *actions,
                                   dppo_ppo_batch batch, bool use_bc_loss, dppo_ppo_loss *loss);

/* What agents need; NULL where the class has none. Borrowed. */
dppo_module *dppo_gaussian_actor_ft(dppo_module *module); /* the trained network, of a GaussianModel too */
dppo_module *dppo_gaussian_critic(dppo_module *module);

#endif
