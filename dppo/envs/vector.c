#include "envs/vector.h"

#include "base/pool.h"
#include "envs/task.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One environment inside its wrappers. */
typedef struct slot {
    dppo_env *env;
    double *history; /* (To, Do) normalised, oldest first; the last `frames` rows are filled */
    double *wide;    /* (Da) scratch */
    double *before;  /* (nq + nv + Do) scratch of a recording */
    float *narrow;   /* (Da) scratch */
    int64_t frames;
    int64_t elapsed; /* env steps of the episode, as the time limit counts them */
    int64_t count;   /* and as MultiStep does: one more for each chunk that it cut short */
    int64_t taken;   /* steps of the chunk under way; their sum and whether they ended the episode: */
    double reward;
    bool terminated, truncated;
} slot;

struct dppo_vector_env {
    dppo_vector_options options;
    dppo_task *task;
    dppo_scaling scaling;
    int64_t obs_dim, action_dim;
    bool started;     /* reset or loaded */
    slot *slots;      /* (N) */
    mjData **strands; /* (strand_count) one for each thread that steps; environments are not bound to one */
    int64_t strand_count;
    int64_t *queue; /* (N) scratch of a step: a ring of the environments that wait for a strand */
    pthread_mutex_t queue_lock;
    void (*record)(void *context, int64_t index, const dppo_transition *transition); /* or NULL */
    void *record_context;
};

static dppo_status make_slot(dppo_vector_env *vector, int64_t index) {
    slot *s = &vector->slots[index];
    DPPO_TRY(dppo_env_new_sharing(vector->task, vector->options.seed + (uint64_t)index, &s->env));
    s->history = calloc((size_t)(vector->options.obs_steps * vector->obs_dim), sizeof *s->history);
    s->wide = calloc((size_t)vector->action_dim, sizeof *s->wide);
    s->before = calloc((size_t)(dppo_task_nq(vector->task) + dppo_task_nv(vector->task) + vector->obs_dim),
                       sizeof *s->before);
    s->narrow = calloc((size_t)vector->action_dim, sizeof *s->narrow);
    if (s->history == NULL || s->wide == NULL || s->narrow == NULL || s->before == NULL)
        return dppo_fail(DPPO_NO_MEMORY, "no memory for environment %lld", (long long)index);
    return DPPO_OK;
}

static dppo_status check_options(const dppo_vector_options *options) {
    const int64_t limit = 1 << 20; /* far beyond use, and products of two stay far from overflow */
    if (options->count < 1 || options->count > limit)
        return dppo_fail(DPPO_INVALID, "env.n_envs is %lld", (long long)options->count);
    if (options->obs_steps < 1 || options->obs_steps > limit)
        return dppo_fail(DPPO_INVALID, "n_obs_steps is %lld", (long long)options->obs_steps);
    if (options->action_steps < 1 || options->action_steps > limit)
        return dppo_fail(DPPO_INVALID, "n_action_steps is %lld", (long long)options->action_steps);
    if (options->max_episode_steps < 0)
        return dppo_fail(DPPO_INVALID, "max_episode_steps is %lld", (long long)options->max_episode_steps);
    return DPPO_OK;
}

/* As many strands as threads can use, now that the number of threads is known; a vector that is used has them
 * already. */
static dppo_status want_strands(dppo_vector_env *vector) {
    int64_t wanted = dppo_threads() < vector->options.count ? dppo_threads() : vector->options.count;
    if (wanted <= vector->strand_count) return DPPO_OK;
    mjData **strands = realloc(vector->strands, (size_t)wanted * sizeof *strands);
    if (strands == NULL) return dppo_fail(DPPO_NO_MEMORY, "no memory for environments");
    vector->strands = strands;
    for (; vector->strand_count < wanted; vector->strand_count++)
        if ((strands[vector->strand_count] = mj_makeData(vector->task->model)) == NULL)
            return dppo_fail(DPPO_NO_MEMORY, "no memory for the simulator");
    return DPPO_OK;
}

static dppo_status fill(dppo_vector_env *vector) {
    vector->slots = calloc((size_t)vector->options.count, sizeof *vector->slots);
    vector->queue = calloc((size_t)vector->options.count, sizeof *vector->queue);
    if (vector->slots == NULL || vector->queue == NULL)
        return dppo_fail(DPPO_NO_MEMORY, "no memory for environments");
    for (int64_t i = 0; i < vector->options.count; i++)
        DPPO_TRY(make_slot(vector, i));
    return want_strands(vector);
}

