/* Discounted rewards-to-go of whole episodes, as the original's RWR and Cal-QL agents compute them. */
#ifndef DPPO_ALGORITHMS_EPISODE_RETURNS_H
#define DPPO_ALGORITHMS_EPISODE_RETURNS_H

#include <stdint.h>

/* rewards (S, N); firsts (S + 1, N), 1 where an episode begins. Of every episode of two steps or more that
 * begins and ends within, G_t = r_t + gamma G_{t+1} of all its steps; episodes in the order of their
 * environment, then of time. `returns` has room for S N; how many there are is returned. */
int64_t dppo_episode_returns(int64_t n_steps, int64_t n_envs, const double *rewards, const double *firsts,
                             double gamma, double *returns);

#endif
