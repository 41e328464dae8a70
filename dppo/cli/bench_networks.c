/* dppo bench networks: forward and backward of each network, as the original's configurations have them, in C
 * and in libtorch. Both have the same weights and inputs, and are compared before they are timed. */
#include "base/log.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "diffusion/diffusion.h"
#include "models/build.h"
#include "models/networks.h"
#include "models/vision.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef DPPO_WITH_SHIM
#include "shim.h"
#endif

enum { MOST_OUTPUTS = 3 };

/* Class, family, rows of a batch, pairs, the configuration of structures.yaml that has it and where, an
 * override or NULL. Batches are those of pre-training (128 in Gym, 256 in robomimic) and, for critics of
 * states, of fine-tuning. Images are not augmented, as in fine-tuning. No configuration learns eta: the sizes
 * are those its fixed one is given. */
#define NETWORKS(X)                                                                                          \
    X(DiffusionMLP, noise, 128, 41, "gym/pretrain/hopper-medium-v2/pre_diffusion_mlp", "network", NULL)      \
    X(Unet1D, noise, 256, 11, "robomimic/pretrain/can/pre_diffusion_unet", "network", NULL)                  \
    X(VisionDiffusionMLP, noise, 256, 5, "robomimic/finetune/can/ft_ppo_diffusion_mlp_img", "actor", NULL)   \
    X(VisionUnet1D, noise, 256, 5, "robomimic/finetune/can/ft_ppo_diffusion_unet_img", "actor", NULL)        \
    X(Gaussian_MLP, gaussian, 256, 21, "robomimic/pretrain/can/pre_gaussian_mlp", "network", NULL)           \
    X(Gaussian_Transformer, gaussian, 256, 11, "robomimic/pretrain/can/pre_gaussian_transformer", "network", \
      NULL)                                                                                                  \
    X(GMM_MLP, gmm, 256, 21, "robomimic/pretrain/can/pre_gmm_mlp", "network", NULL)                          \
    X(GMM_Transformer, gmm, 256, 11, "robomimic/pretrain/can/pre_gmm_transformer", "network", NULL)          \
    X(Gaussian_VisionMLP, gaussian, 256, 5, "robomimic/finetune/can/ft_ppo_gaussian_mlp_img", "actor", NULL) \
    X(CriticObs, critic, 7500, 21, "robomimic/finetune/can/ft_ppo_diffusion_mlp", "critic", NULL)            \
    X(CriticObsAct, critic_obs_act, 1000, 21, "robomimic/finetune/can/ft_dql_diffusion_mlp", "critic", NULL) \
    X(ViTCritic, critic, 256, 5, "robomimic/finetune/can/ft_ppo_diffusion_mlp_img", "critic", NULL)          \
    X(VitEncoder, encoder, 256, 5, "robomimic/finetune/can/ft_ppo_diffusion_mlp_img", "actor.backbone",      \
      NULL)                                                                                                  \
    X(EtaState, eta, 256, 41, "furniture/finetune/lamp_low/ft_ppo_diffusion_mlp", "eta",                     \
      "model.eta._target_=model.diffusion.eta.EtaState")                                                     \
    X(EtaStateAction, eta, 256, 41, "furniture/finetune/lamp_low/ft_ppo_diffusion_mlp", "eta",               \
      "model.eta._target_=model.diffusion.eta.EtaStateAction")

typedef struct row {
    const char *type, *family;
    int64_t batch;
    const char *config, *node, *change;
} row;

static const row rows[] = {
#define ROW(type, family, batch, pairs, config, node, change) {#type, #family, batch, config, node, change},
    NETWORKS(ROW)
#undef ROW
};

struct dppo_bench_network {
    const row *row;
    dppo_config *config;
    dppo_generator *generator;
    dppo_context *context;
    dppo_module *module;
    dppo_named in;
    dppo_tensor *outputs[MOST_OUTPUTS]; /* of the last step in C; those with a gradient */
    int learned;
#ifdef DPPO_WITH_SHIM
    shim_network *torch;
#endif
};

/* -- inputs */

static dppo_status add_input(dppo_named *in, const char *name, int ndim, const int64_t *shape, double scale,
                             double shift) {
    dppo_tensor *tensor = dppo_named_add(in, name, DPPO_F32, ndim, shape);
    if (!tensor) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    float *values = tensor->data;
    DPPO_TRY(dppo_bench_fill(values, dppo_numel(tensor), scale));
    for (int64_t i = 0; i < dppo_numel(tensor); i++)
        values[i] += (float)shift;
    return DPPO_OK;
}

