/* dppo bench: C against libtorch as ratios, measured in pairs within one run. */
#include "base/log.h"
#include "base/pool.h"
#include "base/text.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/run_config.h"
#include "envs/task.h"
#include "random/generator.h"

#include <cblas.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef DPPO_WITH_SHIM
#include "shim.h"
#endif

/* Fine-tuning's shapes: N environments, and chunks of random observations and rewards in place of an
 * environment's, which neither side is timed on. */
enum { ENVS = 40, UPDATE_EPOCHS = 4, MINIBATCHES = 2, PRETRAIN_BATCH = 128, MAX_REPEATS = 100000 };

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

/* A configuration of fixtures/configs with initial weights, and the agents of both sides. */
static dppo_status open_agents(bench *b, const char *name, int count, char **overrides) {
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
    b->rollout = (dppo_rollout){.n_envs = ENVS,
                                .chain_length = ft + 1,
                                .cond_steps = To,
                                .obs_dim = Do,
                                .horizon_steps = Ta,
                                .action_dim = Da};
    b->sides[0] = &dppo_c_agent_class;
#ifdef DPPO_WITH_SHIM
    b->sides[1] = &shim_agent_class;
#endif
    for (int i = 0; i < 2 && b->sides[i]; i++)
        DPPO_TRY(b->sides[i]->create(b->config, &b->agents[i]));
    return DPPO_OK;
}

static dppo_status open_buffers(bench *b, int64_t rows) {
    b->obs = malloc((size_t)(rows * b->obs_size) * sizeof *b->obs);
    b->actions = malloc((size_t)(rows * b->chunk_size) * sizeof *b->actions);
    b->chains = malloc((size_t)(rows * b->chain_length * b->chunk_size) * sizeof *b->chains);
    if (!b->actions || !b->chains) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    DPPO_TRY(dppo_bench_fill(b->actions, rows * b->chunk_size, 1));
    return dppo_bench_fill(b->obs, rows * b->obs_size, 1);
}

/* Elements of the matrices below `prefix`: each is a multiplication and an addition a row, forward. */
static dppo_status count_weights(const bench *b, const char *prefix, double *weights) {
    dppo_named state = {0};
    dppo_status status = b->sides[0]->save(b->agents[0], &state);
    for (size_t i = 0; i < state.count; i++)
        if (strncmp(state.entries[i].name, prefix, strlen(prefix)) == 0 && state.entries[i].tensor->ndim == 2)
            *weights += (double)dppo_numel(state.entries[i].tensor);
    dppo_named_free(&state);
    return status;
}

/* -- update: DPPO's minibatch, actor 3 x 512 residual, critic 3 x 256 residual */

static dppo_status open_update(bench *b) {
    char batch[64], epochs[64];
    (void)snprintf(batch, sizeof batch, "train.batch_size=%lld", (long long)b->settings->batch);
    (void)snprintf(epochs, sizeof epochs, "train.update_epochs=%d", UPDATE_EPOCHS);
    char *overrides[] = {"base_policy_path=null", "train.target_kl=null", batch, epochs};
    DPPO_TRY(open_agents(b, "ft_ppo_diffusion_mlp.yaml", 4, overrides));
    int64_t steps = b->chain_length - 1;
    int64_t T = (MINIBATCHES * b->settings->batch + ENVS * steps / 2) / (ENVS * steps), rows;
    T = T > 0 ? T : 1;
    rows = T * ENVS;
    DPPO_TRY(open_buffers(b, rows + ENVS));
    b->reward = calloc((size_t)rows, sizeof *b->reward);
    b->zeros = calloc((size_t)rows, sizeof *b->zeros);
    b->firsts = calloc((size_t)(rows + ENVS), sizeof *b->firsts);
    if (!b->reward || !b->zeros || !b->firsts) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    for (int64_t i = 0; i < rows; i++)
        b->reward[i] = 1 + (double)b->obs[i * b->obs_size];
    for (int64_t i = 0; i < rows; i += ENVS) /* as many at a time as in training: memory goes by it */
        DPPO_TRY(b->sides[0]->act(b->agents[0], ENVS, b->obs + i * b->obs_size, false,
                                  b->actions + i * b->chunk_size,
                                  b->chains + i * b->chain_length * b->chunk_size));
    b->rollout.n_steps = T;
    b->rollout.obs = b->obs;
    b->rollout.chains = b->chains;
    b->rollout.reward = b->reward;
    b->rollout.terminated = b->zeros;
    b->rollout.firsts = b->firsts;
    b->rollout.last_obs = b->obs + rows * b->obs_size;
    double weights = 0;
    DPPO_TRY(count_weights(b, "model/actor_ft.", &weights));
    DPPO_TRY(count_weights(b, "model/critic.", &weights));
    /* Forward, gradient of the inputs, gradient of the weights: 2 operations each. */
    b->flops = 6 * weights * (double)b->settings->batch;
    return DPPO_OK;
}

