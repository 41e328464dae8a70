/* The agent interface: what a training driver needs of a learner. It is implemented twice, by algorithms/ in
 * C and by shim/ with libtorch; the driver (algorithms/driver.h) runs either, or both in lockstep.
 *
 * Shapes: N environments, T steps of an iteration, K' fine-tuned denoising steps, To, Do, Ta, Da as in STYLE.
 */
#ifndef DPPO_ALGORITHMS_AGENT_H
#define DPPO_ALGORITHMS_AGENT_H

#include "base/status.h"
#include "config/config.h"
#include "tensor/named.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct dppo_agent dppo_agent; /* opaque; each class has its own */

/* What one iteration collected; all borrowed. For DPPO, `chains` holds the last K'+1 samples of each
 * denoising chain; for Gaussian policies K' = 0 and chains (T, N, 1, Ta, Da) holds the sampled action. */
typedef struct dppo_rollout {
    int64_t n_steps, n_envs, chain_length; /* T, N, K'+1 */
    int64_t cond_steps, obs_dim, horizon_steps, action_dim;
    const float *obs;         /* (T, N, To, Do) */
    const float *chains;      /* (T, N, K'+1, Ta, Da) */
    const double *reward;     /* (T, N) */
    const double *terminated; /* (T, N), 0 or 1 */
    const double *firsts;     /* (T+1, N), 1 where an episode starts */
    const float *last_obs;    /* (N, To, Do), after the last step */
} dppo_rollout;

/* One number a metric and iteration, logged under these names everywhere (CSV header, report). */
#define DPPO_UPDATE_METRICS(X)                                                                               \
    X(loss, "loss")                                                                                          \
    X(pg_loss, "pg loss")                                                                                    \
    X(value_loss, "value loss")                                                                              \
    X(bc_loss, "bc loss")                                                                                    \
    X(entropy, "entropy")                                                                                    \
    X(std, "std")                                                                                            \
    X(eta, "eta")                                                                                            \
    X(approx_kl, "approx kl")                                                                                \
    X(ratio, "ratio")                                                                                        \
    X(clipfrac, "clipfrac")                                                                                  \
    X(explained_variance, "explained variance")                                                              \
    X(min_sampling_std, "diffusion - min sampling std")                                                      \
    X(actor_lr, "actor lr")                                                                                  \
    X(critic_lr, "critic lr")

/* Where an update's time goes: wall-clock seconds, without gaps. The log-probabilities are the old ones; the
 * backward pass ends with the gradients, the optimizer clips and steps. */
#define DPPO_UPDATE_PHASES(X)                                                                                \
    X(values_seconds, "seconds - values")                                                                    \
    X(logprobs_seconds, "seconds - logprobs")                                                                \
    X(advantages_seconds, "seconds - advantages")                                                            \
    X(forward_seconds, "seconds - forward")                                                                  \
    X(backward_seconds, "seconds - backward")                                                                \
    X(optimizer_seconds, "seconds - optimizer")

#define DPPO_METRIC_FIELD(field, label) double field;
typedef struct dppo_update_phases {
    DPPO_UPDATE_PHASES(DPPO_METRIC_FIELD)
} dppo_update_phases;

typedef struct dppo_update_metrics {
    DPPO_UPDATE_METRICS(DPPO_METRIC_FIELD)
    dppo_update_phases phases;
} dppo_update_metrics; /* NaN where an algorithm has no such metric or phase */
#undef DPPO_METRIC_FIELD

/* One row a minibatch, for teacher-forced comparison: every loss and gradient norm. */
#define DPPO_TRACE_COLUMNS(X)                                                                                \
    X(pg_loss)                                                                                               \
    X(entropy_loss)                                                                                          \
    X(v_loss)                                                                                                \
    X(bc_loss) X(loss) X(clipfrac) X(approx_kl) X(ratio) X(eta_or_std) X(actor_grad_norm) X(critic_grad_norm)

typedef struct dppo_trace_row {
#define DPPO_TRACE_FIELD(field) double field;
    DPPO_TRACE_COLUMNS(DPPO_TRACE_FIELD)
#undef DPPO_TRACE_FIELD
} dppo_trace_row;

typedef struct dppo_trace {
    dppo_trace_row *rows; /* owned by whoever owns the trace; free() */
    size_t count, capacity;
} dppo_trace;
dppo_status dppo_trace_add(dppo_trace *trace, const dppo_trace_row *row);

/* Builds the learner of a resolved config (the agent class comes from its top-level _target_): draws initial
 * weights from a generator seeded with config.seed, loads model.network_path when it is set. DPPO_MISSING
 * names a _target_ this side does not have. */
typedef dppo_status dppo_agent_create(const dppo_config *config, dppo_agent **agent);
typedef void dppo_agent_destroy(dppo_agent *agent);

/* Actions for a batch of observations. obs (B, To, Do), actions (B, Ta, Da), chains (B, K'+1, Ta, Da) or
 * NULL. Draws from the agent's generator. */
typedef dppo_status dppo_act(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic,
                             float *actions, float *chains);

/* Everything the original does between the rollout and the log line of training iteration `itr`: values, old
 * log-probabilities, reward scaling, GAE, epochs of minibatches. `trace` may be NULL. */
typedef dppo_status dppo_update(dppo_agent *agent, int64_t itr, const dppo_rollout *rollout,
                                dppo_update_metrics *metrics, dppo_trace *trace);
/* The end of an iteration, also of an evaluation one: learning rate schedules, annealing. */
typedef dppo_status dppo_end_iteration(dppo_agent *agent, int64_t itr);

/* Supervised pre-training on one batch: actions (B, Ta, Da), obs (B, To, Do); one optimizer step, the loss
 * before it in *loss, the gradient's norm in *grad_norm. ema_mode: 0 leave the EMA model, 1 copy, 2 average.
 */
typedef dppo_status dppo_pretrain_step(dppo_agent *agent, int64_t batch, const float *actions,
                                       const float *obs, int ema_mode, double *loss, double *grad_norm);
typedef dppo_status dppo_pretrain_end_epoch(dppo_agent *agent); /* learning rate schedule */

/* The whole state (model/..., ema/..., actor_optimizer/..., schedules, generator/..., reward scaler), so that
 * load(save()) continues bit-exactly; the names are the same on both sides, so a state moves between them. */
typedef dppo_status dppo_agent_save(const dppo_agent *agent, dppo_named *state);
typedef dppo_status dppo_agent_load(dppo_agent *agent, const dppo_named *state);

typedef struct dppo_agent_class {
    const char *side; /* "c" or "torch" */
    dppo_agent_create *create;
    dppo_agent_destroy *destroy;
    dppo_act *act;
    dppo_update *update;
    dppo_end_iteration *end_iteration;
    dppo_pretrain_step *pretrain_step;
    dppo_pretrain_end_epoch *pretrain_end_epoch;
    dppo_agent_save *save;
    dppo_agent_load *load;
} dppo_agent_class;

extern const dppo_agent_class dppo_c_agent_class;

/* Names in an agent's state: "model/<state_dict name>", "ema/<state_dict name>" (pre-training),
 * "actor_optimizer/<i>/step| exp_avg|exp_avg_sq" and "/lr", "critic_optimizer/...", "eta_optimizer/..."
 * (learn_eta), "optimizer/..." (pre-training), "actor_lr_scheduler/...", "critic_lr_scheduler/...",
 * "lr_scheduler/..." (fields of dppo_lr_schedule), "generator/...", "reward_scaler/ret|mean|var|count",
 * "ft_denoising_steps_cnt". */

#endif
