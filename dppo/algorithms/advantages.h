/* Generalised advantage estimation (arXiv 1506.02438), the loop of the original's PPO agents. */
#ifndef DPPO_ALGORITHMS_ADVANTAGES_H
#define DPPO_ALGORITHMS_ADVANTAGES_H

#include <stdint.h>

typedef struct dppo_gae_options {
    double gamma, gae_lambda, reward_scale_const;
} dppo_gae_options;

/* All float64: reward, terminated, values, advantages, returns (T, N); discounted_next (N) is gamma times the
 * value after the last step, already discounted because the original forms that one product in float32. A
 * terminated step does not bootstrap. */
void dppo_gae(dppo_gae_options options, int64_t n_steps, int64_t n_envs, const double *reward,
              const double *terminated, const double *values, const double *discounted_next,
              double *advantages, double *returns);

/* 1 - var(returns - values) / var(returns) in float32; NaN when the returns do not vary. `rest` (count) is
 * scratch. */
double dppo_explained_variance(int64_t count, const float *values, const float *returns, float *rest);

#endif
