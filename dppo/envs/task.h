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

struct dppo_task {
    const dppo_task_spec *spec;
    mjModel *model; /* owned */
};

#endif
