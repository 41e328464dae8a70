/* Collecting one iteration: an agent acting in a vector of environments, and what its episodes say. */
#ifndef DPPO_ALGORITHMS_ROLLOUT_H
#define DPPO_ALGORITHMS_ROLLOUT_H

#include "algorithms/agent.h"
#include "envs/env.h"

/* What the original logs about episodes that start and end within an iteration. */
typedef struct dppo_episodes {
    int64_t count;
    double avg_episode_reward; /* sum over the episode */
    double avg_best_reward;    /* the best chunk's reward / act_steps */
    double success_rate;       /* share whose best reward reaches the threshold */
} dppo_episodes;

/* Buffers of one iteration and the position between two: what a lane carries from iteration to iteration. */
typedef struct dppo_collector {
    dppo_rollout rollout; /* points into the buffers below */
    int64_t act_steps;
    float *obs, *chains, *last_obs;         /* owned */
    double *reward, *terminated, *firsts;   /* owned */
    double *episodes;                       /* (3, T N + 1) scratch of a summary */
    float *actions, *chunk;                 /* (N, Ta, Da) sampled, (N, act_steps, Da) executed */
    bool *step_terminated, *step_truncated; /* (N) */
    bool *done;                      /* (N): the last step of the previous iteration ended an episode */
    bool started;                    /* the environments were reset at least once */
    double act_seconds, env_seconds; /* of the last collection */
} dppo_collector;

/* Sizes from a training or evaluation config; chain_length is K'+1 (1 for policies without chains). */
dppo_status dppo_collector_init(dppo_collector *collector, const dppo_config *config, int64_t n_steps,
                                int64_t chain_length);
void dppo_collector_free(dppo_collector *collector);

/* Collects T steps; reset restarts all environments first (the first call always does). With `evaluate` the
 * policy is deterministic and keeps no chains. */
dppo_status dppo_collect(dppo_collector *collector, const dppo_agent_class *agents, dppo_agent *agent,
                         dppo_vector_env *envs, bool reset, bool evaluate);

/* Episodes of the last collection. threshold: env.best_reward_threshold_for_success. */
dppo_status dppo_summarize_episodes(const dppo_collector *collector, double threshold,
                                    dppo_episodes *episodes);

/* True when two collections saw and did the same, bit for bit. */
bool dppo_collections_equal(const dppo_collector *a, const dppo_collector *b);

/* done, last_obs, started. */
dppo_status dppo_collector_save(const dppo_collector *collector, const char *prefix, dppo_named *into);
dppo_status dppo_collector_load(dppo_collector *collector, const char *prefix, const dppo_named *from);

#endif