dppo_status dppo_vector_env_make(const dppo_vector_options *options, dppo_task *task, dppo_scaling *scaling,
                                 dppo_vector_env **vector) {
    *vector = calloc(1, sizeof **vector);
    if (*vector == NULL) {
        dppo_scaling_free(scaling);
        dppo_task_free(task);
        return dppo_fail(DPPO_NO_MEMORY, "no memory for environments");
    }
    **vector = (dppo_vector_env){.options = *options,
                                 .task = task,
                                 .scaling = *scaling,
                                 .obs_dim = dppo_task_obs_dim(task),
                                 .action_dim = dppo_task_action_dim(task)};
    (void)pthread_mutex_init(&(*vector)->queue_lock,
                             NULL); /* of the default kind it has nothing to fail at */
    *scaling = (dppo_scaling){0};
    (*vector)->scaling.obs_dim = (*vector)->obs_dim;
    (*vector)->scaling.action_dim = (*vector)->action_dim;
    dppo_status status = check_options(options);
    if (status == DPPO_OK) status = fill(*vector);
    if (status == DPPO_OK) return DPPO_OK;
    dppo_vector_env_free(*vector);
    *vector = NULL;
    return status;
}

void dppo_vector_env_free(dppo_vector_env *vector) {
    if (vector == NULL) return;
    for (int64_t i = 0; vector->slots != NULL && i < vector->options.count; i++) {
        dppo_env_free(vector->slots[i].env);
        free(vector->slots[i].history);
        free(vector->slots[i].wide);
        free(vector->slots[i].narrow);
        free(vector->slots[i].before);
    }
    free(vector->slots);
    free(vector->queue);
    (void)pthread_mutex_destroy(&vector->queue_lock);
    for (int64_t k = 0; k < vector->strand_count; k++)
        mj_deleteData(vector->strands[k]);
    free(vector->strands);
    dppo_scaling_free(&vector->scaling);
    dppo_task_free(vector->task);
    free(vector);
}

int64_t dppo_vector_env_count(const dppo_vector_env *vector) {
    return vector->options.count;
}

void dppo_vector_env_record(dppo_vector_env *vector,
                            void (*record)(void *context, int64_t index, const dppo_transition *transition),
                            void *context) {
    vector->record = record;
    vector->record_context = context;
}

const dppo_task *dppo_vector_env_task(const dppo_vector_env *vector) {
    return vector->task;
}

const dppo_vector_options *dppo_vector_env_options(const dppo_vector_env *vector) {
    return &vector->options;
}

/* -- one environment
 * ------------------------------------------------------------------------------------------ */

/* The newest row of the history; whoever pushes fills it with a raw observation, then normalises it in place.
 */
static double *newest(const dppo_vector_env *vector, slot *s) {
    return s->history + (vector->options.obs_steps - 1) * vector->obs_dim;
}

static void shift_history(const dppo_vector_env *vector, slot *s) {
    int64_t kept = vector->options.obs_steps - 1;
    memmove(s->history, s->history + vector->obs_dim, (size_t)(kept * vector->obs_dim) * sizeof *s->history);
    if (s->frames < vector->options.obs_steps) s->frames++;
}

/* out (To, Do): frames that the episode does not have yet repeat its oldest. */
static void stack(const dppo_vector_env *vector, const slot *s, float *out) {
    int64_t steps = vector->options.obs_steps, width = vector->obs_dim;
    for (int64_t t = 0; t < steps; t++) {
        int64_t from = t < steps - s->frames ? steps - s->frames : t;
        for (int64_t i = 0; i < width; i++)
            out[t * width + i] = (float)s->history[from * width + i];
    }
}

static dppo_status reset_slot(const dppo_vector_env *vector, slot *s) {
    s->elapsed = s->count = 0;
    s->frames = 1;
    DPPO_TRY(dppo_env_reset(s->env, newest(vector, s)));
    dppo_scale_observation(&vector->scaling, newest(vector, s), newest(vector, s));
    return DPPO_OK;
}

/* How the step that has just been made ends the episode, if it does. */
static void judge_end(const dppo_vector_env *vector, const slot *s, bool done, bool *terminated,
                      bool *truncated) {
    *terminated = done;
    if (s->elapsed >= dppo_task_time_limit(vector->task)) {
        /* The time limit reports "done", and that it truncated unless the task ended by itself just then. */
        *truncated = !done;
        *terminated = done || vector->options.timeout_is_terminal;
    } else if (!done && vector->options.max_episode_steps > 0 &&
               s->count >= vector->options.max_episode_steps)
        *truncated = true;
}

