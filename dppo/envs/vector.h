/* The vector without its configuration file: for whoever has the settings already. */
#ifndef DPPO_ENVS_VECTOR_H
#define DPPO_ENVS_VECTOR_H

#include "envs/env.h"
#include "envs/scaling.h"

typedef struct dppo_vector_options {
    int64_t count;             /* N */
    int64_t obs_steps;         /* To */
    int64_t action_steps;      /* Ta: actions of a chunk */
    int64_t max_episode_steps; /* MultiStep's own limit in env steps, sets truncated only; 0: none */
    bool reset_within_step;
    bool timeout_is_terminal; /* the task's time limit sets terminated beside truncated, as in the original */
    uint64_t seed;            /* environment i draws from a stream seeded with seed + i */
} dppo_vector_options;

/* Takes over `task` and the arrays of `scaling`, whether it succeeds or not. */
dppo_status dppo_vector_env_make(const dppo_vector_options *options, dppo_task *task, dppo_scaling *scaling,
                                 dppo_vector_env **vector);

/* One env step as data sets record it: before the wrappers scale anything; all borrowed. */
typedef struct dppo_transition {
    const double *qpos, *qvel, *observation; /* before the step */
    const double *action;                    /* (Da) that the task saw: unscaled and clipped */
    const double *next_observation;
    double reward;
    bool terminated; /* the task ended by itself */
    bool timeout;    /* the task's time limit, or MultiStep's own */
} dppo_transition;

/* Calls `record` for every env step from now on, from the workers: an environment's steps in order,
 * environments side by side. NULL stops it. */
void dppo_vector_env_record(dppo_vector_env *vector,
                            void (*record)(void *context, int64_t index, const dppo_transition *transition),
                            void *context);

const dppo_task *dppo_vector_env_task(const dppo_vector_env *vector); /* borrowed */
const dppo_vector_options *dppo_vector_env_options(const dppo_vector_env *vector);

#endif
