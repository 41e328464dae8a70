/* dppo collect: rolls a policy out and writes the transitions in D4RL's layout. */
#include "algorithms/agent.h"
#include "base/log.h"
#include "base/pool.h"
#include "cli/cli.h"
#include "cli/run_config.h"
#include "data/dataset.h"
#include "envs/vector.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct options {
    const char *config_path, *task, *policy, *out, *normalization;
    int64_t steps, seed, envs, threads;
    bool deterministic, overwrite;
    char **overrides; /* borrowed from argv */
    int override_count;
} options;

/* What is rolled out: environments, and an agent unless actions are uniform. */
typedef struct source {
    dppo_config *config; /* NULL with --task */
    dppo_vector_env *envs;
    dppo_agent *agent;
    dppo_generator *generator;   /* of uniform actions */
    int64_t obs_size, act_steps; /* To * Do; actions executed of a chunk */
    int64_t horizon_steps;       /* actions of a chunk as the agent gives them */
    int64_t action_dim;
} source;

/* Each environment fills rows of its own, so that the file does not depend on threads. */
typedef struct recorder {
    dppo_d4rl data;
    int64_t quota;    /* rows of one environment */
    int64_t *filled;  /* (N) */
    double *running;  /* (N) return of the episode so far */
    double *sum;      /* (N) of complete episodes' returns */
    int64_t *episode; /* (N) complete episodes */
} recorder;

/* -- arguments
 * -------------------------------------------------------------------------------------------------- */

static dppo_status parse_count(const char *name, const char *text, int64_t least, int64_t *value) {
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < least || number > INT64_C(1) << 40)
        return dppo_fail(DPPO_INVALID, "%s: \"%s\" is not an integer from %lld to 2^40", name, text,
                         (long long)least);
    *value = number;
    return DPPO_OK;
}

static dppo_status parse_value(options *o, const char *name, const char *value) {
    const struct {
        const char *name, **text;
    } texts[] = {{"--task", &o->task},
                 {"--policy", &o->policy},
                 {"--out", &o->out},
                 {"--normalization", &o->normalization}};
    const struct {
        const char *name;
        int64_t *number, least;
    } numbers[] = {{"--steps", &o->steps, 1},
                   {"--seed", &o->seed, 0},
                   {"--envs", &o->envs, 1},
                   {"--threads", &o->threads, 0}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].text = value;
            return DPPO_OK;
        }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(name, numbers[i].name) == 0)
            return parse_count(name, value, numbers[i].least, numbers[i].number);
    return dppo_fail(DPPO_INVALID, "collect: unknown option %s", name);
}

static dppo_status parse(int argc, char **argv, options *o) {
    o->overrides = argv + argc;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--deterministic") == 0) {
            o->deterministic = true;
        } else if (strcmp(argv[i], "--overwrite") == 0) {
            o->overwrite = true;
        } else if (strncmp(argv[i], "--", 2) == 0) {
            if (i + 1 >= argc) return dppo_fail(DPPO_INVALID, "collect: %s wants a value", argv[i]);
            DPPO_TRY(parse_value(o, argv[i], argv[i + 1]));
            i++;
        } else if (o->config_path == NULL) {
            o->config_path = argv[i];
        } else { /* overrides follow the config in one run */
            if (o->override_count == 0) o->overrides = argv + i;
            if (o->overrides + o->override_count != argv + i)
                return dppo_fail(DPPO_INVALID, "collect: \"%s\" must follow the other overrides", argv[i]);
            o->override_count++;
        }
    }
    if ((o->config_path == NULL) == (o->task == NULL))
        return dppo_fail(DPPO_INVALID, "collect: give a configuration file or --task");
    if (o->policy == NULL || o->out == NULL || o->steps == 0)
        return dppo_fail(DPPO_INVALID, "collect: --policy, --steps and --out are needed");
    if (o->task != NULL && strcmp(o->policy, "random") != 0)
        return dppo_fail(DPPO_INVALID, "collect: the policy %s needs its configuration file", o->policy);
    return DPPO_OK;
}

/* -- the source
 * --------------------------------------------------------------------------------------------------- */

