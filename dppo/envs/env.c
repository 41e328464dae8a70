#include "envs/env.h"

#include "envs/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct dppo_env {
    const dppo_task *task; /* borrowed */
    mjData *data;          /* owned */
    dppo_generator *generator;
};

dppo_status dppo_env_new(const dppo_task *task, uint64_t seed, dppo_env **env) {
    *env = calloc(1, sizeof **env);
    if (*env != NULL) {
        (*env)->task = task;
        (*env)->data = mj_makeData(task->model);
        (*env)->generator = dppo_generator_new(seed);
    }
    if (*env != NULL && (*env)->data != NULL && (*env)->generator != NULL) return DPPO_OK;
    dppo_env_free(*env);
    *env = NULL;
    return dppo_fail(DPPO_NO_MEMORY, "%s: no memory for an environment", task->spec->name);
}

void dppo_env_free(dppo_env *env) {
    if (env == NULL) return;
    if (env->data != NULL) mj_deleteData(env->data);
    dppo_generator_free(env->generator);
    free(env);
}

static size_t bytes_of(int count) {
    return (size_t)count * sizeof(double);
}

/* As Gym sets a state: a reset clears warm starts and time, the forward pass gives the first warm start. */
dppo_status dppo_env_set_state(dppo_env *env, const double *qpos, const double *qvel) {
    const mjModel *model = env->task->model;
    mj_resetData(model, env->data);
    memcpy(env->data->qpos, qpos, bytes_of(model->nq));
    memcpy(env->data->qvel, qvel, bytes_of(model->nv));
    mj_forward(model, env->data);
    return DPPO_OK;
}

void dppo_env_get_state(const dppo_env *env, double *qpos, double *qvel) {
    memcpy(qpos, env->data->qpos, bytes_of(env->task->model->nq));
    memcpy(qvel, env->data->qvel, bytes_of(env->task->model->nv));
}

/* (qpos without x, qvel clipped) */
void dppo_env_observe(const dppo_env *env, double *observation) {
    const mjModel *model = env->task->model;
    double clip = env->task->spec->velocity_clip;
    memcpy(observation, env->data->qpos + 1, bytes_of(model->nq - 1));
    observation += model->nq - 1;
    for (int i = 0; i < model->nv; i++) {
        double v = env->data->qvel[i];
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
    mjData *data = env->data;
    mj_resetData(model, data); /* qpos = qpos0, qvel = 0 */
    for (int i = 0; i < model->nq; i++)
        data->qpos[i] += draw_uniform(env->generator, spec->reset_noise);
    for (int i = 0; i < model->nv; i++)
        data->qvel[i] = spec->normal_velocities ? spec->reset_noise * draw_normal(env->generator)
                                                : draw_uniform(env->generator, spec->reset_noise);
    mj_forward(model, data);
    dppo_env_observe(env, observation);
    return DPPO_OK;
}

/* reward = dx / dt + alive_bonus - control_cost * |a|^2, in the order in which Gym rounds it; ctrl is set. */
static void advance(dppo_env *env, double squares, double *observation, double *reward, bool *terminated) {
    const mjModel *model = env->task->model;
    const dppo_task_spec *spec = env->task->spec;
    mjData *data = env->data;
    double before = data->qpos[0];
    for (int i = 0; i < spec->frame_skip; i++)
        mj_step(model, data);
    double dt = model->opt.timestep * spec->frame_skip;
    *reward = (data->qpos[0] - before) / dt + spec->alive_bonus - spec->control_cost * squares;
    *terminated = spec->healthy != NULL && !spec->healthy(data->qpos, data->qvel, model->nq, model->nv);
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

dppo_env_state dppo_env_raw_state(dppo_env *env) {
    mjData *data = env->data;
    return (dppo_env_state){&data->time, data->qpos, data->qvel, data->qacc_warmstart};
}

dppo_generator *dppo_env_generator(dppo_env *env) {
    return env->generator;
}
