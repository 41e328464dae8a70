/* The ensembles of Q functions of RLPD_Gaussian and IBRL_Gaussian. Internal to models/.
 *
 * As in the original, all members begin as copies of one critic; `ensemble_params` is a stacked copy of
 * critic_networks and what is trained, critic_networks stay as they were, and target_networks follow
 * ensemble_params. In Python the latter is not part of the state_dict, so that a checkpoint of the original
 * has no trained critic; here it is: without it no run could be resumed. */
#ifndef DPPO_MODELS_CRITIC_ENSEMBLE_H
#define DPPO_MODELS_CRITIC_ENSEMBLE_H

#include "models/gaussian.h"
#include "models/q_learning.h"

/* Reads n_critics (2 or more: a target takes the smaller of two) and registers critic_networks,
 * target_networks and ensemble_params, all copies of `critic`, which the config has under "critic". */
dppo_status dppo_ensemble_adopt(dppo_gaussian *model, const dppo_config *config, const dppo_module *critic);

/* Two different members, from a permutation of all; false after a failure. */
bool dppo_ensemble_pick(dppo_cx *cx, const dppo_gaussian *model, int64_t picked[2]);
/* The smaller value of the two picked ones of critic_networks or target_networks: (B). */
dppo_tensor *dppo_ensemble_min_q(dppo_cx *cx, const dppo_module *networks, const int64_t picked[2],
                                 dppo_cond cond, dppo_tensor *action);

/* What all trained members say: (N, B). */
dppo_tensor *dppo_ensemble_q(dppo_cx *cx, const dppo_gaussian *model, dppo_cond cond, dppo_tensor *action);
/* mean over members and rows of (Q_n(s, a) - y)^2; target (B). */
dppo_tensor *dppo_ensemble_loss(dppo_cx *cx, const dppo_gaussian *model, const dppo_transitions *batch,
                                dppo_tensor *target);

#endif