static dppo_status open_task(const options *o, source *s) {
    dppo_task *task = NULL;
    dppo_scaling none = {0};
    dppo_vector_options wanted = {.count = o->envs > 0 ? o->envs : 1,
                                  .obs_steps = 1,
                                  .action_steps = 1,
                                  .reset_within_step = true,
                                  .timeout_is_terminal = true,
                                  .seed = (uint64_t)o->seed};
    DPPO_TRY(dppo_task_new(o->task, &task));
    return dppo_vector_env_make(&wanted, task, &none, &s->envs);
}

/* A learner is made for its training's number of environments (its reward scaler keeps a return for each);
 * that is no concern of those that are rolled out here. */
static dppo_status training_envs(const char *checkpoint, dppo_config *config) {
    dppo_config *training;
    int64_t envs = 0;
    DPPO_TRY(dppo_checkpoint_config(checkpoint, &training));
    dppo_status status = DPPO_OK;
    if (dppo_config_get(training, "env.n_envs")) status = dppo_config_int(training, "env.n_envs", &envs);
    if (status == DPPO_OK && envs > 0) status = dppo_config_set_int(config, "env.n_envs", envs);
    dppo_config_free(training);
    return status;
}

static dppo_status open_agent(const options *o, source *s) {
    dppo_named state = {0};
    bool load = strcmp(o->policy, "config") != 0;
    if (load) DPPO_TRY(training_envs(o->policy, s->config));
    DPPO_TRY(dppo_config_int(s->config, "horizon_steps", &s->horizon_steps));
    DPPO_TRY(dppo_c_agent_class.create(s->config, &s->agent));
    dppo_status status = load ? dppo_checkpoint_read(o->policy, &state) : DPPO_OK;
    if (status == DPPO_OK && load) {
        status = dppo_c_agent_class.load(s->agent, &state);
        if (status != DPPO_OK) (void)dppo_fail_in(status, "%s", o->policy);
    }
    dppo_named_free(&state);
    return status;
}

static dppo_status open_config(const options *o, source *s) {
    DPPO_TRY(dppo_run_config(o->config_path, o->override_count, o->overrides, &s->config));
    DPPO_TRY(dppo_config_set_int(s->config, "seed", o->seed));
    if (o->envs == 0) return dppo_vector_env_new(s->config, &s->envs);
    int64_t configured;
    DPPO_TRY(dppo_config_int_or(s->config, "env.n_envs", 0, &configured));
    DPPO_TRY(dppo_config_set_int(s->config, "env.n_envs", o->envs));
    DPPO_TRY(dppo_vector_env_new(s->config, &s->envs));
    return configured > 0 ? dppo_config_set_int(s->config, "env.n_envs", configured) : DPPO_OK;
}

static dppo_status open_source(const options *o, source *s) {
    DPPO_TRY(o->task != NULL ? open_task(o, s) : open_config(o, s));
    const dppo_vector_options *wrapped = dppo_vector_env_options(s->envs);
    const dppo_task *task = dppo_vector_env_task(s->envs);
    if (!wrapped->reset_within_step)
        return dppo_fail(DPPO_INVALID, "env.wrappers.multi_step.reset_within_step must be true to collect");
    s->obs_size = wrapped->obs_steps * dppo_task_obs_dim(task);
    s->act_steps = s->horizon_steps = wrapped->action_steps;
    s->action_dim = dppo_task_action_dim(task);
    if (strcmp(o->policy, "random") != 0) return open_agent(o, s);
    s->generator = dppo_generator_new((uint64_t)o->seed);
    return s->generator != NULL ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "collect: no memory");
}

static void close_source(source *s) {
    if (s->agent != NULL) dppo_c_agent_class.destroy(s->agent);
    dppo_generator_free(s->generator);
    dppo_vector_env_free(s->envs);
    dppo_config_free(s->config);
}

/* chunk (N, horizon_steps, Da): uniform in [-1, 1), or what the agent does. */
static dppo_status choose(source *s, bool deterministic, const float *obs, float *chunk) {
    int64_t count = dppo_vector_env_count(s->envs);
    if (s->agent != NULL) return dppo_c_agent_class.act(s->agent, count, obs, deterministic, chunk, NULL);
    int64_t size = count * s->horizon_steps * s->action_dim;
    dppo_tensor tensor = {.dtype = DPPO_F32, .ndim = 1, .shape = {size}, .stride = {1}, .data = chunk};
    return dppo_draw_uniform(s->generator, &tensor, -1, 1);
}

