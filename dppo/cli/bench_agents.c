/* Benchmarks of an agent's pieces: acting and pre-training; and what agents are measured on. */
#include "base/log.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/run_config.h"
#include "random/generator.h"

#include <stdlib.h>
#include <string.h>

#ifdef DPPO_WITH_SHIM
#include "shim.h"
#endif

enum { PRETRAIN_BATCH = 128 };

/* -- what agents are measured on */

dppo_status dppo_bench_fill(float *values, int64_t count, double scale) {
    dppo_generator *generator = dppo_generator_new(7);
    if (!generator || !values) {
        dppo_generator_free(generator);
        return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    }
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(scale * (2 * dppo_random_double(generator) - 1));
    dppo_generator_free(generator);
    return DPPO_OK;
}

dppo_status dppo_bench_open_agents(bench *b, const char *name, int count, char **overrides) {
    char buffer[4096], path[4200];
    (void)snprintf(path, sizeof path, "%s/configs/%s", dppo_fixture_folder(buffer, sizeof buffer), name);
    DPPO_TRY(dppo_run_config(path, count, overrides, &b->config));
    int64_t To, Do, Ta, Da, ft;
    DPPO_TRY(dppo_config_int(b->config, "cond_steps", &To));
    DPPO_TRY(dppo_config_int(b->config, "obs_dim", &Do));
    DPPO_TRY(dppo_config_int(b->config, "horizon_steps", &Ta));
    DPPO_TRY(dppo_config_int(b->config, "action_dim", &Da));
    DPPO_TRY(dppo_config_int_or(b->config, "ft_denoising_steps", 0, &ft));
    b->obs_size = To * Do;
    b->chunk_size = Ta * Da;
    b->chain_length = ft + 1;
    b->rollout = (dppo_rollout){.n_envs = b->settings->envs,
                                .chain_length = ft + 1,
                                .cond_steps = To,
                                .obs_dim = Do,
                                .horizon_steps = Ta,
                                .action_dim = Da};
    b->sides[0] = &dppo_c_agent_class;
#ifdef DPPO_WITH_SHIM
    b->sides[1] = &shim_agent_class;
#endif
    return b->sides[0]->create(b->config, &b->agents[0]);
}

dppo_status dppo_bench_open_buffers(bench *b, int64_t rows) {
    b->obs = malloc((size_t)(rows * b->obs_size) * sizeof *b->obs);
    b->actions = malloc((size_t)(rows * b->chunk_size) * sizeof *b->actions);
    b->chains = malloc((size_t)(rows * b->chain_length * b->chunk_size) * sizeof *b->chains);
    if (!b->actions || !b->chains) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    DPPO_TRY(dppo_bench_fill(b->actions, rows * b->chunk_size, 1));
    return dppo_bench_fill(b->obs, rows * b->obs_size, 1);
}

static bool first_layer(const char *name) {
    return strstr(name, "time_embedding.1.") || strstr(name, ".layers.0.") || strstr(name, ".moduleList.0.");
}

dppo_status dppo_bench_weights(const bench *b, const char *prefix, double *weights, double *first) {
    dppo_named state = {0};
    dppo_status status = b->sides[0]->save(b->agents[0], &state);
    *weights = 0;
    if (first) *first = 0;
    for (size_t i = 0; i < state.count; i++) {
        const char *name = state.entries[i].name;
        if (strncmp(name, prefix, strlen(prefix)) != 0 || state.entries[i].tensor->ndim != 2) continue;
        double count = (double)dppo_numel(state.entries[i].tensor);
        *weights += count;
        if (first && first_layer(name + strlen(prefix) - 1)) *first += count;
    }
    dppo_named_free(&state);
    return status;
}

/* -- acting */

static dppo_status open_acting(bench *b, int64_t batch) {
    char *overrides[] = {"base_policy_path=null"};
    DPPO_TRY(dppo_bench_open_agents(b, "ft_ppo_diffusion_mlp.yaml", 1, overrides));
    int64_t steps;
    double frozen, tuned, ft = (double)b->chain_length - 1;
    b->batch = batch;
    DPPO_TRY(dppo_config_int(b->config, "denoising_steps", &steps));
    DPPO_TRY(dppo_bench_weights(b, "model/network.", &frozen, NULL));
    DPPO_TRY(dppo_bench_weights(b, "model/actor_ft.", &tuned, NULL));
    b->flops[0] = 2 * (double)batch * (frozen * ((double)steps - ft) + tuned * ft);
    return dppo_bench_open_buffers(b, batch);
}
static dppo_status open_act(bench *b) {
    return open_acting(b, b->settings->envs);
}
static dppo_status open_act1(bench *b) {
    return open_acting(b, 1);
}

static dppo_status act_once(const bench *b, int which) {
    return b->sides[which]->act(b->agents[which], b->batch, b->obs, false, b->actions, b->chains);
}

/* The second of two calls is timed: of the first, a millisecond long, much is waking up and reading weights
 * that the other side's turn drove out of the cache. */
static dppo_status run_act(bench *b, int which, double *seconds) {
    DPPO_TRY(act_once(b, which));
    double start = dppo_seconds();
    dppo_status status = act_once(b, which);
    *seconds = dppo_seconds() - start;
    return status;
}

const bench_spec dppo_bench_act = {{{"act40", "actions and chains of 40 environments, 20 denoising steps"}},
                                   {"C", "libtorch", "original"},
                                   41,
                                   0,
                                   open_act,
                                   run_act};
const bench_spec dppo_bench_act1 = {{{"act1", "actions of one environment, 20 denoising steps"}},
                                    {"C", "libtorch", "original"},
                                    301,
                                    0,
                                    open_act1,
                                    run_act};

/* -- pre-training */

static dppo_status open_pretrain(bench *b) {
    double weights, first;
    DPPO_TRY(dppo_bench_open_agents(b, "pre_diffusion_mlp.yaml", 0, NULL));
    DPPO_TRY(dppo_bench_weights(b, "model/network.", &weights, &first));
    b->batch = PRETRAIN_BATCH;
    b->flops[0] = (6 * weights - 2 * first) * PRETRAIN_BATCH;
    return dppo_bench_open_buffers(b, PRETRAIN_BATCH);
}

static dppo_status run_pretrain(bench *b, int which, double *seconds) {
    double loss, norm, start = dppo_seconds();
    dppo_status status =
        b->sides[which]->pretrain_step(b->agents[which], b->batch, b->actions, b->obs, 2, &loss, &norm);
    *seconds = dppo_seconds() - start;
    return status;
}

const bench_spec dppo_bench_pretrain = {{{"pretrain", "a pre-training step on a batch of 128"}},
                                        {"C", "libtorch", "original"},
                                        41,
                                        0,
                                        open_pretrain,
                                        run_pretrain};