/* Everything the update does, spread over its minibatches: values, old log-probabilities and advantages too.
 */
static dppo_status run_update(bench *b, int which, double *seconds) {
    dppo_update_metrics metrics;
    dppo_trace trace = {0};
    double start = dppo_seconds();
    dppo_status status =
        b->sides[which]->update(b->agents[which], b->itr[which]++, &b->rollout, &metrics, &trace);
    double pairs = (double)(b->rollout.n_steps * ENVS * (b->chain_length - 1) * UPDATE_EPOCHS);
    *seconds = (dppo_seconds() - start) * (double)b->settings->batch / pairs;
    free(trace.rows);
    return status;
}

/* -- acting and pre-training */

static dppo_status open_act(bench *b, int64_t batch) {
    char *overrides[] = {"base_policy_path=null"};
    DPPO_TRY(open_agents(b, "ft_ppo_diffusion_mlp.yaml", 1, overrides));
    int64_t steps;
    double frozen = 0, tuned = 0;
    b->batch = batch;
    DPPO_TRY(dppo_config_int(b->config, "denoising_steps", &steps));
    DPPO_TRY(count_weights(b, "model/network.", &frozen));
    DPPO_TRY(count_weights(b, "model/actor_ft.", &tuned));
    double ft = (double)b->chain_length - 1;
    b->flops = 2 * (double)batch * (frozen * ((double)steps - ft) + tuned * ft);
    return open_buffers(b, batch);
}
static dppo_status open_act40(bench *b) {
    return open_act(b, ENVS);
}
static dppo_status open_act1(bench *b) {
    return open_act(b, 1);
}

static dppo_status run_act(bench *b, int which, double *seconds) {
    double start = dppo_seconds();
    dppo_status status =
        b->sides[which]->act(b->agents[which], b->batch, b->obs, false, b->actions, b->chains);
    *seconds = dppo_seconds() - start;
    return status;
}

static dppo_status open_pretrain(bench *b) {
    double weights = 0;
    DPPO_TRY(open_agents(b, "pre_diffusion_mlp.yaml", 0, NULL));
    DPPO_TRY(count_weights(b, "model/network.", &weights));
    b->batch = PRETRAIN_BATCH;
    b->flops = 6 * weights * PRETRAIN_BATCH;
    return open_buffers(b, PRETRAIN_BATCH);
}

static dppo_status run_pretrain(bench *b, int which, double *seconds) {
    double loss, norm, start = dppo_seconds();
    dppo_status status =
        b->sides[which]->pretrain_step(b->agents[which], b->batch, b->actions, b->obs, 2, &loss, &norm);
    *seconds = dppo_seconds() - start;
    return status;
}

/* -- the machine's own peak, on the same threads */

enum { GEMM_M = 1536, GEMM_N = 512, GEMM_K = 512 };

static dppo_status open_gemm(bench *b) {
    int64_t threads = b->settings->threads;
    b->A = malloc((size_t)(threads * GEMM_M * GEMM_K) * sizeof *b->A);
    b->B = malloc((size_t)GEMM_K * GEMM_N * sizeof *b->B);
    b->C = malloc((size_t)(threads * GEMM_M * GEMM_N) * sizeof *b->C);
    b->flops = 2.0 * GEMM_M * GEMM_N * GEMM_K * (double)threads;
    if (!b->C) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    DPPO_TRY(dppo_bench_fill(b->A, threads * GEMM_M * GEMM_K, 1));
    return dppo_bench_fill(b->B, (int64_t)GEMM_K * GEMM_N, 1);
}