/* -- recording
 * ---------------------------------------------------------------------------------------------------- */

static void round_to(float *out, const double *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)values[i];
}

static void record(void *context, int64_t index, const dppo_transition *t) {
    recorder *r = context;
    dppo_d4rl *d = &r->data;
    if (r->filled[index] == r->quota) return;
    int64_t row = index * r->quota + r->filled[index]++;
    round_to(d->observations + row * d->obs_dim, t->observation, d->obs_dim);
    round_to(d->next_observations + row * d->obs_dim, t->next_observation, d->obs_dim);
    round_to(d->actions + row * d->action_dim, t->action, d->action_dim);
    d->rewards[row] = (float)t->reward;
    memcpy(d->qpos + row * d->nq, t->qpos, (size_t)d->nq * sizeof(double));
    memcpy(d->qvel + row * d->nv, t->qvel, (size_t)d->nv * sizeof(double));
    bool cut = r->filled[index] == r->quota; /* the next row belongs to another environment */
    d->terminals[row] = t->terminated;
    d->timeouts[row] = t->timeout || (cut && !t->terminated);
    r->running[index] += t->reward;
    if (!t->terminated && !t->timeout) return;
    r->sum[index] += r->running[index];
    r->running[index] = 0;
    r->episode[index]++;
}

static dppo_status open_recorder(const source *s, int64_t steps, recorder *r) {
    const dppo_task *task = dppo_vector_env_task(s->envs);
    int64_t count = dppo_vector_env_count(s->envs);
    r->quota = (steps + count - 1) / count;
    dppo_d4rl *d = &r->data;
    *d = (dppo_d4rl){.rows = r->quota * count,
                     .obs_dim = dppo_task_obs_dim(task),
                     .action_dim = dppo_task_action_dim(task),
                     .nq = dppo_task_nq(task),
                     .nv = dppo_task_nv(task)};
    size_t rows = (size_t)d->rows, each = (size_t)count;
    d->observations = calloc(rows, (size_t)d->obs_dim * sizeof(float));
    d->next_observations = calloc(rows, (size_t)d->obs_dim * sizeof(float));
    d->actions = calloc(rows, (size_t)d->action_dim * sizeof(float));
    d->rewards = calloc(rows, sizeof(float));
    d->terminals = calloc(rows, 1);
    d->timeouts = calloc(rows, 1);
    d->qpos = calloc(rows, (size_t)d->nq * sizeof(double));
    d->qvel = calloc(rows, (size_t)d->nv * sizeof(double));
    r->filled = calloc(each, sizeof *r->filled);
    r->episode = calloc(each, sizeof *r->episode);
    r->running = calloc(each, sizeof *r->running);
    r->sum = calloc(each, sizeof *r->sum);
    bool complete = d->observations && d->next_observations && d->actions && d->rewards && d->terminals &&
                    d->timeouts && d->qpos && d->qvel && r->filled && r->episode && r->running && r->sum;
    return complete ? DPPO_OK
                    : dppo_fail(DPPO_NO_MEMORY, "collect: no memory for %lld rows", (long long)d->rows);
}

static void close_recorder(recorder *r) {
    dppo_d4rl_free(&r->data);
    free(r->filled);
    free(r->episode);
    free(r->running);
    free(r->sum);
}

/* The environment with the fewest rows decides when it is enough. */
static int64_t least_filled(const recorder *r, int64_t count) {
    int64_t least = r->filled[0];
    for (int64_t i = 1; i < count; i++)
        if (r->filled[i] < least) least = r->filled[i];
    return least;
}