/* One env step through D4RL's clip: the raw observation and the task's own end. */
static double step_task(const dppo_vector_env *vector, slot *s, const float *action, double *observation,
                        bool *done) {
    double reward = 0;
    if (dppo_unscale_action(&vector->scaling, action, s->narrow, s->wide)) {
        dppo_env_step(s->env, s->wide, observation, &reward, done);
        return reward;
    }
    dppo_env_step_f32(s->env, s->narrow, observation, &reward, done);
    for (int64_t i = 0; i < vector->action_dim; i++)
        s->wide[i] = (double)s->narrow[i];
    return reward;
}

/* One env step through the time limit and the min-max wrapper. */
static void step_once(const dppo_vector_env *vector, int64_t index, const float *action, double *reward,
                      bool *terminated, bool *truncated) {
    slot *s = &vector->slots[index];
    bool done = false;
    if (vector->record != NULL) {
        dppo_env_get_state(s->env, s->before, s->before + dppo_task_nq(vector->task));
        dppo_env_observe(s->env, s->before + dppo_task_nq(vector->task) + dppo_task_nv(vector->task));
    }
    shift_history(vector, s);
    double *observation = newest(vector, s);
    double step_reward = step_task(vector, s, action, observation, &done);
    s->elapsed++;
    judge_end(vector, s, done, terminated, truncated);
    *reward += step_reward;
    if (vector->record != NULL) {
        const double *qvel = s->before + dppo_task_nq(vector->task);
        vector->record(vector->record_context, index,
                       &(dppo_transition){.qpos = s->before,
                                          .qvel = qvel,
                                          .observation = qvel + dppo_task_nv(vector->task),
                                          .action = s->wide,
                                          .next_observation = observation,
                                          .reward = step_reward,
                                          .terminated = done,
                                          .timeout = *truncated});
    }
    dppo_scale_observation(&vector->scaling, observation, observation);
}

/* The end of an episode drops what is left of a chunk; the original has counted a step by then. */
static void finish_chunk(const dppo_vector_env *vector, int64_t index, dppo_step_result *result) {
    slot *s = &vector->slots[index];
    int64_t width = vector->options.obs_steps * vector->obs_dim;
    if (s->taken < vector->options.action_steps) s->count++;
    result->reward[index] = s->reward;
    result->terminated[index] = s->terminated;
    result->truncated[index] = s->truncated;
    if (vector->options.reset_within_step && (s->terminated || s->truncated)) {
        if (s->truncated && result->final_obs != NULL) stack(vector, s, result->final_obs + index * width);
        reset_slot(vector, s);
    }
    stack(vector, s, result->obs + index * width);
    s->taken = 0;
}

/* One env step of the chunk (Ta, Da); whether it goes on. */
static bool step_slot(const dppo_vector_env *vector, int64_t index, const float *actions,
                      dppo_step_result *result) {
    slot *s = &vector->slots[index];
    if (s->taken == 0) {
        s->reward = 0;
        s->terminated = s->truncated = false;
    }
    s->count++;
    step_once(vector, index, actions + s->taken++ * vector->action_dim, &s->reward, &s->terminated,
              &s->truncated);
    if (s->taken < vector->options.action_steps && !s->terminated && !s->truncated) return true;
    finish_chunk(vector, index, result);
    return false;
}

/* -- all of them
 * ---------------------------------------------------------------------------------------------- */

typedef struct job {
    const dppo_vector_env *vector;
    const float *actions; /* (N, Ta, Da); NULL: reset */
    dppo_step_result *result;
    pthread_mutex_t *lock; /* of the queue, a ring: `waiting` environments from `head` on */
    int64_t *queue;        /* (N) */
    int64_t head;
    _Atomic int64_t waiting; /* a hint to whoever has not got the lock */
} job;

enum { NONE = -1, TURNS = 2 };

/* The environment that a strand steps next; NONE: the others have all that are left. With many waiting it is
 * the one it has, whose state is in this core's cache. The last few take turns by the env step: else one
 * strand would end with most of a chunk before it and the others without work. */
