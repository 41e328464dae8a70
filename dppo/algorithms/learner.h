/* What the learners of the C side share. Each algorithm is one file that exports a dppo_algorithm; the agent
 * class finds it by the config's top-level _target_. */
#ifndef DPPO_ALGORITHMS_LEARNER_H
#define DPPO_ALGORITHMS_LEARNER_H

#include "algorithms/agent.h"
#include "autograd/functions.h"
#include "nn/module.h"
#include "optim/optim.h"

typedef struct dppo_algorithm {
    const char *target; /* the original's agent class */
    size_t size;        /* of the learner's struct, which begins with a dppo_agent and starts zeroed */
    dppo_status (*init)(dppo_agent *agent,
                        const dppo_config *config); /* after a failure `release` is called */
    void (*release)(dppo_agent *agent);             /* what init made; not the struct */
    dppo_act *act;
    /* NULL where the algorithm has no such step; the agent class then answers DPPO_MISSING. */
    dppo_update *update;
    dppo_end_iteration *end_iteration;
    dppo_pretrain_step *pretrain_step;
    dppo_pretrain_end_epoch *pretrain_end_epoch;
    dppo_agent_save *save;
    dppo_agent_load *load;
} dppo_algorithm;

extern const dppo_algorithm dppo_ppo_diffusion, dppo_ppo_gaussian, dppo_pretrain_diffusion,
    dppo_pretrain_gaussian, dppo_eval_diffusion, dppo_eval_gaussian;

/* The first member of every learner. */
struct dppo_agent {
    const dppo_algorithm *algorithm;
    dppo_generator *generator;                                         /* owned */
    dppo_context *acting;                                              /* owned; small, reset at each act() */
    dppo_context *learning;                                            /* owned; reset at each minibatch */
    dppo_module *model;                                                /* owned */
    int64_t cond_steps, obs_dim, horizon_steps, action_dim, act_steps; /* To, Do, Ta, Da */
};

/* Fills the base (its algorithm is set): generator from config.seed (42), model from config.model with
 * weights drawn in torch's order, model.network_path loaded when it is set. On failure
 * dppo_agent_base_release() is still owed. */
dppo_status dppo_agent_base_init(dppo_agent *agent, const dppo_config *config);
void dppo_agent_base_release(dppo_agent *agent);
/* model/..., generator/... */
dppo_status dppo_agent_base_save(const dppo_agent *agent, dppo_named *state);
dppo_status dppo_agent_base_load(dppo_agent *agent, const dppo_named *state);

/* (B, To, Do) of the acting or learning context, copied from `obs`. */
dppo_tensor *dppo_agent_state(const dppo_agent *agent, dppo_context *context, int64_t batch,
                              const float *obs);

/* A group of parameters with its optimizer, and the schedule of its learning rate. */
typedef struct dppo_trained {
    dppo_tensor **parameters; /* owned array of borrowed tensors */
    size_t count;
    dppo_optimizer *optimizer; /* owned */
    dppo_lr_schedule schedule;
} dppo_trained;

/* AdamW over `module` with lr and weight_decay, scheduled by the node (first_cycle_steps, min_lr,
 * warmup_steps). */
dppo_status dppo_trained_init(dppo_trained *trained, dppo_module *module, double lr, double weight_decay,
                              const dppo_config *schedule);
void dppo_trained_free(dppo_trained *trained);
void dppo_trained_step_schedule(dppo_trained *trained);
double dppo_trained_grad_norm(const dppo_trained *trained); /* 2-norm over all grads, in float64 */
/* "<name>_optimizer/..." and "<name>_lr_scheduler/..." (no "<name>_" when name is ""). */
dppo_status dppo_trained_save(const dppo_trained *trained, const char *name, dppo_named *state);
dppo_status dppo_trained_load(dppo_trained *trained, const char *name, const dppo_named *state);

#endif
