/* libtorch behind a C ABI: the independent second opinion.
 *
 * Plain C11. Every function returns a dppo_status and leaves its message in dppo_message(); exceptions stop
 * at this boundary. Handles are opaque. The shim shares no arithmetic with dppo/: it uses from it only what
 * both sides must see alike: cases and named tensors, the configuration tree, recorded draws and the
 * generator that makes them, and the environments. */
#ifndef DPPO_SHIM_SHIM_H
#define DPPO_SHIM_SHIM_H

#ifdef __cplusplus
extern "C" {
#endif

#include "algorithms/agent.h"
#include "parity/door.h"

/* Sets libtorch up once: one thread unless told otherwise, deterministic algorithms, ATEN_CPU_CAPABILITY=avx2
 * (unless the user set it) so that reductions add in one order on every machine. Called by the others when
 * needed. */
dppo_status shim_init(int threads);

/* "1.13.1" and the vector capability in use ("AVX2"): for reports. Borrowed, static. */
const char *shim_torch_version(void);
const char *shim_cpu_capability(void);

/* The functions of the torch side, sorted; borrowed, static. */
const char *const *shim_functions(size_t *count);

/* Calls a case in float32 with libtorch. `answer` is owned by the caller: dppo_answer_free(). */
dppo_status shim_call(const dppo_case *parity_case, dppo_answer *answer);
/* The same with every float input, parameter, draw and constant in float64: the truth. Answers are float64.
 */
dppo_status shim_call_float64(const dppo_case *parity_case, dppo_answer *answer);

/* A network on one batch, for measurements. `family` names what it takes from `in` and gives: noise (x, time,
 * state, rgb), gaussian, gmm, critic, eta (state, rgb), critic_obs_act (state, action), encoder (image). All
 * tensors are copied; owned by the caller. */
typedef struct shim_network shim_network;
dppo_status shim_network_new(const char *family, const dppo_config *config, const dppo_named *state,
                             const dppo_named *in, shim_network **network);
/* Clears the gradients, then forward, and backward of half the sum of the squares of the outputs. */
dppo_status shim_network_step(shim_network *network);
/* After a step: that objective, and the Euclidean norm of the gradients. */
dppo_status shim_network_result(const shim_network *network, double *objective, double *norm);
void shim_network_free(shim_network *network);

/* The torch side of the agents (agent.h). */
extern const dppo_agent_class shim_agent_class;

#ifdef __cplusplus
}
#endif

#endif