static dppo_status add_steps(dppo_named *in, int64_t batch, int64_t denoising_steps) {
    dppo_tensor *tensor = dppo_named_add(in, "time", DPPO_I64, 1, &batch);
    if (!tensor) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    for (int64_t i = 0; i < batch; i++)
        ((int64_t *)tensor->data)[i] = i % denoising_steps;
    return DPPO_OK;
}

/* Everything that some family takes; pixels from 0 to 255. */
static dppo_status make_inputs(struct dppo_bench_network *n) {
    int64_t To, Do, Ta, Da, steps, B = n->row->batch, shape[5] = {B, 1, 3, 96, 96}, count;
    DPPO_TRY(dppo_config_int(n->config, "cond_steps", &To));
    DPPO_TRY(dppo_config_int(n->config, "obs_dim", &Do));
    DPPO_TRY(dppo_config_int(n->config, "horizon_steps", &Ta));
    DPPO_TRY(dppo_config_int(n->config, "action_dim", &Da));
    DPPO_TRY(dppo_config_int_or(n->config, "denoising_steps", 1, &steps));
    DPPO_TRY(dppo_config_int_or(n->config, "img_cond_steps", 0, &count));
    DPPO_TRY(add_input(&n->in, "state", 3, (int64_t[]){B, To, Do}, 1, 0));
    DPPO_TRY(add_input(&n->in, "x", 3, (int64_t[]){B, Ta, Da}, 1, 0));
    DPPO_TRY(add_input(&n->in, "action", 3, (int64_t[]){B, Ta, Da}, 1, 0));
    DPPO_TRY(add_steps(&n->in, B, steps));
    if (count == 0) return DPPO_OK;
    if (strcmp(n->row->family, "encoder") == 0)
        return add_input(&n->in, "image", 4, (int64_t[]){B, 3, 96, 96}, 127.5, 127.5);
    return add_input(&n->in, "rgb", 5, shape, 127.5, 127.5);
}

/* -- a step: clear the gradients, forward, backward of half the sum of the squares of the outputs */

static int forward(struct dppo_bench_network *n, dppo_tensor **outputs) {
    const char *family = n->row->family;
    const dppo_cond cond = {.state = dppo_named_get(&n->in, "state"), .rgb = dppo_named_get(&n->in, "rgb")};
    dppo_tensor *x = dppo_named_get(&n->in, "x"), *time = dppo_named_get(&n->in, "time");
    dppo_cx *cx = n->context;
    if (strcmp(family, "noise") == 0) {
        outputs[0] = dppo_noise_network_forward(cx, n->module, x, time, cond);
    } else if (strcmp(family, "gaussian") == 0) {
        (void)dppo_gaussian_network_forward(cx, n->module, cond, &outputs[0], &outputs[1]);
        return 2;
    } else if (strcmp(family, "gmm") == 0) {
        (void)dppo_gmm_network_forward(cx, n->module, cond, &outputs[0], &outputs[1], &outputs[2]);
        return 3;
    } else if (strcmp(family, "critic") == 0) {
        outputs[0] = dppo_critic_forward(cx, n->module, cond);
    } else if (strcmp(family, "eta") == 0) {
        outputs[0] = dppo_eta_forward(cx, n->module, cond);
    } else if (strcmp(family, "critic_obs_act") == 0) {
        dppo_tensor *action = dppo_named_get(&n->in, "action");
        outputs[0] = dppo_critic_obs_act_forward(cx, n->module, cond, action, &outputs[1]);
        return outputs[1] ? 2 : 1;
    } else {
        outputs[0] = dppo_vit_encoder_forward(cx, n->module, dppo_named_get(&n->in, "image"), false);
    }
    return 1;
}

/* d/dy (y^2 / 2) = y: the outputs are their own cotangents. */
static dppo_status step_c(struct dppo_bench_network *n) {
    dppo_tensor *outputs[MOST_OUTPUTS];
    dppo_context_reset(n->context);
    dppo_module_zero_grad(n->module);
    int count = forward(n, outputs);
    DPPO_TRY(dppo_context_status(n->context));
    n->learned = 0;
    for (int i = 0; i < count; i++)
        if (outputs[i]->requires_grad) n->outputs[n->learned++] = outputs[i];
    return dppo_backward(n->context, n->learned, n->outputs, n->outputs);
}

/* -- opening: the same weights and inputs for both */

#ifdef DPPO_WITH_SHIM
static double squares(const dppo_tensor *tensor) {
    const float *values = tensor->data;
    double sum = 0;
    for (int64_t i = 0; i < dppo_numel(tensor); i++)
        sum += (double)values[i] * (double)values[i];
    return sum;
}