static void gemm_chunk(void *context, int64_t begin, int64_t end) {
    bench *b = context;
    for (int64_t i = begin; i < end; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, GEMM_M, GEMM_N, GEMM_K, 1,
                    b->A + i * GEMM_M * GEMM_K, GEMM_K, b->B, GEMM_N, 0, b->C + i * GEMM_M * GEMM_N, GEMM_N);
}

static dppo_status run_gemm(bench *b, int which, double *seconds) {
    double start = dppo_seconds();
    (void)which;
    dppo_parallel_for(b->settings->threads, 1, gemm_chunk, b);
    *seconds = dppo_seconds() - start;
    return DPPO_OK;
}

/* -- Hopper: the vector with its wrappers, on all threads, against a bare mj_step() loop on one */

enum { CHUNKS = 25 };

static dppo_status open_hopper(bench *b) {
    char *overrides[] = {"base_policy_path=null", "~env.wrappers.mujoco_locomotion_lowdim"};
    DPPO_TRY(open_agents(b, "ft_ppo_diffusion_mlp.yaml", 2, overrides));
    DPPO_TRY(open_buffers(b, ENVS));
    b->zeros = calloc(ENVS, sizeof *b->zeros);
    b->data = calloc(ENVS, sizeof *b->data);
    if (!b->zeros || !b->data) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    DPPO_TRY(dppo_task_new("hopper-medium-v2", &b->task));
    for (int i = 0; i < ENVS; i++)
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
    bool terminated[ENVS], truncated[ENVS];
    dppo_step_result result = {
        .obs = b->obs, .reward = b->zeros, .terminated = terminated, .truncated = truncated};
    dppo_status status = DPPO_OK;
    double start = dppo_seconds();
    for (int i = 0; which == 1 && i < ENVS * CHUNKS; i++)
        step_raw(b, b->data[i / CHUNKS], b->actions + i / CHUNKS * b->chunk_size);
    for (int i = 0; which == 0 && status == DPPO_OK && i < CHUNKS; i++)
        status = dppo_vector_env_step(b->envs, b->actions, &result);
    double steps = (double)(CHUNKS * ENVS * b->rollout.horizon_steps);
    *seconds = (dppo_seconds() - start) / steps;
    return status;
}

static void close_bench(bench *b) {
    dppo_bench_network_free(b->network);
    for (int i = 0; i < 2; i++)
        if (b->agents[i]) b->sides[i]->destroy(b->agents[i]);
    for (int i = 0; b->data && i < ENVS; i++)
        if (b->data[i]) mj_deleteData(b->data[i]);
    free(b->data);
    dppo_vector_env_free(b->envs);
    dppo_task_free(b->task);
    dppo_config_free(b->config);
    free(b->obs), free(b->actions), free(b->chains);
    free(b->reward), free(b->zeros), free(b->firsts);
    free(b->A), free(b->B), free(b->C);
}

static const bench_spec specs[] = {
    {"gemm", "cblas_sgemm, 1536 x 512 x 512 a thread", "cblas", NULL, 21, open_gemm, run_gemm},
    {"update", "a minibatch of DPPO's update: loss, backward, AdamW", "C", "libtorch", 7, open_update,
     run_update},
    {"act40", "actions and chains of 40 environments, 20 denoising steps", "C", "libtorch", 41, open_act40,
     run_act},
    {"act1", "actions of one environment, 20 denoising steps", "C", "libtorch", 301, open_act1, run_act},
    {"pretrain", "a pre-training step on a batch of 128", "C", "libtorch", 41, open_pretrain, run_pretrain},
    {"hopper", "an env step of 40 Hoppers in DPPO's wrappers; mj_step: on one thread", "vector", "mj_step",
     21, open_hopper, run_hopper},
};
enum { SPECS = sizeof specs / sizeof *specs };

/* Both lists: these, then the networks. */
static size_t spec_count(void) {
    return SPECS + dppo_bench_network_count;
}
static const bench_spec *spec_at(size_t k) {
    return k < SPECS ? &specs[k] : &dppo_bench_networks[k - SPECS];
}

