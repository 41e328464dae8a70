/* Networks of the original's model/common and model/diffusion: what they compute.
 *
 * Modules come from dppo_build_module(). Every function takes the context first, returns a tensor of it, and
 * NULL after a failure. B batch, To observation steps, Do observation dimension, Ta action steps, Da action
 * dimension. */
#ifndef DPPO_MODELS_NETWORKS_H
#define DPPO_MODELS_NETWORKS_H

#include "autograd/functions.h"
#include "config/config.h"
#include "nn/module.h"

/* -- what a policy is conditioned on
 * ----------------------------------------------------------------------------------------- */
typedef struct dppo_cond {
    dppo_tensor *state; /* (B, To, Do) */
    dppo_tensor *rgb;   /* (B, To, C, H, W) of 0 ... 255, or NULL without images */
    bool no_augment;    /* a critic sees the images as they are, even if its config says augment */
} dppo_cond;

static inline dppo_cond dppo_cond_of(dppo_tensor *state) {
    return (dppo_cond){.state = state};
}
dppo_cond dppo_cond_index_select(dppo_cx *cx, dppo_cond cond, dppo_tensor *rows); /* rows (n) int64 */
/* Each row n times, one after the other: B n rows. */
dppo_cond dppo_cond_repeat_rows(dppo_cx *cx, dppo_cond cond, int64_t n);

/* -- families: classes that stand in for each other
 * -------------------------------------------------------------------------- */
/* The class and the name of its forward function, dppo_<name>_forward. The lists of names, ended by NULL, are
 * for builders. */
#define DPPO_NOISE_NETWORKS(X)                                                                               \
    X(DiffusionMLP, diffusion_mlp)                                                                           \
    X(Unet1D, unet1d)                                                                                        \
    X(VisionDiffusionMLP, vision_diffusion_mlp)                                                              \
    X(VisionUnet1D, vision_unet1d)
#define DPPO_GAUSSIAN_NETWORKS(X)                                                                            \
    X(Gaussian_MLP, gaussian_mlp)                                                                            \
    X(Gaussian_VisionMLP, gaussian_vision_mlp)                                                               \
    X(Gaussian_Transformer, gaussian_transformer)
#define DPPO_GMM_NETWORKS(X)                                                                                 \
    X(GMM_MLP, gmm_mlp)                                                                                      \
    X(GMM_Transformer, gmm_transformer)
#define DPPO_CRITICS(X)                                                                                      \
    X(CriticObs, critic_obs)                                                                                 \
    X(ViTCritic, vit_critic)
extern const char *const dppo_noise_networks[], *const dppo_gaussian_networks[], *const dppo_gmm_networks[],
                                                                                     *const dppo_critics[];

/* The predicted noise (or x0). x (B, Ta, Da), time (B) int64 -> (B, Ta, Da). */
typedef dppo_tensor *dppo_noise_network(dppo_cx *cx, const dppo_module *module, dppo_tensor *x,
                                        dppo_tensor *time, dppo_cond cond);
/* Returns mean (B, Ta Da), also in *mean; scale (B, Ta Da). */
typedef dppo_tensor *dppo_gaussian_network(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                           dppo_tensor **mean, dppo_tensor **scale);
/* A mixture of M modes: returns means (B, M, Ta Da), also in *means; scales (B, M, Ta Da); unnormalised
 * logits (B, M). All NULL after a failure. */
typedef dppo_tensor *dppo_gmm_network(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                      dppo_tensor **means, dppo_tensor **scales, dppo_tensor **logits);
/* The value of a state, (B, 1). */
typedef dppo_tensor *dppo_critic(dppo_cx *cx, const dppo_module *module, dppo_cond cond);

/* Whichever of its family `module` is. */
dppo_noise_network dppo_noise_network_forward;
dppo_gaussian_network dppo_gaussian_network_forward;
dppo_gmm_network dppo_gmm_network_forward;
dppo_critic dppo_critic_forward;

/* -- options shared by the two kinds of MLP
 * ------------------------------------------------------------------- */
enum { DPPO_MAX_LAYERS = 32 };

