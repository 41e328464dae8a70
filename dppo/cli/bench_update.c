/* Benchmarks of learning: an update's minibatch and what precedes it, and a whole iteration of training
 * against the sum of its parts. */
#include "base/log.h"
#include "cli/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Training's: 40 environments and 500 steps of 10 fine-tuned denoising steps make 200 000 pairs, 4
 * minibatches of 50 000. Other sizes keep the share, so that a state occurs in a minibatch as often as in
 * training. A reduced iteration is large enough to be evaluated in chunks, as training's is. */
enum { FULL_BATCH = 50000, REDUCED_BATCH = 10000, MINIBATCHES = 4, EPOCHS = 5 };

static int64_t steps_for(const bench *b, int64_t batch) {
    int64_t pairs_per_step = b->settings->envs * (b->chain_length - 1);
    int64_t steps = (MINIBATCHES * batch + pairs_per_step / 2) / pairs_per_step;
    return steps > 0 ? steps : 1;
}

/* A learner that stops after one minibatch: the KL divergence is at least 0, its target -1. */
static dppo_status open_learner(bench *b, int64_t batch, bool one_minibatch) {
    char size[64], epochs[64], envs[64];
    (void)snprintf(size, sizeof size, "train.batch_size=%lld", (long long)batch);
    (void)snprintf(epochs, sizeof epochs, "train.update_epochs=%d", EPOCHS);
    (void)snprintf(envs, sizeof envs, "env.n_envs=%lld", (long long)b->settings->envs);
    char *overrides[] = {"base_policy_path=null",
                         "~env.wrappers.mujoco_locomotion_lowdim",
                         one_minibatch ? "train.target_kl=-1" : "train.target_kl=null",
                         size,
                         epochs,
                         envs,
                         "+model.norm_adv=false"};
    int count = (int)(sizeof overrides / sizeof *overrides) - (batch > 1); /* one pair has no deviation */
    DPPO_TRY(dppo_bench_open_agents(b, "ft_ppo_diffusion_mlp.yaml", count, overrides));
    b->batch = batch;
    b->rollout.n_steps = steps_for(b, batch);
    return DPPO_OK;
}

/* -- update: DPPO's minibatch, actor 3 x 512 residual, critic 3 x 256 residual */

/* The products of the algorithm as it is defined, of a row of a network with W weights: 2 W forward, 2 W for
 * the gradient of the weights and 2 W for that of the inputs, which the first layer does not need; a row for
 * each pair. What C is spared by evaluating the critic once for all pairs of a state, of values and of
 * gradients of inputs, is told apart: of the R states, of which K' pairs each lie in the rollout, a share p
 * of all pairs meets R (1 - (1 - p)^K'). */
static dppo_status count_flops(bench *b) {
    double actor, actor_first, critic, critic_first;
    DPPO_TRY(dppo_bench_weights(b, "model/actor_ft.", &actor, &actor_first));
    DPPO_TRY(dppo_bench_weights(b, "model/critic.", &critic, &critic_first));
    double rows = (double)(b->rollout.n_steps * b->settings->envs), steps = (double)b->chain_length - 1;
    double batch = fmin((double)b->batch, rows * steps);
    double states = rows * (1 - pow(1 - batch / (rows * steps), steps));
    b->flops[0] = (6 * (actor + critic) - 2 * (actor_first + critic_first)) * batch;
    b->spared[0] = (4 * critic - 2 * critic_first) * (batch - states);
    b->flops[1] = 2 * rows * (critic + actor * steps);
    return DPPO_OK;
}

/* Random observations and rewards, and the chains that the policy draws for them. */
static dppo_status open_update(bench *b) {
    DPPO_TRY(open_learner(b, b->settings->batch > 0 ? b->settings->batch : FULL_BATCH, true));
    int64_t n = b->settings->envs, rows = b->rollout.n_steps * n;
    DPPO_TRY(dppo_bench_open_buffers(b, rows + n));
    b->reward = calloc((size_t)rows, sizeof *b->reward);
    b->zeros = calloc((size_t)rows, sizeof *b->zeros);
    b->firsts = calloc((size_t)(rows + n), sizeof *b->firsts);
    if (!b->reward || !b->zeros || !b->firsts) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    for (int64_t i = 0; i < rows; i++)
        b->reward[i] = 1 + (double)b->obs[i * b->obs_size];
    for (int64_t i = 0; i < rows; i += n) /* as many at a time as in training: memory goes by it */
        DPPO_TRY(b->sides[0]->act(b->agents[0], n, b->obs + i * b->obs_size, false,
                                  b->actions + i * b->chunk_size,
                                  b->chains + i * b->chain_length * b->chunk_size));
    b->rollout.obs = b->obs;
    b->rollout.chains = b->chains;
    b->rollout.reward = b->reward;
    b->rollout.terminated = b->zeros;
    b->rollout.firsts = b->firsts;
    b->rollout.last_obs = b->obs + rows * b->obs_size;
    return count_flops(b);
}

/* The phases of one update: of a minibatch, and of what is done once before all minibatches. */
static dppo_status run_phases(bench *b, int which, const dppo_rollout *rollout, double *seconds) {
    dppo_update_metrics metrics = {0};
    dppo_trace trace = {0};
    dppo_status status =
        b->sides[which]->update(b->agents[which], b->itr[which]++, rollout, &metrics, &trace);
    const dppo_update_phases *p = &metrics.phases;
    seconds[0] = (p->forward_seconds + p->backward_seconds + p->optimizer_seconds) / (double)trace.count;
    seconds[1] = p->values_seconds + p->logprobs_seconds + p->advantages_seconds;
    if (status == DPPO_OK && trace.count != 1)
        status = dppo_fail(DPPO_INVALID, "bench: an update of %zu minibatches", trace.count);
    free(trace.rows);
    return status;
}