/* -- measuring */

typedef struct result {
    double median[2], p99[2]; /* seconds */
    double ratio;             /* median over pairs of second / first */
    double gflops[2];
    int64_t repeats;
    int torch_threads;
    bool paired;
} result;

/* Each side finds its number of threads, and OpenBLAS told so: it has one setting for the process. Threads of
 * the other side may still spin for work a little; they are given time to go to sleep. */
static dppo_status take_turn(const bench_spec *spec, const bench *b, int which) {
    const struct timespec rest = {.tv_nsec = 10 * 1000 * 1000};
    (void)nanosleep(&rest, NULL);
#ifdef DPPO_WITH_SHIM
    if (which == 1 && strcmp(spec->second, "libtorch") == 0) return shim_init(b->torch_threads);
#else
    (void)spec, (void)b, (void)which;
#endif
    openblas_set_num_threads(1);
    return DPPO_OK;
}

/* On few or busy cores libtorch can lose by more threads: the faster of two attempts each decides. */
static dppo_status choose_torch_threads(const bench_spec *spec, bench *b) {
    const int counts[2] = {b->settings->threads, 1};
    double best[2] = {INFINITY, INFINITY};
    for (int i = 0; i < 5; i++) { /* the first warms up */
        double seconds;
        b->torch_threads = counts[i % 2];
        DPPO_TRY(take_turn(spec, b, 1));
        DPPO_TRY(spec->run(b, 1, &seconds));
        if (i > 0) best[i % 2] = fmin(best[i % 2], seconds);
    }
    b->torch_threads = best[1] < best[0] ? 1 : counts[0];
    return DPPO_OK;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, int64_t count, double q) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    int64_t at = (int64_t)(q * (double)(count - 1) + 0.5);
    return values[at];
}

/* times (3, repeats): first, second, their ratio; the order within a pair alternates. */
static dppo_status measure_pairs(const bench_spec *spec, bench *b, int64_t repeats, bool paired,
                                 double *times) {
    for (int64_t i = -1; i < repeats; i++) { /* -1 warms up */
        double seconds[2] = {0, 0};
        for (int k = 0; k < (paired ? 2 : 1); k++) {
            int which = paired ? (int)((i + k) & 1) : 0;
            DPPO_TRY(take_turn(spec, b, which));
            DPPO_TRY(spec->run(b, which, &seconds[which]));
        }
        if (i < 0) continue;
        times[i] = seconds[0];
        times[repeats + i] = seconds[1];
        times[2 * repeats + i] = seconds[1] / seconds[0];
        if (dppo_interrupted()) return dppo_fail(DPPO_INTERRUPTED, "bench: interrupted");
    }
    return DPPO_OK;
}

static dppo_status measure(const bench_spec *spec, const settings *options, result *r) {
    bench b = {.settings = options, .name = spec->name};
    int64_t repeats = options->repeats > 0 ? options->repeats : spec->repeats;
    double *times = calloc((size_t)(3 * repeats), sizeof *times);
    dppo_status status = times ? spec->open(&b) : dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    bool torch = spec->second && strcmp(spec->second, "libtorch") == 0;
    *r = (result){.repeats = repeats, .paired = spec->second && (!torch || b.sides[1])};
    if (status == DPPO_OK && torch && b.sides[1]) status = choose_torch_threads(spec, &b);
    r->torch_threads = b.torch_threads;
    if (status == DPPO_OK) status = measure_pairs(spec, &b, repeats, r->paired, times);
    if (status == DPPO_OK) {
        r->ratio = quantile(times + 2 * repeats, repeats, 0.5);
        for (int k = 0; k < 2; k++) {
            r->median[k] = quantile(times + k * repeats, repeats, 0.5);
            r->p99[k] = quantile(times + k * repeats, repeats, 0.99);
            r->gflops[k] = b.flops > 0 ? b.flops / r->median[k] * 1e-9 : 0;
        }
    }
    free(times);
    close_bench(&b);
    return status == DPPO_OK ? DPPO_OK : dppo_fail_in(status, "bench %s", spec->name);
}

/* -- output */