/* The arguments of the original's MLP and ResidualMLP. */
typedef struct dppo_mlp_options {
    int64_t dims[DPPO_MAX_LAYERS + 1]; /* dim_list: input, hidden ..., output */
    size_t dim_count;
    const char *activation_type, *out_activation_type; /* ReLU, ELU, GELU, Tanh, Mish, Identity, Softplus */
    bool use_layernorm, use_layernorm_final;
    double dropout;
    /* MLP only */
    bool use_drop_final;
    int64_t append_dim; /* width of `append`, joined to the input of the layers in append_layers */
    int64_t append_layers[DPPO_MAX_LAYERS];
    size_t append_layer_count;
} dppo_mlp_options;

/* Either kind, drawing its weights (NULL generator: zeros); owned by the caller. */
dppo_status dppo_mlp_new(const dppo_mlp_options *options, dppo_generator *generator, dppo_module **module);
dppo_status dppo_residual_mlp_new(const dppo_mlp_options *options, dppo_generator *generator,
                                  dppo_module **module);

dppo_status dppo_any_mlp_new(bool residual_style, const dppo_mlp_options *options, dppo_generator *generator,
                             dppo_module **module);

/* For builders: appends one dimension; those of a list, if it is there; those of mlp_dims, or a fallback
 * (none: it must be there). */
dppo_status dppo_mlp_options_add(dppo_mlp_options *options, int64_t dim);
dppo_status dppo_mlp_options_add_list(dppo_mlp_options *options, const dppo_config *config, const char *key);
dppo_status dppo_mlp_options_add_hidden(dppo_mlp_options *options, const dppo_config *config,
                                        const int64_t *fallback, size_t fallback_count);
/* For critics of states: what follows the input's width, which must be there already. */
dppo_status dppo_critic_obs_options_read(const dppo_config *config, dppo_mlp_options *options,
                                         bool *residual_style);

/* -- forward
 * ---------------------------------------------------------------------------------------------------- */
/* MLP. x (B, in) -> (B, out); append (B, append_dim) or NULL. */
dppo_tensor *dppo_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x, dppo_tensor *append);
/* ResidualMLP. x (B, in) -> (B, out). */
dppo_tensor *dppo_residual_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x);
/* Whichever of the two `module` is. */
dppo_tensor *dppo_any_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x);

/* SinusoidalPosEmb. x (B) or (B, 1), int64 -> (B, dim) or (B, 1, dim). */
dppo_tensor *dppo_sinusoidal_pos_emb_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x);

#define DPPO_DECLARE_NOISE_NETWORK(type, name) dppo_noise_network dppo_##name##_forward;
#define DPPO_DECLARE_GAUSSIAN_NETWORK(type, name) dppo_gaussian_network dppo_##name##_forward;
#define DPPO_DECLARE_GMM_NETWORK(type, name) dppo_gmm_network dppo_##name##_forward;
#define DPPO_DECLARE_CRITIC(type, name) dppo_critic dppo_##name##_forward;
DPPO_NOISE_NETWORKS(DPPO_DECLARE_NOISE_NETWORK)
DPPO_GAUSSIAN_NETWORKS(DPPO_DECLARE_GAUSSIAN_NETWORK)
DPPO_GMM_NETWORKS(DPPO_DECLARE_GMM_NETWORK)
DPPO_CRITICS(DPPO_DECLARE_CRITIC)

/* CriticObsAct: the value of an action (B, Ta, Da) in a state, (B). *q2 is NULL with double_q: false. */
dppo_tensor *dppo_critic_obs_act_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                         dppo_tensor *action, dppo_tensor **q2);
/* The same of N critics in one module (dppo_module_stack), all asked about the same actions: (N, B). */
dppo_tensor *dppo_critic_ensemble_forward(dppo_cx *cx, const dppo_module *module, int64_t members,
                                          dppo_cond cond, dppo_tensor *action);

/* (B, ...) -> (B, n), the original's view(B, -1). */
dppo_tensor *dppo_flatten_rows(dppo_cx *cx, dppo_tensor *input);

#endif