/* obs (N, To, Do), chunk (N, Ta, Da) as the agent gives it, executed (N, act_steps, Da) its beginning. */
static dppo_status roll_with(source *s, const options *o, recorder *r, float *obs, float *chunk,
                             float *executed, dppo_step_result *result) {
    int64_t count = dppo_vector_env_count(s->envs), done = 0;
    int64_t from = s->horizon_steps * s->action_dim, width = s->act_steps * s->action_dim;
    result->obs = obs;
    dppo_vector_env_record(s->envs, record, r);
    DPPO_TRY(dppo_vector_env_reset(s->envs, obs));
    while (done < r->quota) {
        if (dppo_interrupted())
            return dppo_fail(DPPO_INTERRUPTED, "collect: interrupted, nothing is written");
        DPPO_TRY(choose(s, o->deterministic, obs, chunk));
        for (int64_t i = 0; i < count; i++)
            memcpy(executed + i * width, chunk + i * from, (size_t)width * sizeof(float));
        DPPO_TRY(dppo_vector_env_step(s->envs, executed, result));
        done = least_filled(r, count);
        dppo_progress("collect", (long)(done * count), (long)r->data.rows, NULL);
    }
    return DPPO_OK;
}

static dppo_status roll(source *s, const options *o, recorder *r) {
    size_t count = (size_t)dppo_vector_env_count(s->envs), width = (size_t)s->action_dim;
    if (s->horizon_steps < s->act_steps)
        return dppo_fail(DPPO_INVALID, "horizon_steps %lld is less than act_steps %lld",
                         (long long)s->horizon_steps, (long long)s->act_steps);
    float *obs = calloc(count * (size_t)s->obs_size, sizeof *obs);
    float *chunk = calloc(count * width * (size_t)s->horizon_steps, sizeof *chunk);
    float *executed = calloc(count * width * (size_t)s->act_steps, sizeof *executed);
    double *reward = calloc(count, sizeof *reward);
    bool *terminated = calloc(count, sizeof *terminated), *truncated = calloc(count, sizeof *truncated);
    dppo_step_result result = {.reward = reward, .terminated = terminated, .truncated = truncated};
    bool complete = obs && chunk && executed && reward && terminated && truncated;
    dppo_status status = complete ? roll_with(s, o, r, obs, chunk, executed, &result)
                                  : dppo_fail(DPPO_NO_MEMORY, "collect: no memory");
    free(obs), free(chunk), free(executed), free(reward), free(terminated), free(truncated);
    return status;
}

/* -- writing
 * -------------------------------------------------------------------------------------------------------- */

static dppo_status put_range(dppo_named *map, const char *low_name, const char *high_name,
                             const float *values, int64_t rows, int64_t width) {
    dppo_tensor *low = dppo_named_add(map, low_name, DPPO_F32, 1, &width);
    dppo_tensor *high = dppo_named_add(map, high_name, DPPO_F32, 1, &width);
    if (low == NULL || high == NULL) return dppo_fail(DPPO_NO_MEMORY, "collect: no memory");
    for (int64_t i = 0; i < width; i++)
        dppo_f32(low)[i] = dppo_f32(high)[i] = values[i];
    for (int64_t i = width; i < rows * width; i++) {
        dppo_f32(low)[i % width] = fminf(dppo_f32(low)[i % width], values[i]);
        dppo_f32(high)[i % width] = fmaxf(dppo_f32(high)[i % width], values[i]);
    }
    return DPPO_OK;
}

static dppo_status write_normalization(const char *path, const dppo_d4rl *d) {
    dppo_named map = {0};
    dppo_status status = put_range(&map, "obs_min", "obs_max", d->observations, d->rows, d->obs_dim);
    if (status == DPPO_OK)
        status = put_range(&map, "action_min", "action_max", d->actions, d->rows, d->action_dim);
    if (status == DPPO_OK) status = dppo_npz_write(path, &map, false);
    dppo_named_free(&map);
    return status;
}