static void print_side(const bench_spec *spec, const result *r, int k, double peak) {
    const char *name = k == 0 ? spec->first : spec->second;
    (void)printf("  %-9s %12.4f ms  p99 %12.4f ms", name, 1e3 * r->median[k], 1e3 * r->p99[k]);
    if (r->gflops[k] > 0) (void)printf("  %8.1f GFLOP/s", r->gflops[k]);
    if (r->gflops[k] > 0 && peak > 0) (void)printf("  %5.1f %% of gemm", 100 * r->gflops[k] / peak);
    (void)printf("\n");
}

static void print_result(const bench_spec *spec, const result *r, double peak) {
    (void)printf("%s: %s, %lld repeats\n", spec->name, spec->summary, (long long)r->repeats);
    print_side(spec, r, 0, peak);
    if (r->paired) print_side(spec, r, 1, peak);
    if (r->paired) (void)printf("  %s / %s %.3f", spec->second, spec->first, r->ratio);
    if (r->paired && r->torch_threads > 0) (void)printf("  (libtorch on %d)", r->torch_threads);
    if (r->paired) (void)printf("\n");
    (void)fflush(stdout);
}

static void add_side(dppo_text *json, const char *name, const result *r, int k) {
    dppo_text_format(json, "\"%s\": {\"median_s\": %.9g, \"p99_s\": %.9g, \"gflops\": %.6g}, ", name,
                     r->median[k], r->p99[k], r->gflops[k]);
}

static void add_result(dppo_text *json, const bench_spec *spec, const result *r, bool more) {
    dppo_text_format(json, "%s\n    {\"name\": \"%s\", ", more ? "," : "", spec->name);
    add_side(json, spec->first, r, 0);
    if (r->paired) add_side(json, spec->second, r, 1);
    if (r->paired) dppo_text_format(json, "\"ratio\": %.6g, ", r->ratio);
    if (r->torch_threads > 0) dppo_text_format(json, "\"torch_threads\": %d, ", r->torch_threads);
    dppo_text_format(json, "\"repeats\": %lld}", (long long)r->repeats);
}

/* The versions are YAML lines "key: 'value'": one string a line. */
static void add_versions(dppo_text *json) {
    char *yaml = dppo_versions_yaml();
    dppo_config *node = NULL;
    if (yaml && dppo_config_parse_yaml(yaml, "versions", &node) == DPPO_OK) {
        dppo_text_add(json, "  \"versions\": ");
        dppo_config_write_json(node, json);
        dppo_text_add(json, ",\n");
    }
    dppo_config_free(node);
    free(yaml);
}

/* -- arguments */

typedef struct arguments {
    settings settings;
    const char *json;
    bool wanted[DPPO_BENCH_MOST];
} arguments;

static dppo_status read_count(const char *name, const char *text, int64_t *value) {
    char *end = NULL;
    errno = 0;
    long long number = text ? strtoll(text, &end, 10) : 0;
    if (!text || errno != 0 || end == text || *end != '\0' || number < 1 || number > MAX_REPEATS)
        return dppo_fail(DPPO_INVALID, "%s: wants a number from 1 to %d", name, MAX_REPEATS);
    *value = number;
    return DPPO_OK;
}

static dppo_status read_what(arguments *a, const char *word) {
    bool networks = strcmp(word, "networks") == 0, found = false;
    for (size_t k = 0; k < spec_count(); k++)
        if (networks ? k >= SPECS : strcmp(word, spec_at(k)->name) == 0) a->wanted[k] = found = true;
    return found ? DPPO_OK : dppo_fail(DPPO_INVALID, "bench: no benchmark %s (dppo bench --help)", word);
}

static dppo_status parse(int argc, char **argv, arguments *a) {
    bool any = false;
    for (int i = 1; i < argc; i++) {
        int64_t threads;
        if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) {
            a->json = argv[++i];
        } else if (strcmp(argv[i], "--threads") == 0) {
            i++; /* argv ends in NULL */
            DPPO_TRY(read_count("--threads", argv[i], &threads));
            a->settings.threads = (int)threads;
        } else if (strcmp(argv[i], "--batch") == 0) {
            i++;
            DPPO_TRY(read_count("--batch", argv[i], &a->settings.batch));
        } else if (strcmp(argv[i], "--repeats") == 0) {
            i++;
            DPPO_TRY(read_count("--repeats", argv[i], &a->settings.repeats));
        } else {
            DPPO_TRY(read_what(a, argv[i]));
            any = true;
        }
    }
    for (size_t k = 0; k < SPECS; k++)
        a->wanted[k] = a->wanted[k] || !any;
    return DPPO_OK;
}

