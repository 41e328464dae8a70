#include "algorithms/advantages.h"
#include "algorithms/numpy.h"

#include <math.h>

void dppo_gae(dppo_gae_options options, int64_t n_steps, int64_t n_envs, const double *reward,
              const double *terminated, const double *values, const double *discounted_next,
              double *advantages, double *returns) {
    double decay = options.gamma * options.gae_lambda;
    for (int64_t t = n_steps - 1; t >= 0; t--)
        for (int64_t i = 0; i < n_envs; i++) {
            int64_t at = t * n_envs + i;
            int last = t == n_steps - 1;
            double nonterminal = 1.0 - terminated[at];
            double next = last ? discounted_next[i] : options.gamma * values[at + n_envs];
            /* delta_t = r_t + gamma V_{t+1} - V_t;  A_t = delta_t + gamma lambda A_{t+1} */
            double delta = reward[at] * options.reward_scale_const + next * nonterminal - values[at];
            advantages[at] = delta + decay * nonterminal * (last ? 0.0 : advantages[at + n_envs]);
            returns[at] = advantages[at] + values[at];
        }
}

double dppo_explained_variance(int64_t count, const float *values, const float *returns, float *rest) {
    float var = dppo_np_var_f32(returns, count);
    if (var == 0) return NAN;
    for (int64_t i = 0; i < count; i++)
        rest[i] = returns[i] - values[i];
    return (double)(1 - dppo_np_var_f32(rest, count) / var);
}
