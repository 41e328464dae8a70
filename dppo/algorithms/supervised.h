/* What the agents of pre-training share (the original's PreTrainAgent): AdamW with warm restarts, and an
 * exponential moving average of the weights. They differ in their model and its loss: pretrain_diffusion.c,
 * pretrain_gaussian.c. */
#ifndef DPPO_ALGORITHMS_SUPERVISED_H
#define DPPO_ALGORITHMS_SUPERVISED_H

#include "algorithms/learner.h"
#include "models/networks.h"

/* The first member of such a learner. */
typedef struct dppo_supervised {
    dppo_agent base;
    dppo_trained trained;
    dppo_module *ema;             /* owned: the averaged copy of base.model */
    dppo_tensor **ema_parameters; /* owned array, in the order of trained.parameters */
    double ema_decay;
} dppo_supervised;

/* After dppo_agent_base_init() and a look at the model. */
dppo_status dppo_supervised_init(dppo_supervised *self, const dppo_config *config);
void dppo_supervised_release(dppo_agent *agent);

/* actions (B, Ta, Da) and the condition of a batch, in a fresh learning context. */
dppo_tensor *dppo_supervised_batch(dppo_agent *agent, int64_t batch, const float *actions, const float *obs,
                                   dppo_cond *cond);
/* The step that a batch's loss asks for; the other arguments are those of dppo_pretrain_step. */
dppo_status dppo_supervised_step(dppo_agent *agent, dppo_tensor *loss_tensor, int ema_mode, double *loss,
                                 double *grad_norm);

dppo_pretrain_end_epoch dppo_supervised_end_epoch;
dppo_agent_save dppo_supervised_save;
dppo_agent_load dppo_supervised_load;

#endif
