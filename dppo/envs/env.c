#include "envs/env.h"

#include "envs/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The simulator's memory holds nothing from one call to the next: every call puts the state in and takes it
 * out again. So the environments that a thread steps share one mjData, which stays in cache. */
struct dppo_env {
    const dppo_task *task; /* borrowed */
    mjData *data;          /* owned, or borrowed by the vector's environments */
    bool owns_data;
    double *state; /* owned (1 + nq + 2 nv): time, qpos, qvel, qacc_warmstart */
    dppo_generator *generator;
};

dppo_status dppo_env_new_sharing(const dppo_task *task, uint64_t seed, dppo_env **env) {
    const mjModel *model = task->model;
    *env = calloc(1, sizeof **env);
    if (*env != NULL) {
        (*env)->task = task;
        (*env)->state = calloc((size_t)(1 + model->nq + 2 * model->nv), sizeof(double));
        (*env)->generator = dppo_generator_new(seed);
    }
    if (*env != NULL && (*env)->state != NULL && (*env)->generator != NULL) {
        memcpy(dppo_env_raw_state(*env).qpos, model->qpos0, (size_t)model->nq * sizeof(double));
        return DPPO_OK;
    }
    dppo_env_free(*env);
    *env = NULL;
    return dppo_fail(DPPO_NO_MEMORY, "%s: no memory for an environment", task->spec->name);
}

void dppo_env_share(dppo_env *env, mjData *data) {
    env->data = data;
}

dppo_status dppo_env_new(const dppo_task *task, uint64_t seed, dppo_env **env) {
    DPPO_TRY(dppo_env_new_sharing(task, seed, env));
    (*env)->owns_data = true;
    (*env)->data = mj_makeData(task->model);
    if ((*env)->data != NULL) return DPPO_OK;
    dppo_env_free(*env);
    *env = NULL;
    return dppo_fail(DPPO_NO_MEMORY, "%s: no memory for an environment", task->spec->name);
}

void dppo_env_free(dppo_env *env) {
    if (env == NULL) return;
    if (env->owns_data && env->data != NULL) mj_deleteData(env->data);
    free(env->state);
    dppo_generator_free(env->generator);
    free(env);
}

dppo_env_state dppo_env_raw_state(dppo_env *env) {
    const mjModel *model = env->task->model;
    double *qpos = env->state + 1, *qvel = qpos + model->nq;
    return (dppo_env_state){env->state, qpos, qvel, qvel + model->nv};
}

dppo_generator *dppo_env_generator(dppo_env *env) {
    return env->generator;
}

static size_t bytes_of(int count) {
    return (size_t)count * sizeof(double);
}

/* Everything else that a step reads it computes before, or it is never set here: these models have no
 * activations, mocap bodies, user data or applied forces. */
static void put_state(dppo_env *env) {
    const mjModel *model = env->task->model;
    const dppo_env_state state = dppo_env_raw_state(env);
    env->data->time = *state.time;
    memcpy(env->data->qpos, state.qpos, bytes_of(model->nq));
    memcpy(env->data->qvel, state.qvel, bytes_of(model->nv));
    memcpy(env->data->qacc_warmstart, state.qacc_warmstart, bytes_of(model->nv));
}

static void take_state(dppo_env *env) {
    const mjModel *model = env->task->model;
    const dppo_env_state state = dppo_env_raw_state(env);
    *state.time = env->data->time;
    memcpy(state.qpos, env->data->qpos, bytes_of(model->nq));
    memcpy(state.qvel, env->data->qvel, bytes_of(model->nv));
    memcpy(state.qacc_warmstart, env->data->qacc_warmstart, bytes_of(model->nv));
}

/* As Gym sets a state: time, controls and warm start are zero, the forward pass gives the first warm start.
 */
static void begin(dppo_env *env) {
    const mjModel *model = env->task->model;
    const dppo_env_state state = dppo_env_raw_state(env);
    *state.time = 0;
    memset(state.qacc_warmstart, 0, bytes_of(model->nv));
    memset(env->data->ctrl, 0, bytes_of(model->nu));
    memset(env->data->warning, 0, sizeof env->data->warning); /* a new episode may warn again */
    put_state(env);
    mj_forward(model, env->data);
    take_state(env);
}

