// What the off-policy learners of the original have in common.
//
// Shapes: B batch, S steps, N environments.
#ifndef DPPO_SHIM_OFFPOLICY_H
#define DPPO_SHIM_OFFPOLICY_H

#include "networks.h"

namespace shim {

// A minibatch from the replay buffer: actions (B, Ta, Da), rewards and terminated (B), 1 where the episode
// ended.
struct Transitions {
    Cond obs, next_obs;
    Tensor actions, rewards, terminated;
};

// rewards + gamma next_value where the episode goes on, (B).
Tensor bellman_target(const Transitions &batch, const Tensor &next_value, double gamma);
// mean (q1 - target)^2 + mean (q2 - target)^2
Tensor double_q_loss(const std::pair<Tensor, Tensor> &q, const Tensor &target);
// |expectile - [diff <= 0]| diff^2, element by element.
Tensor expectile_loss(const Tensor &diff, double expectile = 0.8);
// target = target (1 - tau) + source tau, over all parameters.
void soft_update(torch::nn::Module &target, const torch::nn::Module &source, double tau);

// TD(lambda) as the AWR agent has it: rewards (S, N) float64, terminateds (S, N) bool, values (S, N) of the
// dtype that the result has.
Tensor td_values(const Tensor &rewards, const Tensor &terminateds, const Tensor &values, double gamma,
                 double alpha, double lam);
// min(exp(beta A), max_weight) with A normalised, (B).
Tensor advantage_weights(const Tensor &advantages, double beta, double max_weight);
// Discounted reward-to-go (n) float64 of the episodes within rewards (S, N) that `firsts` (S + 1, N)
// delimits, environment after environment; those of a single step are left out.
Tensor episode_returns(const Tensor &rewards, const Tensor &firsts, double gamma);
// The same weights of returns (n) float64, in torch's default dtype.
Tensor reward_weights(const Tensor &returns, double beta, double max_weight);

} // namespace shim

#endif
