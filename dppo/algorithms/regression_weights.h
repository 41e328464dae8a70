/* Weights of actions in weighted regression: min(exp(beta x), max), x a normalised advantage or return. */
#ifndef DPPO_ALGORITHMS_REGRESSION_WEIGHTS_H
#define DPPO_ALGORITHMS_REGRESSION_WEIGHTS_H

#include "autograd/functions.h"

/* Of a batch: advantages (B) float32 -> (B); x = (A - mean) / (std + 1e-6), std unbiased. */
dppo_tensor *dppo_advantage_weights(dppo_cx *cx, dppo_tensor *advantages, double beta, double max_weight);

/* Of an iteration: returns (count) -> (count) float32; x = (R - mean) / (std + 1e-3) in float64, std biased,
 * rounded to float32. */
dppo_tensor *dppo_reward_weights(dppo_cx *cx, int64_t count, const double *returns, double beta,
                                 double max_weight);

#endif
