/* What distinguishes one locomotion task from another: one row a task, everything else is shared. */
#ifndef DPPO_ENVS_TASK_H
#define DPPO_ENVS_TASK_H

#include "envs/env.h"

#include <mujoco/mujoco.h>

typedef struct dppo_task_spec {
    const char *name; /* lower case, as D4RL writes it */
    const char *(*xml)(void);
    int frame_skip;         /* simulator steps an env step */
    double alive_bonus;     /* paid on the terminating step too */
    double control_cost;    /* times the sum of squares of the raw action */
    double reset_noise;     /* qpos: uniform in +- this */
    bool normal_velocities; /* qvel: reset_noise * N(0, 1), else uniform like qpos */
    double velocity_clip;   /* of the observed qvel */
    bool (*healthy)(const double *qpos, const double *qvel, int nq, int nv); /* NULL: never terminates */
    double score_low, score_high;
    int64_t time_limit;
} dppo_task_spec;

/* Rows of constraints and contacts that these bodies can have at most: two contacts a pair of geoms that may
 * meet, four rows each with the floor, and the joints' limits, 70 and 16 in all (HalfCheetah). The default,
 * 500 and 100, makes an mjData of 3 MB, which falls out of every cache and takes 30 us to reset. */
#define DPPO_MODEL_SIZE "  <size njmax='80' nconmax='20'/>\n"

struct dppo_task {
    const dppo_task_spec *spec;
    mjModel *model; /* owned */
};

/* An environment without an mjData of its own: before it is reset, set or stepped it is given one of its
 * task's, borrowed, which any number may use one after another. */
dppo_status dppo_env_new_sharing(const dppo_task *task, uint64_t seed, dppo_env **env);
void dppo_env_share(dppo_env *env, mjData *data);

#endif