/* After a step: what was minimised, and the Euclidean norm of the gradients. */
static dppo_status result_c(const struct dppo_bench_network *n, double *objective, double *norm) {
    size_t count = dppo_module_parameters(n->module, NULL, NULL, 0);
    dppo_tensor **parameters = calloc(count + 1, sizeof *parameters);
    if (!parameters) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    (void)dppo_module_parameters(n->module, parameters, NULL, count);
    *objective = *norm = 0;
    for (int i = 0; i < n->learned; i++)
        *objective += squares(n->outputs[i]) / 2;
    for (size_t i = 0; i < count; i++)
        if (parameters[i]->grad) *norm += squares(parameters[i]->grad);
    *norm = sqrt(*norm);
    free(parameters);
    return DPPO_OK;
}

static bool near(double a, double b) {
    return fabs(a - b) <= 1e-3 * fabs(b) && b > 0;
}

/* What is timed must be the same computation. */
static dppo_status open_torch(struct dppo_bench_network *n, const dppo_config *node) {
    double mine[2] = {NAN, NAN}, theirs[2] = {NAN, NAN};
    dppo_named state = {0};
    dppo_status status = dppo_module_state_dict(n->module, "", &state);
    if (status == DPPO_OK) status = shim_network_new(n->row->family, node, &state, &n->in, &n->torch);
    dppo_named_free(&state);
    DPPO_TRY(status);
    DPPO_TRY(step_c(n));
    DPPO_TRY(result_c(n, &mine[0], &mine[1]));
    DPPO_TRY(shim_network_step(n->torch));
    DPPO_TRY(shim_network_result(n->torch, &theirs[0], &theirs[1]));
    if (near(mine[0], theirs[0]) && near(mine[1], theirs[1])) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "C has %g and a gradient of %g, libtorch %g and %g", mine[0], mine[1],
                     theirs[0], theirs[1]);
}
#endif

static dppo_status make(struct dppo_bench_network *n, const char *folder) {
    char path[4300];
    dppo_config *structures;
    (void)snprintf(path, sizeof path, "%s/configs/structures.yaml", folder);
    DPPO_TRY(dppo_config_load(path, &structures));
    dppo_status status = dppo_config_expand(structures, n->row->config, &n->config);
    dppo_config_free(structures);
    DPPO_TRY(status);
    if (n->row->change) DPPO_TRY(dppo_config_override(n->config, n->row->change));
    DPPO_TRY(dppo_config_resolve(n->config));
    n->generator = dppo_generator_new(7);
    if (!n->generator || !(n->context = dppo_context_new(NULL)))
        return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    (void)dppo_set_grad_enabled(n->context, true);
    const dppo_config *node = dppo_config_get(dppo_config_get(n->config, "model"), n->row->node);
    DPPO_TRY(dppo_build_module(node, n->generator, &n->module));
    DPPO_TRY(make_inputs(n));
#ifdef DPPO_WITH_SHIM
    DPPO_TRY(open_torch(n, node));
#endif
    return DPPO_OK;
}

/* The agents' class stands for the side: that there is one tells that pairs can be measured. */
static dppo_status open_network(bench *b) {
    char buffer[4096];
    b->network = calloc(1, sizeof *b->network);
    if (!b->network) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].type, b->name) == 0) b->network->row = &rows[i];
    DPPO_TRY(make(b->network, dppo_fixture_folder(buffer, sizeof buffer)));
    b->sides[0] = &dppo_c_agent_class;
#ifdef DPPO_WITH_SHIM
    b->sides[1] = &shim_agent_class;
#endif
    return DPPO_OK;
}

static dppo_status run_network(bench *b, int which, double *seconds) {
    dppo_status status = DPPO_OK;
    double start = dppo_seconds();
    if (which == 0) status = step_c(b->network);
#ifdef DPPO_WITH_SHIM
    if (which == 1) status = shim_network_step(b->network->torch);
#endif
    *seconds = dppo_seconds() - start;
    return status;
}

void dppo_bench_network_free(struct dppo_bench_network *network) {
    if (!network) return;
#ifdef DPPO_WITH_SHIM
    shim_network_free(network->torch);
#endif
    dppo_module_free(network->module);
    dppo_context_free(network->context);
    dppo_generator_free(network->generator);
    dppo_named_free(&network->in);
    dppo_config_free(network->config);
    free(network);
}

const bench_spec dppo_bench_networks[] = {
#define SPEC(type, family, batch, pairs, config, node, change)                                               \
    {{{#type, "forward and backward of " #batch " rows"}},                                                   \
     {"C", "libtorch"},                                                                                      \
     pairs,                                                                                                  \
     0,                                                                                                      \
     open_network,                                                                                           \
     run_network},
    NETWORKS(SPEC)
#undef SPEC
};
const size_t dppo_bench_network_count = sizeof rows / sizeof *rows;
