/* What off-policy algorithms share: batches of transitions, targets of Q functions, target networks. A Q
 * function is a CriticObsAct; Q (B) is its value of an action (B, Ta, Da) in a state. */
#ifndef DPPO_MODELS_Q_LEARNING_H
#define DPPO_MODELS_Q_LEARNING_H

#include "models/networks.h"

/* From a replay buffer; actions (B, Ta, Da), rewards and terminated (1 or 0) (B). */
typedef struct dppo_transitions {
    dppo_cond obs, next_obs;
    dppo_tensor *actions, *rewards, *terminated;
} dppo_transitions;

/* For builders: the classes of Q functions, and that the one under `key` estimates its value twice (double_q,
 * its default) or once, as the algorithm needs: DPPO_INVALID where the original fails later on. */
extern const char *const dppo_q_functions[];
dppo_status dppo_require_double_q(const dppo_config *config, const char *key, bool wanted);

/* min(Q1, Q2), (B). */
dppo_tensor *dppo_min_q(dppo_cx *cx, const dppo_module *critic, dppo_cond cond, dppo_tensor *action);

/* y = r + gamma Q' (1 - d), all flattened: (B). */
dppo_tensor *dppo_td_target(dppo_cx *cx, const dppo_transitions *batch, dppo_tensor *next_q, double gamma);

/* mean((x - target)^2), rank 0; the two broadcast. */
dppo_tensor *dppo_squared_error(dppo_cx *cx, dppo_tensor *x, dppo_tensor *target);
/* mean((Q1 - y)^2) + mean((Q2 - y)^2), rank 0. */
dppo_tensor *dppo_twin_q_loss(dppo_cx *cx, const dppo_module *critic, const dppo_transitions *batch,
                              dppo_tensor *target);

/* target = (1 - tau) target + tau source for every parameter, buffers left alone. The modules have one
 * structure; `member` is the source's when it is stacked (dppo_module_stack), else 0. */
dppo_status dppo_update_target(dppo_module *target, const dppo_module *source, int64_t member, double tau);

#endif
