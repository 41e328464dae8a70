/* Gaussian policies trained off-policy, or by weighted regression: RWR_Gaussian, AWR_Gaussian, SAC_Gaussian,
 * RLPD_Gaussian, CalQL_Gaussian, IBRL_Gaussian of the original (model/rl/gaussian_*.py). Formulas and papers
 * are in each class's own file.
 *
 * Modules are dppo_gaussian structs; N critics, B batch, Ta action steps, Da action dimension; losses have
 * rank 0. Functions return NULL after a failure. alpha is the weight of the entropy, a constant where it is a
 * number. Sampled actions draw randn (rows, Ta Da).
 *
 * state_dict, in order; copies begin with the values of what they copy:
 *   RWR_Gaussian: network, actor (the network under a second name); AWR_Gaussian: also critic; SAC_Gaussian
 *   and CalQL_Gaussian: network, critic, target_critic; RLPD_Gaussian: network, critic_networks.<n>,
 *   target_networks.<n>, ensemble_params (critic_ensemble.h); IBRL_Gaussian: network, target_actor, bc_policy
 *   (frozen), and the same critics.
 *
 * Where this departs from the original: critics that do not fit (double_q with an ensemble, none without, or
 * fewer than two members) are refused when they are built, there when a loss is first computed. */
#ifndef DPPO_MODELS_OFFPOLICY_GAUSSIAN_H
#define DPPO_MODELS_OFFPOLICY_GAUSSIAN_H

#include "models/gaussian.h"
#include "models/q_learning.h"

/* -- RWR_Gaussian, AWR_Gaussian
 * ----------------------------------------------------------------------------------------- */
/* Actions (B, Ta, Da), without gradients. */
dppo_tensor *dppo_rwr_gaussian_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic);
/* actions (B, Ta, Da), reward_weights (B). */
dppo_tensor *dppo_rwr_gaussian_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *actions, dppo_cond obs,
                                    dppo_tensor *reward_weights);
/* advantages (B, 1); or (B), which broadcasts against the critic's (B, 1) as it does in the original. */
dppo_tensor *dppo_awr_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                           dppo_tensor *advantages);

/* -- SAC_Gaussian
 * ----------------------------------------------------------------------------------------------------- */
dppo_tensor *dppo_sac_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                           double gamma, double alpha);
/* Also CalQL_Gaussian's. */
dppo_tensor *dppo_sac_gaussian_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs, double alpha);
/* Also RLPD_Gaussian's and CalQL_Gaussian's; differentiable with respect to alpha, rank 0. */
dppo_tensor *dppo_sac_gaussian_loss_temperature(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                                dppo_tensor *alpha, double target_entropy);

/* -- RLPD_Gaussian
 * ---------------------------------------------------------------------------------------------------- */
/* Draws randperm (N), then the next actions. */
dppo_tensor *dppo_rlpd_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                            double gamma, double alpha);
dppo_tensor *dppo_rlpd_gaussian_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs, double alpha);

/* -- CalQL_Gaussian
 * --------------------------------------------------------------------------------------------------- */
/* random_actions (B, n, Ta, Da); returns (B), the rewards-to-go of the data. Draws next actions (B
 * cql_n_actions rows), actions, next actions. */
dppo_tensor *dppo_calql_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                             dppo_tensor *random_actions, dppo_tensor *returns, double gamma);

/* -- IBRL_Gaussian
 * ---------------------------------------------------------------------------------------------------- */
/* Actions (B, Ta, Da). Draws randperm (N), an action of either policy, and with soft_action_sample, unless
 * deterministic, multinomial (B, 1). */
dppo_tensor *dppo_ibrl_gaussian_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic,
                                        bool reparameterize);
/* Draws randperm (N), then the next actions of either policy. */
dppo_tensor *dppo_ibrl_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                            double gamma);
dppo_tensor *dppo_ibrl_gaussian_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs);
dppo_status dppo_ibrl_gaussian_update_target_actor(dppo_module *module, double tau);

/* -- target networks of all that have some
 * ---------------------------------------------------------------------------------------------------- */
/* target = (1 - tau) target + tau critic, each member of an ensemble its own. */
dppo_status dppo_gaussian_update_target_critic(dppo_module *module, double tau);

#endif
