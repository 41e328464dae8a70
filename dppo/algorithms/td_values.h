/* TD(lambda) values, the loop of the original's AWR agents (td_values of train_awr_diffusion_agent.py). */
#ifndef DPPO_ALGORITHMS_TD_VALUES_H
#define DPPO_ALGORITHMS_TD_VALUES_H

#include <stdint.h>

typedef struct dppo_td_options {
    double gamma, alpha, lam; /* alpha: how far a value moves towards its target */
} dppo_td_options;
dppo_td_options dppo_td_defaults(void); /* .99, .95, .95 */

/* All (S, N): rewards float64, terminateds 0 or 1, state_values and td_values float32. */
void dppo_td_values(dppo_td_options options, int64_t n_steps, int64_t n_envs, const double *rewards,
                    const uint8_t *terminateds, const float *state_values, float *td_values);

#endif
