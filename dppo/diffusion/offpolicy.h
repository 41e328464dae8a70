/* Diffusion policies trained off-policy, or by weighted regression: RWRDiffusion, AWRDiffusion,
 * DIPODiffusion, DQLDiffusion, IDQLDiffusion, QSMDiffusion of the original (model/diffusion/diffusion_*.py).
 * Formulas and papers are in each class's own file.
 *
 * Modules are dppo_diffusion structs. Shapes: B batch, Ta action steps, Da action dimension; losses have rank
 * 0. Functions return NULL after a failure.
 *
 * state_dict, in order; target networks begin as copies of what is trained, and nothing is frozen:
 *   RWRDiffusion: network; AWRDiffusion: network, critic, actor; DIPODiffusion: network, critic,
 *   critic_target, actor, actor_target; DQLDiffusion: network, critic, critic_target, actor; IDQLDiffusion:
 *   network, critic_q, target_q, critic_v, actor; QSMDiffusion: network, critic_q, target_q, actor. `actor`
 * is the network under a second name.
 *
 * Where this departs from the original: a critic without double_q is refused when it is built, there when its
 * loss is first computed. */
#ifndef DPPO_DIFFUSION_OFFPOLICY_H
#define DPPO_DIFFUSION_OFFPOLICY_H

#include "diffusion/diffusion.h"
#include "models/q_learning.h"

/* -- RWRDiffusion, and AWRDiffusion, IDQLDiffusion, QSMDiffusion, DQLDiffusion, whose forward is the same
 * ----------------------------------------------------------------------------------------------------- */
/* Actions (B, Ta, Da), without gradients. */
dppo_tensor *dppo_rwr_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic);
/* x_start (B, Ta, Da), rewards (B): weights of the rows, t (B) int64. Draws randn_like(x_start). */
dppo_tensor *dppo_rwr_diffusion_p_losses(dppo_cx *cx, dppo_module *module, dppo_tensor *x_start,
                                         dppo_cond cond, dppo_tensor *rewards, dppo_tensor *t);
/* The same for t drawn with randint (B), before the noise. */
dppo_tensor *dppo_rwr_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *x, dppo_cond cond,
                                     dppo_tensor *rewards);

/* -- AWRDiffusion
 * ------------------------------------------------------------------------------------------------------ */
/* advantages (B, 1); or (B), which broadcasts against the critic's (B, 1) as it does in the original. */
dppo_tensor *dppo_awr_diffusion_loss_critic(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                            dppo_tensor *advantages);

/* -- DIPODiffusion
 * ----------------------------------------------------------------------------------------------------- */
/* Actions of the target actor (B, Ta, Da), without gradients. */
dppo_tensor *dppo_dipo_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                         bool deterministic);
dppo_tensor *dppo_dipo_diffusion_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                             double gamma);
dppo_status dppo_dipo_diffusion_update_target_actor(dppo_module *module, double tau);

/* -- DQLDiffusion
 * ------------------------------------------------------------------------------------------------------ */
/* Actions (B, Ta, Da) with gradients through all steps. */
dppo_tensor *dppo_dql_diffusion_forward_train(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                              bool deterministic);
/* act_steps: how many of the Ta steps are executed; the networks must take that many. Draws those of
 * forward_train, randint (B), randn, and one np.uniform. */
dppo_tensor *dppo_dql_diffusion_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs, double eta,
                                           int64_t act_steps);
dppo_tensor *dppo_dql_diffusion_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                            double gamma);

/* -- IDQLDiffusion
 * ----------------------------------------------------------------------------------------------------- */
/* Elementwise |expectile - 1(diff <= 0)| diff^2. */
dppo_tensor *dppo_expectile_loss(dppo_cx *cx, dppo_tensor *diff, double expectile);

typedef struct dppo_idql_options {
    bool deterministic;             /* the best sample, drawn with less noise */
    int64_t num_sample;             /* 10 */
    double critic_hyperparam;       /* weight of samples better than V, 0.7 */
    bool use_expectile_exploration; /* true; false: the best sample, too */
} dppo_idql_options;
dppo_idql_options dppo_idql_defaults(void);

/* Actions (B, Ta, Da), without gradients; the condition has no images. Draws those of RWRDiffusion.forward
 * for num_sample B rows, and when exploring multinomial (B, 1). */
dppo_tensor *dppo_idql_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                         dppo_idql_options options);
dppo_tensor *dppo_idql_diffusion_loss_critic_q(dppo_cx *cx, dppo_module *module,
                                               const dppo_transitions *batch, double gamma);
dppo_tensor *dppo_idql_diffusion_loss_critic_v(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                               dppo_tensor *actions);
/* min(Q1, Q2)(s, a) - V(s), Q the target critics, without their gradient: (B). */
dppo_tensor *dppo_idql_diffusion_compute_advantages(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                                    dppo_tensor *actions);

/* -- QSMDiffusion
 * ------------------------------------------------------------------------------------------------------ */
/* Draws randn_like(actions), then randint (B). */
dppo_tensor *dppo_qsm_diffusion_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                           dppo_tensor *actions, double q_grad_coeff);
dppo_tensor *dppo_qsm_diffusion_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                            double gamma);

/* -- target networks of all that have one
 * ------------------------------------------------------------------------------------------------------ */
/* target = (1 - tau) target + tau critic. */
dppo_status dppo_diffusion_update_target_critic(dppo_module *module, double tau);

#endif
