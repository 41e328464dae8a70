/* Hopper: the vector with its wrappers, on all threads, against a bare mj_step() loop on one. */
#include "base/log.h"
#include "cli/bench.h"

#include <stdlib.h>

enum { CHUNKS = 25 };

static dppo_status open_hopper(bench *b) {
    char envs[64];
    int64_t n = b->settings->envs;
    (void)snprintf(envs, sizeof envs, "env.n_envs=%lld", (long long)n);
    char *overrides[] = {"base_policy_path=null", "~env.wrappers.mujoco_locomotion_lowdim", envs};
    DPPO_TRY(dppo_bench_open_agents(b, "ft_ppo_diffusion_mlp.yaml", 3, overrides));
    DPPO_TRY(dppo_bench_open_buffers(b, n));
    b->zeros = calloc((size_t)n, sizeof *b->zeros);
    b->data = calloc((size_t)n, sizeof *b->data);
    if (!b->zeros || !b->data) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    DPPO_TRY(dppo_task_new("hopper-medium-v2", &b->task));
    for (int64_t i = 0; i < n; i++)
        if (!(b->data[i] = mj_makeData(b->task->model)))
            return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    DPPO_TRY(dppo_vector_env_new(b->config, &b->envs));
    return dppo_vector_env_reset(b->envs, b->obs);
}

/* As many simulator steps as the vector makes, with the same actions, a body at a time so that its mjData
 * stays in cache. A fallen body drops the rest of its chunk and starts again, as in the vector: lying on the
 * floor it has more contacts to solve. */
static void step_raw(const bench *b, mjData *data, const float *chunk) {
    const mjModel *model = b->task->model;
    const dppo_task_spec *spec = b->task->spec;
    for (int64_t k = 0; k < b->rollout.horizon_steps; k++) {
        for (int j = 0; j < model->nu; j++)
            data->ctrl[j] = (double)chunk[k * model->nu + j];
        for (int j = 0; j < spec->frame_skip; j++)
            mj_step(model, data);
        if (spec->healthy(data->qpos, data->qvel, model->nq, model->nv)) continue;
        mj_resetData(model, data);
        break;
    }
}

static dppo_status run_hopper(bench *b, int which, double *seconds) {
    bool terminated[DPPO_BENCH_MOST_ENVS], truncated[DPPO_BENCH_MOST_ENVS];
    dppo_step_result result = {
        .obs = b->obs, .reward = b->zeros, .terminated = terminated, .truncated = truncated};
    dppo_status status = DPPO_OK;
    int64_t n = b->settings->envs;
    double start = dppo_seconds();
    for (int64_t i = 0; which == 1 && i < n * CHUNKS; i++)
        step_raw(b, b->data[i / CHUNKS], b->actions + i / CHUNKS * b->chunk_size);
    for (int i = 0; which == 0 && status == DPPO_OK && i < CHUNKS; i++)
        status = dppo_vector_env_step(b->envs, b->actions, &result);
    double steps = (double)(CHUNKS * n * b->rollout.horizon_steps);
    *seconds = (dppo_seconds() - start) / steps;
    return status;
}

const bench_spec dppo_bench_hopper = {
    {{"hopper", "an env step of 40 Hoppers in DPPO's wrappers; mj_step: on one thread"}},
    {"vector", "mj_step"},
    21,
    0,
    open_hopper,
    run_hopper};
