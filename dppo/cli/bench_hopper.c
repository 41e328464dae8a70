/* Hopper: the vector with its wrappers, on all threads, against a bare mj_step() loop on one; and against
 * such loops on all threads, each on its own, which is what the machine gives just then. */
#include "base/log.h"
#include "base/pool.h"
#include "cli/bench.h"

#include <stdlib.h>
#include <string.h>

/* Chunks of all bodies together in a turn, 25 ms of mj_step(): as short a time as what disturbs the machine
 * is likely to last for both turns of a pair. Before it each thread runs 8 ms untimed. */
enum { TURN = 120, WARM_UP = 40, BEGINNINGS = 32, HOPPER_OBS = 11 };

/* Simulators that a bare loop steps, and the states in which an episode begins: those of the vector's
 * environments, in turns. Made beforehand: what a reset costs is the vector's. */
struct dppo_bench_bodies {
    int64_t count, state_size; /* N, nq + 2 nv */
    mjData **data;             /* (N) */
    double *begin;             /* (N, BEGINNINGS, nq + 2 nv): positions, velocities, warm start */
    int64_t *episode;          /* (N) */
    int64_t chunks;            /* of each body in a turn */
    int64_t parts;             /* loops at a time */
    double *rate;              /* (parts) chunks a second, of each */
};

void dppo_bench_bodies_free(struct dppo_bench_bodies *bodies) {
    if (!bodies) return;
    for (int64_t i = 0; bodies->data && i < bodies->count; i++)
        if (bodies->data[i]) mj_deleteData(bodies->data[i]);
    free(bodies->data), free(bodies->begin), free(bodies->episode), free(bodies->rate);
    free(bodies);
}

static double *beginning(const struct dppo_bench_bodies *bodies, int64_t i, int64_t k) {
    return bodies->begin + (i * BEGINNINGS + k % BEGINNINGS) * bodies->state_size;
}

static void begin_episode(const bench *b, int64_t i) {
    const mjModel *model = b->task->model;
    mjData *data = b->bodies->data[i];
    const double *state = beginning(b->bodies, i, b->bodies->episode[i]++);
    memcpy(data->qpos, state, (size_t)model->nq * sizeof *state);
    memcpy(data->qvel, state += model->nq, (size_t)model->nv * sizeof *state);
    memcpy(data->qacc_warmstart, state + model->nv, (size_t)model->nv * sizeof *state);
}

static dppo_status draw_beginnings(const bench *b, int64_t i) {
    dppo_env *env;
    double observation[HOPPER_OBS];
    DPPO_TRY(dppo_env_new(b->task, (uint64_t)i, &env));
    for (int64_t k = 0; k < BEGINNINGS; k++) { /* qpos, qvel and the warm start follow each other */
        (void)dppo_env_reset(env, observation);
        memcpy(beginning(b->bodies, i, k), dppo_env_raw_state(env).qpos,
               (size_t)b->bodies->state_size * sizeof(double));
    }
    dppo_env_free(env);
    begin_episode(b, i);
    return DPPO_OK;
}

static dppo_status open_bodies(bench *b) {
    int64_t n = b->settings->envs;
    struct dppo_bench_bodies *bodies = b->bodies = calloc(1, sizeof *bodies);
    if (!bodies) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    bodies->count = n;
    bodies->chunks = n < TURN ? TURN / n : 1;
    bodies->state_size = dppo_task_nq(b->task) + 2 * dppo_task_nv(b->task);
    bodies->data = calloc((size_t)n, sizeof *bodies->data);
    bodies->begin = calloc((size_t)(n * BEGINNINGS * bodies->state_size), sizeof *bodies->begin);
    bodies->episode = calloc((size_t)n, sizeof *bodies->episode);
    bodies->rate = calloc((size_t)n, sizeof *bodies->rate);
    if (!bodies->data || !bodies->begin || !bodies->episode || !bodies->rate)
        return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    for (int64_t i = 0; i < n; i++) {
        if (!(bodies->data[i] = mj_makeData(b->task->model)))
            return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
        DPPO_TRY(draw_beginnings(b, i));
    }
    return DPPO_OK;
}