dppo_status dppo_env_set_state(dppo_env *env, const double *qpos, const double *qvel) {
    const dppo_env_state state = dppo_env_raw_state(env);
    memcpy(state.qpos, qpos, bytes_of(env->task->model->nq));
    memcpy(state.qvel, qvel, bytes_of(env->task->model->nv));
    begin(env);
    return DPPO_OK;
}

void dppo_env_get_state(const dppo_env *env, double *qpos, double *qvel) {
    const mjModel *model = env->task->model;
    memcpy(qpos, env->state + 1, bytes_of(model->nq));
    memcpy(qvel, env->state + 1 + model->nq, bytes_of(model->nv));
}

/* (qpos without x, qvel clipped) */
void dppo_env_observe(const dppo_env *env, double *observation) {
    const mjModel *model = env->task->model;
    const double *qpos = env->state + 1, *qvel = qpos + model->nq;
    double clip = env->task->spec->velocity_clip;
    memcpy(observation, qpos + 1, bytes_of(model->nq - 1));
    observation += model->nq - 1;
    for (int i = 0; i < model->nv; i++) {
        double v = qvel[i];
        observation[i] = v < -clip ? -clip : v > clip ? clip : v; /* NaN stays, as in numpy's clip */
    }
}

/* One standard normal by Box and Muller; 1 - u lies in (0, 1], where the logarithm is finite. */
static double draw_normal(dppo_generator *generator) {
    double radius = sqrt(-2 * log(1 - dppo_random_double(generator)));
    return radius * cos(2 * 3.14159265358979323846 * dppo_random_double(generator));
}

static double draw_uniform(dppo_generator *generator, double bound) {
    return -bound + 2 * bound * dppo_random_double(generator);
}

dppo_status dppo_env_reset(dppo_env *env, double *observation) {
    const mjModel *model = env->task->model;
    const dppo_task_spec *spec = env->task->spec;
    const dppo_env_state state = dppo_env_raw_state(env);
    for (int i = 0; i < model->nq; i++)
        state.qpos[i] = model->qpos0[i] + draw_uniform(env->generator, spec->reset_noise);
    for (int i = 0; i < model->nv; i++)
        state.qvel[i] = spec->normal_velocities ? spec->reset_noise * draw_normal(env->generator)
                                                : draw_uniform(env->generator, spec->reset_noise);
    begin(env);
    dppo_env_observe(env, observation);
    return DPPO_OK;
}

/* reward = dx / dt + alive_bonus - control_cost * |a|^2, in the order in which Gym rounds it; ctrl is set. */
static void advance(dppo_env *env, double squares, double *observation, double *reward, bool *terminated) {
    const mjModel *model = env->task->model;
    const dppo_task_spec *spec = env->task->spec;
    const dppo_env_state state = dppo_env_raw_state(env);
    double before = state.qpos[0];
    put_state(env);
    for (int i = 0; i < spec->frame_skip; i++)
        mj_step(model, env->data);
    take_state(env);
    double dt = model->opt.timestep * spec->frame_skip;
    *reward = (state.qpos[0] - before) / dt + spec->alive_bonus - spec->control_cost * squares;
    *terminated = spec->healthy != NULL && !spec->healthy(state.qpos, state.qvel, model->nq, model->nv);
    dppo_env_observe(env, observation);
}

dppo_status dppo_env_step(dppo_env *env, const double *action, double *observation, double *reward,
                          bool *terminated) {
    double squares = 0;
    for (int i = 0; i < env->task->model->nu; i++) {
        env->data->ctrl[i] = action[i];
        squares += action[i] * action[i];
    }
    advance(env, squares, observation, reward, terminated);
    return DPPO_OK;
}

dppo_status dppo_env_step_f32(dppo_env *env, const float *action, double *observation, double *reward,
                              bool *terminated) {
    float squares = 0;
    for (int i = 0; i < env->task->model->nu; i++) {
        env->data->ctrl[i] = (double)action[i];
        squares += action[i] * action[i];
    }
    advance(env, (double)squares, observation, reward, terminated);
    return DPPO_OK;
}
