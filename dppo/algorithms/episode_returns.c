#include "algorithms/episode_returns.h"

/* The steps `start` to `end` - 1 of one environment, whose entries are `stride` apart. */
static void discount(const double *rewards, int64_t stride, int64_t start, int64_t end, double gamma,
                     double *returns) {
    double to_go = 0;
    for (int64_t t = end - 1; t >= start; t--) {
        to_go = rewards[t * stride] + gamma * to_go;
        returns[t - start] = to_go;
    }
}

int64_t dppo_episode_returns(int64_t n_steps, int64_t n_envs, const double *rewards, const double *firsts,
                             double gamma, double *returns) {
    int64_t count = 0;
    for (int64_t i = 0; i < n_envs; i++) {
        int64_t start = -1; /* of the episode under way; none before the first one that begins here */
        for (int64_t t = 0; t <= n_steps; t++) {
            if (firsts[t * n_envs + i] != 1) continue;
            if (start >= 0 && t - start > 1) {
                discount(rewards + i, n_envs, start, t, gamma, returns + count);
                count += t - start;
            }
            start = t;
        }
    }
    return count;
}