static dppo_status open_hopper(bench *b) {
    char envs[64];
    int64_t n = b->settings->envs;
    (void)snprintf(envs, sizeof envs, "env.n_envs=%lld", (long long)n);
    char *overrides[] = {"base_policy_path=null", "~env.wrappers.mujoco_locomotion_lowdim", envs};
    DPPO_TRY(dppo_bench_open_agents(b, "ft_ppo_diffusion_mlp.yaml", 3, overrides));
    DPPO_TRY(dppo_bench_open_buffers(b, n));
    b->zeros = calloc((size_t)n, sizeof *b->zeros);
    if (!b->zeros) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    DPPO_TRY(dppo_task_new("hopper-medium-v2", &b->task));
    DPPO_TRY(open_bodies(b));
    DPPO_TRY(dppo_vector_env_new(b->config, &b->envs));
    return dppo_vector_env_reset(b->envs, b->obs);
}

/* As many simulator steps as the vector makes, with the same actions, a body at a time so that its mjData
 * stays in cache. A fallen body drops the rest of its chunk and begins again, as in the vector: lying on the
 * floor it has more contacts to solve. */
static void step_raw(const bench *b, int64_t i) {
    const mjModel *model = b->task->model;
    const dppo_task_spec *spec = b->task->spec;
    const float *chunk = b->actions + i * b->chunk_size;
    mjData *data = b->bodies->data[i];
    for (int64_t c = 0; c < b->bodies->chunks; c++)
        for (int64_t k = 0; k < b->rollout.horizon_steps; k++) {
            for (int j = 0; j < model->nu; j++)
                data->ctrl[j] = (double)chunk[k * model->nu + j];
            for (int j = 0; j < spec->frame_skip; j++)
                mj_step(model, data);
            if (spec->healthy(data->qpos, data->qvel, model->nq, model->nv)) continue;
            begin_episode(b, i);
            break;
        }
}

/* Each loop has bodies k, k + parts, .. to itself. */
static void run_loops(void *context, int64_t begin, int64_t end) {
    const bench *b = context;
    int64_t n = b->bodies->count, parts = b->bodies->parts;
    for (int64_t k = begin; k < end; k++) {
        for (int64_t i = k, done = 0; done < WARM_UP; done += b->bodies->chunks) {
            step_raw(b, i);
            i = i + parts < n ? i + parts : k;
        }
        double start = dppo_seconds();
        for (int64_t i = k; i < n; i += parts)
            step_raw(b, i);
        b->bodies->rate[k] =
            (double)(b->bodies->chunks * ((n - 1 - k) / parts + 1)) / (dppo_seconds() - start);
    }
}

/* Seconds of a chunk of one body: by what all loops do in a second, each while it runs. None waits for
 * another, so that this is what the cores give. */
static double time_loops(bench *b, int64_t loops) {
    struct dppo_bench_bodies *bodies = b->bodies;
    double rate = 0;
    bodies->parts = loops < bodies->count ? loops : bodies->count;
    dppo_parallel_for(bodies->parts, 1, run_loops, b);
    for (int64_t k = 0; k < bodies->parts; k++)
        rate += bodies->rate[k];
    return 1 / rate;
}

static dppo_status time_vector(bench *b, double *seconds) {
    bool terminated[DPPO_BENCH_MOST_ENVS], truncated[DPPO_BENCH_MOST_ENVS];
    dppo_step_result result = {
        .obs = b->obs, .reward = b->zeros, .terminated = terminated, .truncated = truncated};
    int64_t warm = 1 + (WARM_UP * b->settings->threads - 1) / b->settings->envs;
    double start = 0;
    for (int64_t i = -warm; i < b->bodies->chunks; i++) {
        if (i == 0) start = dppo_seconds();
        DPPO_TRY(dppo_vector_env_step(b->envs, b->actions, &result));
    }
    *seconds = (dppo_seconds() - start) / (double)(b->bodies->chunks * b->settings->envs);
    return DPPO_OK;
}

static dppo_status run_hopper(bench *b, int which, double *seconds) {
    if (which == 0)
        DPPO_TRY(time_vector(b, seconds));
    else
        *seconds = time_loops(b, which == 1 ? 1 : b->settings->threads);
    *seconds /= (double)b->rollout.horizon_steps;
    return DPPO_OK;
}

const bench_spec dppo_bench_hopper = {
    {{"hopper", "an env step of 40 Hoppers in DPPO's wrappers; mj_step: on one thread; loops: one a thread"}},
    {"vector", "mj_step", "loops"},
    121,
    0,
    open_hopper,
    run_hopper};