static dppo_status run_update(bench *b, int which, double *seconds) {
    return run_phases(b, which, &b->rollout, seconds);
}

const bench_spec dppo_bench_update = {
    {{"update", "a minibatch of DPPO's update: loss, backward, AdamW, actor and critic"},
     {"prepare", "what precedes the minibatches: values, old log-probabilities, advantages of the rollout"}},
    {"C", "libtorch", "original"},
    5,
    1,
    open_update,
    run_update};

/* -- iteration: as `train` does it, against its parts one by one. The bench's own agent is the parts'. */

struct dppo_bench_iteration {
    bench whole; /* its agent, collector and environments */
    dppo_collector collector;
    int64_t minibatches;
};

void dppo_bench_iteration_free(struct dppo_bench_iteration *iteration) {
    if (!iteration) return;
    bench *whole = &iteration->whole;
    if (whole->agents[0]) whole->sides[0]->destroy(whole->agents[0]);
    dppo_vector_env_free(whole->envs);
    dppo_config_free(whole->config);
    dppo_collector_free(&iteration->collector);
    free(iteration);
}

static dppo_status open_iteration(bench *b) {
    struct dppo_bench_iteration *it = b->iteration = calloc(1, sizeof *it);
    if (!it) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    bench *whole = &it->whole;
    whole->settings = b->settings;
    int64_t own = b->settings->full ? FULL_BATCH : REDUCED_BATCH;
    int64_t batch = b->settings->batch > 0 ? b->settings->batch : own;
    DPPO_TRY(open_learner(whole, batch, false));
    DPPO_TRY(dppo_vector_env_new(whole->config, &whole->envs));
    int64_t n = b->settings->envs, T = whole->rollout.n_steps, pairs = T * n * (whole->chain_length - 1);
    it->minibatches = EPOCHS * (pairs / batch > 0 ? pairs / batch : 1);
    return dppo_collector_init(&it->collector, whole->config, T, whole->chain_length);
}

static dppo_status run_whole(struct dppo_bench_iteration *it, double *seconds) {
    bench *b = &it->whole;
    dppo_episodes episodes;
    dppo_update_metrics metrics;
    dppo_trace trace = {0};
    double start = dppo_seconds();
    DPPO_TRY(dppo_collect(&it->collector, b->sides[0], b->agents[0], b->envs, false, false));
    DPPO_TRY(dppo_summarize_episodes(&it->collector, INFINITY, &episodes));
    dppo_status status =
        b->sides[0]->update(b->agents[0], b->itr[0], &it->collector.rollout, &metrics, &trace);
    if (status == DPPO_OK) status = b->sides[0]->end_iteration(b->agents[0], b->itr[0]++);
    *seconds = dppo_seconds() - start;
    free(trace.rows);
    return status;
}

/* The actions of step t, as they were taken: the last samples of the chains. */
static void taken_actions(const bench *b, const dppo_rollout *r, int64_t t, float *actions) {
    int64_t chunk = b->chunk_size, n = r->n_envs, length = r->chain_length;
    for (int64_t i = 0; i < n; i++)
        memcpy(actions + i * chunk, r->chains + ((t * n + i) * length + length - 1) * chunk,
               (size_t)chunk * sizeof *actions);
}

static dppo_status open_parts(bench *b) {
    if (b->envs) return DPPO_OK;
    DPPO_TRY(open_learner(b, b->iteration->whole.batch, true));
    DPPO_TRY(dppo_bench_open_buffers(b, b->settings->envs));
    b->zeros = calloc((size_t)b->settings->envs, sizeof *b->zeros);
    if (!b->zeros) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    DPPO_TRY(dppo_vector_env_new(b->config, &b->envs));
    return dppo_vector_env_reset(b->envs, b->obs);
}

/* Acting for each step; stepping other environments with the actions that were taken; the update's parts on
 * the rollout of the last whole iteration. */
static dppo_status run_parts(bench *b, double *seconds) {
    bool terminated[DPPO_BENCH_MOST_ENVS], truncated[DPPO_BENCH_MOST_ENVS];
    dppo_step_result result = {b->obs, b->zeros, terminated, truncated, NULL};
    const dppo_rollout *r = &b->iteration->collector.rollout;
    double learning[DPPO_BENCH_PARTS], stepping = 0, start = dppo_seconds();
    for (int64_t t = 0; t < r->n_steps; t++)
        DPPO_TRY(b->sides[0]->act(b->agents[0], r->n_envs, r->last_obs, false, b->actions, b->chains));
    double acting = dppo_seconds() - start;
    for (int64_t t = 0; t < r->n_steps; t++) {
        taken_actions(b, r, t, b->actions);
        start = dppo_seconds();
        DPPO_TRY(dppo_vector_env_step(b->envs, b->actions, &result));
        stepping += dppo_seconds() - start;
    }
    DPPO_TRY(run_phases(b, 0, r, learning));
    *seconds = acting + stepping + learning[1] + (double)b->iteration->minibatches * learning[0];
    return DPPO_OK;
}

/* The whole comes first: its memory is seen alone, and the parts need a rollout. */
static dppo_status run_iteration(bench *b, int which, double *seconds) {
    if (which == 1 || !b->iteration->collector.started) {
        DPPO_TRY(run_whole(b->iteration, seconds));
        if (which == 1) return DPPO_OK;
    }
    DPPO_TRY(open_parts(b));
    return run_parts(b, seconds);
}

const bench_spec dppo_bench_iteration = {
    {{"iteration", "training as `train` does it: collecting, 5 epochs of 4 minibatches"}},
    {"parts", "whole"},
    3,
    2,
    open_iteration,
    run_iteration};
