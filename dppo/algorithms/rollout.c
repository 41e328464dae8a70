#include "algorithms/rollout.h"
#include "algorithms/numpy.h"
#include "base/log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t obs_size(const dppo_rollout *r) {
    return r->n_envs * r->cond_steps * r->obs_dim;
}

static int64_t chunk_size(const dppo_rollout *r) {
    return r->horizon_steps * r->action_dim;
}

static dppo_status allocate(dppo_collector *c) {
    dppo_rollout *r = &c->rollout;
    size_t n = (size_t)r->n_envs, t = (size_t)r->n_steps, obs = (size_t)obs_size(r),
           chunk = (size_t)chunk_size(r);
    c->obs = calloc(t * obs, sizeof(float));
    c->chains = calloc(t * n * (size_t)r->chain_length * chunk, sizeof(float));
    c->last_obs = calloc(obs, sizeof(float));
    c->reward = calloc(t * n, sizeof(double));
    c->terminated = calloc(t * n, sizeof(double));
    c->firsts = calloc((t + 1) * n, sizeof(double));
    c->episodes = calloc(3 * (t * n + 1), sizeof(double));
    c->actions = calloc(n * chunk, sizeof(float));
    c->chunk = calloc(n * chunk, sizeof(float));
    c->step_terminated = calloc(n, sizeof(bool));
    c->step_truncated = calloc(n, sizeof(bool));
    c->done = calloc(n, sizeof(bool));
    if (!c->obs || !c->chains || !c->last_obs || !c->reward || !c->terminated || !c->firsts || !c->episodes ||
        !c->actions || !c->chunk || !c->step_terminated || !c->step_truncated || !c->done)
        return dppo_fail(DPPO_NO_MEMORY, "rollout: out of memory for %zu steps of %zu environments", t, n);
    r->obs = c->obs;
    r->chains = c->chains;
    r->last_obs = c->last_obs;
    r->reward = c->reward;
    r->terminated = c->terminated;
    r->firsts = c->firsts;
    return DPPO_OK;
}

dppo_status dppo_collector_init(dppo_collector *collector, const dppo_config *config, int64_t n_steps,
                                int64_t chain_length) {
    dppo_rollout *r = &collector->rollout;
    *collector = (dppo_collector){.rollout = {.n_steps = n_steps, .chain_length = chain_length}};
    DPPO_TRY(dppo_config_int_from(config, "env.n_envs", 1, &r->n_envs));
    DPPO_TRY(dppo_config_int_from(config, "obs_dim", 1, &r->obs_dim));
    DPPO_TRY(dppo_config_int_from(config, "action_dim", 1, &r->action_dim));
    DPPO_TRY(dppo_config_int_from(config, "horizon_steps", 1, &r->horizon_steps));
    DPPO_TRY(dppo_config_int_from_or(config, "cond_steps", 1, 1, &r->cond_steps));
    DPPO_TRY(dppo_config_int_from_or(config, "act_steps", 1, r->horizon_steps, &collector->act_steps));
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {
        {"n_steps", n_steps},          {"env.n_envs", r->n_envs},           {"obs_dim", r->obs_dim},
        {"action_dim", r->action_dim}, {"horizon_steps", r->horizon_steps}, {"cond_steps", r->cond_steps}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > 1 << 24)
            return dppo_fail(DPPO_INVALID, "%s: %lld is not a size", sizes[i].key, (long long)sizes[i].value);
    if (collector->act_steps > r->horizon_steps)
        return dppo_fail(DPPO_INVALID, "act_steps: %lld is more than horizon_steps %lld",
                         (long long)collector->act_steps, (long long)r->horizon_steps);
    return allocate(collector);
}

void dppo_collector_free(dppo_collector *c) {
    free(c->obs);
    free(c->chains);
    free(c->last_obs);
    free(c->reward);
    free(c->terminated);
    free(c->firsts);
    free(c->episodes);
    free(c->actions);
    free(c->chunk);
    free(c->step_terminated);
    free(c->step_truncated);
    free(c->done);
    *c = (dppo_collector){0};
}

/* The first act_steps of each sampled chunk are executed. */
static void take_executed(dppo_collector *c) {
    const dppo_rollout *r = &c->rollout;
    int64_t executed = c->act_steps * r->action_dim;
    for (int64_t i = 0; i < r->n_envs; i++)
        memcpy(c->chunk + i * executed, c->actions + i * chunk_size(r), (size_t)executed * sizeof(float));
}

static dppo_status one_step(dppo_collector *c, int64_t t, const dppo_agent_class *agents, dppo_agent *agent,
                            dppo_vector_env *envs, bool evaluate) {
    dppo_rollout *r = &c->rollout;
    int64_t n = r->n_envs, obs = obs_size(r);
    float *chains = evaluate ? NULL : c->chains + t * n * r->chain_length * chunk_size(r);
    memcpy(c->obs + t * obs, c->last_obs, (size_t)obs * sizeof(float));
    double start = dppo_seconds();
    DPPO_TRY(agents->act(agent, n, c->last_obs, evaluate, c->actions, chains));
    double acted = dppo_seconds();
    take_executed(c);
    dppo_step_result result = {c->last_obs, c->reward + t * n, c->step_terminated, c->step_truncated, NULL};
    DPPO_TRY(dppo_vector_env_step(envs, c->chunk, &result));
    c->act_seconds += acted - start;
    c->env_seconds += dppo_seconds() - acted;
    for (int64_t i = 0; i < n; i++) {
        c->done[i] = c->step_terminated[i] || c->step_truncated[i];
        c->terminated[t * n + i] = c->step_terminated[i];
        c->firsts[(t + 1) * n + i] = c->done[i];
    }
    return DPPO_OK;
}