/* A benchmark of what one side does not have is said and passed over. */
static dppo_status run_all(const arguments *a, dppo_text *json, bool *missing) {
    double peak = 0;
    bool more = false;
    for (size_t k = 0; k < spec_count(); k++) {
        const bench_spec *spec = spec_at(k);
        result r;
        if (!a->wanted[k]) continue;
        dppo_status status = measure(spec, &a->settings, &r);
        *missing = *missing || status == DPPO_MISSING;
        if (status == DPPO_MISSING) (void)printf("missing %s\n", dppo_message());
        if (status == DPPO_MISSING) continue;
        DPPO_TRY(status);
        if (k == 0) peak = r.gflops[0]; /* gemm comes first */
        print_result(spec, &r, peak);
        add_result(json, spec, &r, more);
        more = true;
    }
    return DPPO_OK;
}

static int run(int argc, char **argv) {
    arguments a = {.settings = {.batch = 5000}};
    dppo_text json = {0};
    if (parse(argc, argv, &a) != DPPO_OK) return dppo_cli_error();
    dppo_catch_interrupt();
    dppo_set_threads(a.settings.threads);
    a.settings.threads = dppo_threads();
    dppo_text_add(&json, "{\n");
    add_versions(&json);
    dppo_text_format(&json, "  \"threads\": %d, \"update_batch\": %lld,\n  \"results\": [",
                     a.settings.threads, (long long)a.settings.batch);
    (void)printf("%d threads%s\n", a.settings.threads,
                 dppo_torch_side() ? "" : "; built without libtorch, C alone is measured");
    bool missing = false;
    dppo_status status = run_all(&a, &json, &missing);
    dppo_text_add(&json, "\n  ]\n}\n");
    if (status == DPPO_OK && a.json) status = dppo_text_save(&json, a.json);
    dppo_text_free(&json);
    if (status != DPPO_OK) return dppo_cli_error();
    return missing ? DPPO_EXIT_MISSING : DPPO_EXIT_OK;
}

const dppo_verb dppo_verb_bench = {
    .name = "bench",
    .summary = "time C against libtorch, in pairs",
    .usage =
        "usage: dppo bench [gemm] [update] [act40] [act1] [pretrain] [hopper] [networks] [NETWORK..]\n"
        "                  [--batch B] [--threads N] [--repeats R] [--json F]\n\n"
        "Measures in pairs, the sides taking turns, and prints the median and the 99th percentile of\n"
        "each and the median of the pairs' ratios (above 1: the first is faster). libtorch gets as many\n"
        "threads, or one where it is faster with one.\n\n"
        "  gemm      cblas_sgemm on the same threads: what the machine can do\n"
        "  update    a minibatch of DPPO's update (loss, backward, AdamW; actor 3 x 512 residual ReLU, "
        "critic\n"
        "            3 x 256 residual Mish), with its share of what precedes: values, log-probabilities, "
        "GAE\n"
        "  act40     actions with chains for 40 environments, 20 denoising steps\n"
        "  act1      actions for one environment: the latency of a deployed policy\n"
        "  pretrain  a pre-training step on 128 sequences\n"
        "  hopper    an env step of 40 Hoppers in DPPO's wrappers on all threads, against a bare\n"
        "            mj_step() loop on one, with the same actions and frame skip\n"
        "  networks  forward and backward of each network, of the sizes of the original's configurations;\n"
        "            NETWORK: one of them by its class, Unet1D\n"
        "  Without any of them: all but the networks.\n\n"
        "  --batch B     rows of the update's minibatch (5000)\n"
        "  --threads N   at most, of each side (one a core); hopper's second side has one\n"
        "  --repeats R   pairs of each benchmark, after one to warm up (its own)\n"
        "  --json F      writes the numbers and the versions to F\n",
    .run = run,
};
