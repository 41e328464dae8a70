/* delta_t = r_t + gamma V_{t+1} (1 - d_t) - V_t;  e_t = alpha delta_t + gamma lambda (1 - d_t) e_{t+1};
 * TD_t = V_t + e_t. After the last step V_{S-1} stands for the value that is not there. */
#include "algorithms/td_values.h"

dppo_td_options dppo_td_defaults(void) {
    return (dppo_td_options){.gamma = 0.99, .alpha = 0.95, .lam = 0.95};
}

/* One environment, from its last step back; entries are `n_envs` apart. numpy multiplies gamma and the last
 * row's values in float32, all others, which a mask of integers has made float64, in float64. */
static void walk_back(dppo_td_options o, int64_t n_steps, int64_t n_envs, const double *rewards,
                      const uint8_t *terminateds, const float *values, float *td_values) {
    double e = 0;
    for (int64_t t = n_steps - 1; t >= 0; t--) {
        int64_t at = t * n_envs;
        double mask = terminateds[at] ? 0 : 1, value = (double)values[at], next;
        if (t == n_steps - 1)
            next = (double)((float)o.gamma * (terminateds[at] ? 0.0f : values[at]));
        else
            next = o.gamma * ((double)values[at + n_envs] * mask);
        double delta = rewards[at] + next - value;
        e = o.alpha * delta + o.gamma * o.lam * mask * e;
        td_values[at] = (float)(e + value);
    }
}

void dppo_td_values(dppo_td_options options, int64_t n_steps, int64_t n_envs, const double *rewards,
                    const uint8_t *terminateds, const float *state_values, float *td_values) {
    for (int64_t i = 0; i < n_envs; i++)
        walk_back(options, n_steps, n_envs, rewards + i, terminateds + i, state_values + i, td_values + i);
}
