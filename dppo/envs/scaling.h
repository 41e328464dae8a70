/* The min-max wrapper: what the network sees of observations, and what its actions become. */
#ifndef DPPO_ENVS_SCALING_H
#define DPPO_ENVS_SCALING_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/* Minima and maxima, all owned; NULL where there is no normalisation. numpy's result depends on how the file
 * stored them, so that is remembered: a D4RL file gives float32, and then ranges and actions are computed in
 * float32. */
typedef struct dppo_scaling {
    int64_t obs_dim, action_dim;
    double *obs_min, *obs_max;       /* (Do) */
    double *action_min, *action_max; /* (Da) */
    bool obs_float32, action_float32;
} dppo_scaling;

/* obs_min, obs_max, action_min, action_max of an .npz; DPPO_INVALID when the sizes are not the task's. */
dppo_status dppo_scaling_read(const char *path, int64_t obs_dim, int64_t action_dim, dppo_scaling *scaling);
void dppo_scaling_free(dppo_scaling *scaling);

/* 2 ((o - min) / (max - min + 1e-6) - 0.5), not clipped; raw, out (Do), may be the same array. */
void dppo_scale_observation(const dppo_scaling *scaling, const double *raw, double *out);

/* One action on its way to the task: (a + 1) / 2 * (max - min) + min without an epsilon (the data side does
 * have one), then D4RL's own rescaling to the motors' range [-1, 1] and its clip. D4RL's is the identity but
 * for rounding: -1 + (a + 1) * 0.5 * 2. Stored minima in float64 make numpy compute in float64: then `wide`
 * is filled, else `narrow`. action, narrow, wide (Da); returns whether it was `wide`. */
bool dppo_unscale_action(const dppo_scaling *scaling, const float *action, float *narrow, double *wide);

#endif