static dppo_status write_all(const source *s, const options *o, const recorder *r, const char *command) {
    const dppo_task *task = dppo_vector_env_task(s->envs);
    int64_t episodes = 0, count = dppo_vector_env_count(s->envs);
    double sum = 0, low, high;
    for (int64_t i = 0; i < count; i++) {
        episodes += r->episode[i];
        sum += r->sum[i];
    }
    double mean = episodes > 0 ? sum / (double)episodes : (double)NAN;
    dppo_task_score_range(task, &low, &high);
    char name[64], seed[32], engine[64], number[32], returns[40], score[40];
    (void)snprintf(name, sizeof name, "%s-selfmade", dppo_task_name(task));
    (void)snprintf(seed, sizeof seed, "%lld", (long long)o->seed);
    (void)snprintf(engine, sizeof engine, "MuJoCo %s", dppo_task_engine());
    (void)snprintf(number, sizeof number, "%lld", (long long)episodes);
    (void)snprintf(returns, sizeof returns, "%.17g", mean);
    (void)snprintf(score, sizeof score, "%.17g", 100 * (mean - low) / (high - low));
    const char *commit =
        getenv("DPPO_COMMIT"); /* the source a data set was made from, where a script knows it */
    const char *attributes[] = {"version",
                                DPPO_VERSION,
                                "commit",
                                commit ? commit : "unknown",
                                "name",
                                name,
                                "generator",
                                "dppo collect",
                                "command",
                                command,
                                "policy",
                                o->policy,
                                "seed",
                                seed,
                                "engine",
                                engine,
                                "episodes",
                                number,
                                "mean_return",
                                returns,
                                "normalized_score",
                                score,
                                NULL,
                                NULL};
    DPPO_TRY(dppo_d4rl_write(o->out, &r->data, attributes));
    if (o->normalization != NULL) DPPO_TRY(write_normalization(o->normalization, &r->data));
    (void)printf("%s: %lld transitions, %lld complete episodes, mean return %.2f, normalised score %.2f\n",
                 o->out, (long long)r->data.rows, (long long)episodes, mean,
                 100 * (mean - low) / (high - low));
    return DPPO_OK;
}

/* Said before the roll-out, not after it. */
static dppo_status refuse_existing(const options *o) {
    const char *const outputs[] = {o->out, o->normalization};
    struct stat found;
    for (size_t i = 0; i < 2 && !o->overwrite; i++)
        if (outputs[i] != NULL && stat(outputs[i], &found) == 0 && S_ISREG(found.st_mode))
            return dppo_fail(DPPO_INVALID, "%s: exists already; --overwrite replaces it", outputs[i]);
    return DPPO_OK;
}

static dppo_status collect(const options *o, const char *command) {
    source s = {0};
    recorder r = {0};
    dppo_set_threads((int)o->threads);
    dppo_catch_interrupt();
    dppo_status status = refuse_existing(o);
    if (status == DPPO_OK) status = open_source(o, &s);
    if (status == DPPO_OK) status = open_recorder(&s, o->steps, &r);
    if (status == DPPO_OK) status = roll(&s, o, &r);
    if (status == DPPO_OK) status = write_all(&s, o, &r, command);
    close_recorder(&r);
    close_source(&s);
    return status;
}

static int run(int argc, char **argv) {
    options o = {.seed = 42};
    dppo_text command = {0};
    dppo_text_add(&command, "dppo");
    for (int i = 0; i < argc; i++)
        dppo_text_format(&command, " %s", argv[i]);
    dppo_status status = parse(argc, argv, &o);
    if (status == DPPO_OK) status = collect(&o, command.bytes != NULL ? command.bytes : "");
    dppo_text_free(&command);
    return status == DPPO_OK ? DPPO_EXIT_OK : dppo_cli_error();
}

const dppo_verb dppo_verb_collect = {
    .name = "collect",
    .summary = "roll a policy out into a data set of D4RL's layout",
    .usage =
        "usage: dppo collect (CONFIG [KEY=VALUE..] | --task NAME) --policy POLICY --steps N --out FILE.hdf5\n"
        "                    [--seed S] [--envs N] [--deterministic] [--normalization FILE.npz] [--threads "
        "N]\n"
        "                    [--overwrite]\n\n"
        "  --policy random      uniform actions in [-1, 1)\n"
        "           config      the agent of CONFIG as it is built (model.network_path loaded)\n"
        "           CHECKPOINT  the same agent with a checkpoint of `dppo train`\n"
        "  --steps N            env steps, rounded up to a multiple of the environments; where an "
        "environment's\n"
        "                       share ends within an episode, its last row is a timeout\n"
        "  --seed S             of the environments and of random actions (42)\n"
        "  --envs N             environments (1, or CONFIG's env.n_envs)\n"
        "  --normalization F    also writes minima and maxima of observations and actions\n"
        "  --overwrite          replace FILE and F where they exist (refused otherwise)\n\n"
        "Rows hold what the task saw: raw observations, actions after unscaling and clipping. The file's\n"
        "attributes say how it was made. The same command gives the same rows for any number of threads.\n",
    .run = run,
};
