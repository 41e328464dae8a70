/* Parts that several networks are made of. Adding a part creates it, draws its weights (NULL generator:
 * zeros), registers it under `name` and gives it to the caller, who borrows it from the registry. */
#ifndef DPPO_MODELS_PARTS_H
#define DPPO_MODELS_PARTS_H

#include "config/config.h"
#include "nn/convolution.h"
#include "nn/layers.h"

/* -- layers
 * ---------------------------------------------------------------------------------------------------- */
/* Sequential, ModuleList, ...: holds names, and computes nothing itself. */
dppo_status dppo_add_container(dppo_module *parent, const char *name, const char *type,
                               dppo_module **container);
dppo_status dppo_add_linear(dppo_module *parent, const char *name, dppo_generator *generator, int64_t in,
                            int64_t out, dppo_linear_layer **layer);
dppo_status dppo_add_layer_norm(dppo_module *parent, const char *name, int64_t size, double eps,
                                dppo_layer_norm_layer **layer);
dppo_status dppo_add_conv(dppo_module *parent, const char *name, dppo_generator *generator,
                          dppo_conv_kind kind, const dppo_conv_options *options, dppo_conv_layer **layer);
dppo_status dppo_add_group_norm(dppo_module *parent, const char *name, int64_t num_groups,
                                int64_t num_channels, double eps, dppo_group_norm_layer **layer);

/* -- the embedding of a denoising step
 * ---------------------------------------------------------------------------------------------- */
/* Sequential of SinusoidalPosEmb, linear (wider), Mish, linear. */
typedef struct dppo_time_embedding {
    int64_t dim;
    dppo_module *position;
    dppo_linear_layer *widen, *narrow;
} dppo_time_embedding;
dppo_status dppo_add_time_embedding(dppo_module *parent, const char *name, dppo_generator *generator,
                                    int64_t dim, int64_t widening, dppo_time_embedding *embedding);
/* time (B) int64 -> (B, dim) */
dppo_tensor *dppo_time_embedding_forward(dppo_cx *cx, const dppo_time_embedding *embedding,
                                         dppo_tensor *time);

/* -- the standard deviation of a Gaussian policy, or of a mixture of them
 * ---------------------------------------------------------------------------------------------- */
/* Fixed; learned, but the same in every state; or exp(logvar / 2) of what the network says. */
typedef struct dppo_gaussian_std {
    int64_t action_dim, horizon_steps;
    int64_t num_modes;                    /* M of a mixture, set beforehand; 0: none */
    double fixed_std;                     /* NaN: the network's */
    dppo_tensor *logvar;                  /* (Da) or (M Da) where learn_fixed_std; else NULL */
    dppo_tensor *logvar_min, *logvar_max; /* rank 0, never trained */
} dppo_gaussian_std;
/* Reads the keys below; registers `logvar`, `logvar_min` and `logvar_max`. */
#define DPPO_GAUSSIAN_STD_KEYS                                                                               \
    "action_dim", "horizon_steps", "fixed_std", "learn_fixed_std", "std_min", "std_max"
dppo_status dppo_add_gaussian_std(dppo_module *owner, const dppo_config *config, dppo_gaussian_std *std);
/* Not from the network: for a mean (B, Ta Da) or (B, M, Ta Da), of the same shape. */
dppo_tensor *dppo_gaussian_std_constant(dppo_cx *cx, const dppo_gaussian_std *std, dppo_tensor *mean);
/* From log-variances of any shape, by exp(logvar / 2); within logvar_min and logvar_max is the caller's to
 * see to. */
dppo_tensor *dppo_gaussian_std_of(dppo_cx *cx, dppo_tensor *logvar);
/* The same, held within them by clamping. */
dppo_tensor *dppo_gaussian_std_clamped(dppo_cx *cx, const dppo_gaussian_std *std, dppo_tensor *logvar);

#endif