static int64_t next_environment(job *j, int64_t mine) {
    if (mine != NONE && atomic_load(&j->waiting) > TURNS * j->vector->strand_count) return mine;
    int64_t count = j->vector->options.count, next = NONE;
    pthread_mutex_lock(j->lock);
    if (mine != NONE) j->queue[(j->head + j->waiting++) % count] = mine;
    if (j->waiting > 0) {
        next = j->queue[j->head];
        j->head = (j->head + 1) % count;
        j->waiting--;
    }
    pthread_mutex_unlock(j->lock);
    return next;
}

/* Resetting an environment that exists cannot fail. Whether it wants another turn. */
static bool run_turn(job *j, int64_t i) {
    const dppo_vector_env *vector = j->vector;
    if (j->actions != NULL)
        return step_slot(vector, i, j->actions + i * vector->options.action_steps * vector->action_dim,
                         j->result);
    reset_slot(vector, &vector->slots[i]);
    stack(vector, &vector->slots[i], j->result->obs + i * vector->options.obs_steps * vector->obs_dim);
    return false;
}

static void run_strands(void *context, int64_t begin, int64_t end) {
    job *j = context;
    for (int64_t k = begin; k < end; k++)
        for (int64_t i = NONE; (i = next_environment(j, i)) != NONE;) {
            dppo_env_share(j->vector->slots[i].env, j->vector->strands[k]);
            if (!run_turn(j, i)) i = NONE;
        }
}

static void run_all(dppo_vector_env *vector, const float *actions, dppo_step_result *result) {
    int64_t count = vector->options.count;
    for (int64_t i = 0; i < count; i++)
        vector->queue[i] = i;
    dppo_parallel_for(vector->strand_count, 1, run_strands,
                      &(job){.vector = vector,
                             .actions = actions,
                             .result = result,
                             .lock = &vector->queue_lock,
                             .queue = vector->queue,
                             .waiting = count});
}

dppo_status dppo_vector_env_reset(dppo_vector_env *vector, float *obs) {
    dppo_step_result result = {.obs = obs};
    DPPO_TRY(want_strands(vector));
    run_all(vector, NULL, &result);
    vector->started = true;
    return DPPO_OK;
}

dppo_status dppo_vector_env_step(dppo_vector_env *vector, const float *actions, dppo_step_result *result) {
    if (!vector->started) return dppo_fail(DPPO_INVALID, "environments are stepped before their first reset");
    DPPO_TRY(want_strands(vector));
    run_all(vector, actions, result);
    return DPPO_OK;
}

/* -- saved and loaded
 * ------------------------------------------------------------------------------------------- */

/* A float64 quantity of every environment, one row each; saved under its name as (N, width). */
typedef struct column {
    const char *name;
    int64_t width;
    double *(*row)(const dppo_vector_env *vector, int64_t index);
} column;

static double *row_time(const dppo_vector_env *vector, int64_t index) {
    return dppo_env_raw_state(vector->slots[index].env).time;
}
static double *row_qpos(const dppo_vector_env *vector, int64_t index) {
    return dppo_env_raw_state(vector->slots[index].env).qpos;
}
static double *row_qvel(const dppo_vector_env *vector, int64_t index) {
    return dppo_env_raw_state(vector->slots[index].env).qvel;
}
static double *row_warmstart(const dppo_vector_env *vector, int64_t index) {
    return dppo_env_raw_state(vector->slots[index].env).qacc_warmstart;
}
static double *row_history(const dppo_vector_env *vector, int64_t index) {
    return vector->slots[index].history;
}

enum { COLUMNS = 5, COUNTERS = 3 };

static void list_columns(const dppo_vector_env *vector, column *columns) {
    int64_t nq = dppo_task_nq(vector->task), nv = dppo_task_nv(vector->task);
    columns[0] = (column){"time", 1, row_time};
    columns[1] = (column){"qpos", nq, row_qpos};
    columns[2] = (column){"qvel", nv, row_qvel};
    columns[3] = (column){"qacc_warmstart", nv, row_warmstart};
    columns[4] = (column){"history", vector->options.obs_steps * vector->obs_dim, row_history};
}

static void join(char *buffer, size_t size, const char *prefix, const char *name) {
    snprintf(buffer, size, "%s%s", prefix, name);
}

static void generator_path(char *buffer, size_t size, const char *prefix, int64_t index) {
    snprintf(buffer, size, "%s%lld/generator/", prefix, (long long)index);
}

