/* The pieces of the original's U-net over action chunks (model/diffusion/modules.py and unet.py), shared by
 * Unet1D and VisionUnet1D.
 *
 * B batch, C channels, L length: what a chunk (B, Ta, Da) is when its action dimensions are channels
 * (B, Da, Ta). */
#ifndef DPPO_MODELS_UNET1D_H
#define DPPO_MODELS_UNET1D_H

#include "models/networks.h"
#include "models/parts.h"

enum { DPPO_MAX_LEVELS = 8 };

/* How every convolution of a network is followed up. */
typedef struct dppo_conv_block_options {
    int64_t kernel_size, n_groups; /* 0 groups: not normalised */
    double eps;
    const char *activation_type; /* Mish or ReLU */
} dppo_conv_block_options;

/* ResidualBlock1D: two convolutions, modulated by a condition in between. */
typedef struct dppo_residual_block_options {
    dppo_conv_block_options conv;
    int64_t cond_dim;
    bool cond_predict_scale; /* scale and shift of each channel, else a shift */
    bool larger_encoder;     /* of the condition: three linear layers, else one */
} dppo_residual_block_options;

/* Owned by the caller until registered. A NULL generator draws nothing. */
dppo_status dppo_conv1d_block_new(dppo_generator *generator, int64_t in_channels, int64_t out_channels,
                                  const dppo_conv_block_options *options, dppo_module **module);
dppo_status dppo_downsample1d_new(dppo_generator *generator, int64_t dim, dppo_module **module);
dppo_status dppo_upsample1d_new(dppo_generator *generator, int64_t dim, dppo_module **module);
dppo_status dppo_residual_block1d_new(dppo_generator *generator, int64_t in_channels, int64_t out_channels,
                                      const dppo_residual_block_options *options, dppo_module **module);

/* Reads kernel_size (needed when `fallback` is 0), n_groups, activation_type, and eps under `eps_key`. */
dppo_status dppo_conv_block_options_read(const dppo_config *config, int64_t fallback, const char *eps_key,
                                         dppo_conv_block_options *options);

/* x (B, C, L) -> (B, C', L), L even or odd with an odd kernel. */
dppo_tensor *dppo_conv1d_block_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x);
/* (B, C, L) -> (B, C, ceil(L / 2)) */
dppo_tensor *dppo_downsample1d_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x);
/* (B, C, L) -> (B, C, 2 L) */
dppo_tensor *dppo_upsample1d_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x);
/* x (B, C, L), cond (B, cond_dim) -> (B, C', L) */
dppo_tensor *dppo_residual_block1d_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x,
                                           dppo_tensor *cond);

/* -- the U-net
 * ---------------------------------------------------------------------------------------------------------
 */
typedef struct dppo_unet_level {
    dppo_module *first, *second; /* ResidualBlock1D */
    dppo_module *resample;       /* Downsample1d or Upsample1d; NULL at the lowest level */
} dppo_unet_level;

/* Everything of Unet1D and of VisionUnet1D but the images; borrowed from the registry. */
typedef struct dppo_unet {
    dppo_time_embedding time;
    dppo_module *cond_mlp; /* ResidualMLP: encoder of the state; or NULL */
    dppo_module *mid[2];
    size_t down_count, up_count;
    dppo_unet_level down[DPPO_MAX_LEVELS], up[DPPO_MAX_LEVELS];
    dppo_module *final_block;
    dppo_conv_layer *final_conv;
} dppo_unet;

/* The keys of the config that dppo_add_unet reads, for dppo_config_allow(). */
#define DPPO_UNET_KEYS                                                                                       \
    "action_dim", "cond_dim", "diffusion_step_embed_dim", "dim", "dim_mults", "smaller_encoder",             \
        "cond_mlp_dims", "kernel_size", "n_groups", "activation_type", "cond_predict_scale", "groupnorm_eps"

/* Creates and registers everything in `owner`; `visual_dim` more conditions come from images. */
dppo_status dppo_add_unet(dppo_module *owner, const dppo_config *config, dppo_generator *generator,
                          int64_t visual_dim, dppo_unet *unet);
/* state (B, To, Do) -> (B, n): flattened, and encoded by cond_mlp if there is one. */
dppo_tensor *dppo_unet_state(dppo_cx *cx, const dppo_unet *unet, dppo_tensor *state);
/* x (B, Ta, Da), time (B), cond (B, n): the encoded state behind what comes from images -> (B, Ta, Da).
 * Ta must be divisible by 2 at every level but the lowest. */
dppo_tensor *dppo_unet_forward(dppo_cx *cx, const dppo_unet *unet, dppo_tensor *x, dppo_tensor *time,
                               dppo_tensor *cond);

#endif
