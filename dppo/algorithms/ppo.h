/* What the PPO agents share (the original's TrainPPOAgent and the update half of its heirs): options, the two
 * trained networks, the data of one iteration, and one optimizer step. The policies differ in how they
 * compute log-probabilities and losses: ppo_diffusion.c, ppo_gaussian.c. */
#ifndef DPPO_ALGORITHMS_PPO_H
#define DPPO_ALGORITHMS_PPO_H

#include "algorithms/learner.h"
#include "algorithms/phases.h"
#include "algorithms/reward_scaling.h"
#include "autograd/rows.h"
#include "models/ppo.h"

typedef struct dppo_ppo_options {
    int64_t n_envs, batch_size, logprob_batch_size, update_epochs, n_critic_warmup_itr;
    double gamma, gae_lambda, ent_coef, vf_coef, bc_loss_coeff, reward_scale_const;
    double target_kl, max_grad_norm; /* NaN: none */
    bool reward_scale_running, use_bc_loss;
} dppo_ppo_options;

/* Whether rows are evaluated in chunks that stay in cache: found out with the first data, by comparing every
 * bit with the whole. */
typedef enum dppo_ppo_chunking { DPPO_CHUNKS_UNKNOWN, DPPO_IN_CHUNKS, DPPO_WHOLE } dppo_ppo_chunking;

/* The first member of a PPO learner. */
typedef struct dppo_ppo {
    dppo_agent base;
    dppo_ppo_options options;
    dppo_trained actor, critic;
    dppo_trained eta;            /* DDIM's noise, where it is learned; else without an optimizer */
    int64_t eta_update_interval; /* minibatches */
    dppo_module *critic_module;  /* borrowed from the model */
    dppo_reward_scaler scaler;
    dppo_rows *chunks, *states; /* owned; of minibatches, and of the critic's states in them */
    dppo_arena *iteration;      /* owned; what lives as long as one update */
    dppo_ppo_chunking minibatches, values, logprobs;
    dppo_stopwatch watch; /* of the update under way; dppo_ppo_prepare() starts it */
} dppo_ppo;

dppo_status dppo_ppo_init(dppo_ppo *ppo, const dppo_config *config);
/* After the policy found its networks in base.model: the optimizers of both. */
dppo_status dppo_ppo_init_optimizers(dppo_ppo *ppo, const dppo_config *config, dppo_module *actor,
                                     dppo_module *critic);
/* And that of an eta, when it is learned. */
dppo_status dppo_ppo_init_eta_optimizer(dppo_ppo *ppo, const dppo_config *config, dppo_module *eta);
void dppo_ppo_release(dppo_agent *agent); /* a learner that begins with a dppo_ppo */
dppo_status dppo_ppo_save(const dppo_ppo *ppo, dppo_named *state);
dppo_status dppo_ppo_load(dppo_ppo *ppo, const dppo_named *state);

/* One iteration's data, ready for minibatches; R = T N rows. */
typedef struct dppo_ppo_data {
    int64_t rows;
    const float *obs;                     /* (R, To, Do), the rollout's */
    const float *chains;                  /* (R, K'+1, Ta, Da), the rollout's */
    float *values, *returns, *advantages; /* (R) */
    float *logprobs;                      /* (R, per row) */
    int64_t logprobs_per_row;
} dppo_ppo_data;

/* Log-probabilities of rows [begin, begin + count) under the current policy, without gradients, into `out`
 * (count, per row); the learning context is fresh. */
typedef dppo_status dppo_ppo_logprobs(dppo_ppo *ppo, const dppo_ppo_data *data, int64_t begin, int64_t count,
                                      float *out);

typedef struct dppo_ppo_policy {
    dppo_ppo_logprobs *logprobs;
    int64_t pairs_per_row; /* rows of the network for each row of data: K', or 1 */
} dppo_ppo_policy;

/* Values, old log-probabilities, reward scaling, GAE: from the rollout to `data`, whose arrays live in the
 * learner until the next update. */
dppo_status dppo_ppo_prepare(dppo_ppo *ppo, const dppo_rollout *rollout, int64_t logprobs_per_row,
                             const dppo_ppo_policy *policy, dppo_ppo_data *data);

/* The loss of one minibatch: `indices` (B) picks rows, or (row, denoising step) pairs. Where it can be taken
 * apart, large minibatches are evaluated in chunks of rows (ppo_chunks.c), else the others are NULL:
 * - `shape` looks at the whole minibatch, keeps what it found in the arena, and says which row of the data
 * each index belongs to: *rows (B), int64;
 * - `terms` evaluates rows [begin, begin + count) of it, with these newvalues (count) if they are not NULL;
 * - `value_error` is that term of values alone, all (n). */
typedef struct dppo_ppo_minibatch {
    dppo_status (*loss)(dppo_ppo *ppo, const dppo_ppo_data *data, dppo_tensor *indices, dppo_ppo_loss *loss);
    dppo_status (*shape)(dppo_ppo *ppo, const dppo_ppo_data *data, dppo_tensor *indices, void **shaped,
                         dppo_tensor **rows);
    dppo_status (*terms)(dppo_ppo *ppo, const dppo_ppo_data *data, const void *shaped, int64_t begin,
                         int64_t count, dppo_tensor *newvalues, dppo_ppo_terms *terms);
    dppo_tensor *(*value_error)(dppo_ppo *ppo, dppo_tensor *newvalues, dppo_tensor *oldvalues,
                                dppo_tensor *returns);
} dppo_ppo_minibatch;

/* The gradients of a minibatch and its losses; bitwise what the whole would give. */
dppo_status dppo_ppo_gradients_in_chunks(dppo_ppo *ppo, const dppo_ppo_data *data,
                                         const dppo_ppo_minibatch *minibatch, dppo_tensor *indices,
                                         dppo_ppo_loss *loss);
/* Decides, with the first data, whether minibatches are evaluated in chunks: ppo->minibatches. */
dppo_status dppo_ppo_check_chunks(dppo_ppo *ppo, const dppo_ppo_data *data,
                                  const dppo_ppo_minibatch *minibatch, dppo_tensor *permutation);

/* The epochs of an iteration over `total` indices: one permutation an epoch, whole minibatches only (at least
 * one), KL stop. Fills the metrics a PPO update has. */
dppo_status dppo_ppo_epochs(dppo_ppo *ppo, int64_t itr, const dppo_ppo_data *data, int64_t total,
                            const dppo_ppo_minibatch *minibatch, dppo_update_metrics *metrics,
                            dppo_trace *trace);

/* pg + entropy * ent_coef + v * vf_coef + bc * bc_loss_coeff */
dppo_tensor *dppo_ppo_total_loss(const dppo_ppo *ppo, const dppo_ppo_loss *loss);
void dppo_ppo_zero_grad(dppo_ppo *ppo);
/* The sum of the losses with their coefficients, its gradient, and the step of both optimizers (of the actor
 * only with train_actor); the row gets the numbers. */
dppo_status dppo_ppo_step(dppo_ppo *ppo, const dppo_ppo_loss *loss, bool train_actor, dppo_trace_row *row);

/* Rows `indices` of a (rows, ...) array as a tensor of the learning context; ndim counts the row dimension,
 * shape[0] is ignored. */
dppo_tensor *dppo_ppo_rows(dppo_ppo *ppo, const float *array, int64_t rows, dppo_tensor *indices, int ndim,
                           const int64_t *shape);

void dppo_ppo_end_iteration(dppo_ppo *ppo, int64_t itr);

#endif
