/* RunningRewardScaler of the original (util/reward_scaling.py): rewards divided by the standard deviation of
 * a running discounted sum, in float64. */
#ifndef DPPO_ALGORITHMS_REWARD_SCALING_H
#define DPPO_ALGORITHMS_REWARD_SCALING_H

#include "base/status.h"
#include "tensor/named.h"

typedef struct dppo_reward_scaler {
    int64_t n_envs;
    double cliprew, gamma, epsilon;
    bool per_env;       /* statistics for each environment instead of over all */
    int64_t stats;      /* N with per_env, else 1 */
    double *ret;        /* (N), owned: the discounted sum so far */
    double *mean, *var; /* (stats), owned */
    double count;       /* starts at 1e-4 */
    double *work;       /* (N, T) of the longest iteration so far, owned */
    int64_t room;       /* numbers in it */
} dppo_reward_scaler;

/* The original's defaults are cliprew 10, gamma 0.99, per_env false. */
dppo_status dppo_reward_scaler_init(dppo_reward_scaler *scaler, int64_t n_envs, double cliprew, double gamma,
                                    bool per_env);
void dppo_reward_scaler_free(dppo_reward_scaler *scaler);

/* Updates the statistics with one iteration and scales it in place: reward (T, N); firsts (T, N), 1 where an
 * episode starts. */
dppo_status dppo_reward_scaler_apply(dppo_reward_scaler *scaler, int64_t n_steps, const double *firsts,
                                     double *reward);

/* "prefix" + ret (N), mean, var, count. */
dppo_status dppo_reward_scaler_save(const dppo_reward_scaler *scaler, const char *prefix, dppo_named *into);
dppo_status dppo_reward_scaler_load(dppo_reward_scaler *scaler, const char *prefix, const dppo_named *from);

#endif
