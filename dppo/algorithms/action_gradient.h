/* DIPO's improvement of actions (arXiv 2305.13122): a few steps of Adam on the actions themselves, against
 * -sum min(Q1, Q2)(s, a). */
#ifndef DPPO_ALGORITHMS_ACTION_GRADIENT_H
#define DPPO_ALGORITHMS_ACTION_GRADIENT_H

#include "models/q_learning.h"

typedef struct dppo_action_gradient_options {
    double action_lr;
    int64_t action_gradient_steps;
    double action_grad_norm; /* the largest norm of the gradient of all rows together; 0.1 Ta Da */
} dppo_action_gradient_options;

/* actions (B, Ta, Da) -> *guided (B, Ta, Da), clamped to [-1, 1] after each step. Adam's epsilon is 1e-5.
 * Neither the critic's parameters nor their gradients change. */
dppo_status dppo_action_gradient(dppo_cx *cx, const dppo_module *critic, dppo_cond obs, dppo_tensor *actions,
                                 dppo_action_gradient_options options, dppo_tensor **guided);

#endif
