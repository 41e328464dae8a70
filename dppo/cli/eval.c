/* dppo eval: play a policy without learning. */
#include "algorithms/driver.h"
#include "base/pool.h"
#include "cli/cli.h"
#include "cli/run_config.h"

#include <stdio.h>
#include <string.h>

static int run(int argc, char **argv) {
    dppo_config *config = NULL;
    dppo_episodes episodes;
    if (argc < 2) {
        (void)dppo_fail(DPPO_INVALID, "which configuration? (dppo eval --help)");
        return dppo_cli_error();
    }
    for (int i = 2; i < argc; i++)
        if (!dppo_is_override(argv[i])) {
            (void)dppo_fail(DPPO_INVALID, "%s: not an override key=value", argv[i]);
            return dppo_cli_error();
        }
    dppo_status status = dppo_run_config(argv[1], argc - 2, argv + 2, &config);
    dppo_set_threads(0);
    if (status == DPPO_OK) status = dppo_evaluate(config, &dppo_c_agent_class, &episodes);
    dppo_config_free(config);
    if (status == DPPO_MISSING) return (void)dppo_cli_error(), DPPO_EXIT_MISSING;
    if (status != DPPO_OK) return dppo_cli_error();
    (void)printf("num episode %lld\navg episode reward %.4f\navg best reward %.4f\nsuccess rate %.4f\n",
                 (long long)episodes.count, episodes.avg_episode_reward, episodes.avg_best_reward,
                 episodes.success_rate);
    return DPPO_EXIT_OK;
}

const dppo_verb dppo_verb_eval = {
    .name = "eval",
    .summary = "play a policy and report its episodes",
    .usage = "usage: dppo eval CONFIG [key=value ...]\n\n"
             "CONFIG is an evaluation configuration of the original's form (n_steps, env, model with "
             "network_path).\n",
    .run = run,
};