static dppo_status add(dppo_named *into, const char *prefix, const char *name, dppo_dtype dtype, int64_t rows,
                       int64_t width, dppo_tensor **tensor) {
    char path[256];
    join(path, sizeof path, prefix, name);
    *tensor = dppo_named_add(into, path, dtype, 2, (int64_t[]){rows, width});
    if (*tensor == NULL) return dppo_fail(DPPO_NO_MEMORY, "%s cannot be added to the state", path);
    return DPPO_OK;
}

dppo_status dppo_vector_env_save(const dppo_vector_env *vector, const char *prefix, dppo_named *into) {
    int64_t rows = vector->options.count;
    column columns[COLUMNS];
    list_columns(vector, columns);
    dppo_tensor *tensor = NULL;
    for (int c = 0; c < COLUMNS; c++) {
        DPPO_TRY(add(into, prefix, columns[c].name, DPPO_F64, rows, columns[c].width, &tensor));
        for (int64_t i = 0; i < rows; i++)
            memcpy(dppo_f64(tensor) + i * columns[c].width, columns[c].row(vector, i),
                   (size_t)columns[c].width * sizeof(double));
    }
    DPPO_TRY(add(into, prefix, "counters", DPPO_I64, rows, COUNTERS, &tensor));
    for (int64_t i = 0; i < rows; i++) {
        const slot *s = &vector->slots[i];
        memcpy(dppo_i64(tensor) + i * COUNTERS, (int64_t[COUNTERS]){s->frames, s->elapsed, s->count},
               COUNTERS * sizeof(int64_t));
    }
    for (int64_t i = 0; i < rows; i++) {
        char path[256];
        generator_path(path, sizeof path, prefix, i);
        DPPO_TRY(dppo_generator_save(dppo_env_generator(vector->slots[i].env), path, into));
    }
    return DPPO_OK;
}

static dppo_status require(const dppo_named *from, const char *prefix, const char *name, dppo_dtype dtype,
                           int64_t rows, int64_t width, dppo_tensor **tensor) {
    char path[256], shape[64];
    join(path, sizeof path, prefix, name);
    DPPO_TRY(dppo_named_require(from, path, dtype, tensor));
    const dppo_tensor *t = *tensor;
    if (t->ndim != 2 || t->shape[0] != rows || t->shape[1] != width)
        return dppo_fail(DPPO_INVALID, "%s has shape %s, these environments need (%lld, %lld)", path,
                         dppo_shape_text(t->ndim, t->shape, shape, sizeof shape), (long long)rows,
                         (long long)width);
    return DPPO_OK;
}

static dppo_status load_slot(dppo_vector_env *vector, int64_t index, const char *prefix,
                             const dppo_named *from, const column *columns, dppo_tensor *const *tensors,
                             const int64_t *counters) {
    char path[256];
    generator_path(path, sizeof path, prefix, index);
    DPPO_TRY(dppo_generator_load(dppo_env_generator(vector->slots[index].env), path, from));
    for (int c = 0; c < COLUMNS; c++)
        memcpy(columns[c].row(vector, index), dppo_f64(tensors[c]) + index * columns[c].width,
               (size_t)columns[c].width * sizeof(double));
    vector->slots[index].frames = counters[0];
    vector->slots[index].elapsed = counters[1];
    vector->slots[index].count = counters[2];
    return DPPO_OK;
}

/* After a failure the environments want a reset or another load. */
dppo_status dppo_vector_env_load(dppo_vector_env *vector, const char *prefix, const dppo_named *from) {
    int64_t rows = vector->options.count;
    column columns[COLUMNS];
    list_columns(vector, columns);
    dppo_tensor *tensors[COLUMNS], *counters = NULL;
    for (int c = 0; c < COLUMNS; c++)
        DPPO_TRY(require(from, prefix, columns[c].name, DPPO_F64, rows, columns[c].width, &tensors[c]));
    DPPO_TRY(require(from, prefix, "counters", DPPO_I64, rows, COUNTERS, &counters));
    for (int64_t i = 0; i < rows; i++) {
        int64_t frames = dppo_i64(counters)[i * COUNTERS];
        if (frames < 1 || frames > vector->options.obs_steps)
            return dppo_fail(DPPO_INVALID, "%scounters: environment %lld has %lld frames", prefix,
                             (long long)i, (long long)frames);
    }
    vector->started = false;
    for (int64_t i = 0; i < rows; i++)
        DPPO_TRY(load_slot(vector, i, prefix, from, columns, tensors, dppo_i64(counters) + i * COUNTERS));
    vector->started = true;
    return DPPO_OK;
}
