/* dppo: Diffusion Policy Policy Optimization in C, proved equal to PyTorch.
 *
 * Deploying a policy needs a configuration and a checkpoint: of `dppo train` or `dppo pretrain`, or the
 * original's .pt.
 *
 *     #include <dppo/dppo.h>
 *     #include <stdio.h>
 *     #include <stdlib.h>
 *
 *     // policy eval_diffusion_mlp.yaml base_policy_path=state_3000.pt: the first chunk of actions
 *     static dppo_status deploy(int argc, char **argv, dppo_config **config, dppo_agent **agent) {
 *         float obs[11] = {0};  // (B, To, Do), B = To = 1: normalised as normalization.npz says
 *         float actions[4 * 3]; // (B, Ta, Da), in [-1, 1]
 *         DPPO_TRY(dppo_run_config(argv[1], argc - 2, argv + 2, config));
 *         DPPO_TRY(dppo_c_agent_class.create(*config, agent)); // loads model.network_path
 *         DPPO_TRY(dppo_c_agent_class.act(*agent, 1, obs, true, actions, NULL));
 *         for (int t = 0; t < 4; t++)
 *             printf("%9.6f %9.6f %9.6f\n", actions[3 * t], actions[3 * t + 1], actions[3 * t + 2]);
 *         return DPPO_OK;
 *     }
 *
 *     int main(int argc, char **argv) {
 *         dppo_config *config = NULL;
 *         dppo_agent *agent = NULL;
 *         dppo_status status = argc > 1 ? deploy(argc, argv, &config, &agent) : DPPO_INVALID;
 *         if (status != DPPO_OK) fprintf(stderr, "policy: %s\n", dppo_message());
 *         dppo_c_agent_class.destroy(agent);
 *         dppo_config_free(config);
 *         return status == DPPO_OK ? EXIT_SUCCESS : EXIT_FAILURE;
 *     }
 *
 *     cc policy.c $(pkg-config --cflags --libs dppo)
 *
 * or, with CMake, find_package(dppo) and target_link_libraries(policy dppo::dppo).
 * parity_tests/test_install.sh builds the example above both ways and runs it.
 *
 * Where a status is not DPPO_OK, dppo_message() says why. What is "owned by the caller" has a _free() of its
 * kind; everything else is borrowed. */
#ifndef DPPO_DPPO_H
#define DPPO_DPPO_H

/* -- every day: configurations, data, environments, agents */
#include "algorithms/agent.h"
#include "base/pool.h"
#include "base/status.h"
#include "config/config.h"
#include "data/dataset.h"
#include "envs/env.h"
#include "tensor/named.h"

/* -- for algorithms of one's own: the autograd that they are written with */
#include "autograd/functions.h"
#include "models/build.h"
#include "nn/module.h"
#include "optim/optim.h"
#include "random/generator.h"

/* -- for cases of one's own: the judge */
#include "parity/door.h"

#endif