dppo_status dppo_collect(dppo_collector *c, const dppo_agent_class *agents, dppo_agent *agent,
                         dppo_vector_env *envs, bool reset, bool evaluate) {
    int64_t n = c->rollout.n_envs;
    bool restart = reset || !c->started;
    c->act_seconds = c->env_seconds = 0;
    if (restart) DPPO_TRY(dppo_vector_env_reset(envs, c->last_obs));
    c->started = true;
    for (int64_t i = 0; i < n; i++) /* an episode that ended with the last iteration has just been reset */
        c->firsts[i] = restart || c->done[i];
    for (int64_t t = 0; t < c->rollout.n_steps; t++)
        DPPO_TRY(one_step(c, t, agents, agent, envs, evaluate));
    return DPPO_OK;
}

typedef struct episode_lists {
    double *sums, *bests, *column;
    int64_t count;
} episode_lists;

/* Episodes of environment i: between two starts, longer than one chunk. */
static void list_episodes(const dppo_collector *c, int64_t i, episode_lists *lists) {
    const dppo_rollout *r = &c->rollout;
    int64_t start = -1;
    for (int64_t t = 0; t <= r->n_steps; t++) {
        if (c->firsts[t * r->n_envs + i] != 1) continue;
        if (start >= 0 && t - start > 1) {
            double best = -INFINITY;
            for (int64_t k = start; k < t; k++) {
                lists->column[k - start] = c->reward[k * r->n_envs + i];
                best = fmax(best, lists->column[k - start]);
            }
            lists->sums[lists->count] = dppo_np_sum(lists->column, t - start);
            lists->bests[lists->count++] = best / (double)c->act_steps;
        }
        start = t;
    }
}

dppo_status dppo_summarize_episodes(const dppo_collector *c, double threshold, dppo_episodes *episodes) {
    size_t most = (size_t)(c->rollout.n_steps * c->rollout.n_envs) + 1;
    episode_lists lists = {c->episodes, c->episodes + most, c->episodes + 2 * most, 0};
    *episodes = (dppo_episodes){0};
    for (int64_t i = 0; i < c->rollout.n_envs; i++)
        list_episodes(c, i, &lists);
    episodes->count = lists.count;
    if (lists.count > 0) {
        int64_t successes = 0;
        for (int64_t e = 0; e < lists.count; e++)
            successes += lists.bests[e] >= threshold;
        episodes->avg_episode_reward = dppo_np_mean(lists.sums, lists.count);
        episodes->avg_best_reward = dppo_np_mean(lists.bests, lists.count);
        episodes->success_rate = (double)successes / (double)lists.count;
    }
    return DPPO_OK;
}

bool dppo_collections_equal(const dppo_collector *a, const dppo_collector *b) {
    const dppo_rollout *r = &a->rollout;
    size_t n = (size_t)r->n_envs, t = (size_t)r->n_steps, obs = (size_t)obs_size(r),
           chunk = (size_t)chunk_size(r);
    return memcmp(a->obs, b->obs, t * obs * sizeof(float)) == 0 &&
           memcmp(a->chains, b->chains, t * n * (size_t)r->chain_length * chunk * sizeof(float)) == 0 &&
           memcmp(a->reward, b->reward, t * n * sizeof(double)) == 0 &&
           memcmp(a->firsts, b->firsts, (t + 1) * n * sizeof(double)) == 0 &&
           memcmp(a->terminated, b->terminated, t * n * sizeof(double)) == 0 &&
           memcmp(a->last_obs, b->last_obs, obs * sizeof(float)) == 0;
}

dppo_status dppo_collector_save(const dppo_collector *c, const char *prefix, dppo_named *into) {
    char name[256];
    const dppo_rollout *r = &c->rollout;
    uint8_t started = c->started;
    const struct {
        const char *name;
        dppo_tensor view;
    } parts[] = {
        {"done", {.dtype = DPPO_BOOL, .ndim = 1, .shape = {r->n_envs}, .stride = {1}, .data = c->done}},
        {"last_obs",
         {.dtype = DPPO_F32, .ndim = 1, .shape = {obs_size(r)}, .stride = {1}, .data = c->last_obs}},
        {"started", {.dtype = DPPO_BOOL, .data = &started}}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        (void)snprintf(name, sizeof name, "%s%s", prefix, parts[i].name);
        DPPO_TRY(dppo_named_put(into, name, &parts[i].view));
    }
    return DPPO_OK;
}

dppo_status dppo_collector_load(dppo_collector *c, const char *prefix, const dppo_named *from) {
    char name[256];
    dppo_tensor *done, *last_obs, *started;
    (void)snprintf(name, sizeof name, "%sdone", prefix);
    DPPO_TRY(dppo_named_require(from, name, DPPO_BOOL, &done));
    (void)snprintf(name, sizeof name, "%sstarted", prefix);
    DPPO_TRY(dppo_named_require(from, name, DPPO_BOOL, &started));
    (void)snprintf(name, sizeof name, "%slast_obs", prefix);
    DPPO_TRY(dppo_named_require(from, name, DPPO_F32, &last_obs));
    if (dppo_numel(done) != c->rollout.n_envs || dppo_numel(last_obs) != obs_size(&c->rollout))
        return dppo_fail(DPPO_INVALID, "%s: %lld environments, the configuration has %lld", name,
                         (long long)dppo_numel(done), (long long)c->rollout.n_envs);
    for (int64_t i = 0; i < c->rollout.n_envs; i++)
        c->done[i] = dppo_bool(done)[i] != 0;
    dppo_tensor_pack(last_obs, c->last_obs);
    c->started = *dppo_bool(started) != 0;
    return DPPO_OK;
}
