/* What the entries of models and of diffusion policies share. */
#ifndef DPPO_PARITY_ENTRIES_MODELS_H
#define DPPO_PARITY_ENTRIES_MODELS_H

#include "autograd/functions.h"
#include "models/networks.h"
#include "models/ppo.h"
#include "nn/module.h"
#include "parity/door.h"

/* Builds the module of the case's init, which must be of the class in the function's name
 * ("PPODiffusion.loss"), with the case's state. Freed with the call. Nothing is drawn when there is a state:
 * the draws belong to the call. */
dppo_status dppo_call_build(dppo_call *call, dppo_module **module);
/* The same where the function is an agent's, whose policy is a `target`. */
dppo_status dppo_call_build_as(dppo_call *call, const char *target, dppo_module **module);

/* The condition recorded as in/<name>/state and, with images, in/<name>/rgb; argument no_augment. */
dppo_status dppo_call_cond(dppo_call *call, const char *name, dppo_cond *cond);

/* in/returns, oldvalues, advantages and oldlogprobs of a PPO loss over action chunks. */
dppo_status dppo_call_ppo_batch(dppo_call *call, dppo_ppo_batch *batch);

/* Any network of its family. */
dppo_status dppo_call_noise_network(dppo_call *call);
dppo_status dppo_call_gaussian_network(dppo_call *call);
dppo_status dppo_call_critic(dppo_call *call);

/* The results that all PPO losses have; eta or std, and a bc_loss that was not asked for, are the caller's.
 */
dppo_status dppo_call_output_ppo_loss(dppo_call *call, const dppo_ppo_loss *loss);

#endif
