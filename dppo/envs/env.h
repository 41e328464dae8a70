/* Environments: MuJoCo tasks and DPPO's wrappers, stepped as a vector on the worker pool.
 *
 * Rollouts from a seed are the same whatever the number of threads: each environment has its own mjData and
 * its own random stream (seed + index). */
#ifndef DPPO_ENVS_ENV_H
#define DPPO_ENVS_ENV_H

#include "base/status.h"
#include "config/config.h"
#include "random/generator.h"
#include "tensor/named.h"

/* -- a task -------------------------------------------------------------------------------------------------
 */
typedef struct dppo_task dppo_task; /* the compiled model, shared, read-only */
typedef struct dppo_env dppo_env;   /* one instance: its state and random stream */

/* By name: "hopper-medium-v2", "Hopper-v2", "hopper" are the same task, as are those of halfcheetah and
 * walker2d. The version, where there is one, is v0 to v4 (v5 changed the models). DPPO_MISSING names an
 * unknown one. */
dppo_status dppo_task_new(const char *name, dppo_task **task);
void dppo_task_free(dppo_task *task);
int64_t dppo_task_obs_dim(const dppo_task *task);
int64_t dppo_task_action_dim(const dppo_task *task);
int64_t dppo_task_nq(const dppo_task *task);
int64_t dppo_task_nv(const dppo_task *task);
/* D4RL's reference returns for the normalised score. */
void dppo_task_score_range(const dppo_task *task, double *low, double *high);
const char *dppo_task_name(const dppo_task *task);   /* "hopper" */
int64_t dppo_task_time_limit(const dppo_task *task); /* env steps, of the task's registration in Gym */
const char *dppo_task_engine(void);                  /* MuJoCo's version: "2.2.2" */
/* kg, without the world; for checks of the compiled model. */
double dppo_task_mass(const dppo_task *task);

dppo_status dppo_env_new(const dppo_task *task, uint64_t seed, dppo_env **env);
void dppo_env_free(dppo_env *env);
dppo_status dppo_env_reset(dppo_env *env, double *observation); /* (Do), with reset noise */
dppo_status dppo_env_set_state(dppo_env *env, const double *qpos, const double *qvel); /* (nq), (nv) */
void dppo_env_get_state(const dppo_env *env, double *qpos, double *qvel);
void dppo_env_observe(const dppo_env *env, double *observation);
/* action (Da), raw; the task's control cost sees it unclipped. */
dppo_status dppo_env_step(dppo_env *env, const double *action, double *observation, double *reward,
                          bool *terminated);
/* The same as numpy computes it from a float32 array: the squares of the control cost are summed in float32.
 */
dppo_status dppo_env_step_f32(dppo_env *env, const float *action, double *observation, double *reward,
                              bool *terminated);

/* What, with the random stream, determines everything that follows: time (1), qpos (nq), qvel (nv), warm
 * start (nv). Borrowed from the environment, writable: a state copied into it continues bit-exactly. */
typedef struct dppo_env_state {
    double *time, *qpos, *qvel, *qacc_warmstart;
} dppo_env_state;
dppo_env_state dppo_env_raw_state(dppo_env *env);
dppo_generator *dppo_env_generator(dppo_env *env); /* borrowed */

/* -- the vector, with DPPO's wrappers
 * ------------------------------------------------------------------------- */
typedef struct dppo_vector_env dppo_vector_env;

typedef struct dppo_step_result { /* all owned by the caller */
    float *obs;                   /* (N, To, Do): of the new episode where one was reset within the step */
    double *reward;               /* (N): summed over the chunk */
    bool *terminated, *truncated; /* (N) */
    float *final_obs; /* (N, To, Do) or NULL: where truncated, the last observation of the old episode */
} dppo_step_result;

/* From a training or eval config (its `env` node, cond_steps, act_steps, seed). Normalisation is read from
 * env.wrappers.mujoco_locomotion_lowdim.normalization_path. Keys beyond the original's that correct its
 * quirks are documented in envs/README.md and default to the original's behaviour. */
dppo_status dppo_vector_env_new(const dppo_config *config, dppo_vector_env **vector);
void dppo_vector_env_free(dppo_vector_env *vector);
int64_t dppo_vector_env_count(const dppo_vector_env *vector);
dppo_status dppo_vector_env_reset(dppo_vector_env *vector, float *obs); /* (N, To, Do) */
/* actions (N, Ta_executed, Da), normalised to [-1, 1]. */
dppo_status dppo_vector_env_step(dppo_vector_env *vector, const float *actions, dppo_step_result *result);
/* Everything that determines what follows (simulator states, warm starts, counters, histories, random
 * streams). */
dppo_status dppo_vector_env_save(const dppo_vector_env *vector, const char *prefix, dppo_named *into);
dppo_status dppo_vector_env_load(dppo_vector_env *vector, const char *prefix, const dppo_named *from);

#endif
