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

/* DiffusionMLP: the predicted noise (or x0). x (B, Ta, Da), time (B) int64, state (B, To, Do) -> (B, Ta, Da).
 */
dppo_tensor *dppo_diffusion_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x,
                                        dppo_tensor *time, dppo_tensor *state);

/* CriticObs. state (B, To, Do) -> (B, 1). */
dppo_tensor *dppo_critic_obs_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *state);

/* Gaussian_MLP. state (B, To, Do) -> mean (B, Ta Da), returned too, and scale (B, Ta Da). */
dppo_tensor *dppo_gaussian_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *state,
                                       dppo_tensor **mean, dppo_tensor **scale);

/* (B, ...) -> (B, n), the original's view(B, -1). */
dppo_tensor *dppo_flatten_rows(dppo_cx *cx, dppo_tensor *input);

#endif
